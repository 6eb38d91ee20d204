"""What waits to be sent on one HTTP/2 connection, and in which order.

    control frames ─▶ small pieces ─▶ bulk

Control frames come first: credit, answers and heads must not wait behind data. Small pieces of data (keystrokes) pass the bulk of
other streams, but never earlier data of their own. The bulk of several streams takes turns, 64 KiB each: who finds the queue full
waits in line, and who comes later waits behind.

The queue is short, and the choice is made when the transport takes more. So a keystroke waits for no more than the transport holds.
"""

from __future__ import annotations

from collections import deque

from tunnelctl.stream.base import CHUNK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tunnelctl.stream.http2.stream import Http2Stream

SMALL = 4096  # bytes of data that pass the bulk of other streams
BATCH = 4 * CHUNK  # bytes that a stream hands over at once while no other waits: a fifth less CPU than with CHUNK
FULL = BATCH  # bytes of bulk at which the queue takes no more
FULL_OF_SMALL = 4 * CHUNK  # the same for small pieces

_KEPT = 4  # buffers of BATCH bytes that are kept for use again

Piece = bytes | memoryview

_spare: list[bytearray] = []  # of all connections: a task never parks while it fills one


def take_buffer() -> bytearray:
    """Returns a buffer of BATCH bytes, for frames that a read is to fill."""
    return _spare.pop() if _spare else bytearray(BATCH)


def give_buffer(buffer: bytearray) -> None:
    """Keeps a buffer for use again."""
    if len(_spare) < _KEPT:
        _spare.append(buffer)


class OutputQueue:
    """The frames of one connection; `control` is the machine's output."""

    __slots__ = ("_bulk", "_bulk_size", "_sending", "_small", "_small_size", "_turns", "_waiting", "control")

    def __init__(self, control: bytearray) -> None:
        self.control = control
        self._small: deque[tuple[Http2Stream, bytes]] = deque()
        self._bulk: deque[tuple[Http2Stream, Piece, bytearray | None]] = deque()
        self._small_size = self._bulk_size = 0  # bytes
        self._sending: list[tuple[Http2Stream, int]] = []  # taken, and not yet sent: streams, and bytes of them
        self._waiting: deque[Http2Stream] = deque()  # for their turn
        self._turns = 0  # streams that have been told that it is their turn

    def __bool__(self) -> bool:
        return bool(self.control or self._small or self._bulk)

    def room(self, stream: Http2Stream, count: int) -> int:
        """Returns how many of `count` bytes a stream may hand over now. 0: it is in line, and is woken when its turn comes."""
        if count <= SMALL and not stream.queued and self._small_size < FULL_OF_SMALL:
            return count
        if self._bulk_size < FULL and (stream.in_turn or not self._waiting):
            return CHUNK if self._waiting else BATCH
        self.wait_in_line(stream)
        return 0

    def wait_in_line(self, stream: Http2Stream) -> None:
        """Puts a stream at the end of the line."""
        self.pass_turn(stream)
        if not stream.in_line:
            stream.in_line = True
            self._waiting.append(stream)

    def pass_turn(self, stream: Http2Stream) -> None:
        """Ends the turn of a stream, if it has one, whether it has used it or not."""
        if stream.in_turn:
            stream.in_turn = False
            self._turns -= 1

    def leave(self, stream: Http2Stream) -> None:
        """Takes a stream out of the line for good."""
        self.pass_turn(stream)
        stream.in_line = False  # `give_turns` passes over it

    def give_turns(self) -> None:
        """Wakes the streams at the head of the line, as many as there is room for."""
        while self._waiting and self._bulk_size + self._turns * CHUNK < FULL:
            stream = self._waiting.popleft()
            if stream.in_line:
                stream.in_line, stream.in_turn = False, True
                self._turns += 1
                stream.wake_writer()

    def put(self, stream: Http2Stream, frames: Piece, buffer: bytearray | None = None) -> None:
        """Appends frames of a stream. buffer: what they are a view of, from `take_buffer`"""
        if isinstance(frames, bytes) and len(frames) <= 2 * SMALL and not stream.queued:
            self._small_size += len(frames)
            self._small.append((stream, frames))
        else:
            self._bulk_size += len(frames)
            self._bulk.append((stream, frames, buffer))
        stream.queued += len(frames)

    def take(self) -> tuple[Piece, bytearray | None]:
        """Takes what is to be sent next. Call `sent` once the transport has all of it."""
        if not self.control and not self._small:
            stream, piece, buffer = self._bulk.popleft()
            self._bulk_size -= len(piece)
            self._sending.append((stream, len(piece)))
            return piece, buffer
        frames = bytes(self.control)
        self.control.clear()
        if self._small:
            frames += b"".join([piece for _, piece in self._small])
            self._sending = [(stream, len(piece)) for stream, piece in self._small]
            self._small.clear()
            self._small_size = 0
        return frames, None

    def sent(self, buffer: bytearray | None) -> None:
        """Counts what was taken last, which has been sent. buffer: the one that came with it"""
        sending, self._sending = self._sending, []
        if buffer is not None:
            give_buffer(buffer)
        for stream, count in sending:
            stream.queued -= count
            if not stream.queued:
                stream.on_drained()
