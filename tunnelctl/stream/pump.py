"""One direction of a tunnel: moves bytes from a source to a sink, up to EOF.

Small pieces are read and written. A direction whose reads come back full is spliced through a pipe: its bytes never enter Python.
Between a socket and a pipe, as stdin and stdout mostly are, bytes are spliced from the start. Without splice(2), all are copied.
"""

from __future__ import annotations

import os
import select
from errno import EPIPE

from tunnelctl.engine.kernel import bulk_waiting, checkpoint, mark_bulk
from tunnelctl.engine.poller import IN, poll_once
from tunnelctl.stream.base import CHUNK, Stream
from tunnelctl.stream.socket_stream import SocketStream
from tunnelctl.stream.splice import CAPACITY, SPLICES, Pipe, enlarge, give_pipe, splice, take_pipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

# Rounds of one direction before other tasks run: a fast pair of sockets never has to wait, and would occupy the event loop.
ROUNDS_A_TURN = 4  # of reading and writing, up to 64 KiB each

# The same for splice(2), some 0.2 to 0.4 ms each. Several in a row find the socket's buffers still in the processor's caches: with
# 100 bulk tunnels, one at a time moved 1.7 GB/s at 0.40 s of CPU per GB, eight in a row 2.8 GB/s at 0.33. A hundred tunnels fill a
# turn anyway. With a few, a turn lasts as long as their splices, and a keystroke waits for its end: beside one bulk tunnel the
# median is 1.3 ms with 16 in a row, and 0.3 ms with one; beside four, 5.7 and 1.5 ms, where one at a time moves a tenth less. So it
# is one at a time while fewer than CROWD bulk tasks, one for each direction of a tunnel, wait for their share of the turn.
SPLICES_A_TURN, CROWD = 16, 8

# Bytes requested per splice into a pipe of ours, where the part that the sink does not take stays while it stalls. With twice as
# much, 100 bulk tunnels move no more.
PIECE = CAPACITY // 2

# A read of at least this size makes its direction a bulk transfer, which yields to keystrokes (engine.kernel, rule 5). Between a
# socket and a pipe of the default capacity (64 KiB, in 16 slots that are seldom full) it means that the pipe has become the limit.
BULK = CHUNK // 4

# From a pipe to a socket, splice(2) sends up to 16 buffers at once. Since Linux 6.5, if it was asked for more than the pipe has,
# and the pipe held exactly 16, the kernel assumes that more will follow, and sends with MSG_MORE: the end of a message of 64 KiB
# waited 40 to 200 ms. Two buffers that a program has written hold more than 4 KiB, so a splice that moved less than this was no
# such one.
HELD = 8 << 12


class _Failed(Exception):
    def __init__(self, error: OSError) -> None:
        super().__init__(error)
        self.error = error


class SourceFailed(_Failed):
    """Raised when reading fails; `error` is the cause."""


class SinkFailed(_Failed):
    """Raised when writing fails; `error` is the cause."""


