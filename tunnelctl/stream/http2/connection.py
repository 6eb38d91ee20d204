"""One HTTP/2 connection over a stream: reads and writes for all of its tunnels.

    run ─┬─ _read    transport ─▶ machine ─▶ events ─▶ Http2Stream.feed, or `on_event`
         └─ _write   control, Http2Stream ─▶ OutputQueue ─▶ transport

The reader never waits for a tunnel: what a tunnel does not take is bounded by its window. The writer waits for the transport, and
tunnels wait for the writer, in turns (tunnelctl.stream.http2.output).

When the connection ends, for whatever reason, each tunnel on it is aborted: its relay resets the other side (RFC 9113 section 8.5).
If we end it (a mistake of the peer, or the end of `reading`), the peer is told first: GOAWAY follows what is queued.
"""

from __future__ import annotations

from collections.abc import Callable
from errno import ECONNABORTED, ECONNRESET
from math import inf

from tunnelctl.engine.kernel import (
    CancelScope,
    ClosedResourceError,
    Nursery,
    Task,
    checkpoint,
    current_kernel,
    current_time,
    mark_bulk,
    move_on_after,
    park,
)
from tunnelctl.engine.sync import Event
from tunnelctl.proto.http2 import events
from tunnelctl.proto.http2.frame import ErrorCode, name_of
from tunnelctl.proto.http2.machine import Machine
from tunnelctl.proto.http2.window import WindowBudget
from tunnelctl.stream.base import CHUNK, Stream
from tunnelctl.stream.http2.output import OutputQueue, Piece
from tunnelctl.stream.http2.stream import Carrier, Http2Stream
from tunnelctl.stream.linger import LINGER_SECONDS, linger
from tunnelctl.stream.pump import BULK, ROUNDS_A_TURN

# Bytes of a read. Each read leads to an announcement of credit, and mostly cuts a frame in two.
READ = 8 * CHUNK

# Bytes that the kernel holds unsent: a keystroke waits behind them. With the 304 KiB of other tunnels, its median beside a bulk
# stream of the same connection was 9 to 12 ms, and with this 5 to 8, on a busy machine.
UNSENT = 128 << 10

FIRST_BYTES = 40  # of the peer, for a message if it does not speak HTTP/2

WINDOWS = WindowBudget()  # of this process


def _keep_heap() -> None:
    """Makes malloc(3) of glibc keep the memory of a read for the next one.

    It gives the end of its heap back to the system as soon as that is twice as large as the largest mapped block ever freed. So
    each read of READ bytes touched new pages: 80,000 page faults for 512 MiB, and twice the CPU time. A block this large
    is mapped, and not touched.
    """
    block = bytearray(32 * READ)
    del block


_keep_heap()

MAX_SENT_FRAME = CHUNK  # octets of payload in a frame that we send, if the peer accepts as much


