"""The two small protocols of service managers such as systemd: sockets opened for us (sd_listen_fds(3)), and status notifications
(sd_notify(3))."""

import os
import socket
from collections.abc import Mapping
from time import CLOCK_MONOTONIC, clock_gettime_ns

from tunnelctl.errors import ListenError, reason

INHERITED = "fd:"  # prefix of such a socket's number or name, in place of an address
FIRST = 3  # SD_LISTEN_FDS_START
MOST_DIGITS = 4  # of LISTEN_FDS: nobody opens more sockets than that
MOST_MICROSECONDS = 20  # digits of WATCHDOG_USEC, a 64-bit number


def inherited_socket(name: str, environ: Mapping[str, str]) -> socket.socket:
    """Returns a listening socket that was passed to us, by number (3 is the first) or by name. Raises ListenError."""
    what = f"inherited socket {name!a}"
    numbers = _numbers(environ)
    if not numbers:
        raise ListenError(what, "none was passed (LISTEN_FDS)", "no-inherited-socket")
    if name not in numbers:
        raise ListenError(what, f"no such socket; the sockets passed are {', '.join(numbers)}", "unknown-inherited-socket")
    try:
        inherited = socket.socket(fileno=numbers[name])
    except OSError as error:  # closed meanwhile, or not a socket
        raise ListenError(what, reason(error), "inherited-socket-failed") from error
    try:
        if inherited.type != socket.SOCK_STREAM or not inherited.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise ListenError(what, "it does not listen for connections", "inherited-socket-type")
        inherited.setblocking(False)
        os.set_inheritable(inherited.fileno(), False)
    except BaseException:
        inherited.detach()
        raise
    return inherited


def _numbers(environ: Mapping[str, str]) -> dict[str, int]:
    """The descriptors passed to this process, by number and by name."""
    count = environ.get("LISTEN_FDS", "")
    if environ.get("LISTEN_PID") != str(os.getpid()) or not (count.isascii() and count.isdigit() and len(count) <= MOST_DIGITS):
        return {}
    found = {str(FIRST + i): FIRST + i for i in range(int(count))}
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    found.update((name, FIRST + i) for i, name in enumerate(names[: int(count)]) if name)
    return found


def notify(state: str, environ: Mapping[str, str]) -> None:
    """Sends a state such as `READY=1` to the service manager, if there is one. Ignores errors of the socket."""
    path = environ.get("NOTIFY_SOCKET", "")
    if path[:1] not in ("/", "@"):
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.setblocking(False)
            manager.sendto(state.encode(), "\0" + path[1:] if path[0] == "@" else path)
    except OSError:
        pass


def reloading() -> str:
    """The state that announces a reload; READY=1 has to follow. Type=notify-reload requires the time."""
    return f"RELOADING=1\nMONOTONIC_USEC={clock_gettime_ns(CLOCK_MONOTONIC) // 1000}"


def watchdog_seconds(environ: Mapping[str, str]) -> float:
    """Seconds within which the service manager requires WATCHDOG=1 again (sd_watchdog_enabled(3)); 0 if it does not."""
    text = environ.get("WATCHDOG_USEC", "")
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    return int(text) / 1e6 if text.isascii() and text.isdigit() and len(text) <= MOST_MICROSECONDS else 0.0
