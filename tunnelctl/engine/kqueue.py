"""Readiness by kqueue, for macOS and the BSDs; imported only there.

Each direction of a descriptor has a filter of its own. With EV_CLEAR, a filter reports a change once: as edge-triggered epoll does.
The ends differ. EV_EOF says that one direction has ended, of EVFILT_WRITE also if we have half-closed the connection ourselves. So
only both ends together are a hang-up; or an error, which a socket adds in `fflags`. Other files have one direction.
"""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Iterable
from errno import EBADF, EPIPE

from tunnelctl.engine.poller import ERR, HUP, IN, OUT, PRI, RDHUP, Interest, Poller

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_bsd: Any = select  # typeshed declares these names for macOS and the BSDs only
_READ, _WRITE, _EOF = _bsd.KQ_FILTER_READ, _bsd.KQ_FILTER_WRITE, _bsd.KQ_EV_EOF
_EDGES = _bsd.KQ_EV_ADD | _bsd.KQ_EV_CLEAR
# sys/event.h of macOS: urgent data is in the queue. The BSDs do not tell; there, what follows it waits for more to arrive.
_OOBAND = 0x2000

_READ_ENDED, _WRITE_ENDED = 1, 2
_BOTH_ENDED = _READ_ENDED | _WRITE_ENDED


class KqueuePoller(Poller):
    """Edge-triggered kqueue; and select(2) for the devices that kqueue refuses, such as /dev/tty of macOS."""

    forgets_closed = True  # closing a descriptor removes its filters, even if its file is open elsewhere
    MAX_EVENTS = 512  # as of EpollPoller

    def __init__(self) -> None:
        self._kqueue = _bsd.kqueue()
        self._ended: dict[int, int] = {}  # the directions that have ended, by descriptor
        self._refused: dict[int, Interest] = {}
        self._due: dict[int, int] = {}  # what registration has shown, for the next wait

    def add(self, interest: Interest) -> bool:
        fd = interest.fd
        mode = os.fstat(fd).st_mode
        if stat.S_ISREG(mode):  # always ready, but EVFILT_READ would be silent at its end
            return False
        self._forget(fd)
        self._ended[fd] = 0 if stat.S_ISSOCK(mode) else _BOTH_ENDED
        both = [_bsd.kevent(fd, _READ, _EDGES), _bsd.kevent(fd, _WRITE, _EDGES)]
        try:
            self._kqueue.control(both, 0)
        except OSError:
            for change in both:
                self._add_one(interest, change)
        return True

    def _add_one(self, interest: Interest, change: Any) -> None:
        try:
            self._kqueue.control([change], 0)
        except OSError as error:
            if error.errno == EBADF:
                raise
            if error.errno == EPIPE:  # a pipe whose reader has gone
                self._due[interest.fd] = ERR
            else:
                self._refused[interest.fd] = interest

    def remove(self, interest: Interest) -> None:
        self._forget(interest.fd)
        for of_direction in (_READ, _WRITE):
            try:
                self._kqueue.control([_bsd.kevent(interest.fd, of_direction, _bsd.KQ_EV_DELETE)], 0)
            except OSError:  # closed, or never registered
                pass

    def _forget(self, fd: int) -> None:
        self._ended.pop(fd, None)
        self._refused.pop(fd, None)
        self._due.pop(fd, None)

    def wait(self, timeout: float | None) -> Iterable[tuple[int, int]]:
        found: dict[int, int] = {}
        if self._due or self._refused:
            found, timeout = self._wait_outside(timeout), 0
        for event in self._kqueue.control(None, self.MAX_EVENTS, timeout):
            found[event.ident] = found.get(event.ident, 0) | self._bits(event)
        return found.items()

    def _bits(self, event: Any) -> int:
        reading = event.filter == _READ
        bits = IN if reading else OUT
        if event.flags & _EOF:
            ended = self._ended.get(event.ident, 0) | (_READ_ENDED if reading else _WRITE_ENDED)
            self._ended[event.ident] = ended
            if ended & _READ_ENDED:
                bits |= RDHUP
            if ended == _BOTH_ENDED or event.fflags:
                bits |= ERR | HUP
        if reading and event.flags & _OOBAND:
            bits |= PRI
        return bits

    def _wait_outside(self, timeout: float | None) -> dict[int, int]:
        """Returns what is due, or waits for the refused descriptors and the queue itself."""
        found, self._due = self._due, {}
        wanted = {fd: interest.wanted() for fd, interest in self._refused.items()}
        reading = [self._kqueue.fileno(), *(fd for fd, bits in wanted.items() if bits & IN)]
        writing = [fd for fd, bits in wanted.items() if bits & OUT]
        try:
            readable, writable, _ = select.select(reading, writing, [], 0 if found else timeout)
        except (OSError, ValueError):  # one was closed without `remove`
            self._refused = {fd: interest for fd, interest in self._refused.items() if _is_open(fd)}
            return found
        for ready, bit in (readable, IN), (writable, OUT):
            for fd in ready:
                if fd in wanted:
                    found[fd] = found.get(fd, 0) | bit
        return found

    def close(self) -> None:
        self._kqueue.close()


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
