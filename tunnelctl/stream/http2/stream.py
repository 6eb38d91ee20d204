"""One tunnel of an HTTP/2 connection, as a Stream.

The end of a direction is END_STREAM. An abort is RST_STREAM, with CONNECT_ERROR from a server (RFC 9113 section 8.5) and CANCEL
from a client. A lost connection aborts every stream on it.

What has arrived is held here until it is read, and credited then: the window bounds it. Nobody stops reading the connection for
it, since frames that others wait for come behind (section 5.2.2).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from errno import EPIPE

from tunnelctl.engine.descriptor import Descriptor
from tunnelctl.engine.kernel import Cancelled, move_on_after
from tunnelctl.engine.poller import ERR, HUP, IN, OUT, RDHUP
from tunnelctl.engine.sync import Event
from tunnelctl.proto.http2 import frame
from tunnelctl.proto.http2.frame import HEADER_SIZE, ErrorCode
from tunnelctl.stream.base import CHUNK, Stream
from tunnelctl.stream.http2.output import BATCH, Piece, Sender, give_buffer, take_buffer
from tunnelctl.stream.socket_stream import DELIVERY_SECONDS

# Bytes of data that are worth a view, whose objects take some 300.
LEAST_VIEW = 1024

# A view keeps the whole read in memory that brought it. So a stream has views of one read at a time, and only as long as the read
# is no larger than this many times what the stream holds. Else it gets copies, and a thousand streams that are not being read do
# not keep a read each.
MOST_KEPT = 4

_Held = bytearray | memoryview


def _no_callback() -> None:
    pass


def _read_behind(piece: _Held) -> bytes:
    """The read that a piece is a view of; b"" for what was copied."""
    return piece.obj if isinstance(piece, memoryview) and isinstance(piece.obj, bytes) else b""


class Carrier:
    """The connection, as its streams see it."""

    abort_code: ErrorCode  # of the reset of a stream that is aborted,
    close_code: ErrorCode  # or closed before the peer has ended its direction
    frame_size: int  # octets of data that a frame may have

    def carries(self, stream: Http2Stream) -> bool:
        """Whether a stream still counts for one of the ends."""
        raise NotImplementedError

    def room(self, stream: Http2Stream, count: int) -> int:
        """Returns how many of `count` bytes a stream may hand over now; 0: it is woken when that may have changed."""
        raise NotImplementedError

    def send(self, stream: Http2Stream, frames: Piece, count: int, buffer: bytearray | None = None) -> None:
        """Takes DATA frames with `count` bytes of data. buffer: what they are a view of, from `take_buffer`"""
        raise NotImplementedError

    def send_end(self, stream: Http2Stream) -> None:
        """Ends our direction, after the data."""
        raise NotImplementedError

    def reset(self, stream: Http2Stream, code: ErrorCode) -> None:
        """Resets a stream that is not closed."""
        raise NotImplementedError

    def consumed(self, stream: Http2Stream, count: int) -> None:
        """Credits the peer for bytes that have left."""
        raise NotImplementedError

    def pass_turn(self, stream: Http2Stream) -> None:
        """Ends a stream's turn, and gives it to the next."""
        raise NotImplementedError

    def leave(self, stream: Http2Stream) -> None:
        """Takes a stream that sends no more out of the line."""
        raise NotImplementedError

    def forget_if_closed(self, stream: Http2Stream) -> None:
        """Forgets a stream once it is closed in both directions."""
        raise NotImplementedError

    def transport_fd(self) -> int | None:
        """See Stream."""
        raise NotImplementedError


