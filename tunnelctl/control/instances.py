"""The running programs of this user, as their control sockets show them: what `status`, `top` and `stop` look at."""

from __future__ import annotations

import json
import os
import socket
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from typing import Any, NamedTuple, TypeVar

from tunnelctl.control.directory import SOCKET, directory, fault_of, path_of
from tunnelctl.control.snapshot import Recent, Status, Tunnels, recent_from, status_from, tunnels_from
from tunnelctl.errors import Unreachable
from tunnelctl.stream.listen import is_stale
from tunnelctl.stream.unix_stream import connect_unix, peer_pid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

T = TypeVar("T")

SECONDS = 1.0  # for an answer: the program is on this machine


class Instance(NamedTuple):
    """A control socket, and the program that listens there, if it still runs."""

    name: str
    path: str

    def status(self, seconds: float = SECONDS) -> Status:
        """Asks what the program is. Raises Unreachable if it does not answer."""
        return self._ask("/status", status_from, seconds)

    def tunnels(self, seconds: float = SECONDS) -> Tunnels:
        """Asks for the tunnels. Raises Unreachable if it does not answer."""
        return self._ask("/tunnels", tunnels_from, seconds)

    def recent(self, seconds: float = SECONDS) -> Recent:
        """Asks what has ended or was refused. Raises Unreachable if it does not answer."""
        return self._ask("/recent", recent_from, seconds)

    def pid(self) -> int:
        """Returns the process that listens. Raises Unreachable if there is none."""
        try:
            connected = connect_unix(self.path)
        except OSError as error:
            raise self._gone() from error
        with closing(connected):
            pid = peer_pid(connected)
        if pid is None:
            return self.status().pid
        if pid <= 0:  # to kill(2), that would be the caller's own process group
            raise Unreachable(self.name, "it runs in another PID namespace", "instance-elsewhere")
        return pid

    def described(self) -> tuple[str, str]:
        """Returns the command and the process id for a message, as far as they can be found out."""
        try:
            status = self.status()
            return status.command, str(status.pid)
        except Unreachable:
            return "a program that does not answer", "unknown"

    def _gone(self) -> Unreachable:
        return Unreachable(self.name, "it does not answer", "instance-gone")

    def _ask(self, path: str, read: Callable[[dict[str, Any]], T], seconds: float) -> T:
        connection = _UnixConnection(self.path, seconds)
        try:
            with closing(connection):
                connection.request("GET", path)
                return read(json.loads(connection.getresponse().read()))
        except TimeoutError as error:
            raise Unreachable(self.name, f"no answer within {seconds:g} s", "instance-mute") from error
        except (OSError, HTTPException) as error:
            raise self._gone() from error
        except (ValueError, KeyError, TypeError) as error:  # no JSON, or the records of another version
            raise Unreachable(self.name, "it is another version of tunnelctl", "instance-version") from error


class _UnixConnection(HTTPConnection):
    """HTTP over a unix socket. (httpx has it too, takes 0.1 s to load, and leaves a socket open when the program has gone.)"""

    def __init__(self, path: str, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        """Connects to the path."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def running(environ: Mapping[str, str]) -> list[Instance]:
    """Lists the control sockets of this user by name, without those of programs that were killed. Empty without a directory."""
    path = directory(environ)
    if fault_of(path) is not None:
        return []
    names = sorted(name.removesuffix(SOCKET) for name in os.listdir(path) if name.endswith(SOCKET))
    found = [Instance(name, path_of(name, environ)) for name in names]
    return [instance for instance in found if not is_stale(instance.path)]


def named(names: Sequence[str], environ: Mapping[str, str]) -> list[Instance]:
    """Returns the running programs of these names; all of them without names. Raises Unreachable if one does not run."""
    known = {instance.name: instance for instance in running(environ)}
    for name in names:
        if name not in known:
            facts = {"running": ", ".join(known)}
            raise Unreachable(name, "no running process has this name", "no-instance", facts=facts if known else {})
    return [known[name] for name in names] if names else list(known.values())
