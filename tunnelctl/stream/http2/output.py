"""The output queue of one HTTP/2 connection: its order, and the windows that limit it.

    control frames ─▶ small pieces ─▶ bulk

Control frames come first: credit, answers and heads must not wait behind data. Small pieces of data (keystrokes) pass the bulk of
other streams, but never earlier data of their own. The bulk of several streams takes turns, 64 KiB each: who finds the queue full
waits in line, and who comes later waits behind. A turn that its stream cannot use, or no longer needs, goes to the next.

The queue is short, and the choice is made when the transport takes more. So a keystroke waits for no more than the transport holds.
"""

from __future__ import annotations

from collections import deque

from tunnelctl.stream.base import CHUNK

SMALL = 4096  # bytes of data that pass the bulk of other streams

# Bytes that a stream hands over at once while no other waits. With 1, 2, 4, 8, 16 and 32 times CHUNK, a GiB took 0.96, 0.84, 0.58,
# 0.38, 0.42 and 0.52 s of CPU, at 0.98, 1.14, 1.38, 1.74, 1.64 and 1.41 GiB/s. Each batch wakes the peer: a quarter of the samples
# of a profile.
BATCH = 8 * CHUNK

# Seconds that a batch may take to leave; a transport that is slower gets CHUNK at a time. A keystroke waits for the piece that is
# being sent: at 10 Mbit/s, 0.27 s at the median with batches, and 0.06 with CHUNK. A transport is fast only after as many bytes in
# a row as a batch has, since the kernel takes some at once even of what then leaves slowly.
BATCH_SECONDS = 0.005

FULL = 4 * CHUNK  # bytes of bulk at which the queue takes no more
FULL_OF_SMALL = 4 * CHUNK  # the same for small pieces

_KEPT = 4  # buffers of BATCH bytes that are kept for use again

Piece = bytes | memoryview

_spare: list[bytearray] = []  # of all connections: a task never parks while it fills one


def take_buffer(size: int) -> bytearray:
    """Returns a buffer of at least `size` bytes, at most BATCH, for frames that a read is to fill."""
    if size * 2 <= BATCH:
        return bytearray(size)
    return _spare.pop() if _spare else bytearray(BATCH)


def give_buffer(buffer: bytearray) -> None:
    """Keeps a buffer for use again."""
    if len(buffer) == BATCH and len(_spare) < _KEPT:
        _spare.append(buffer)


class Sender:
    """A stream, as the queue sees it."""

    __slots__ = ("in_line", "in_turn", "queued")

    def __init__(self) -> None:
        self.queued = 0  # bytes of it in the queue
        self.in_line = False  # it waits for its turn
        self.in_turn = False  # it has been told that it is its turn

    def wake_writer(self) -> bool:
        """Makes `wait_writable` return. Returns whether a task was waiting there."""
        raise NotImplementedError

    def on_drained(self) -> None:
        """None of its bytes are left in the queue."""
        raise NotImplementedError