class Http2Connection(Carrier):
    """One connection, of a client or a server."""

    def __init__(
        self,
        transport: Stream,
        machine: Machine,
        on_event: Callable[[events.Event | None], None],
        abort_code: ErrorCode,
        close_code: ErrorCode,
        block_seconds: float,
    ) -> None:
        """on_event: receives requests, responses, settings, PING, GOAWAY, resets; None when the connection is lost

        abort_code, close_code: of the reset of a tunnel that is aborted, or closed before the peer has ended its direction
        block_seconds: for a header block to arrive
        """
        self.transport, self.machine, self.on_event = transport, machine, on_event
        transport.bound_unsent(UNSENT)
        self.abort_code, self.close_code, self._block_seconds = abort_code, close_code, block_seconds
        self.streams: dict[int, Http2Stream] = {}
        self.frame_size = machine.peer.max_frame_size
        self.lost: OSError | None = None  # why there are no more tunnels
        self.received = 0.0  # when something last arrived
        self.first = b""  # the first bytes of the peer: it may speak something else
        self.reading = CancelScope()  # its end, or its deadline, ends the connection with GOAWAY
        self._block = CancelScope()  # its deadline is that of a header block under way
        self._scope = CancelScope()
        self._rest: Piece = b""  # of what is being sent: the part that the transport has not taken
        self._queue = OutputQueue(machine.output)
        self._writer: Task | None = None  # while it waits for something to send
        self._idle: Event | None = None  # set when there is nothing to send
        self.write_error: OSError | None = None  # why nothing more can be sent

    # -- for its streams --------------------------------------------------------------------------------------------------------

    def transport_fd(self) -> int | None:
        return self.transport.transport_fd()

    def open(self, number: int) -> Http2Stream:
        """Returns the stream of a tunnel that the machine has just begun."""
        stream = self.streams[number] = Http2Stream(self, number)
        return stream

    def carries(self, stream: Http2Stream) -> bool:
        return self.streams.get(stream.number) is stream

    def room(self, stream: Http2Stream, count: int) -> int:
        allowed = self.machine.sendable(stream.number)
        if allowed:
            room = self._queue.room(stream, count)
            return room if room < allowed else allowed
        if self.machine.window_of(stream.number):  # the connection's window is closed, which concerns all of them
            self._queue.wait_for_window(stream, count)
        else:
            self.pass_turn(stream)
        return 0

    def send(self, stream: Http2Stream, frames: Piece, count: int, buffer: bytearray | None = None) -> None:
        self.machine.spend(stream.number, count)
        self._queue.put(stream, frames, count, buffer)
        self.pass_turn(stream)
        self.flush()

    def send_end(self, stream: Http2Stream) -> None:
        if end := self.machine.end(stream.number):
            if stream.queued:
                self._queue.put(stream, end, 0)
            else:  # ahead of the next request, for which it makes room
                self.machine.output += end
                self.forget_if_closed(stream)
            self.flush()

    def reset(self, stream: Http2Stream, code: ErrorCode) -> None:
        if self.machine.is_open(stream.number):
            self.machine.reset(stream.number, code)
            self.flush()
        self.forget_if_closed(stream)

    def consumed(self, stream: Http2Stream, count: int) -> None:
        self.machine.consumed(stream.number, count, current_time())
        self.flush()

    def pass_turn(self, stream: Http2Stream) -> None:
        if stream.in_turn:
            self._queue.pass_turn(stream)
            self._give_turns()

    def leave(self, stream: Http2Stream) -> None:
        if stream.in_line or stream.in_turn:
            self._queue.leave(stream)
            self._give_turns()

    def _give_turns(self) -> None:
        self._queue.give_turns(self.machine.send_window)

    def _discard(self, stream: Http2Stream) -> None:
        """Drops what a stream still had to send. The peer never gets that, so it counts for the connection's window no more."""
        self.machine.send_window += self._queue.discard(stream)
        self._give_turns()

    def forget_if_closed(self, stream: Http2Stream) -> None:
        """Forgets a stream once it is closed in both directions and the peer is about to know that."""
        if not stream.queued and not self.machine.is_open(stream.number) and self.streams.pop(stream.number, None) is not None:
            if not stream.said_end:
                stream.stop_sending()  # the event that tells so may come behind that of the end, and finds the stream forgotten
            stream.on_closed()

    def flush(self) -> None:
        """Wakes the writer, if it waits and there is something to send."""
        writer = self._writer
        if writer is not None and self._queue:
            self._writer = None
            current_kernel().wake(writer)

    # -- the two tasks ----------------------------------------------------------------------------------------------------------

    async def run(self, data: bytes = b"") -> None:
        """Reads and writes until the connection has ended. data: what the peer has sent already"""
        try:
            with self._scope:
                async with Nursery() as nursery:
                    nursery.start_soon(self._write, nursery)
                    with self.reading:
                        await self._read_in_time(data)
                    if self.reading.cancelled_caught:
                        self.machine.fail(ErrorCode.NO_ERROR, "")
                    if self.machine.closed:
                        await self._say_goodbye()
                    nursery.cancel_scope.cancel()
        finally:
            self._lose(ConnectionAbortedError(ECONNABORTED, "the HTTP/2 connection was closed"), discard=False)  # see `send_last`
            self.machine.release()

    async def _read_in_time(self, data: bytes) -> None:
        """Reads until the connection has ended, or a header block has taken too long, which ends it."""
        while True:
            with self._block:
                await self._read(data)
            if not self._block.cancelled_caught:
                return
            if self.machine.block_since != inf:
                self._fail(ErrorCode.ENHANCE_YOUR_CALM, "a header block is not complete in time")
                return
            self._block, data = CancelScope(), b""  # this process was stopped, and the rest of the block lay in the socket

    async def _read(self, data: bytes) -> None:
        transport, rounds, bulk = self.transport, 0, False
        try:
            if data or self.machine.more:
                await self._take(data)
            while not self.machine.closed:
                received = transport.receive_nowait(READ)
                if received is None:
                    rounds = 0
                    await transport.wait_readable()
                    continue
                if not received:
                    raise ConnectionResetError(ECONNRESET, "the connection ended")
                if bulk != (len(received) >= BULK):
                    bulk = not bulk
                    mark_bulk(bulk)
                await self._take(received)
                rounds += 1
                if rounds == ROUNDS_A_TURN or len(received) > CHUNK:
                    rounds = 0
                    await checkpoint()
        except OSError as error:
            self._lose(error)
        finally:
            mark_bulk(False)

    async def _say_goodbye(self) -> None:
        """Sends the rest, with GOAWAY as the last frame, and sees to it that no reset of ours overtakes it."""
        self.flush()
        with move_on_after(LINGER_SECONDS):
            await self._emptied()
            if self.write_error is None:
                try:
                    await linger(self.transport)
                except OSError:
                    pass
            return
        if self._rest:  # the peer takes nothing: after a close, the kernel would go on offering it what is in its queue
            self.transport.abort()

    async def _take(self, data: bytes) -> None:
        """Handles what has arrived."""
        if len(self.first) < FIRST_BYTES:
            self.first += data[: FIRST_BYTES - len(self.first)]
        self.received = now = current_time()
        self._dispatch(self.machine.receive(data, now))
        while self.machine.more:
            await checkpoint()
            self._dispatch(self.machine.receive(b"", now))
        self._block.reschedule(self.machine.block_since + self._block_seconds)
        self.flush()

    def _fail(self, code: ErrorCode, reason: str) -> None:
        """Ends the connection with GOAWAY, as the machine does for a mistake that it has found itself."""
        self.machine.fail(code, reason)
        self._on_rare(events.ConnectionFailed(code, reason))

    async def _write(self, nursery: Nursery) -> None:
        """Sends what is queued. When that fails, what the peer sent before is still read."""
        try:
            while True:
                if self._queue:
                    await self._write_next()
                else:
                    await self._wait_for_output()
        except ClosedResourceError:  # the transport has been given up, with the rest unsent
            pass
        except OSError as error:
            self.write_error = error
            if self._idle is not None:
                self._idle.set()
            nursery.cancel_scope.reschedule(current_time() + LINGER_SECONDS)

    async def _write_next(self) -> None:
        transport, begun = self.transport, current_time()
        self._rest, buffer = self._queue.take()
        while (sent := transport.send_nowait(self._rest)) < len(self._rest):
            if sent:
                self._rest = memoryview(self._rest)[sent:]
            else:
                await transport.wait_writable()
        self._rest = b""
        self._queue.sent(buffer, current_time() - begun)
        self._give_turns()

    async def _wait_for_output(self) -> None:
        if self._idle is not None:
            self._idle.set()
        self._writer = current_kernel().task
        try:
            await park()
        finally:
            self._writer = None

    async def _emptied(self) -> None:
        """Waits until everything that is queued has been sent: then the writer waits for more."""
        while (self._queue or self._writer is None) and self.write_error is None:
            if self._idle is None or self._idle.is_set():
                self._idle = Event()
            await self._idle.wait()

    def send_last(self) -> None:
        """Sends what the transport takes at once. For responses that were made after `run` was cancelled."""
        try:
            while self._queue and not self._rest and self.write_error is None:
                self._rest, _ = self._queue.take()
                self._rest = memoryview(self._rest)[self.transport.send_nowait(self._rest) :]
        except OSError:
            pass

    async def finish(self) -> None:
        """Delivers what is queued, before the connection is closed. For a client: it announces that no more will come."""
        if self.lost is None:
            self.machine.finish_shutdown()
            self.flush()
            with move_on_after(LINGER_SECONDS):
                await self._emptied()
                await self.transport.wait_acknowledged()  # with unread input, closing resets, and drops what has not arrived

    def give_up(self, error: OSError) -> None:
        """Ends a connection that has turned out to be dead."""
        self._lose(error)
        self._scope.cancel()

    def _lose(self, error: OSError, discard: bool = True) -> None:
        """Aborts all tunnels: the connection is of no more use. discard: what they still had to send, too"""
        if self.lost is None:
            self.lost = error
            for stream in [*self.streams.values()]:
                if discard:
                    self._discard(stream)
                stream.fail(error)
                stream.on_closed()
            self.streams.clear()
            self.on_event(None)

    def _dispatch(self, received: list[events.Event]) -> None:
        for event in received:
            if isinstance(event, events.DataReceived):
                stream = self.streams.get(event.stream)
                if stream is not None:
                    stream.feed(event.pieces, event.size)
                else:
                    self.machine.consumed(event.stream, event.size, self.received)
            elif isinstance(event, events.EndReceived):
                if (stream := self.streams.get(event.stream)) is not None:
                    stream.feed_end()
                    if stream.said_end:  # else a reset follows in the same read, whose code counts
                        self.forget_if_closed(stream)
            elif isinstance(event, events.RequestReceived):
                self.on_event(event)
            elif isinstance(event, events.WindowOpened):
                self._on_window(event.stream)
            else:
                self._on_rare(event)

    def _on_window(self, number: int) -> None:
        if number == 0:
            self._give_turns()
        elif (stream := self.streams.get(number)) is not None:
            stream.wake_writer()

    def _on_rare(self, event: events.Event) -> None:
        if isinstance(event, (events.ResetReceived, events.StreamFailed)):  # a union would be made anew each time
            self._on_reset(event)
        elif isinstance(event, events.SettingsReceived):
            self.frame_size = min(self.machine.peer.max_frame_size, MAX_SENT_FRAME)
        elif isinstance(event, events.ConnectionFailed):
            self._lose(ConnectionAbortedError(ECONNABORTED, f"HTTP/2: {name_of(event.code)}: {event.reason}"))
        self.on_event(event)

    def _on_reset(self, event: events.ResetReceived | events.StreamFailed) -> None:
        stream = self.streams.get(event.stream)
        if stream is None:
            return
        self._discard(stream)  # no DATA may follow a reset, whichever end sent it
        if event.code == ErrorCode.NO_ERROR and stream.ended:
            stream.stop_sending()
        elif isinstance(event, events.StreamFailed):
            stream.fail(ConnectionAbortedError(ECONNABORTED, f"HTTP/2: {name_of(event.code)}: {event.reason}"))
        else:
            stream.fail(ConnectionResetError(ECONNRESET, f"HTTP/2: the peer reset the stream: {name_of(event.code)}"))
        self.forget_if_closed(stream)
