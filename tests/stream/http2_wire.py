"""An HTTP/2 connection of ours over a transport in memory, which the test blocks, fails and ends as it likes."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable
from typing import Any

from tests.proto.http2 import wire
from tests.stream.background import in_background
from tunnelctl.engine.descriptor import Descriptor
from tunnelctl.engine.kernel import checkpoint, current_time
from tunnelctl.engine.poller import IN, OUT
from tunnelctl.proto.http2 import events
from tunnelctl.proto.http2.frame import ErrorCode
from tunnelctl.proto.http2.machine import Machine
from tunnelctl.proto.http2.window import WindowBudget
from tunnelctl.stream.base import Stream
from tunnelctl.stream.http2.connection import Http2Connection
from tunnelctl.stream.http2.stream import Http2Stream

UNLIMITED = 1 << 40
WIDE = (wire.settings((4, wire.LARGEST)), wire.window_update(0, wire.LARGEST - 65535))  # windows that never close


class Wire(Stream):
    """A transport."""

    descriptor: Descriptor

    def __init__(self) -> None:
        self.descriptor = Descriptor()
        self.descriptor.readable = False
        self._arrived: deque[bytes | OSError] = deque()
        self.sent = bytearray()
        self.room = UNLIMITED  # octets that it takes
        self.write_error: OSError | None = None
        self.ended = False  # our direction

    def deliver(self, what: bytes | OSError) -> None:
        """Lets octets arrive, the end (b"") or an error."""
        self._arrived.append(what)
        self.descriptor.on_event(IN)

    def unblock(self, room: int = UNLIMITED) -> None:
        self.room = room
        self.descriptor.on_event(OUT)

    def fail_writes(self, error: OSError) -> None:
        self.write_error = error
        self.descriptor.on_event(OUT)

    def receive_nowait(self, limit: int) -> bytes | None:
        if not self._arrived:
            self.descriptor.readable = False
            return None
        first = self._arrived.popleft()
        if isinstance(first, OSError):
            raise first
        if len(first) > limit:
            self._arrived.appendleft(first[limit:])
        if not first:
            self._arrived.appendleft(first)
        return first[:limit]

    def send_nowait(self, data: bytes | memoryview) -> int:
        if self.write_error is not None:
            raise self.write_error
        count = min(self.room, len(data))
        self.sent += data[:count]
        self.room -= count
        if count < len(data):
            self.descriptor.writable = False
        return count

    def wait_readable(self) -> Awaitable[None]:
        return self.descriptor.wait_readable()

    def wait_writable(self) -> Awaitable[None]:
        return self.descriptor.wait_writable()

    def send_eof(self) -> None:
        self.ended = True

    def close(self) -> None:
        if not self.descriptor.closed:
            self.descriptor.forget()

    def abort(self) -> None:
        self.close()


class Wired:
    """A server's connection, or a client's, that is running over a Wire."""

    def __init__(self, client: bool = False, budget: WindowBudget | None = None, block_seconds: float = 60.0) -> None:
        self.client, self.wire = client, Wire()
        self.budget = budget or WindowBudget()
        machine = Machine(client, self.budget, current_time(), 10_000)
        code = ErrorCode.CANCEL if client else ErrorCode.CONNECT_ERROR
        self.connection = Http2Connection(self.wire, machine, self._on_event, code, ErrorCode.NO_ERROR, block_seconds)
        self.events: list[events.Event | None] = []
        self.opened: list[Http2Stream] = []
        self.running = False
        self._seen = 0

    def _on_event(self, event: events.Event | None) -> None:
        self.events.append(event)
        if isinstance(event, events.RequestReceived):
            self.opened.append(self.connection.open(event.stream))
            self.connection.machine.respond(event.stream, 200)

    async def run(self) -> None:
        self.running = True
        try:
            await self.connection.run()
        finally:
            self.running = False
            self.wire.close()

    async def start(self, *frames: bytes) -> None:
        """Exchanges prefaces. frames: of the peer; its SETTINGS by default"""
        in_background(self.run)
        await self.hear((b"" if self.client else wire.PREFACE) + b"".join(frames or (wire.settings(),)))
        self.sent()

    async def hear(self, *frames: bytes | OSError) -> None:
        """Lets the connection receive something, and act on it."""
        for each in frames:
            self.wire.deliver(each)
        await settle()

    async def open(self, count: int = 1) -> list[Http2Stream]:
        """Opens tunnels."""
        first = 2 * len(self.opened) + 1
        numbers = range(first, first + 2 * count, 2)
        if self.client:
            for _ in numbers:
                self.opened.append(self.connection.open(self.connection.machine.request(wire.TARGET, ())))
            await self.hear(*[wire.response(number) for number in numbers])
        else:
            await self.hear(*[wire.headers(number) for number in numbers])
        self.sent()
        return self.opened[-count:]

    def sent(self) -> list[wire.Sent]:
        """Returns the frames sent since the last call. All must be whole."""
        octets = bytes(self.wire.sent[self._seen :])
        self._seen = len(self.wire.sent)
        preface = wire.PREFACE if octets.startswith(wire.PREFACE) else b""
        return wire.frames(octets[len(preface) :])

    def sent_on(self, stream: int) -> list[Any]:
        """Returns what was sent on a stream since the last call of `sent`: data joined, "end", and codes of resets."""
        found: list[Any] = []
        for frame in self.sent():
            if frame.stream != stream:
                continue
            if frame.kind == wire.DATA and frame.payload:
                if found and isinstance(found[-1], bytes):
                    found[-1] += frame.payload
                else:
                    found.append(frame.payload)
            if frame.kind == wire.DATA and frame.flags & wire.END_STREAM:
                found.append("end")
            if frame.kind == wire.RST_STREAM:
                found.append(ErrorCode(int.from_bytes(frame.payload, "big")))
        return found


async def settle(turns: int = 12) -> None:
    """Lets every task do what it can."""
    for _ in range(turns):
        await checkpoint()