class OutputQueue:
    """The frames of one connection; `control` is the machine's output."""

    __slots__ = ("_bulk", "_bulk_size", "_fast", "_first", "_sending", "_small", "_small_size", "_turns", "_waiting", "control")

    def __init__(self, control: bytearray) -> None:
        self.control = control
        self._small: deque[tuple[Sender, bytes, int]] = deque()  # the frames of a stream, the bytes of data in them,
        self._bulk: deque[tuple[Sender, Piece, int, bytearray | None]] = deque()  # and the buffer behind them
        self._small_size = self._bulk_size = 0  # bytes
        self._fast = 0  # bytes of bulk in a row that left fast enough for batches, up to BATCH
        self._sending: list[tuple[Sender, int]] = []  # taken, and not yet sent: streams, and bytes of them
        self._waiting: deque[Sender] = deque()  # for their turn
        self._first: deque[Sender] = deque()  # the same, with a small piece: they need no turn, only an open window
        self._turns = 0  # streams that have been told that it is their turn

    def __bool__(self) -> bool:
        return bool(self.control or self._small or self._bulk)

    def room(self, stream: Sender, count: int) -> int:
        """Returns how many of `count` bytes a stream may hand over now. 0: it is in line, and is woken when its turn comes."""
        if count <= SMALL and not stream.queued and self._small_size < FULL_OF_SMALL:
            return count
        if self._bulk_size < FULL and (stream.in_turn or not self._waiting):
            return CHUNK if self._waiting or self._turns > stream.in_turn or self._fast < BATCH else BATCH
        self._wait_in(self._waiting, stream)
        return 0

    def wait_for_window(self, stream: Sender, count: int) -> None:
        """Puts a stream with `count` bytes in line until the connection's window opens."""
        self._wait_in(self._first if count <= SMALL and not stream.queued else self._waiting, stream)

    def _wait_in(self, line: deque[Sender], stream: Sender) -> None:
        """Puts a stream at the end of a line; at its head if it has a turn that it cannot use."""
        if stream.in_turn:
            self.pass_turn(stream)
            stream.in_line = True
            line.appendleft(stream)
        elif not stream.in_line:
            stream.in_line = True
            line.append(stream)

    def pass_turn(self, stream: Sender) -> None:
        """Ends the turn of a stream, if it has one, whether it has used it or not."""
        if stream.in_turn:
            stream.in_turn = False
            self._turns -= 1

    def leave(self, stream: Sender) -> None:
        """Takes a stream out of the line for good."""
        self.pass_turn(stream)
        if stream.in_line:
            stream.in_line = False
            (self._first if stream in self._first else self._waiting).remove(stream)

    def give_turns(self, window: int) -> None:
        """Wakes the streams at the head of the line, as many as there is room for. window: what the connection may send"""
        if window > 0:
            for _ in range(len(self._first)):
                self._call(self._first)
        # Not more than the window has room for: whoever woke in vain would have lost its place to those that come after.
        while self._waiting and self._turns * CHUNK < min(FULL - self._bulk_size, window):
            stream = self._call(self._waiting)
            if stream is not None:
                stream.in_turn = True
                self._turns += 1

    @staticmethod
    def _call(line: deque[Sender]) -> Sender | None:
        """Wakes the head of a line; None if nobody was waiting: a stream that is not about to send gets no turn."""
        stream = line.popleft()
        stream.in_line = False
        return stream if stream.wake_writer() else None

    def put(self, stream: Sender, frames: Piece, count: int, buffer: bytearray | None = None) -> None:
        """Appends frames of a stream with `count` bytes of data. buffer: what they are a view of, from `take_buffer`"""
        size = len(frames)
        small = size <= 2 * SMALL and not stream.queued and self._small_size < FULL_OF_SMALL
        if small and isinstance(frames, bytes):
            self._small_size += size
            self._small.append((stream, frames, count))
        else:
            self._bulk_size += size
            self._bulk.append((stream, frames, count, buffer))
        stream.queued += size

    def discard(self, stream: Sender) -> int:
        """Removes the frames of a stream that is closed for both ends. Returns the bytes of data that are not sent now.

        A piece that is being sent is completed: the peer would take whatever follows for the rest of its frame.
        """
        if not stream.queued:
            return 0
        small = [(len(frames), count) for owner, frames, count in self._small if owner is stream]
        bulk = [(len(frames), count) for owner, frames, count, _ in self._bulk if owner is stream]
        self._small = deque([entry for entry in self._small if entry[0] is not stream])
        self._bulk = deque([entry for entry in self._bulk if entry[0] is not stream])
        small_size, bulk_size = (sum([size for size, _ in sizes]) for sizes in (small, bulk))
        self._small_size -= small_size
        self._bulk_size -= bulk_size
        stream.queued -= small_size + bulk_size
        return sum([count for _, count in small + bulk])

    def take(self) -> tuple[Piece, bytearray | None]:
        """Takes what is to be sent next. Call `sent` once the transport has all of it."""
        if not self.control and not self._small:
            stream, piece, _, buffer = self._bulk.popleft()
            self._bulk_size -= len(piece)
            self._sending.append((stream, len(piece)))
            return piece, buffer
        frames = bytes(self.control)
        self.control.clear()
        if self._small:
            frames += b"".join([piece for _, piece, _ in self._small])
            self._sending = [(stream, len(piece)) for stream, piece, _ in self._small]
            self._small.clear()
            self._small_size = 0
        return frames, None

    def sent(self, buffer: bytearray | None, seconds: float) -> None:
        """Counts what was taken last, which has been sent. buffer: the one that came with it; seconds: how long that took"""
        sending, self._sending = self._sending, []
        if (size := sum([count for _, count in sending])) >= CHUNK // 2:
            self._fast = min(self._fast + size, BATCH) if size * BATCH_SECONDS >= BATCH * seconds else 0
        if buffer is not None:
            give_buffer(buffer)
        for stream, count in sending:
            stream.queued -= count
            if not stream.queued:
                stream.on_drained()
