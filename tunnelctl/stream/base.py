"""The Stream contract: one end of a tunnel as the code sees it.

Two layers. The `_nowait` calls and the waits are for the relay, which tries first and parks only when there is nothing to do; the
coroutines on top of them are for handshakes. Every call may raise OSError: a reset is ConnectionResetError, a peer that has gone is
BrokenPipeError, and neither is ever reported as EOF.
"""

from collections.abc import Awaitable, Callable

CHUNK = 65536  # bytes per read: the default capacity of a pipe, and what one TCP receive typically finds under load


class Stream:
    """A byte stream whose directions end separately."""

    __slots__ = ()

    # Both directions share one descriptor: a broken write side shows up on the read side first.
    duplex = True

    def receive_nowait(self, limit: int) -> bytes | None:
        """At most `limit` bytes; b"" is EOF; None means that nothing is there yet: `wait_readable`."""
        raise NotImplementedError

    def send_nowait(self, data: bytes | memoryview) -> int:
        """Hands over a prefix of `data` and returns its length; 0 means no room yet: `wait_writable`, then offer the same again."""
        raise NotImplementedError

    def wait_readable(self) -> Awaitable[None]:
        """Ends when `receive_nowait` may bring something."""
        raise NotImplementedError

    def wait_writable(self) -> Awaitable[None]:
        """Ends when `send_nowait` may take something."""
        raise NotImplementedError

    def on_broken(self, callback: Callable[[], None]) -> None:
        """Calls `callback` once, when the sink has gone although nobody writes to it."""
        raise NotImplementedError

    def on_peer_closed(self, callback: Callable[[], None] | None) -> None:
        """Calls `callback` once, when the peer has ended its direction, be it with bytes before it that nobody has read; None: no
        longer. It may only have half-closed, or have gone: nothing but a write tells.
        """
        raise NotImplementedError

    def socket_fd(self) -> int | None:
        """The descriptor, if source and sink are a socket of ours, which can be spliced without ever blocking."""
        return None

    def source_pipe(self) -> int | None:
        """The source's descriptor, if it is a pipe."""
        return None

    def sink_pipe(self) -> int | None:
        """The sink's descriptor, if it is a pipe."""
        return None

    def expect_bulk(self) -> None:
        """The source has begun to bring as much as a read can hold: bounds what the kernel queues for a sink that stalls."""

    def source_drained(self) -> None:
        """Splicing has found the source empty: `wait_readable` is to wait for more."""
        raise NotImplementedError

    def sink_filled(self) -> None:
        """Splicing has found the sink full: `wait_writable` is to wait for room."""
        raise NotImplementedError

    def send_eof(self) -> None:
        """Half-closes: the peer reads EOF, and may go on sending."""
        raise NotImplementedError

    async def flush_eof(self) -> None:
        """Waits until the end of our direction has been handed over, where saying so may have to wait for room (TLS)."""

    def abort(self) -> None:
        """Closes so that the peer sees an abort (a reset, where there is one), never a clean end."""
        raise NotImplementedError

    def close(self) -> None:
        """Closes; what has been handed over is still delivered."""
        raise NotImplementedError

    async def delivered(self) -> None:
        """Waits, not for long, until the peer has what was handed over: `abort` would throw it away."""

    async def receive_some(self, limit: int = CHUNK) -> bytes:
        """At least one byte, or b"" at EOF."""
        while (data := self.receive_nowait(limit)) is None:
            await self.wait_readable()
        return data

    async def send_all(self, data: bytes | memoryview) -> None:
        """All of `data`, in order."""
        sent = self.send_nowait(data)
        while sent < len(data):
            await self.wait_writable()
            sent += self.send_nowait(memoryview(data)[sent:])
