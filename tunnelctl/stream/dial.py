"""A TCP connection to one of several addresses, raced as in RFC 8305."""

import _socket as socket
from errno import EINPROGRESS, ETIMEDOUT
from math import inf
from os import strerror

from tunnelctl.engine.kernel import Nursery, TooSlowError, fail_after, move_on_after
from tunnelctl.engine.resolver import SocketAddress
from tunnelctl.engine.sync import Event
from tunnelctl.stream.socket_stream import SocketStream, set_socket_options

# RFC 8305 section 5: seconds before the next attempt starts beside a pending one.
ATTEMPT_DELAY = 0.25

# Attempts per target; curl and browsers bound them too, and Squid stops after 25. A name can have thousands of addresses, and
# would make us connect to each of them.
MAX_ATTEMPTS = 20

_NONBLOCK = int(getattr(socket, "SOCK_NONBLOCK", 0))  # spares a system call; macOS has none
_KIND = int(socket.SOCK_STREAM) | _NONBLOCK


class DialError(Exception):
    """Raised when no attempt succeeds; `attempts` lists the addresses tried, with their errors, in order of failure."""

    def __init__(self, attempts: list[tuple[SocketAddress, OSError]]) -> None:
        super().__init__(attempts)
        self.attempts = attempts


def interleave(addresses: list[SocketAddress]) -> list[SocketAddress]:
    """Alternates families, the system's preferred one first; otherwise keeps the order (RFC 8305 section 4)."""
    first = [a for a in addresses if a.family == addresses[0].family]
    other = [a for a in addresses if a.family != addresses[0].family]
    mixed: list[SocketAddress] = []
    while first or other:
        mixed += first[:1] + other[:1]
        first, other = first[1:], other[1:]
    return mixed


async def dial(addresses: list[SocketAddress], keepalive: float, attempt_timeout: float = inf) -> SocketStream:
    """Connects to whichever of the first MAX_ATTEMPTS addresses accepts first. Raises DialError if none does.

    The enclosing scope bounds the total time.

    keepalive, attempt_timeout: seconds (0: no probes; inf: no limit on a single attempt)
    """
    if len(addresses) == 1:  # the usual case, and the only one on a proxy's hot path, needs no race
        try:
            return await _attempt(addresses[0], keepalive, attempt_timeout)
        except OSError as error:
            raise DialError([(addresses[0], error)]) from error
    return await _Race(interleave(addresses)[:MAX_ATTEMPTS], keepalive, attempt_timeout).run()


async def _attempt(address: SocketAddress, keepalive: float, timeout: float) -> SocketStream:
    family, host, port, scope = address
    new = socket.SocketType(family, _KIND, 0)  # see SocketStream
    stream = SocketStream(new, address)
    try:
        if not _NONBLOCK:
            new.setblocking(False)
        set_socket_options(new, keepalive)
        error = new.connect_ex((host, port, 0, scope) if scope else (host, port))
        if error == EINPROGRESS:
            # The first edge reports the state: a banner that came with the connection is not missed, and no read is tried in vain.
            stream.descriptor.readable = stream.descriptor.writable = False
            try:
                await (stream.wait_writable() if timeout == inf else _within(timeout, stream))
                error = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if stream.descriptor.broken else 0
            except TooSlowError:
                error = ETIMEDOUT
        if error:
            raise OSError(error, strerror(error))
    except BaseException:
        stream.close()
        raise
    return stream


async def _within(seconds: float, stream: SocketStream) -> None:
    with fail_after(seconds):
        await stream.wait_writable()


class _Race:
    """Overlapping attempts: the first to succeed wins, and the others are abandoned."""

    def __init__(self, addresses: list[SocketAddress], keepalive: float, timeout: float) -> None:
        self._addresses = addresses
        self._keepalive, self._timeout = keepalive, timeout
        self._errors: list[tuple[SocketAddress, OSError]] = []
        self._winner: SocketStream | None = None

    async def run(self) -> SocketStream:
        try:
            async with Nursery() as nursery:
                for address in self._addresses:
                    failed = Event()
                    nursery.start_soon(self._run, address, failed, nursery)
                    with move_on_after(ATTEMPT_DELAY):
                        await failed.wait()
        except BaseException:
            if self._winner is not None:
                self._winner.close()
            raise
        if self._winner is None:
            raise DialError(self._errors)
        return self._winner

    async def _run(self, address: SocketAddress, failed: Event, nursery: Nursery) -> None:
        try:
            stream = await _attempt(address, self._keepalive, self._timeout)
        except OSError as error:
            self._errors.append((address, error))
            failed.set()  # RFC 8305 section 5: a failure starts the next attempt at once
            return
        if self._winner is None:
            self._winner = stream
            nursery.cancel_scope.cancel()
        else:  # two succeeded in one turn
            stream.close()
