"""Opens and removes the control socket of a running program.

A lock on the directory covers the time from looking whether a socket is in use until the new one listens. Without it, of two
programs that start at once, one could remove the socket of the other. A program that is killed leaves its files behind; the next
one that starts removes them.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, flock

from tunnelctl.control.directory import ROUTE, SOCKET, Published, check_name, directory, fault_of
from tunnelctl.errors import ListenError, reason
from tunnelctl.stream.listen import ListenAddress, close_listener, listen, remove_stale


class Control:
    """An open control socket."""

    def __init__(self, name: str, listener: socket.socket, path: str) -> None:
        self.name, self.listener, self._path = name, listener, path
        self._file = _file_at(path)
        self._retired = False

    @property
    def address(self) -> ListenAddress:
        """Its address. The path changes when it retires."""
        return ListenAddress("", 0, self._path)

    @property
    def _is_there(self) -> bool:
        """Whether the path is still that of this socket. After the directory was removed, another program may have made its own."""
        return self._file is not None and _file_at(self._path) == self._file

    def publish(self, told: Published) -> None:
        """Writes what other programs may know from now on; nothing after it has retired. Raises ListenError."""
        if self._retired or not self._is_there:
            return
        try:
            _publish(self._path, told)
        except OSError as error:
            raise ListenError(f"cannot listen on {self.address}", reason(error), "cannot-listen") from error

    def retire(self) -> None:
        """Leaves its name to a successor, which may start while this program drains; `status` still finds it.

        No `connect --via` does: the file beside it goes, and the name gets the process id added.
        """
        if self._retired or not self._is_there:
            return
        self._retired = True
        retired = f"{self._path.removesuffix(SOCKET)}-{os.getpid()}{SOCKET}"
        with suppress(OSError):
            _remove_route(self._path)
            os.rename(self._path, retired)
            self._path = retired

    def close(self) -> None:
        """Closes the socket, and removes its files."""
        self._retired = True
        if self.listener.fileno() < 0:
            return
        if self._is_there:
            _remove_route(self._path)
            close_listener(self.address, self.listener)
        else:
            self.listener.close()


def _file_at(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def open_control(command: str, name: str | None, environ: Mapping[str, str], told: Published | None = None) -> Control:
    """Opens the control socket. Raises ListenError, or UsageProblem for an unusable name.

    command: forward, run or serve; the default name is made of it
    name: None for the default, which is the command, or COMMAND-PID if that is in use
    told: for the file beside it; None: no file, as neither `connect --via auto` nor `env` can use this program
    """
    if name is not None:
        check_name(name, "name")
    path = _made(directory(environ))
    with _locked(path):
        return _open(path, (command, f"{command}-{os.getpid()}") if name is None else (name,), told)


def _open(path: str, names: Sequence[str], told: Published | None) -> Control:
    """Opens the socket with the first of the names that is free."""
    for name in names:
        address = ListenAddress("", 0, f"{path}/{name}{SOCKET}")
        try:
            control = Control(name, listen(address, 0.0), address.path)
        except ListenError as error:
            if error.code != "path-in-use":
                raise
            continue
        try:
            if told is not None:
                control.publish(told)
        except BaseException:
            control.close()
            raise
        return control
    raise _in_use(names[-1], f"{path}/{names[-1]}{SOCKET}")


def _in_use(name: str, path: str) -> ListenError:
    from tunnelctl.control.instances import Instance  # it loads the HTTP client

    command, pid = Instance(name, path).described()
    return ListenError(f"--name {name}", f"{command} (process {pid}) has this name", "name-in-use", facts={"name": name})


def _clean(path: str) -> None:
    """Removes the files of programs that were killed."""
    for name in os.listdir(path):
        with suppress(OSError):  # it is no reason not to start
            if name.endswith(SOCKET) and remove_stale(f"{path}/{name}"):
                _remove_route(f"{path}/{name}")


def _publish(path: str, told: Published) -> None:
    """Writes the file. The inode tells of which socket: the file of one that was killed may still be there."""
    fd = os.open(_route_file(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with open(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
        first = " ".join((str(os.stat(path).st_ino), *told.ports))
        file.write(f"{first}\n{told.fingerprint}")


def _remove_route(path: str) -> None:
    with suppress(OSError):
        os.unlink(_route_file(path))


def _route_file(path: str) -> str:
    return path.removesuffix(SOCKET) + ROUTE


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
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise ListenError(f"control directory {path}", reason(error), "control-directory") from error
    try:
        _lock(fd, path)
        yield
    finally:
        os.close(fd)


def _lock(fd: int, path: str) -> None:
    """Locks the directory, and removes what killed programs have left there."""
    try:
        flock(fd, LOCK_EX)
        _clean(path)
    except OSError as error:
        raise ListenError(f"control directory {path}", reason(error), "control-directory") from error
