"""Sources of readiness behind one interface: epoll and poll, and kqueue in a module of its own.

Epoll and kqueue are used edge-triggered: a descriptor is registered once, for both directions, and costs no system call per wait.
Poll is level-triggered and covers exactly the descriptors that a task waits on; it is used where both are missing.
"""

from __future__ import annotations

import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_linux: Any = select  # typeshed declares epoll for Linux only

# epoll and poll share the values of these bits on Linux. PRI reports a byte sent as urgent, RDHUP the peer's FIN.
IN, PRI, OUT, ERR, HUP, RDHUP = select.POLLIN, select.POLLPRI, select.POLLOUT, select.POLLERR, select.POLLHUP, 0x2000


def poll_once(fd: int, bits: int, seconds: float = 0.0) -> bool:
    """Whether one descriptor is ready for one of the bits, or at its end, within that time. Blocks the thread meanwhile."""
    poll = select.poll()
    poll.register(fd, bits)
    found = poll.poll(seconds * 1000)
    return bool(found) and (found[0][1] != select.POLLNVAL or _select_once(fd, bits, seconds))


def _select_once(fd: int, bits: int, seconds: float) -> bool:
    """Does the same by select(2), for the devices that poll(2) of macOS does not know. What is not open is ready: to fail."""
    watched = [fd]
    try:
        return any(select.select(watched if bits & IN else [], watched if bits & OUT else [], [], seconds))
    except (OSError, ValueError):
        return True


class Interest:
    """A descriptor as a poller sees it: its number, and the bits that tasks wait for at this moment."""

    __slots__ = ()

    fd: int

    def wanted(self) -> int:
        """The bits that some task waits for."""
        raise NotImplementedError


class Poller:
    """Readiness of many descriptors at once."""

    forgets_closed: bool  # whether closing the only copy of a file suffices to forget it

    def add(self, interest: Interest) -> bool:
        """Registers a descriptor; False where the kernel refuses because it is always ready (a regular file)."""
        raise NotImplementedError

    def remove(self, interest: Interest) -> None:
        """Forgets a descriptor that is about to be closed."""
        raise NotImplementedError

    def wait(self, timeout: float | None) -> Iterable[tuple[int, int]]:
        """Waits at most `timeout` seconds (None: forever) and returns (descriptor, bits) pairs."""
        raise NotImplementedError

    def close(self) -> None:
        """Releases the poller's resources."""
        raise NotImplementedError


class EpollPoller(Poller):
    """Edge-triggered epoll."""

    forgets_closed = True
    # Bounds the work between two readings of the clock; the next call returns further events.
    MAX_EVENTS = 512

    def __init__(self) -> None:
        self._epoll = _linux.epoll()

    def add(self, interest: Interest) -> bool:
        try:
            self._epoll.register(interest.fd, IN | PRI | OUT | RDHUP | _linux.EPOLLET)
        except PermissionError:  # a regular file, or /dev/null: epoll refuses files that are always ready
            return False
        return True

    def remove(self, interest: Interest) -> None:
        # Closing is not enough: an inherited descriptor's open file lives on in the parent, and epoll would go on reporting it.
        try:
            self._epoll.unregister(interest.fd)
        except OSError:
            pass

    def wait(self, timeout: float | None) -> Iterable[tuple[int, int]]:
        found: list[tuple[int, int]] = self._epoll.poll(timeout, self.MAX_EVENTS)
        return found

    def close(self) -> None:
        self._epoll.close()


class PollPoller(Poller):
    """Level-triggered poll. The set is rebuilt for every call: poll(2) reads all of it anyway."""

    forgets_closed = False

    def __init__(self) -> None:
        self._interests: dict[int, Interest] = {}

    def add(self, interest: Interest) -> bool:
        self._interests[interest.fd] = interest
        return True

    def remove(self, interest: Interest) -> None:
        self._interests.pop(interest.fd, None)

    def wait(self, timeout: float | None) -> Iterable[tuple[int, int]]:
        poll = select.poll()
        for fd, interest in self._interests.items():
            wanted = interest.wanted()
            if wanted:
                poll.register(fd, wanted)
        return poll.poll(None if timeout is None else timeout * 1000)

    def close(self) -> None:
        self._interests.clear()
