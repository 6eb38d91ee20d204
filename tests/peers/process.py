"""Starting and ending programs: found by name, ready when their port answers, ended by pid."""

import glob
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

# Debian keeps daemons outside the search path of ordinary users, and git and PostgreSQL theirs out of every path. What came
# from the package index lies beside the interpreter.
_DEBIAN = ("/usr/sbin", "/sbin", "/usr/lib/git-core", "/usr/lib/squid", *glob.glob("/usr/lib/postgresql/*/bin"))
_OUT_OF_PATH = (*_DEBIAN, os.path.dirname(sys.executable))
_SEARCH = os.pathsep.join([os.environ.get("PATH", ""), *_OUT_OF_PATH])
READY_SECONDS = 20.0
END_SECONDS = 10.0


@cache
def which(program: str) -> str | None:
    return shutil.which(program, path=_SEARCH)


def missing(*programs: str) -> list[str]:
    """Those of `programs` that are not installed."""
    return [program for program in programs if which(program) is None]


def path_of(program: str) -> str:
    """The path of a program that the mark `peer` has promised."""
    path = which(program)
    assert path is not None, f"{program} is missing; mark the test with peer({program!r})"
    return path


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody has at this moment; who starts a program on it must be ready to lose the race (see Daemon)."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def answers(port: int, host: str = "127.0.0.1") -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


def wait_until(condition: Callable[[], bool], seconds: float = READY_SECONDS, what: str = "the condition") -> None:
    """Return as soon as `condition` holds, fail after `seconds`. For what has no descriptor to wait on."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true within {seconds} s"
        time.sleep(0.005)


def ended_within(pid: int, seconds: float) -> bool:
    """Wait for a process that need not be a child of ours to end."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        # poll, because a descriptor number above 1023 is nothing for select.
        watch = select.poll()
        watch.register(descriptor, select.POLLIN)
        return bool(watch.poll(seconds * 1000))
    finally:
        os.close(descriptor)


def end(process: "subprocess.Popen[bytes]", with_signal: int = signal.SIGTERM) -> None:
    """End a process that we started: politely, then not."""
    if process.poll() is None:
        process.send_signal(with_signal)
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(END_SECONDS)


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """A directory that daemons which change their user can read too; pytest's own is closed to them."""
    with tempfile.TemporaryDirectory(prefix="tunnelctl-peer-") as name:
        os.chmod(name, 0o755)
        yield Path(name)


class Daemon:
    """A program that listens on a port of ours. `command(port)` gives its argument list."""

    def __init__(
        self,
        command: Callable[[int], list[str]],
        log: Path,
        env: dict[str, str] | None = None,
        end_with: int = signal.SIGTERM,
    ) -> None:
        self._command = command
        self._env = env
        self._end_with = end_with
        self.log = log
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Daemon":
        for _ in range(3):  # somebody else may take the port before the program binds it
            if self._start():
                return self
        raise AssertionError(f"did not start:\n{self.log_text()}")

    def _start(self) -> bool:
        self.port = free_port()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command(self.port), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._env
            )
        deadline = time.monotonic() + READY_SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            if answers(self.port):
                return True
            time.sleep(0.01)
        end(self.process, signal.SIGKILL)
        return False

    def __exit__(self, *failure: object) -> None:
        assert self.process is not None
        crashed = self.process.poll()
        end(self.process, self._end_with)
        if failure[0] is not None or crashed is not None:
            print(f"--- log of {self.process.args!r}\n{self.log_text()}", file=sys.stderr)
        assert crashed is None, f"ended by itself with {crashed}:\n{self.log_text()}"

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else "(no log)"
