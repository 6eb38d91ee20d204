"""HTTP/2 connections whose far end is the library h2 over a plain socket, driven by the test.

h2 checks what it receives: a frame of ours that breaks RFC 9113 fails the test. It credits us for what the test takes, and for
nothing else, so back-pressure reaches our end.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from h2.exceptions import StreamClosedError
from h2.settings import SettingCodes, Settings

from tests.stream.background import in_background
from tunnelctl.engine.kernel import ClosedResourceError, Nursery, current_time
from tunnelctl.engine.sync import Event
from tunnelctl.proto.address import Address
from tunnelctl.proto.http2 import events
from tunnelctl.proto.http2.frame import ErrorCode
from tunnelctl.proto.http2.machine import Machine
from tunnelctl.proto.http2.window import WindowBudget
from tunnelctl.stream.base import Stream
from tunnelctl.stream.http2.connection import Http2Connection
from tunnelctl.stream.http2.stream import Http2Stream

AUTHORITY = "example.com:443"
WINDOW, FRAME = 65_535, 16_384


class FarStream:
    """The far end of one tunnel. It has the methods of `tests.stream.ends.Far`."""

    def __init__(self, peer: Peer, number: int) -> None:
        self.peer, self.number = peer, number
        self.held = bytearray()
        self.answered = self.ended = self.sent_end = False
        self.reset_code: int | None = None  # of a reset by our end

    async def give(self, data: bytes) -> None:
        """Sends as the windows allow; returns when the kernel has all of it."""
        rest, h2 = memoryview(data), self.peer.h2
        while rest:
            self._check()
            count = min(len(rest), h2.local_flow_control_window(self.number), h2.max_outbound_frame_size)
            if count > 0:
                h2.send_data(self.number, bytes(rest[:count]))
                rest = rest[count:]
                self.peer.flush()
            if count <= 0 or self.peer.unsent > 1 << 18:
                await self.peer.changed()
        await self.peer.sent()

    def _check(self) -> None:
        if self.reset_code is not None:
            raise ConnectionResetError(f"RST_STREAM {self.reset_code}")
        if self.peer.lost:
            raise BrokenPipeError("the connection ended")

    def try_take(self, limit: int = 1 << 20) -> bytes | None:
        if self.held:
            data = bytes(self.held[:limit])
            del self.held[:limit]
            self.peer.credit(self.number, len(data))
            return data
        if self.ended:
            return b""
        if self.reset_code is not None or self.peer.lost:
            raise ConnectionResetError(f"RST_STREAM {self.reset_code}")
        return None

    async def take_some(self) -> bytes:
        return await self._take(1 << 20)

    async def _take(self, limit: int) -> bytes:
        while (data := self.try_take(limit)) is None:
            await self.peer.changed()
        return data

    async def take(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size and (piece := await self._take(size - len(data))):
            data += piece
        return bytes(data)

    async def take_rest(self) -> bytes:
        data = bytearray()
        while piece := await self.take_some():
            data += piece
        return bytes(data)

    async def end_output(self) -> None:
        if not self.sent_end:
            self.sent_end = True
            self._check()
            self.peer.h2.end_stream(self.number)
            self.peer.flush()

    def reset(self, code: int = ErrorCodes.CANCEL) -> None:
        with suppress(StreamClosedError):
            self.peer.h2.reset_stream(self.number, code)
        self.peer.flush()

    def leave(self) -> None:
        self.peer.leave()

    async def closed(self) -> None:
        """Waits until our end has ended its direction, or reset the stream."""
        while not (self.ended or self.reset_code is not None or self.peer.lost):
            await self.peer.changed()


class Peer:
    """The far end of a connection. `transport` is a FarSocket or a FarTLS."""

    def __init__(self, transport: Any, client: bool, window: int = WINDOW, frame: int = FRAME) -> None:
        """window, frame: what it announces for each stream"""
        self.transport = transport
        self.h2 = H2Connection(H2Configuration(client_side=client, header_encoding="utf-8"))
        values = {
            SettingCodes.INITIAL_WINDOW_SIZE: window,
            SettingCodes.MAX_FRAME_SIZE: frame,
            SettingCodes.MAX_CONCURRENT_STREAMS: 10_000,
            SettingCodes.ENABLE_PUSH: 0,
        }
        if not client:
            del values[SettingCodes.ENABLE_PUSH]
        self.h2.local_settings = Settings(client=client, initial_values=values)
        self.h2.max_inbound_frame_size = frame
        self.h2.initiate_connection()
        self.streams: dict[int, FarStream] = {}
        self.goaway: int | None = None
        self.lost = False  # the connection has ended
        self.credits = True  # whether it credits what the test takes
        self.received = 0  # octets of DATA
        self._out = bytearray()
        self._in_flight = 0
        self._changed = Event()

    @property
    def unsent(self) -> int:
        return len(self._out) + self._in_flight

    def notify(self) -> None:
        event, self._changed = self._changed, Event()
        event.set()

    async def changed(self) -> None:
        await self._changed.wait()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._changed.wait()

    async def sent(self) -> None:
        """Waits until the kernel has everything."""
        await self.until(lambda: self.lost or not self.unsent)

    def flush(self) -> None:
        self.send_raw(self.h2.data_to_send())

    def send_raw(self, data: bytes) -> None:
        self._out += data
        self.notify()

    def credit(self, number: int, count: int) -> None:
        if self.credits:
            with suppress(StreamClosedError):
                self.h2.acknowledge_received_data(count, number)
            self.flush()

    def request(self) -> FarStream:
        number = self.h2.get_next_available_stream_id()
        self.h2.send_headers(number, [(":method", "CONNECT"), (":authority", AUTHORITY)])
        self.flush()
        return self._open(number)

    def _open(self, number: int) -> FarStream:
        made = self.streams[number] = FarStream(self, number)
        return made

    def leave(self) -> None:
        self.lost = True
        self.transport.leave()
        self.notify()

    async def run(self) -> None:
        try:
            async with Nursery() as nursery:
                nursery.start_soon(self._write)
                self.flush()
                await self._read()
                nursery.cancel_scope.cancel()
        except ClosedResourceError:
            assert self.lost  # by `leave`
        finally:
            self.leave()

    async def _write(self) -> None:
        while not self.lost:
            while not self._out:
                await self.changed()
            data, self._out = bytes(self._out), bytearray()
            self._in_flight = len(data)
            try:
                await self.transport.give(data)
            except OSError:
                return
            self._in_flight = 0
            self.notify()

    async def _read(self) -> None:
        while not self.lost:
            try:
                data = await self.transport.take_some()
            except OSError:
                data = b""
            if not data:
                self.lost = True
            for event in self.h2.receive_data(data):
                self._handle(event)
            self.flush()

    def _handle(self, event: Any) -> None:
        stream = self.streams.get(getattr(event, "stream_id", None) or 0)
        if isinstance(event, RequestReceived):
            self.h2.send_headers(event.stream_id, [(":status", "200")])
            self._open(event.stream_id).answered = True
        elif isinstance(event, ConnectionTerminated):
            self.goaway = int(event.error_code)
        elif stream is None:
            return
        elif isinstance(event, ResponseReceived):
            stream.answered = True
        elif isinstance(event, DataReceived):
            self.received += len(event.data)
            stream.held += event.data
        elif isinstance(event, StreamEnded):
            stream.ended = True
        elif isinstance(event, StreamReset) and event.remote_reset:
            stream.reset_code = int(event.error_code)


class Pair:
    """A connection: `near` is ours, `peer` the far end."""

    def __init__(self, transport: Stream, far: Any, client: bool, budget: WindowBudget, **options: int) -> None:
        """client: whether our end is the client; options: of the peer"""
        self.client, self.transport = client, transport
        self.events: list[events.Event | None] = []
        machine = Machine(client, budget, current_time(), 10_000)
        codes = (ErrorCode.CANCEL, ErrorCode.CANCEL) if client else (ErrorCode.CONNECT_ERROR, ErrorCode.NO_ERROR)
        self.near = Http2Connection(transport, machine, self._on_event, *codes, 60.0)
        self.peer = Peer(far, not client, **options)
        self.ended = Event()
        self._opened: dict[int, Http2Stream] = {}

    def _on_event(self, event: events.Event | None) -> None:
        self.events.append(event)
        if isinstance(event, events.RequestReceived):
            self._opened[event.stream] = self.near.open(event.stream)
            self.near.machine.respond(event.stream, 200)
            self.near.flush()
        self.peer.notify()

    async def run(self) -> None:
        try:
            await self.near.run()
        finally:
            self.transport.close()
            self.ended.set()

    def start(self) -> None:
        in_background(self.run)
        in_background(self.peer.run)

    async def open(self) -> tuple[Http2Stream, FarStream]:
        """Opens a tunnel; returns both ends of it."""
        if self.client:
            await self.peer.until(lambda: any(isinstance(event, events.SettingsReceived) for event in self.events))
            number = self.near.machine.request(Address("example.com", 443), ())
            near = self.near.open(number)
            self.near.flush()
            await self.peer.until(lambda: any(isinstance(e, events.ResponseReceived) and e.stream == number for e in self.events))
            return near, self.peer.streams[number]
        far = self.peer.request()
        await self.peer.until(lambda: far.answered)
        return self._opened.pop(far.number), far
