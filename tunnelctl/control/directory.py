"""The control sockets of `forward`, `run` and `serve`: where they are, and who may use them.

    DIRECTORY/NAME.sock     the socket of the program of that name
              NAME.route    of a forward: for which socket it is (its inode), and the -D ports that require no login, for `env`;
                            from the second line on, what its tunnels pass, for --via auto: see `client.route.fingerprint`

The directory is $XDG_RUNTIME_DIR/tunnelctl, or else /tmp/tunnelctl-UID. The one of /tmp is safe because it is not trusted: anybody
may create that name, so a directory of another user, one that others may enter, or a symbolic link is refused. Once it is ours,
the sticky bit of /tmp keeps others from replacing it. /tmp is the same for a login, for cron and for su, as TMPDIR is not.
"""

from __future__ import annotations

import _socket as socket
import os
import stat
from collections.abc import Iterator, Mapping

from tunnelctl.errors import UsageProblem, reason
from tunnelctl.namedtuple import NamedTuple
from tunnelctl.options import AUTO
from tunnelctl.proto.address import shown
from tunnelctl.stream.unix_stream import connect_unix, peer_uid

SOCKET, ROUTE = ".sock", ".route"  # what the names of files end in

_NAME_CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."
_MAX_NAME = 40  # sockaddr_un has 108 bytes for the whole path


def directory(environ: Mapping[str, str]) -> str:
    """Returns the directory of this user's control sockets, existing or not."""
    base = environ.get("XDG_RUNTIME_DIR", "")
    if base[:1] == "/" and _is_own(base):  # under su and sudo it may still be that of the other user
        return f"{base}/tunnelctl"
    return f"/tmp/tunnelctl-{os.geteuid()}"


def _is_own(path: str) -> bool:
    try:
        return os.stat(path).st_uid == os.geteuid()
    except OSError:
        return False


class Fault(NamedTuple):
    """The reason why the directory cannot be trusted."""

    cause: str
    of_mode: bool = False  # its mode alone is wrong, which we can change


def fault_of(path: str) -> Fault | None:
    """Returns why the directory cannot be trusted; None if it can."""
    try:
        found = os.lstat(path)
    except OSError as error:
        return Fault(reason(error))
    if not stat.S_ISDIR(found.st_mode):
        return Fault("it is not a directory")
    if found.st_uid != os.geteuid():
        return Fault("it belongs to another user")
    if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return Fault(f"other users have access to it (mode {stat.S_IMODE(found.st_mode):04o})", of_mode=True)
    return None


def check_name(name: str, option: str) -> None:
    """Raises UsageProblem unless it can be the name of a program. option: the field of the options record that has it"""
    if name.strip(_NAME_CHARACTERS) or name[0] in "-." or len(name) > _MAX_NAME or name == AUTO:
        raise UsageProblem(shown(name), "it cannot be the name of a control socket", "forward-name", option=option)


def path_of(name: str, environ: Mapping[str, str]) -> str:
    """Returns the path of the socket of a program."""
    return f"{directory(environ)}/{name}{SOCKET}"


def is_same_user(connected: socket.SocketType) -> bool:
    """Whether the other end is a process of this user. Where the kernel does not tell, it is: the modes of the files decided."""
    return peer_uid(connected) in (None, os.geteuid())


class Published(NamedTuple):
    """The facts that a forward publishes for other programs."""

    fingerprint: str = ""
    ports: tuple[str, ...] = ()  # the addresses of those of its -D ports that require no login


def published(path: str) -> Published:
    """Reads it. path: of the socket. Empty if there is nothing, or if it is from another socket."""
    try:
        with open(path.removesuffix(SOCKET) + ROUTE, encoding="utf-8", errors="surrogateescape") as file:
            first, _, fingerprint = file.read().partition("\n")
        inode, *ports = first.split(" ")
        return Published(fingerprint, tuple(ports)) if inode == str(os.stat(path).st_ino) else Published()
    except (OSError, UnicodeError):
        return Published()


def candidates(environ: Mapping[str, str], fingerprint: str) -> Iterator[str]:
    """Yields the sockets of the forwards with this fingerprint, by name; "" fits none."""
    path = directory(environ)
    names = [] if fault_of(path) else sorted(name for name in os.listdir(path) if name.endswith(SOCKET))
    yield from (f"{path}/{name}" for name in names if fingerprint and published(f"{path}/{name}").fingerprint == fingerprint)


def runs(path: str) -> bool:
    """Whether a forward of this user listens at a path."""
    try:
        connected = connect_unix(path)
    except BlockingIOError:  # its backlog is full
        return True
    except OSError:
        return False
    try:
        return is_same_user(connected)
    finally:
        connected.close()
