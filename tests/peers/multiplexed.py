"""A test protocol, with both ends, that carries many tunnels on one connection: it proves that a connection is not a tunnel.

Only its registration (`server.connection.PROTOCOLS`, `client.upstream.PROTOCOLS`) refers to it. It does not deal with policy,
logins, caps, the log or draining. It is no model for a real protocol: a stalled reader lets memory grow.

A frame is `>BIH`: kind, tunnel number, and length of the payload that follows.
"""

import struct
from collections.abc import AsyncIterator, Callable
from errno import ECONNRESET

from tunnelctl.client.route.route import Hop, Tunnel
from tunnelctl.client.upstream import Protocol
from tunnelctl.client.upstream.base import ProxyConnection, TunnelRequest
from tunnelctl.engine.kernel import Nursery, current_time
from tunnelctl.engine.sync import Event
from tunnelctl.errors import Refused
from tunnelctl.proto import refusal
from tunnelctl.proto.address import parse_authority
from tunnelctl.proto.auth.challenge import parse_challenges
from tunnelctl.proto.refusal import Refusal
from tunnelctl.server import request as server_request
from tunnelctl.server.observe.record import TunnelRecord
from tunnelctl.server.request import Client, Responder
from tunnelctl.server.service import Service
from tunnelctl.server.tunnel import serve_tunnel
from tunnelctl.stream.base import Stream

PREFACE = b"MULTIPLEXED\n"
OPEN, GRANTED, REFUSED, DATA, EOF, RESET, GOAWAY = range(7)
_HEADER = struct.Struct(">BIH")
_MAX_QUEUED = 1 << 16  # bytes that wait to be sent
_PIECE = 1 << 14

Frame = tuple[int, int, bytes]


class Session:
    """The frames of one connection, for the side that opens tunnels and the side that serves them."""

    def __init__(self, transport: Stream) -> None:
        self._transport, self._queue = transport, bytearray()
        self._queued, self._room, self._idle = Event(), Event(), Event()
        self.tunnels: dict[int, TunnelStream] = {}

    def forget(self, number: int) -> bool:
        """Removes a tunnel; returns whether it was still known."""
        stream = self.tunnels.pop(number, None)
        if not self.tunnels:
            self._idle.set()
        if stream is not None:
            stream.on_end()
        return stream is not None

    async def wait_until_idle(self) -> None:
        """Waits until there is no tunnel."""
        while self.tunnels:
            self._idle = Event()
            await self._idle.wait()

    def put(self, kind: int, number: int, payload: bytes = b"") -> None:
        self._queue += _HEADER.pack(kind, number, len(payload)) + payload
        self._queued.set()

    @property
    def full(self) -> bool:
        return len(self._queue) >= _MAX_QUEUED

    async def wait_for_room(self) -> None:
        if self.full:
            await self._room.wait()

    async def flush(self) -> None:
        while self._queue:
            data, self._queue = bytes(self._queue), bytearray()
            await self._transport.send_all(data)
            self._room.set()
            self._room = Event()

    async def write(self) -> None:
        """Sends what is queued, forever."""
        while True:
            await self._queued.wait()
            self._queued = Event()
            await self.flush()

    async def frames(self, data: bytes) -> AsyncIterator[Frame]:
        """Yields the frames up to EOF or an error, then resets every tunnel. `data`: bytes read before."""
        try:
            while True:
                while len(data) >= _HEADER.size and len(data) >= _HEADER.size + _HEADER.unpack_from(data)[2]:
                    kind, number, size = _HEADER.unpack_from(data)
                    payload, data = data[_HEADER.size : _HEADER.size + size], data[_HEADER.size + size :]
                    if kind in (DATA, EOF, RESET):
                        if number in self.tunnels:
                            self.tunnels[number].take(kind, payload)
                    else:
                        yield kind, number, payload
                more = await self._transport.receive_some()
                if not more:
                    return
                data += more
        finally:
            for tunnel in list(self.tunnels.values()):
                tunnel.take(RESET, b"")


class TunnelStream(Stream):
    """One tunnel of a session."""

    def __init__(self, session: Session, number: int) -> None:
        self._session, self._number = session, number
        self._inbox, self._more = bytearray(), Event()
        self._ended = self._reset = self._sent_eof = False
        self._on_broken: Callable[[], None] | None = None
        self._on_peer_closed: Callable[[], None] | None = None
        self.on_end: Callable[[], None] = lambda: None
        session.tunnels[number] = self

    def take(self, kind: int, payload: bytes) -> None:
        self._inbox += payload
        self._ended |= kind == EOF
        self._reset |= kind == RESET
        callback = {EOF: self._on_peer_closed, RESET: self._on_broken}.get(kind)
        if callback is not None:
            callback()
        self._more.set()

    def receive_nowait(self, limit: int) -> bytes | None:
        data = bytes(self._inbox[:limit])
        del self._inbox[:limit]
        if not data and self._reset:
            raise ConnectionResetError(ECONNRESET, "the tunnel was reset")
        return data if data or self._ended else None

    async def wait_readable(self) -> None:
        if not (self._inbox or self._ended or self._reset):
            self._more = Event()
            await self._more.wait()

    def send_nowait(self, data: bytes | memoryview) -> int:
        if self._reset:
            raise ConnectionResetError(ECONNRESET, "the tunnel was reset")
        if self._session.full:
            return 0
        piece = bytes(data[:_PIECE])
        self._session.put(DATA, self._number, piece)
        return len(piece)

    async def wait_writable(self) -> None:
        await self._session.wait_for_room()

    def on_broken(self, callback: Callable[[], None]) -> None:
        self._on_broken = callback

    def on_peer_closed(self, callback: Callable[[], None]) -> None:
        self._on_peer_closed = callback

    def unwatch(self) -> None:
        self._on_broken = self._on_peer_closed = None

    def send_eof(self) -> None:
        if not self._sent_eof:
            self._sent_eof = True
            self._session.put(EOF, self._number)

    def abort(self) -> None:
        if self._session.forget(self._number):
            self._session.put(RESET, self._number)

    def close(self) -> None:
        if self._ended:
            self.send_eof()
            self._session.forget(self._number)
        else:
            self.abort()


