"""The known readiness of an open file, or of a stream that is not a file, and the tasks that wait for it."""

from __future__ import annotations

from tunnelctl.engine.kernel import BusyResourceError, ClosedResourceError, Task, Waitable, coroutine, current_kernel
from tunnelctl.engine.poller import ERR, HUP, IN, OUT, PRI, RDHUP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator

_BROKEN = ERR | HUP
_CLOSED = _BROKEN | RDHUP
_ENDED = _CLOSED | PRI
_READABLE = _ENDED | IN
_WRITABLE = _BROKEN | OUT


class Descriptor(Waitable):
    """A file descriptor and its known readiness, or that of a stream that is not a file, whose owner calls `on_event`.

    One class for both: CPython's inline caches hold one class for each place in the code, and missed with two.

    `readable` and `writable` start out true. Code that meets EAGAIN, or a short read or write, clears them; an edge sets them
    again. `ended` stays set after FIN, an error or a hang-up: from then on a short read no longer means "empty", and the next
    read must be tried. Urgent (out-of-band) data sets it too: recv() stops at the mark, and no edge reports what follows.
    `broken` stays set after an error, after a pipe's reader has gone, or once both directions have ended: a socket that we
    half-closed shows it with its last data still unread. `peer_closed` stays set after FIN, an error or a hang-up.
    """

    __slots__ = (
        "_kernel",
        "_on_broken",
        "_on_peer_closed",
        "_reader",
        "_registered",
        "_writer",
        "broken",
        "closed",
        "ended",
        "fd",
        "peer_closed",
        "readable",
        "writable",
    )

    def __init__(self, fd: int = -1) -> None:
        self.fd = fd
        self.readable = self.writable = True
        self.ended = self.peer_closed = self.broken = self.closed = False
        self._registered = fd < 0  # with the kernel, for events; without a file there is nothing to register
        self._kernel = current_kernel()
        self._reader: Task | None = None
        self._writer: Task | None = None
        self._on_broken: Callable[[], None] | None = None
        self._on_peer_closed: Callable[[], None] | None = None

    def wanted(self) -> int:
        reading = IN | RDHUP if self._reader else RDHUP if self._on_peer_closed else 0
        return reading | (OUT if self._writer else 0) | (ERR if self._on_broken else 0)

    def on_event(self, bits: int) -> None:
        """Records what has become ready, runs the callbacks and wakes the waiting tasks."""
        if bits & _ENDED:
            self._on_end(bits)
        if bits & _READABLE:
            self.readable = True
            if self._reader is not None:
                self._kernel.wake(self._reader)
        if bits & _WRITABLE:
            self.writable = True
            if self._writer is not None:
                self._kernel.wake(self._writer)

    def _on_end(self, bits: int) -> None:
        self.ended = True
        if bits & _CLOSED:
            self.peer_closed = True
            if self._on_peer_closed is not None:
                callback, self._on_peer_closed = self._on_peer_closed, None
                callback()
        if bits & _BROKEN:
            self.broken = True
            if self._on_broken is not None:
                callback, self._on_broken = self._on_broken, None
                callback()

    @coroutine
    def wait_readable(self) -> Generator[None, None, None]:
        """Parks until a read may return something: data, EOF or an error."""
        if not self.readable:
            if self._reader is not None:
                raise BusyResourceError(f"another task already reads descriptor {self.fd}")
            self._register()
            self._reader = self._kernel.task
            try:
                while not self.readable:
                    yield
                    if self.closed:
                        raise ClosedResourceError(f"descriptor {self.fd} was closed")
            finally:
                self._reader = None

    @coroutine
    def wait_writable(self) -> Generator[None, None, None]:
        """Parks until a write may accept bytes, or fail."""
        if not self.writable:
            if self._writer is not None:
                raise BusyResourceError(f"another task already writes descriptor {self.fd}")
            self._register()
            self._writer = self._kernel.task
            try:
                while not self.writable:
                    yield
                    if self.closed:
                        raise ClosedResourceError(f"descriptor {self.fd} was closed")
            finally:
                self._writer = None

    def watch(self, callback: Callable[[], None]) -> None:
        """Calls `callback` once, as soon as the descriptor has an error or its other end has gone altogether.

        The callback runs at once if that is already so, otherwise between two turns. It may wake and cancel tasks, but not wait.
        """
        if self.broken:
            callback()
        else:
            self._on_broken = callback
            self._register()

    def watch_peer(self, callback: Callable[[], None]) -> None:
        """Likewise, as soon as the peer has ended its direction; earlier bytes may still be unread."""
        if self.peer_closed:
            callback()
        else:
            self._on_peer_closed = callback
            self._register()

    def unwatch(self) -> None:
        """Cancels the calls that `watch` and `watch_peer` have asked for."""
        self._on_broken = self._on_peer_closed = None

    def _register(self) -> None:
        """Makes sure that events are reported from now on."""
        if self.closed:
            raise ClosedResourceError(f"descriptor {self.fd} was closed")
        if not self._registered:
            self._add()

    def _add(self) -> None:
        """Asks the kernel for events."""
        if self._kernel.poller.add(self):
            # Registration reports the current state as a first edge, so nothing since the last try is missed.
            self._kernel.descriptors[self.fd] = self
            self._registered = True
        else:  # always ready; retried at each wait, since no edge will ever set what a short read has cleared
            self.readable = self.writable = True

    def _remove(self, shared: bool) -> None:
        """Asks for no more events. shared: see `forget`"""
        kernel = self._kernel
        if kernel.descriptors.get(self.fd) is self:
            del kernel.descriptors[self.fd]
            self._registered = False
            if shared or not kernel.poller.forgets_closed:
                kernel.poller.remove(self)

    def forget(self, shared: bool = False) -> None:
        """Ends the use of it, before the caller closes the file. Waiting tasks get ClosedResourceError.

        shared: the open file lives on elsewhere (inherited stdio), so epoll needs an explicit removal; else closing suffices
        """
        if self._registered and self.fd >= 0:
            self._remove(shared)
        self.closed = True
        self._on_broken = self._on_peer_closed = None  # they refer back to this, through the watcher
        if self._reader is not None:
            self._kernel.wake(self._reader)
        if self._writer is not None:
            self._kernel.wake(self._writer)


@coroutine
def wait_either_readable(one: Descriptor, other: Descriptor) -> Generator[None, None, None]:
    """Parks until a read of one of the two may return something."""
    if one._reader is not None or other._reader is not None:
        raise BusyResourceError(f"another task already reads descriptor {one.fd} or {other.fd}")
    if not (one._registered and other._registered):
        one._register()
        other._register()
    one._reader = other._reader = one._kernel.task
    try:
        while not (one.readable or other.readable):
            yield
            if one.closed or other.closed:
                raise ClosedResourceError(f"descriptor {one.fd} or {other.fd} was closed")
    finally:
        one._reader = other._reader = None
