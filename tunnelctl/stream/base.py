"""The Stream contract: one end of a tunnel.

There are two layers. The `_nowait` calls and the waits are for the relay, which tries first and parks only when there is nothing to
do; the coroutines on top of them are for handshakes. Every call may raise OSError: a reset is ConnectionResetError, a peer that has
gone is BrokenPipeError, and neither is ever reported as EOF.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from tunnelctl.engine.descriptor import Descriptor

CHUNK = 65536  # bytes per read: the default capacity of a pipe, and what one TCP receive typically returns under load


class Stream:
    """A byte stream whose directions end separately."""

    __slots__ = ()

    # The readiness of both directions, where one task can wait for either; a reader looks there before it tries.
    descriptor: Descriptor | None = None

    # Whether `slots` and `filled`, and `pieces` and `took`, are there. To or from a socket, they save a copy of each byte.
    scatters = gathers = False

    # Whether both directions share one descriptor: then a broken write side shows up on the read side first.
    duplex = True

    def receive_nowait(self, limit: int) -> bytes | None:
        """Returns at most `limit` bytes; b"" is EOF; None means that nothing has arrived yet: use `wait_readable`."""
        raise NotImplementedError

    def send_nowait(self, data: bytes | memoryview) -> int:
        """Takes a prefix of `data` and returns its length; 0 means no room yet: use `wait_writable`, then offer the same again."""
        raise NotImplementedError

    def slots(self) -> list[memoryview]:
        """Returns room for a read; [] means none yet: use `wait_writable`. Then tell `filled` how many bytes have been read."""
        raise NotImplementedError

    def filled(self, count: int) -> None:
        """Sends what has been read into `slots`; 0 if nothing was."""
        raise NotImplementedError

    def pieces(self) -> Sequence[bytearray | memoryview] | None:
        """Returns what has arrived, in pieces; [] is EOF, None means nothing yet. Then tell `took` how many bytes have left."""
        raise NotImplementedError

    def took(self, count: int) -> None:
        """Removes bytes of `pieces` that the sink has taken."""
        raise NotImplementedError

    def wait_readable(self) -> Awaitable[None]:
        """Waits until `receive_nowait` may return something."""
        raise NotImplementedError

    def wait_writable(self) -> Awaitable[None]:
        """Waits until `send_nowait` may take something."""
        raise NotImplementedError

    def on_broken(self, callback: Callable[[], None]) -> None:
        """Calls `callback` once, when the sink has gone, even if nobody writes to it."""
        raise NotImplementedError

    def on_peer_closed(self, callback: Callable[[], None]) -> None:
        """Calls `callback` once, when the peer has ended its direction, even if earlier bytes are still unread.

        The peer may have half-closed, or have gone: only a write shows which.
        """
        raise NotImplementedError

    def unwatch(self) -> None:
        """Cancels the calls that `on_broken` and `on_peer_closed` have asked for."""
        raise NotImplementedError

    def socket_fd(self) -> int | None:
        """The descriptor, if source and sink are one socket of ours, which can be spliced without ever blocking."""
        return None

    def transport_fd(self) -> int | None:
        """The descriptor of the socket that carries the stream, below TLS and other tunnels; None if there is none."""
        return None

    def source_pipe(self) -> int | None:
        """The source's descriptor, if it is a pipe."""
        return None

    def sink_pipe(self) -> int | None:
        """The sink's descriptor, if it is a pipe."""
        return None

    def expect_bulk(self) -> None:
        """Bounds what the kernel queues for a stalled sink. Called once the source fills a whole read."""

    def bound_unsent(self, size: int) -> None:
        """Bounds the bytes that the kernel queues beyond what is in flight, so that what comes next is decided late."""

    def push(self) -> None:
        """Sends what the kernel may have held back, to send more of it at once, after splicing to the socket."""

    def source_drained(self) -> None:
        """Makes `wait_readable` wait for more, after splicing found the source empty."""
        raise NotImplementedError

    def sink_filled(self) -> None:
        """Makes `wait_writable` wait for room, after splicing found the sink full."""
        raise NotImplementedError

    def confirm_eof(self) -> None:
        """Raises OSError if the EOF was a reset. For code that reads the descriptor itself; `receive_nowait` does so too."""

    def send_eof(self) -> None:
        """Half-closes: the peer reads EOF, and may continue to send."""
        raise NotImplementedError

    async def flush_eof(self) -> None:
        """Waits until the end of our direction has been handed over, where that may have to wait for room (TLS)."""

    def abort(self) -> None:
        """Closes so that the peer sees an abort (a reset, where there is one), never a clean end."""
        raise NotImplementedError

    def close(self) -> None:
        """Closes; what has been handed over is still delivered."""
        raise NotImplementedError

    async def wait_acknowledged(self) -> None:
        """Waits briefly for the peer to receive what was handed over: `abort` would discard it."""

    async def receive_some(self, limit: int = CHUNK) -> bytes:
        """Returns at least one byte, or b"" at EOF."""
        while (data := self.receive_nowait(limit)) is None:
            await self.wait_readable()
        return data

    async def send_all(self, data: bytes | memoryview) -> None:
        """Sends all of `data`."""
        sent = self.send_nowait(data)
        while sent < len(data):
            await self.wait_writable()
            sent += self.send_nowait(memoryview(data)[sent:])
