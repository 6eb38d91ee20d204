"""`select.kqueue` for Linux, as KqueuePoller and tunnelctl.stream.process use it.

Each filter has an epoll of its own, edge-triggered: with EV_CLEAR, a filter reports a change of its direction once, and nothing
about the other direction. poll(2) could not show a poller that misses an edge, because it has levels only.

What sys/event.h and the kernels of macOS and FreeBSD do, and epoll does not, is done here:

- Closing a descriptor removes its filters, even if the open file lives on in another process.
- The end of a direction is EV_EOF of its filter. Our own half-close is one too, for EVFILT_WRITE.
- An error of a socket is in `fflags`.
- EVFILT_WRITE for a pipe without a reader is refused with EPIPE, and both filters with EINVAL for some devices (/dev/null).
- EVFILT_PROC is refused with ESRCH for a process that has ended (macOS).
"""

import os
import select
import socket
import stat
from collections.abc import Iterable
from errno import ECONNRESET, EINVAL, ENOENT, EPIPE, ESRCH
from math import ceil
from time import monotonic

KQ_FILTER_READ, KQ_FILTER_WRITE, KQ_FILTER_PROC = -1, -2, -5
KQ_EV_ADD, KQ_EV_DELETE, KQ_EV_ONESHOT, KQ_EV_CLEAR, KQ_EV_EOF = 0x1, 0x2, 0x10, 0x20, 0x8000
KQ_NOTE_EXIT = 0x80000000
EV_OOBAND = 0x2000

_epoll, _pidfd_open, _waitid = select.epoll, os.pidfd_open, os.waitid
_HAS_ENDED = os.WEXITED | os.WNOHANG | os.WNOWAIT
_P_PIDFD, _TCP_INFO = os.P_PIDFD, socket.TCP_INFO
_IN = select.EPOLLIN | select.EPOLLPRI | select.EPOLLRDHUP | select.EPOLLET
_OUT = select.EPOLLOUT | select.EPOLLET
_BROKEN = select.EPOLLERR | select.EPOLLHUP
_SENT_FIN = (4, 5, 9, 11)  # states of TCP: FIN_WAIT1, FIN_WAIT2, LAST_ACK, CLOSING


class kevent:  # the name of the standard library
    """An event or a change."""

    def __init__(self, ident: int, filter: int = KQ_FILTER_READ, flags: int = KQ_EV_ADD, fflags: int = 0) -> None:
        self.ident, self.filter, self.flags, self.fflags = ident, filter, flags, fflags


