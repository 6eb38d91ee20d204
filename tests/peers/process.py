"""Starts and ends programs: found by name, ready when their port accepts connections, ended by process ID."""

import errno
import glob
import os
import re
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from tests.portable.removal import of_linux

# Debian keeps daemons outside the search path of ordinary users, and those of git and PostgreSQL outside every search path.
# Programs from the package index of Python are in the interpreter's directory, and those from that of npm below its environment.
_DEBIAN = ("/usr/sbin", "/sbin", "/usr/lib/git-core", "/usr/lib/squid", *glob.glob("/usr/lib/postgresql/*/bin"))
_NPM = os.path.join(sys.prefix, "npm/node_modules/.bin")
_OUT_OF_PATH = (*_DEBIAN, os.path.dirname(sys.executable), _NPM)
_SEARCH = os.pathsep.join([os.environ.get("PATH", ""), *_OUT_OF_PATH])
_FIRST_PORT = 10_000  # ports below it have service names
_given: deque[int] = deque(maxlen=100)  # the last ports from `free_port`: their callers may not have bound them yet
READY_SECONDS = 20.0
END_SECONDS = 20.0


@cache
def which(program: str) -> str | None:
    return shutil.which(program, path=_SEARCH)


def missing(*programs: str) -> list[str]:
    """The members of `programs` that are not installed."""
    return [program for program in programs if which(program) is None]


def path_of(program: str) -> str:
    """The path of a program that the mark `peer` guarantees to be installed."""
    path = which(program)
    assert path is not None, f"{program} is missing; mark the test with peer({program!r})"
    return path


def tcp_rows() -> list[list[str]]:
    """The kernel's IPv4 TCP sockets. Words 1 and 2 of a row are the two ends, 3 the state, 4 the queues, 5 the timer, 9 the inode.

    Not a snapshot: the kernel may omit or repeat a row if sockets are opened and closed while it writes the table.
    """
    return [row.split() for row in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]


def peer_has_keepalive_timer(sock: socket.socket) -> bool:
    """Whether the kernel shows a keepalive timer (kind 02) at the other end of this connection on loopback.

    Both ports tell the connection from others: the kernel gives one local port to connections with different destinations.
    """
    ours, theirs = (f":{end[1]:04X}" for end in (sock.getsockname(), sock.getpeername()))
    return any(row[1].endswith(theirs) and row[2].endswith(ours) and row[5].startswith("02:") for row in tcp_rows())


def resident(process: int) -> int:
    """The memory of a process in octets."""
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) << 10


def opening(port: int) -> int:
    """Number of sockets that wait for an answer to a SYN to that port on loopback."""
    return len({row[1] for row in tcp_rows() if row[2:4] == [f"0100007F:{port:04X}", "02"]})


def _never_given_away() -> Sequence[int]:
    """The ports that the kernel never uses for outgoing connections, or all if the machine leaves none."""
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    return [port for port in range(_FIRST_PORT, 1 << 16) if not low <= port <= high] or range(_FIRST_PORT, 1 << 16)


def free_port() -> int:
    """A port that is free on every address; a caller that starts a program on it may lose a race (see started_on_a_port).

    The kernel does not choose it: the kernel gives its ports to outgoing connections too, and one of those leaves the port in
    TIME_WAIT. The probe does not set SO_REUSEADDR, since some programs do not. The generator is not `random`, which hypothesis
    seeds.
    """
    while True:
        port = secrets.choice(_never_given_away())
        if port in _given:
            continue
        with socket.socket(socket.AF_INET6) as probe:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            try:
                probe.bind(("::", port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                _given.append(port)
                return port


def answers(port: int, host: str = "127.0.0.1") -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


def wait_until(condition: Callable[[], object], seconds: float = READY_SECONDS, what: str = "the condition") -> None:
    """Returns as soon as `condition` holds, fails after `seconds`. For conditions without a descriptor to wait on."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true within {seconds} s"
        time.sleep(0.005)


# Their default action is to do nothing.
_WITHOUT_EFFECT = {signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH}
# Python ignores these itself, and subprocess restores their default in the programs that it starts.
_OF_PYTHON = {signal.SIGPIPE, signal.SIGXFSZ}


def give_programs_their_signals() -> None:
    """Ensures that programs started from now on have every signal at its default and none blocked.

    A program inherits ignored signals, and a shell's `&` and nohup ignore some; yet many tests check the effect of a signal on
    a program. Such a signal gets a handler that does nothing instead: it protects this process as before, and started programs
    do not inherit it.
    """
    for number in signal.valid_signals() - _OF_PYTHON:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL if number in _WITHOUT_EFFECT else lambda *_: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def ended_within(pid: int, seconds: float) -> bool:
    """Waits for a process to end, which need not be our child; returns whether it did."""
    try:
        descriptor = of_linux(os, "pidfd_open")(pid)
    except ProcessLookupError:
        return True
    try:
        # poll, because select does not support descriptor numbers above 1023.
        watch = select.poll()
        watch.register(descriptor, select.POLLIN)
        return bool(watch.poll(seconds * 1000))
    finally:
        os.close(descriptor)


def end(process: "subprocess.Popen[Any]", with_signal: int = signal.SIGTERM) -> None:
    """Ends a process that we started: with the signal, then with SIGKILL."""
    if process.poll() is None:
        process.send_signal(with_signal)
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(END_SECONDS)


def started_on_a_port(start: "Callable[[int], subprocess.Popen[bytes]]") -> "tuple[subprocess.Popen[bytes], int]":
    """Starts a program that listens on a port; returns both. If another process has taken the port, tries again on another one."""
    for _ in range(3):
        port = free_port()
        process = start(port)
        if _listens(process, port):
            return process, port
        end(process, signal.SIGKILL)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
    raise AssertionError(f"did not start: {process.args!r} ended with {process.returncode}")


def _listens(process: "subprocess.Popen[bytes]", port: int) -> bool:
    deadline = time.monotonic() + READY_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if answers(port):
            return True
        time.sleep(0.01)
    return False


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """A directory that daemons can also read after changing their user; pytest's own is not accessible to them."""
    with tempfile.TemporaryDirectory(prefix="tunnelctl-peer-") as name:
        os.chmod(name, 0o755)
        yield Path(name)


class Daemon:
    """A program that listens on a port that we choose. `command(port)` returns its argument list."""

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
        try:
            self.process, self.port = started_on_a_port(self._start)
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{self.log_text()}") from None
        return self

    def _start(self, port: int) -> "subprocess.Popen[bytes]":
        with self.log.open("ab") as log:
            return subprocess.Popen(self._command(port), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._env)

    def __exit__(self, *failure: object) -> None:
        assert self.process is not None
        crashed = self.process.poll()
        end(self.process, self._end_with)
        if failure[0] is not None or crashed is not None:
            print(f"--- log of {self.process.args!r}\n{self.log_text()}", file=sys.stderr)
        assert crashed is None, f"ended by itself with {crashed}:\n{self.log_text()}"

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else "(no log)"
