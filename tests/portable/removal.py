"""Takes away what Linux alone has, and puts what macOS and the BSDs have instead in its place."""

import builtins
import errno
import fcntl
import os
import select
import selectors
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

from tests.portable import kqueue

# The names are gone, as on macOS. What C code uses by itself (accept4 in accept()) stays, and so do a few tools of the tests, such
# as waitid and prlimit: mypy (--platform darwin) shows that tunnelctl does without those.
_GONE: dict[Any, str] = {
    select: "epoll POLLRDHUP",
    os: "splice SPLICE_F_MOVE SPLICE_F_NONBLOCK SPLICE_F_MORE pidfd_open memfd_create eventfd pipe2 "
    "posix_fadvise posix_fallocate getrandom copy_file_range",
    fcntl: "F_SETPIPE_SZ F_GETPIPE_SZ",
    signal: "pidfd_send_signal sigtimedwait sigwaitinfo",
    socket: "SOCK_NONBLOCK SOCK_CLOEXEC AF_NETLINK SO_PEERCRED SO_INCOMING_CPU TCP_INFO TCP_USER_TIMEOUT TCP_KEEPIDLE "
    "TCP_QUICKACK TCP_CORK MSG_CMSG_CLOEXEC",
}

_SOL_LOCAL, _LOCAL_PEERCRED = 0, 1
_SIOCOUTQ, _FIONWRITE = 0x5411, 0x40046677
_SO_PEERCRED, _KEEPIDLE = socket.SO_PEERCRED, socket.TCP_KEEPIDLE
_OF_LINUX = {(socket.SOL_SOCKET, 72), (socket.SOL_SOCKET, 26), (socket.SOL_SOCKET, _SO_PEERCRED)}  # SO_BUF_LOCK, SO_ATTACH_FILTER

kept: dict[str, Any] = {}  # what was taken away, for the tests themselves


def of_linux(module: Any, name: str) -> Any:
    """What a module has on Linux, in the portable run too."""
    return kept[name] if name in kept else getattr(module, name)


def take_away() -> None:
    """Changes this process. To be called before tunnelctl is imported."""
    if kept:
        return
    assert "tunnelctl" not in sys.modules
    selectors.DefaultSelector = selectors.PollSelector  # type: ignore[misc, assignment]  # for asyncio in the tests
    for module, names in _GONE.items():
        for name in names.split():
            if hasattr(module, name):
                kept[name] = getattr(module, name)
                delattr(module, name)
    for name, value in kqueue.names().items():
        setattr(select, name, value)
    socket.TCP_KEEPALIVE = _KEEPIDLE  # type: ignore[attr-defined]
    os.environ["_PYTHON_SYSCONFIGDATA_NAME"] = _sysconfigdata()
    directory, path = os.path.dirname(__file__), os.environ.get("PYTHONPATH", "")
    if directory not in path.split(os.pathsep):
        os.environ["PYTHONPATH"] = directory + (os.pathsep + path if path else "")
    sys.platform = "freebsd14"
    _change_sockets()
    _hide_proc()


def _sysconfigdata() -> str:
    import sysconfig

    return sysconfig._get_sysconfigdata_name()  # type: ignore[attr-defined]


def _change_sockets() -> None:
    class Socket(socket.SocketType):
        getsockopt = _getsockopt
        setsockopt = _setsockopt

    socket.SocketType = Socket  # type: ignore[misc]
    for name in ("getsockopt", "setsockopt"):
        setattr(socket.socket, name, vars(Socket)[name])
    pair, ioctl = socket.socketpair, fcntl.ioctl

    def socketpair(family: int = socket.AF_UNIX, kind: int = socket.SOCK_STREAM, proto: int = 0) -> Any:
        if kind & 0xF == socket.SOCK_SEQPACKET:
            raise OSError(errno.EPROTONOSUPPORT, os.strerror(errno.EPROTONOSUPPORT))
        return pair(family, kind, proto)

    def translated(fd: Any, request: int, *rest: Any) -> Any:
        if _is_of_tunnelctl() and request == _SIOCOUTQ:
            raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
        return ioctl(fd, _SIOCOUTQ if request == _FIONWRITE else request, *rest)

    socket.socketpair = socketpair  # type: ignore[assignment]
    fcntl.ioctl = translated


def _getsockopt(self: Any, level: int, option: int, *size: int) -> Any:
    if (level, option) == (_SOL_LOCAL, _LOCAL_PEERCRED) and self.family == socket.AF_UNIX:
        pid, uid, gid = (self.getsockopt(socket.SOL_SOCKET, _SO_PEERCRED, 12)[place : place + 4] for place in (0, 4, 8))
        # struct xucred of FreeBSD: version, uid, number of groups, 16 groups, and in a union of 8 octets the pid
        return (bytes(4) + uid + (1).to_bytes(2, sys.byteorder) + bytes(2) + gid + bytes(60 + 4) + pid + bytes(4))[: size[0]]
    _check(level, option)
    return _plain("getsockopt")(self, level, option, *size)


def _setsockopt(self: Any, level: int, option: int, *value: Any) -> None:
    _check(level, option)
    _plain("setsockopt")(self, level, option, *value)


def _plain(name: str) -> Callable[..., Any]:
    import _socket

    return getattr(_socket.socket, name)  # type: ignore[no-any-return]


def _check(level: int, option: int) -> None:
    if (level, option) in _OF_LINUX and _is_of_tunnelctl(2):
        raise OSError(errno.ENOPROTOOPT, os.strerror(errno.ENOPROTOOPT))


def _is_of_tunnelctl(depth: int = 1) -> bool:
    """Whether tunnelctl has called the caller. The tests themselves may go on using Linux."""
    return str(sys._getframe(depth + 1).f_globals.get("__name__", "")).partition(".")[0] == "tunnelctl"


def _hide_proc() -> None:
    """Hides /proc from tunnelctl."""
    for module, name in ((builtins, "open"), (os, "open"), (os, "access"), (os, "stat"), (os, "listdir"), (os, "readlink")):
        setattr(module, name, _hiding(getattr(module, name)))


def _hiding(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(path: Any = ".", *arguments: Any, **options: Any) -> Any:
        if isinstance(path, str) and path.startswith("/proc/") and _is_of_tunnelctl():
            if function.__name__ == "access":
                return False
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return function(path, *arguments, **options)

    return call