class kqueue:
    """A queue of events."""

    def __init__(self) -> None:
        self._all, self._read, self._write, self._ends = (_epoll() for _ in range(4))
        for part in (self._read, self._write, self._ends):
            self._all.register(part, select.EPOLLIN)
        self._files: dict[tuple[int, int], tuple[int, int]] = {}  # the identity of each file, by descriptor and filter
        self._processes: dict[int, int] = {}  # pids, by pidfd

    def fileno(self) -> int:
        return self._all.fileno()

    def close(self) -> None:
        for pidfd in self._processes:
            os.close(pidfd)
        self._processes.clear()
        for part in (self._all, self._read, self._write, self._ends):
            part.close()

    def control(self, changes: Iterable[kevent] | None, max_events: int, timeout: float | None = None) -> list[kevent]:
        """Makes the changes, stops at the first that fails, then waits for events."""
        for change in changes or ():
            self._change(change)
        until = None if timeout is None else monotonic() + timeout
        while max_events:
            left = None if until is None else max(0.0, until - monotonic())
            self._all.poll(None if left is None else ceil(left * 1000) / 1000)
            found = self._found(max_events)
            if found or left == 0:
                return found
        return []

    def _change(self, change: kevent) -> None:
        if change.filter == KQ_FILTER_PROC:
            self._watch(change.ident)
            return
        key, part = (change.ident, change.filter), self._read if change.filter == KQ_FILTER_READ else self._write
        if change.flags & KQ_EV_DELETE:
            if self._files.pop(key, None) is None:
                raise OSError(ENOENT, os.strerror(ENOENT))
            part.unregister(change.ident)
            return
        assert change.flags == KQ_EV_ADD | KQ_EV_CLEAR
        _refuse(change)
        bits = _IN if change.filter == KQ_FILTER_READ else _OUT
        try:
            part.register(change.ident, bits)
        except FileExistsError:
            part.modify(change.ident, bits)
        except PermissionError:  # such a device
            raise OSError(EINVAL, os.strerror(EINVAL)) from None
        self._files[key] = _identity(change.ident)

    def _watch(self, pid: int) -> None:
        pidfd = _pidfd_open(pid)
        try:
            ended = _waitid(_P_PIDFD, pidfd, _HAS_ENDED) is not None
        except ChildProcessError:
            ended = False
        if ended:
            os.close(pidfd)
            raise ProcessLookupError(ESRCH, os.strerror(ESRCH))
        self._processes[pidfd] = pid
        self._ends.register(pidfd, select.EPOLLIN)

    def _found(self, most: int) -> list[kevent]:
        found = []
        for number, bits in self._read.poll(0, most):
            if self._is_registered(number, KQ_FILTER_READ):
                found.append(_read_event(number, bits))
        if len(found) < most:
            for number, bits in self._write.poll(0, most - len(found)):
                if self._is_registered(number, KQ_FILTER_WRITE):
                    found.append(_write_event(number, bits))
        if len(found) < most:
            for pidfd, _ in self._ends.poll(0, most - len(found)):
                self._ends.unregister(pidfd)
                os.close(pidfd)
                found.append(kevent(self._processes.pop(pidfd), KQ_FILTER_PROC, KQ_EV_ONESHOT | KQ_EV_EOF, KQ_NOTE_EXIT))
        return found

    def _is_registered(self, number: int, filter_: int) -> bool:
        """Whether the descriptor is still that of the file: epoll goes on reporting a closed one whose file is open elsewhere."""
        try:
            return self._files.get((number, filter_)) == _identity(number)
        except OSError:
            return False


def _identity(number: int) -> tuple[int, int]:
    found = os.fstat(number)
    return found.st_dev, found.st_ino


def _refuse(change: kevent) -> None:
    mode = os.fstat(change.ident).st_mode
    assert not stat.S_ISREG(mode), "EVFILT_READ is silent at the end of a regular file"
    if change.filter == KQ_FILTER_WRITE and stat.S_ISFIFO(mode):
        poll = select.poll()
        poll.register(change.ident, select.POLLOUT)
        if dict(poll.poll(0)).get(change.ident, 0) & select.POLLERR:
            raise BrokenPipeError(EPIPE, os.strerror(EPIPE))


def _read_event(number: int, bits: int) -> kevent:
    ended = bits & (_BROKEN | select.EPOLLRDHUP)
    flags = KQ_EV_CLEAR | (KQ_EV_EOF if ended else 0) | (EV_OOBAND if bits & select.EPOLLPRI else 0)
    return kevent(number, KQ_FILTER_READ, flags, _error(number, bits))


def _write_event(number: int, bits: int) -> kevent:
    flags = KQ_EV_CLEAR | (KQ_EV_EOF if bits & _BROKEN or _half_closed(number) else 0)
    return kevent(number, KQ_FILTER_WRITE, flags, _error(number, bits))


def _error(number: int, bits: int) -> int:
    """The error of a socket. Asking the socket would take it away; so it is always the same."""
    return ECONNRESET if bits & select.EPOLLERR and stat.S_ISSOCK(os.fstat(number).st_mode) else 0


def _half_closed(number: int) -> bool:
    """Whether we have ended our direction of a TCP connection."""
    if not stat.S_ISSOCK(os.fstat(number).st_mode):
        return False
    looked_at = socket.socket(fileno=number)
    try:
        return looked_at.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 1)[0] in _SENT_FIN
    except OSError:  # no TCP
        return False
    finally:
        looked_at.detach()


def names() -> dict[str, object]:
    """What `select` has of it."""
    return {name: value for name, value in globals().items() if name in ("kqueue", "kevent") or name.startswith("KQ_")}
