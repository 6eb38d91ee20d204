"""The control socket of a `forward`: its private HTTP endpoint, where `connect --via` opens tunnels.

It is a dynamic port that only processes of the same user can use: it is in a directory of mode 0700, and the uid of each client is
checked. So it requires no login. A CONNECT request is answered with 100 (Continue) at once, long before the proxies have granted
the tunnel: a client can tell a forward that hangs from a proxy that is slow. A tunnel that breaks ends with a reset, which unix
sockets do not have: see stream.unix_stream.

Files: see client.control_socket. A lock on the directory covers the time from looking whether a socket is in use until the new one
listens. Without it, of two programs that start at once, one could remove the socket of the other. A forward that is killed leaves
its files behind; the next one that starts removes them.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, flock

from tunnelctl.client.control_socket import ROUTE, SOCKET, Published, check_name, directory, fault_of, is_same_user
from tunnelctl.client.forward.session import LocalSession, ServeHTTP, Sessions
from tunnelctl.errors import ListenError, reason
from tunnelctl.namedtuple import NamedTuple
from tunnelctl.proto.http1.render import CONTINUE
from tunnelctl.proto.local_port import CONNECT, LocalRequest
from tunnelctl.stream.accept import Serve
from tunnelctl.stream.listen import ListenAddress, close_listener, listen, remove_stale
from tunnelctl.stream.unix_stream import UnixStream

DEFAULT_NAME = "forward"  # of the first forward without --name; the others have their process id added


class Control(NamedTuple):
    """An open control socket."""

    name: str
    listener: socket.socket
    address: ListenAddress

    def serve(self, shared: Sessions, serve_http: ServeHTTP) -> Serve:
        """Returns the function that serves an accepted connection."""

        async def session(accepted: socket.SocketType, host: str, client: str) -> None:
            if not is_same_user(accepted):
                accepted.close()
                return
            stream = UnixStream(accepted)
            stream.expect_marks()
            await ControlSession(shared, stream, host, client, None, None, serve_http).run()

        return session

    def publish(self, told: Published) -> None:
        """Writes what other programs may know from now on. Raises ListenError."""
        _publish(self.address, told)

    def close(self) -> None:
        """Closes the socket, and removes its files."""
        if self.listener.fileno() >= 0:
            with suppress(OSError):
                os.unlink(_route_file(self.address))
        close_listener(self.address, self.listener)


class ControlSession(LocalSession):
    """One connection to the control socket."""

    async def answer(self, request: LocalRequest) -> None:
        if request.protocol == CONNECT:
            await self.stream.send_all(CONTINUE)
        await super().answer(request)

    def watch(self, ended: Callable[[], None], gone: Callable[[], None]) -> None:
        super().watch(ended, gone)
        self.stream.on_broken(gone)  # our `connect` sends nothing before its tunnel is open, so no data is lost


def open_control(name: str | None, told: Published, environ: Mapping[str, str]) -> Control:
    """Opens the control socket. Raises ListenError, or UsageProblem for an unusable name.

    name: None for the default; told: for the file beside it
    """
    if name is not None:
        check_name(name, "name")
    path = _made(directory(environ))
    with _locked(path):
        _clean(path)
        return _open(path, (DEFAULT_NAME, f"{DEFAULT_NAME}-{os.getpid()}") if name is None else (name,), told)


def _open(path: str, names: Sequence[str], told: Published) -> Control:
    """Opens the socket with the first of the names that is free."""
    for name in names:
        address = ListenAddress("", 0, f"{path}/{name}{SOCKET}")
        try:
            control = Control(name, listen(address, 0.0), address)
        except ListenError as error:
            if error.code != "path-in-use":
                raise
            continue
        try:
            control.publish(told)
        except BaseException:
            control.close()
            raise
        return control
    raise ListenError(f"forward {names[-1]}", "another one of this name is running", "name-in-use")


def _clean(path: str) -> None:
    """Removes the files of forwards that were killed."""
    for name in os.listdir(path):
        with suppress(OSError):  # it is no reason not to start
            if name.endswith(SOCKET) and remove_stale(f"{path}/{name}"):
                os.unlink(_route_file(ListenAddress("", 0, f"{path}/{name}")))


def _publish(address: ListenAddress, told: Published) -> None:
    """Writes the file. The inode tells of which socket: the file of one that was killed may still be there."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    try:
        fd = os.open(_route_file(address), flags, 0o600)
        with open(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
            first = " ".join((str(os.stat(address.path).st_ino), *told.ports))
            file.write(f"{first}\n{told.fingerprint}")
    except OSError as error:
        raise ListenError(f"cannot listen on {address}", reason(error), "cannot-listen") from error


def _route_file(address: ListenAddress) -> str:
    return address.path.removesuffix(SOCKET) + ROUTE


def _made(path: str) -> str:
    """Makes the directory if it is missing. Raises ListenError if it cannot be trusted."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise ListenError(f"control directory {path}", reason(error), "control-directory") from error
    if fault := fault_of(path):
        facts = {"path": path, "of_mode": fault.of_mode}
        raise ListenError(f"control directory {path}", fault.cause, "control-directory", facts=facts)
    return path


@contextmanager
def _locked(path: str) -> Iterator[None]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        flock(fd, LOCK_EX)
        yield
    finally:
        os.close(fd)
