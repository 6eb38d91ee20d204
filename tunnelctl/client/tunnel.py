"""The way to a target through any number of proxies: look up, dial, CONNECT hop by hop."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from math import inf
from time import monotonic

from tunnelctl.engine.kernel import BusyResourceError, CancelScope, TooSlowError, fail_after, move_on_after, sleep
from tunnelctl.engine.resolver import SocketAddress, resolve
from tunnelctl.errors import MalformedAnswer, NameNotFound, TimedOut, Unreachable, reason
from tunnelctl.proto.address import Address
from tunnelctl.proto.connect_client import ConnectClient, Established, Rejected
from tunnelctl.proto.fields import Fields
from tunnelctl.record import NamedTuple
from tunnelctl.stream.contract import CHUNK
from tunnelctl.stream.dial import DialError, dial
from tunnelctl.stream.socket_stream import SocketStream
from tunnelctl.trace import Trace

FIRST_RETRY, LONGEST_RETRY = 0.5, 10.0  # seconds of pause before a retry: doubled each time, up to the longest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")

# How long the rest of a refusal's body may take; by then its head has said what counts.
BODY_SECONDS = 2.0


class Hop(NamedTuple):
    """One proxy of the chain, and the fields for its CONNECT request (credentials among them)."""

    address: Address
    fields: Fields

    def __repr__(self) -> str:
        return f"Hop({self.address})"


class Way(NamedTuple):
    """How to get there."""

    target: Address
    hops: tuple[Hop, ...]  # nearest first; none goes straight to the target
    family: int = 0  # 4, 6 or 0, for the first connection; the others are the proxies' business
    timeout: float = inf  # seconds for the whole way
    attempt_timeout: float = inf  # seconds for each address that is tried
    keepalive: float = 0.0
    exact: bool = False  # read no byte beyond the last head: the socket itself is to be handed on


class Tunnel(NamedTuple):
    """An established tunnel: its stream, and the bytes of it that came together with the last head."""

    stream: SocketStream
    early: bytes


async def open_with_retries(way: Way, retry: int, trace: Trace) -> Tunnel:
    """Opens a tunnel, trying again so often: while nothing of the user's has been sent, that repeats nothing."""
    until, pause = monotonic() + way.timeout, FIRST_RETRY
    for attempt in range(1, retry + 1):
        try:
            return await open_tunnel(way, trace)
        except Unreachable as error:
            # A proxy that answered has been reached, whatever became of its own attempt.
            if "code" in error.detail or monotonic() + pause >= until:
                raise
            trace("retry", attempt=attempt, delay=pause, cause=str(error))
        await sleep(pause)
        pause = min(2 * pause, LONGEST_RETRY)
        way = way._replace(timeout=max(0.1, round(until - monotonic(), 1)))
    return await open_tunnel(way, trace)


async def open_tunnel(way: Way, trace: Trace, ready: SocketStream | None = None) -> Tunnel:
    """Opens a tunnel. Raises the TunnelctlError that fits; nothing is left open then.

    ready: a connection to the nearest proxy that stands already
    """
    opening = _Opening(way, trace, ready)
    return await opening.within(opening.run)


async def connect_nearest(way: Way, trace: Trace) -> SocketStream:
    """A connection to the nearest proxy, for an `open_tunnel` to come."""
    opening = _Opening(way, trace, None)
    return await opening.within(opening.connect)