class Pump:
    """Moves one direction. Calls `progress` with the number of bytes each time the sink has taken some.

    `rest` holds bytes read but not yet taken: if the pump is stopped, `send` it before the next `run`.
    """

    __slots__ = ("_progress", "_sink", "_source", "rest")

    def __init__(self, source: Stream, sink: Stream, progress: Callable[[int], None]) -> None:
        self._source, self._sink, self._progress = source, sink, progress
        self.rest = memoryview(b"")

    def run(self) -> Coroutine[None, None, None]:
        """Moves everything up to EOF. Raises SourceFailed or SinkFailed.

        Not a coroutine itself: each coroutine in the chain costs time at every resumption.
        """
        source, sink = self._source, self._sink
        if SPLICES:
            pipe, fd = source.source_pipe(), sink.socket_fd()
            if pipe is not None and fd is not None:
                return self._splice_direct(pipe, fd)
            fd, pipe = source.socket_fd(), sink.sink_pipe()
            if pipe is not None and fd is not None:
                return self._splice_direct(fd, pipe)
        if source.gathers and isinstance(sink, SocketStream):
            return self._gather(sink)
        return self._copy()

    async def _copy(self) -> None:
        source, sink = self._source, self._sink
        rounds, bulk, expected = 0, False, False
        while True:
            try:
                data = source.receive_nowait(CHUNK)
            except OSError as error:
                raise SourceFailed(error) from error
            if data is None:
                rounds = 0
                await source.wait_readable()
                continue
            if not data:
                return
            try:
                sent = sink.send_nowait(data)
            except OSError as error:
                raise SinkFailed(error) from error
            self._progress(sent)
            if bulk != (len(data) >= BULK):
                bulk = not bulk
                mark_bulk(bulk)
            if sent < len(data):
                await self.send(memoryview(data)[sent:])
            if len(data) == CHUNK:
                if not expected:
                    expected = True
                    source.expect_bulk()
                data = None  # a tunnel that idles later, within _bulk, must not keep the last chunk
                await self._bulk()
            rounds += 1
            if rounds == ROUNDS_A_TURN:
                rounds = 0
                await checkpoint()

    async def send(self, data: bytes | memoryview) -> None:
        """Writes bytes that were read before. Raises SinkFailed."""
        sink, self.rest = self._sink, memoryview(data)
        while self.rest:
            try:
                sent = sink.send_nowait(self.rest)
            except OSError as error:
                raise SinkFailed(error) from error
            if not sent:
                await sink.wait_writable()
                continue
            self._progress(sent)
            self.rest = self.rest[sent:]
        self.rest = memoryview(b"")  # an empty slice would keep its whole buffer alive

    async def _bulk(self) -> None:
        """Splices through a pipe for as long as the traffic is bulk. Leaves the detection of EOF to the caller: see _copy_chunk.

        Holds a pipe for one round only, so that neither idle tunnels nor those that await their turn hold any.
        """
        source_fd, sink_fd = self._source.socket_fd(), self._sink.socket_fd()
        if self._sink.scatters and isinstance(self._source, SocketStream):
            await self._scatter(self._source)
            return
        if source_fd is None or sink_fd is None:
            return
        burst = rounds = 0  # burst: bytes since the source was last found empty
        while (pipe := take_pipe()) is not None:
            moved = await self._round(source_fd, pipe, sink_fd)
            if moved:
                burst += moved
                rounds += 1
                if rounds == SPLICES_A_TURN or bulk_waiting() < CROWD:
                    rounds = 0
                    await checkpoint()
                continue
            if moved is None:
                self._source.source_drained()
            if moved is not None or burst < CHUNK:
                return
            burst = rounds = 0
            await self._source.wait_readable()

    async def _scatter(self, source: SocketStream) -> None:
        """Reads into the sink's own buffers for as long as the traffic is bulk. Leaves EOF to the caller, as `_bulk` does."""
        rounds = 0
        while True:
            try:
                room = self._sink.slots()
            except OSError as error:
                raise SinkFailed(error) from error
            if not room:
                rounds = 0
                await self._sink.wait_writable()
                continue
            try:
                count = source.receive_into(room)
            except OSError as error:
                self._sink.filled(0)
                raise SourceFailed(error) from error
            self._sink.filled(count or 0)
            if not count:
                return
            self._progress(count)
            if count < BULK and not source.descriptor.readable:
                return
            rounds += 1
            if rounds == ROUNDS_A_TURN:
                rounds = 0
                await checkpoint()

    async def _gather(self, sink: SocketStream) -> None:
        """Writes what the source holds, as it holds it, up to EOF."""
        source, rounds, bulk = self._source, 0, False
        while True:
            try:
                pieces = source.pieces()
            except OSError as error:
                raise SourceFailed(error) from error
            if pieces is None:
                rounds = 0
                await source.wait_readable()
                continue
            if not pieces:
                return
            try:
                sent = sink.send_pieces(pieces)
            except OSError as error:
                raise SinkFailed(error) from error
            if not sent:
                rounds = 0
                await sink.wait_writable()
                continue
            source.took(sent)
            self._progress(sent)
            if bulk != (sent >= BULK):
                bulk = not bulk
                mark_bulk(bulk)
            rounds += 1
            if rounds == ROUNDS_A_TURN:
                rounds = 0
                await checkpoint()

    async def _round(self, source_fd: int, pipe: Pipe, sink_fd: int) -> int | None:
        """Fills a pipe and empties it, however long the sink takes. Returns the bytes moved, as `splice` does."""
        filled = 0
        try:
            try:
                moved = splice(source_fd, pipe.writer, PIECE)
            except OSError as error:
                raise SourceFailed(error) from error
            filled = moved or 0
            while filled:
                filled -= await self._drain(pipe, sink_fd, filled)
        finally:
            if filled:
                pipe.close()  # its contents must not come out in another tunnel
            else:
                give_pipe(pipe)
        return moved

    async def _drain(self, pipe: Pipe, sink_fd: int, limit: int) -> int:
        try:
            moved = splice(pipe.reader, sink_fd, limit)
        except OSError as error:
            raise SinkFailed(error) from error
        if moved is None:
            self._sink.sink_filled()
            await self._sink.wait_writable()
            return 0
        self._progress(moved)
        return moved

    async def _splice_direct(self, source_fd: int, sink_fd: int) -> None:
        """Splices between a socket and stdio's pipe, in either direction: no copy and no blocking call, however small the piece."""
        rounds, bulk, stuck, pipe = 0, False, False, sink_fd if self._source.source_pipe() is None else source_fd
        last = 0  # bytes that the last splice(2) moved
        while True:
            try:
                moved = splice(source_fd, sink_fd, CAPACITY)
            except OSError as error:
                # A pipe can fail only as a sink, with EPIPE; reading from a reset socket never gives that error.
                failed = SinkFailed if pipe == source_fd or error.errno == EPIPE else SourceFailed
                raise failed(error) from error
            if not moved:
                rounds = 0
                if pipe == source_fd and last >= HELD:
                    self._sink.push()
                last = 0
                if moved is None:
                    # The first time, it may have become ready in between, and usually has.
                    before, stuck = stuck, await self._wait_until_movable(source_fd, sink_fd)
                    if not (before and stuck):
                        continue
                if pipe == source_fd or not await self._copy_chunk(source_fd):
                    return
                continue
            stuck, last = False, moved
            self._progress(moved)
            # A small piece is mostly all there was. Another splice(2), and the poll(2) after it, took a sixth of a keystroke's CPU.
            if moved < BULK and not poll_once(source_fd, IN):
                rounds = 0
                self._source.source_drained()
                await self._source.wait_readable()
                continue
            if moved >= BULK and not bulk:
                bulk = True
                enlarge(pipe)
            rounds += 1
            if rounds == SPLICES_A_TURN:
                rounds = 0
                await checkpoint()

    async def _copy_chunk(self, socket_fd: int) -> bool:
        """Reads and writes one piece; False at EOF.

        splice(2) stops in front of a byte that was sent as urgent, as if the source were empty or, after FIN, at its end. Code that
        relied on that would spin or lose what follows; read(2) goes past it.
        """
        try:
            data = os.read(socket_fd, CHUNK)
            if not data:
                self._source.confirm_eof()
        except BlockingIOError:  # something other than data made it look ready, and is gone
            return True
        except OSError as error:
            raise SourceFailed(error) from error
        await self.send(data)
        return bool(data)

    async def _wait_until_movable(self, source_fd: int, sink_fd: int) -> bool:
        """Waits until another splice(2) may move something. True if both sides are ready already and the source is a socket.

        EAGAIN from splice(2) does not tell which side caused it; poll(2) does.
        """
        poll = select.poll()
        poll.register(source_fd, select.POLLIN)
        poll.register(sink_fd, select.POLLOUT)
        ready = dict(poll.poll(0))
        if source_fd not in ready:
            self._source.source_drained()
            await self._source.wait_readable()
        elif sink_fd not in ready:
            self._sink.sink_filled()
            await self._sink.wait_writable()
        else:  # it became ready in between, or see _copy_chunk
            await checkpoint()
            return self._source.source_pipe() is None
        return False
