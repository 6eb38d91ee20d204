"""Two ways to ask the kernel which descriptors are ready, behind one interface.

Epoll is used edge-triggered: a descriptor is registered once, for both directions, and costs no system call per wait. Poll is
level-triggered and asks about exactly the descriptors that somebody waits on; it serves where epoll is missing.
"""

from __future__ import annotations

import os
import select
from collections.abc import Iterable

# epoll and poll share the values of these bits on Linux. PRI tells of a byte that was sent as urgent, RDHUP of the peer's FIN.
IN, PRI, OUT, ERR, HUP, RDHUP = select.POLLIN, select.POLLPRI, select.POLLOUT, select.POLLERR, select.POLLHUP, 0x2000


class Interest:
    """What a poller must know of a descriptor: its number, and the bits that some task waits for at this moment."""

    __slots__ = ()

    fd: int

    def wanted(self) -> int:
        """The bits that some task waits for."""
        raise NotImplementedError


class Poller:
    """Readiness of many descriptors at once."""

    forgets_closed: bool  # whether closing the only copy of a file is enough to forget it

    def add(self, interest: Interest) -> bool:
        """Registers a descriptor; False where the kernel refuses because it is always ready (a regular file)."""
        raise NotImplementedError

    def remove(self, interest: Interest) -> None:
        """Forgets a descriptor that is about to be closed."""
        raise NotImplementedError

    def wait(self, timeout: float | None) -> Iterable[tuple[int, int]]:
        """Waits at most `timeout` seconds (None: for ever) and returns (descriptor, bits) pairs."""
        raise NotImplementedError

    def close(self) -> None:
        """Gives back what the poller holds."""
        raise NotImplementedError


class EpollPoller(Poller):
    """Edge-triggered epoll."""

    forgets_closed = True
    # Bounds the work between two looks at the clock; any more events are returned by the next call.
    MAX_EVENTS = 512

    def __init__(self) -> None:
        self._epoll = select.epoll()

    def add(self, interest: Interest) -> bool:
        try:
            self._epoll.register(interest.fd, IN | PRI | OUT | RDHUP | select.EPOLLET)
        except PermissionError:  # a regular file, or /dev/null: epoll refuses what is always ready
            return False
        return True

    def remove(self, interest: Interest) -> None:
        # Closing is not enough: an inherited descriptor's open file lives on in the parent, and epoll would go on reporting it.
        try:
            self._epoll.unregister(interest.fd)
        except OSError:
            pass

    def wait(self, timeout: float | None) -> Iterable[tuple[int, int]]:
        return self._epoll.poll(timeout, self.MAX_EVENTS)

    def close(self) -> None:
        self._epoll.close()


class PollPoller(Poller):
    """Level-triggered poll. The set is built anew for every call: poll(2) reads it whole anyway."""

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


def default_poller() -> Poller:
    """Epoll, or poll where epoll is missing or `TUNNELCTL_POLLER=poll` asks for it."""
    if os.environ.get("TUNNELCTL_POLLER") == "poll" or not hasattr(select, "epoll"):
        return PollPoller()
    return EpollPoller()