class _Opening:
    """One attempt; `phase` says what it waits for, in the words of an error."""

    def __init__(self, way: Way, trace: Trace, ready: SocketStream | None) -> None:
        self._way, self._trace, self._ready = way, trace, ready
        self.phase = ""
        self.limit = CancelScope()  # on the whole way
        self._stops = [*(hop.address for hop in way.hops), way.target]

    async def within(self, work: Callable[[], Awaitable[T]]) -> T:
        """Does it within the limit of the whole way."""
        try:
            with fail_after(self._way.timeout) as self.limit:
                return await work()
        except TooSlowError as error:
            hint = "--timeout sets how long the whole way may take"
            raise TimedOut(self.phase, f"no answer within {self._way.timeout:g} s", hint) from error

    async def connect(self) -> SocketStream:
        """The first stretch."""
        return await self._dial(self._stops[0], "proxy" if self._way.hops else "target")

    async def run(self) -> Tunnel:
        stream, stops = self._ready or await self.connect(), self._stops
        early = b""
        try:
            for hop, stop in zip(self._way.hops, stops[1:], strict=True):
                early = await self._connect(stream, hop, stop, early)
        except BaseException:
            stream.close()
            raise
        return Tunnel(stream, early)

    async def _dial(self, address: Address, role: str) -> SocketStream:
        self.phase = f"looking up {role} {address.host}"
        self._trace("lookup", host=address.host)
        addresses = await self._resolve(address, role)
        self.phase = f"connecting to {role} {address}"
        self._trace("dial", to=str(address), addresses=[entry.host for entry in addresses])
        try:
            stream = await dial(addresses, self._way.keepalive, self._way.attempt_timeout)
        except DialError as error:
            raise Unreachable(f"cannot connect to {role} {address}", _attempts(error), _hint(error, role)) from error
        self._trace("connected", to=str(address), address=stream.peer)
        return stream

    async def _resolve(self, address: Address, role: str) -> list[SocketAddress]:
        family = {4: socket.AF_INET, 6: socket.AF_INET6}.get(self._way.family, socket.AF_UNSPEC)
        what = f"cannot look up {role} {address.host}"
        try:
            return await resolve(address.host, address.port, family)
        except BusyResourceError as error:
            raise Unreachable(what, "too many look-ups hang") from error
        except (socket.gaierror, UnicodeError) as error:
            if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
                raise Unreachable(what, "the name service does not answer") from error
            suffix = f" in IPv{self._way.family}" if self._way.family else ""
            raise NameNotFound(what, f"it has no address{suffix}") from error
        except OSError as error:  # EAI_SYSTEM: the resolver has no descriptor left, or no memory
            raise Unreachable(what, reason(error)) from error

    async def _connect(self, stream: SocketStream, hop: Hop, stop: Address, early: bytes) -> bytes:
        """One CONNECT on a stream that reaches `hop`; the bytes that came behind the head."""
        self.phase = f"waiting for proxy {hop.address} to reach {stop}"
        machine = ConnectClient(stop, hop.fields)
        request = machine.request()
        self._trace("request", head=machine.masked_request())
        try:
            await stream.send_all(request)
            answer = machine.feed(early) if early else None
            while answer is None:
                answer = await (self._read_body if machine.refusing else self._read)(stream, machine)
        except MalformedAnswer as error:
            raise MalformedAnswer(f"proxy {hop.address}, asked for {stop}", error.cause, error.hint) from error
        except OSError as error:
            what = f"proxy {hop.address}, asked for {stop}, broke the connection before it answered"
            raise Unreachable(what, reason(error)) from error
        self._trace("response", head=answer.head, status=answer.status)
        if isinstance(answer, Rejected):
            from tunnelctl.client.refusal import refused  # not on the way to a tunnel, and it loads re

            raise refused(answer, hop.address, hop.fields, stop)
        return answer.leftover

    async def _read(self, stream: SocketStream, machine: ConnectClient) -> Established | Rejected | None:
        data = await stream.receive_some(1 if self._way.exact else CHUNK)
        return machine.feed(data) if data else machine.eof()

    async def _read_body(self, stream: SocketStream, machine: ConnectClient) -> Established | Rejected:
        """The refusal with as much of its body as comes in time. Its head is complete: neither a reset nor a limit hides it."""
        left = self.limit.deadline - monotonic()
        self.limit.deadline += BODY_SECONDS  # so that it is this limit which strikes, and not the one that says "timed out"
        try:
            with move_on_after(min(BODY_SECONDS, left)):
                while data := await stream.receive_some():
                    answer = machine.feed(data)
                    if answer is not None:
                        return answer
        except OSError:
            pass
        return machine.eof()


def _attempts(error: DialError) -> str:
    causes = [(address.host, reason(cause)) for address, cause in error.attempts]
    if len(causes) == 1:
        return causes[0][1]
    return ", ".join(f"{host}: {cause}" for host, cause in causes)


def _hint(error: DialError, role: str) -> str:
    if role == "target":
        return "this was without a proxy; -x URL names one"
    if all(isinstance(cause, ConnectionRefusedError) for _, cause in error.attempts):
        return "nothing listens there; is the port right?"
    return ""