class Http2Stream(Sender, Stream):
    """One stream of a connection."""

    scatters = gathers = True

    __slots__ = (
        "_aborted_with",
        "_closed",
        "_connection",
        "_drained",
        "_error",
        "_filling",
        "_held",
        "_held_size",
        "descriptor",
        "ended",
        "number",
        "on_closed",
        "said_end",
    )
    descriptor: Descriptor

    def __init__(self, connection: Carrier, number: int) -> None:
        super().__init__()
        self._connection, self.number = connection, number
        self.descriptor = Descriptor()
        self.descriptor.readable = False
        self._held: list[_Held] = []  # a deque takes 600 bytes when it is empty
        self._held_size = 0
        self.ended = self.said_end = self._closed = False
        self._error: OSError | None = None  # what ended both directions
        self._aborted_with: ErrorCode | None = None  # the code of a reset that follows the data in the queue
        self._drained: Event | None = None  # set when none of its bytes are left in the queue
        self._filling: bytearray | None = None  # the buffer that `slots` has handed out
        self.on_closed: Callable[[], None] = _no_callback  # when the stream counts no more for either end

    def transport_fd(self) -> int | None:
        return self._connection.transport_fd()

    # -- what the connection reports --------------------------------------------------------------------------------------------

    def feed(self, pieces: list[memoryview], size: int) -> None:
        """Takes data that has arrived: pieces of one read, and how many bytes they have in all."""
        if self._closed:
            self._connection.consumed(self, size)
            return
        if size >= LEAST_VIEW * len(pieces) and self._may_keep(_read_behind(pieces[0]), size):
            self._held += pieces
        else:
            self._copy(pieces)
        self._held_size += size
        if not self.descriptor.readable:
            self.descriptor.on_event(IN)

    def _may_keep(self, read: bytes, size: int) -> bool:
        """Whether to hold views of a read, with `size` bytes in all."""
        held = self._read_held()
        return read is held if held else len(read) <= MOST_KEPT * size

    def _read_held(self) -> bytes:
        """The read of which views are held; b"" if none are."""
        return next((read for piece in self._held if (read := _read_behind(piece))), b"")

    def _copy(self, pieces: list[memoryview]) -> None:
        held = self._held
        for data in pieces:
            if held and isinstance(last := held[-1], bytearray) and len(last) < CHUNK:
                last += data  # small pieces are joined, or each would take 90 bytes more
            else:
                held.append(bytearray(data))

    def feed_end(self) -> None:
        """Takes the end of the peer's direction."""
        self.ended = True
        self.descriptor.on_event(RDHUP)

    def fail(self, error: OSError) -> None:
        """Takes the abrupt end of both directions. What arrived before can still be read."""
        if self._error is None:
            self._error = error
            self._connection.leave(self)
            if self._drained is not None:
                self._drained.set()
            self.descriptor.on_event(ERR | HUP)

    def stop_sending(self) -> None:
        """Takes the peer's message that it needs no more data, after the end of its direction: no failure (rule 12)."""
        self.said_end = True
        self._connection.leave(self)
        self.descriptor.on_event(OUT)  # whoever waits to write finds the end
        if self._drained is not None:
            self._drained.set()

    @property
    def failed(self) -> bool:
        """Whether both directions have ended abruptly."""
        return self._error is not None

    def when_closed(self, callback: Callable[[], None]) -> None:
        """Calls `callback` once the stream counts no more for either end, at once if that is already so."""
        if self._connection.carries(self):
            self.on_closed = callback
        else:
            callback()

    def wake_writer(self) -> bool:
        """Makes `wait_writable` return: there is room, or the window has opened. Returns whether a task was waiting there."""
        waits = bool(self.descriptor.wanted() & OUT)
        self.descriptor.on_event(OUT)
        return waits

    def on_drained(self) -> None:
        """Called when none of its bytes are left in the connection's queue."""
        if self._drained is not None:
            self._drained.set()
        if self._aborted_with is not None:
            self._reset(self._aborted_with)
        else:
            self._connection.forget_if_closed(self)

    # -- reading ----------------------------------------------------------------------------------------------------------------

    def receive_nowait(self, limit: int) -> bytes | None:
        held = self._held
        if not held:
            return self._nothing_held()
        if self._held_size <= limit:
            data = bytes(held[0]) if len(held) == 1 else b"".join(held)
            held.clear()
        else:
            data = self._part(limit)
        self._took(len(data))
        return data

    def _nothing_held(self) -> bytes | None:
        if self._error is not None:
            raise type(self._error)(*self._error.args)
        if self.ended:
            return b""
        self.descriptor.readable = False
        return None

    def _part(self, limit: int) -> bytes:
        parts: list[_Held] = []
        for piece in self._held:
            parts.append(piece if len(piece) <= limit else memoryview(piece)[:limit])
            limit -= len(parts[-1])
            if not limit:
                break
        self._drop(sum(map(len, parts)))
        return b"".join(parts)

    def _drop(self, count: int) -> None:
        """Removes bytes from what is held."""
        place, held = 0, self._held
        while count and len(held[place]) <= count:
            count -= len(held[place])
            place += 1
        del held[:place]
        if count:
            held[0] = memoryview(held[0])[count:]

    def _took(self, count: int) -> None:
        self._held_size -= count
        if self._held:
            self._keep_little()
        elif not self.ended and self._error is None:
            self.descriptor.readable = False
        self._connection.consumed(self, count)

    def _keep_little(self) -> None:
        """Copies what is left of a read, once that is a small part of it."""
        if len(self._read_held()) > MOST_KEPT * self._held_size:
            self._held[:] = [bytearray(b"".join(self._held))]

    def pieces(self) -> list[_Held] | None:
        if not self._held:
            return [] if self._nothing_held() is not None else None
        return self._held

    def took(self, count: int) -> None:
        self._drop(count)
        self._took(count)

    def wait_readable(self) -> Awaitable[None]:
        return self.descriptor.wait_readable()

    # -- writing ----------------------------------------------------------------------------------------------------------------

    def send_nowait(self, data: bytes | memoryview) -> int:
        count = self._room(len(data))
        if count > 0:
            self._connection.send(self, self._framed(data[:count]), count)
        return count

    def _room(self, count: int) -> int:
        """Returns how many bytes may be handed over now. 0: `wait_writable` waits until there may be room."""
        if self._error is not None:
            raise type(self._error)(*self._error.args)
        if self.said_end:
            raise BrokenPipeError(EPIPE, "the peer takes no more data")
        if not count:
            return 0
        room = self._connection.room(self, count)
        if not room:
            self.descriptor.writable = False
        return room if room < count else count

    def _framed(self, data: bytes | memoryview) -> bytes:
        size = self._connection.frame_size
        if len(data) <= size:
            return frame.header(len(data), frame.DATA, 0, self.number) + data
        cuts = range(0, len(data), size)
        pieces = [data[at : at + size] for at in cuts]
        return b"".join([part for piece in pieces for part in (frame.header(len(piece), frame.DATA, 0, self.number), piece)])

    def slots(self) -> list[memoryview]:
        """The room is laid out as the payload of frames, between their headers."""
        room, size = self._room(BATCH - HEADER_SIZE), self._connection.frame_size
        if not room:
            return []
        frames = (room + size - 1) // size
        end = min(BATCH, room + frames * HEADER_SIZE)
        buffer = self._filling = take_buffer(end)
        view, slots, at = memoryview(buffer), [], HEADER_SIZE
        while at < end:
            length = min(size, end - at)
            slots.append(view[at : at + length])
            at += length + HEADER_SIZE
        return slots

    def filled(self, count: int) -> None:
        buffer, self._filling = self._filling, None
        assert buffer is not None
        if not count:
            give_buffer(buffer)
            self._connection.pass_turn(self)
            return
        size, at = self._connection.frame_size, 0
        head = frame.header(size, frame.DATA, 0, self.number)
        for _ in range(count // size):
            buffer[at : at + HEADER_SIZE] = head
            at += HEADER_SIZE + size
        if rest := count % size:
            buffer[at : at + HEADER_SIZE] = frame.header(rest, frame.DATA, 0, self.number)
            at += HEADER_SIZE + rest
        if at < CHUNK:  # a large buffer is not kept for little
            self._connection.send(self, bytes(memoryview(buffer)[:at]), count)
            give_buffer(buffer)
        else:
            self._connection.send(self, memoryview(buffer)[:at], count, buffer)

    async def wait_writable(self) -> None:
        try:
            await self.descriptor.wait_writable()
        except Cancelled:  # whoever does not wait has no turn; the next try begins anew
            self._connection.leave(self)
            self.descriptor.writable = True
            raise

    def on_broken(self, callback: Callable[[], None]) -> None:
        self.descriptor.watch(callback)

    def on_peer_closed(self, callback: Callable[[], None]) -> None:
        self.descriptor.watch_peer(callback)

    def unwatch(self) -> None:
        self.descriptor.unwatch()

    # -- ends -------------------------------------------------------------------------------------------------------------------

    def send_eof(self) -> None:
        if not self.said_end and self._error is None:
            self.said_end = True
            self._connection.leave(self)
            self._connection.send_end(self)

    def abort(self) -> None:
        self._close(self._connection.abort_code)

    def close(self) -> None:
        self.send_eof()
        self._close(self._connection.close_code)

    def _close(self, code: ErrorCode) -> None:
        """Lets go of the stream. code: for the reset, if the peer has not ended its direction"""
        if self._closed:
            return
        self._closed = True
        self._held.clear()
        held, self._held_size = self._held_size, 0
        if held:
            self._connection.consumed(self, held)
        self.descriptor.forget()
        self._connection.leave(self)
        if self._error is None and self.queued:
            self._aborted_with = code  # what was handed over is still delivered
        elif self._error is None:
            self._reset(code)

    def _reset(self, code: ErrorCode) -> None:
        self._aborted_with = None
        self._connection.reset(self, code)

    async def flush_eof(self) -> None:
        self.send_eof()
        while self.queued and self._error is None:
            await self._wait_drained()

    async def _wait_drained(self) -> None:
        if self._drained is None or self._drained.is_set():
            self._drained = Event()
        await self._drained.wait()

    async def wait_acknowledged(self) -> None:
        """Waits until what was handed over has left the queue: a reset follows it."""
        while (before := self.queued) and self._error is None:
            with move_on_after(DELIVERY_SECONDS):
                await self._wait_drained()
            if self.queued == before:
                return
