"""Takes away what Linux alone has, and puts what macOS and the BSDs have instead in its place."""

import _signal  # type: ignore[import-not-found]
import _socket
import builtins
import errno
import fcntl
import os
import resource
import select
import selectors
import signal
import socket
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType, SimpleNamespace
from typing import Any

from tests.portable import PLATFORM, kqueue

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

_IN_C: dict[Any, Any] = {socket: _socket, signal: _signal}  # the modules below these, which `connect` uses
_PLAIN = _socket.socket

_SOL_LOCAL, _LOCAL_PEERCRED, _LOCAL_PEERPID = 0, 1, 2
_SO_NWRITE, _RXT_CONNDROPTIME = 0x1024, 0x80
_SIOCOUTQ, _FIONWRITE = 0x5411, 0x40046677
_LOWAT = 2048  # what macOS has for SO_SNDLOWAT
_SO_PEERCRED, _KEEPIDLE = socket.SO_PEERCRED, socket.TCP_KEEPIDLE
_OF_LINUX = {(socket.SOL_SOCKET, 72), (socket.SOL_SOCKET, 26), (socket.SOL_SOCKET, _SO_PEERCRED)}  # SO_BUF_LOCK, SO_ATTACH_FILTER

kept: dict[str, Any] = {}  # what was taken away, for the tests themselves
_drop_times: dict[int, int] = {}  # TCP_RXT_CONNDROPTIME, by descriptor


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
                if hasattr(_IN_C.get(module), name):
                    delattr(_IN_C[module], name)
    for name, value in kqueue.names().items():
        setattr(select, name, value)
    socket.TCP_KEEPALIVE = _socket.TCP_KEEPALIVE = _KEEPIDLE  # type: ignore[attr-defined]
    os.environ["_PYTHON_SYSCONFIGDATA_NAME"] = _sysconfigdata()
    directory, path = os.path.dirname(__file__), os.environ.get("PYTHONPATH", "")
    if directory not in path.split(os.pathsep):
        os.environ["PYTHONPATH"] = directory + (os.pathsep + path if path else "")
    sys.modules["_scproxy"] = _no_system_proxies()  # urllib of macOS
    sys.platform = PLATFORM
    sys.meta_path.insert(0, _Compiled())
    _change_sockets()
    _drop_ignored_children()
    _hide_proc()
    if PLATFORM == "darwin":
        _count_bytes()


class _Compiled:
    """Lets a package find its compiled library, which was built for Linux."""

    def find_spec(self, name: str, path: Any, target: object = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path) if name == "py_mini_racer._dll" else None
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: Any) -> None:
                execute(module)
                module.platform = "linux"

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _no_system_proxies() -> ModuleType:
    module = ModuleType("_scproxy")
    for name in ("_get_proxies", "_get_proxy_settings"):
        setattr(module, name, dict)
    return module


def _sysconfigdata() -> str:
    import sysconfig

    return sysconfig._get_sysconfigdata_name()  # type: ignore[attr-defined]


def _count_bytes() -> None:
    """Gives the peak of the memory in bytes."""
    getrusage = resource.getrusage

    def of_macos(who: int) -> Any:
        used = getrusage(who)
        values = {name: getattr(used, name) for name in dir(used) if name.startswith("ru_")}
        return SimpleNamespace(**{**values, "ru_maxrss": used.ru_maxrss * 1024})

    resource.getrusage = of_macos


def _change_sockets() -> None:
    class Socket(socket.SocketType):
        getsockopt = _getsockopt
        setsockopt = _setsockopt

    socket.SocketType = _socket.SocketType = _socket.socket = Socket  # type: ignore[misc]
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


def _drop_ignored_children() -> None:
    """Drops SIGCHLD, blocked or not, while its action is the default, which is to ignore it."""
    sigpending, sigwait = signal.sigpending, signal.sigwait

    def dropped() -> set[int]:
        return {signal.SIGCHLD} if signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL else set()

    signal.sigpending = lambda: sigpending() - dropped()
    signal.sigwait = lambda signals: sigwait(set(signals) - dropped())  # type: ignore[assignment]


def _getsockopt(self: Any, level: int, option: int, *size: int) -> Any:
    if (level, option) == (_SOL_LOCAL, _LOCAL_PEERCRED) and self.family == socket.AF_UNIX:
        pid, uid, gid = (self.getsockopt(socket.SOL_SOCKET, _SO_PEERCRED, 12)[place : place + 4] for place in (0, 4, 8))
        # struct xucred: version, uid, number of groups, 16 groups; and of FreeBSD, in a union of 8 octets, the pid
        told = bytes(4) + uid + (1).to_bytes(2, sys.byteorder) + bytes(2) + gid + bytes(60)
        return (told if PLATFORM == "darwin" else told + bytes(4) + pid + bytes(4))[: size[0]]
    if PLATFORM == "darwin" and (found := _of_macos(self, level, option)) is not None:
        return found
    _check(level, option)
    return _PLAIN.getsockopt(self, level, option, *size)


def _of_macos(self: Any, level: int, option: int) -> Any:
    if (level, option) == (_SOL_LOCAL, _LOCAL_PEERPID) and self.family == socket.AF_UNIX:
        return self.getsockopt(socket.SOL_SOCKET, _SO_PEERCRED, 4)
    if (level, option) == (socket.SOL_SOCKET, _SO_NWRITE):
        return int.from_bytes(fcntl.ioctl(self, _SIOCOUTQ, bytes(4)), sys.byteorder)
    if (level, option) == (socket.SOL_SOCKET, socket.SO_SNDLOWAT):
        return _LOWAT
    if (level, option) == (socket.IPPROTO_TCP, _RXT_CONNDROPTIME):
        return _drop_times.get(self.fileno(), 0)
    return None


def _setsockopt(self: Any, level: int, option: int, *value: Any) -> None:
    if PLATFORM == "darwin" and (level, option) == (socket.IPPROTO_TCP, _RXT_CONNDROPTIME):
        _drop_times[self.fileno()] = value[0]
        return
    _check(level, option)
    _PLAIN.setsockopt(self, level, option, *value)


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