class _Responder(Responder):
    def __init__(self, session: Session, number: int, early: bytes = b"") -> None:
        self._session, self._number = session, number
        self._stream = TunnelStream(session, number)

    async def grant(self) -> tuple[Stream, bytes]:
        self._session.put(GRANTED, self._number)
        self._stream.unwatch()
        return self._stream, b""

    async def refuse(self, refusal: Refusal) -> None:
        self.refuse_nowait(refusal)

    def refuse_nowait(self, refusal: Refusal) -> None:
        challenges = [value for name, value in refusal.fields if name == "Proxy-Authenticate"]
        self._session.put(REFUSED, self._number, "\n".join((f"{refusal.status} {refusal.error}", *challenges)).encode())
        self._session.forget(self._number)

    def watch(self, gone: Callable[[], None], half_closed: Callable[[], None]) -> None:
        self._stream.on_broken(gone)
        self._stream.on_peer_closed(half_closed)

    def close(self) -> None:
        self._stream.close()


async def serve(service: Service, client: Client, stream: Stream, data: bytes, record: TunnelRecord, deadline: float) -> None:
    """Serves each tunnel in a task of its own. While draining, refuses new tunnels, and returns after the last one."""
    session, draining = Session(stream), service.counts.draining

    async def drain() -> None:
        await draining.wait()
        session.put(GOAWAY, 0)
        await session.wait_until_idle()
        reading.cancel_scope.cancel()

    async with Nursery() as helpers:
        helpers.start_soon(session.write)
        async with Nursery() as reading:
            helpers.start_soon(drain)
            async for _, number, payload in session.frames(data.removeprefix(PREFACE)):
                responder = _Responder(session, number)
                if draining.is_set():
                    responder.refuse_nowait(refusal.stopping())
                    continue
                target, _, authorization = payload.decode().partition("\n")
                one = TunnelRecord(record.connection, f"{record.connection}.{number}", client.name)
                until = current_time() + service.timeouts.head
                request = server_request.TunnelRequest(parse_authority(target), (), authorization or None, until, one, responder)
                reading.start_soon(serve_tunnel, service, client, request)
        await session.flush()
        helpers.cancel_scope.cancel()


class MultiplexedConnection(ProxyConnection):
    """The side that opens tunnels."""

    multiplexed = True
    limit = 3

    def __init__(self, hops: tuple[Hop, ...], stream: Stream, early: bytes = b"") -> None:
        super().__init__(hops, stream, early)
        self._session, self._count, self._unusable = Session(stream), 0, Event()
        self._answers: dict[int, tuple[Event, list[Frame]]] = {}

    async def run(self) -> None:
        await self.stream.send_all(PREFACE)
        try:
            async with Nursery() as nursery:
                nursery.start_soon(self._session.write)
                async for frame in self._session.frames(self.early):
                    self._take(frame)
                nursery.cancel_scope.cancel()
        finally:
            self._unusable.set()

    def _take(self, frame: Frame) -> None:
        if frame[0] == GOAWAY:
            self._unusable.set()
        elif frame[1] in self._answers:
            event, answers = self._answers[frame[1]]
            answers.append(frame)
            event.set()

    async def wait_until_unusable(self) -> None:
        await self._unusable.wait()

    async def _open(self, request: TunnelRequest) -> Tunnel:
        exchange, fresh = request.exchange, True
        while True:
            credentials = await exchange.value(fresh) if exchange is not None else None
            stream, words = await self._ask(f"{request.stop}\n{credentials or ''}")
            if stream is not None:
                stream.on_end = self.release
                return Tunnel(stream, b"")
            status, *challenges = words.splitlines()
            if exchange is None or not status.startswith("407") or not await exchange.answer(parse_challenges(challenges)):
                raise Refused(request.what, status, "refused", detail={"code": int(status[:3])})
            fresh = False

    async def _ask(self, words: str) -> tuple[TunnelStream | None, str]:
        """Returns the tunnel, or None and the text of the refusal."""
        self._count += 1
        number, event, answers = self._count, Event(), list[Frame]()
        stream, self._answers[number] = TunnelStream(self._session, number), (event, answers)
        self._session.put(OPEN, number, words.encode())
        try:
            await event.wait()
        except BaseException:
            stream.abort()
            raise
        finally:
            del self._answers[number]
        ((kind, _, payload),) = answers
        if kind == GRANTED:
            return stream, ""
        self._session.forget(number)
        return None, payload.decode()


class MultiplexedProtocol(Protocol):
    """The entry in the client's table of protocols."""

    name, has_schemes = "frames", True
    connect = MultiplexedConnection
