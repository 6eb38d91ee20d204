"""tunnelctl as other programs use it: a process with arguments, an environment, pipes and an exit status."""

import io
import json
import os
import re
import select
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import IO

from tests.peers.events import check_events, check_record
from tests.peers.process import READY_SECONDS, end, wait_until

MODULE = (sys.executable, "-m", "tunnelctl")
# A single word, since git runs core.gitProxy without a shell. `pip install -e` puts it into the interpreter's directory.
SCRIPT = str(Path(sys.executable).with_name("tunnelctl"))
RUN_SECONDS = 30.0
SOON = 15.0  # time limit for events that must happen at once; generous, because the machine may be busy

# The documented line or its event, with a port unless it is a Unix socket.
_LISTENING = re.compile(r'(?:listening on |\{"event": "listening".*?"address": ")(?:unix:|\S*:(\d+))')

# The line of a control socket, which follows those of the local ports.
_CONTROL = re.compile(r'tunnelctl: control: |\{"event": "control"')

# The lines that serve and forward print about themselves after the last of those; their number depends on the flags.
_START_LINES = (
    "targets|denied|report only|policy file|clients|use it|plain http|next proxy|TLS|workers|access log|status page|metrics|control"
)
_START_LINE = re.compile(rf"tunnelctl: (?:{_START_LINES}): .*\n")


def patched(changes: str) -> Sequence[str]:
    """The command of a tunnelctl modified by Python statements, which may change a limit or a value that the system reports."""
    return sys.executable, "-c", f"import sys\nfrom tunnelctl.cli.main import main\n{changes}\nsys.exit(main())"


Bytes = subprocess.CompletedProcess[bytes]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a started program, in which a warning in tunnelctl is an error and a fault has a traceback."""
    ours = {"PYTHONWARNINGS": "error", "TUNNELCTL_DEBUG": "1", "SHELL": "/bin/sh"}
    return {**os.environ, **ours, **(extra or {})}


def run(
    *arguments: str,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    seconds: float = RUN_SECONDS,
    program: Sequence[str] | None = None,
) -> Bytes:
    """Runs tunnelctl to its end, with `stdin` on its standard input."""
    return subprocess.run(
        [*(program or MODULE), *arguments], input=stdin, capture_output=True, env=environment(env), timeout=seconds
    )


def connect(proxy: str, target: str, *options: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> Bytes:
    """Runs `tunnelctl connect -x PROXY OPTIONS TARGET`; `target` may be 'HOST PORT' or 'HOST:PORT'."""
    return run("connect", "-x", proxy, *options, *target.split(), stdin=stdin, env=env)


def without_start_lines(text: str) -> str:
    """The output of `serve` or `forward` without the lines that it prints about itself at its start."""
    return _START_LINE.sub("", text)


def next_line(pipe: IO[bytes]) -> str:
    """The next line that is not one of those; "" at the end."""
    while _START_LINE.fullmatch(line := pipe.readline().decode()):
        pass
    return line


@contextmanager
def started(
    *arguments: str, env: Mapping[str, str] | None = None, program: Sequence[str] | None = None, **streams: int
) -> Iterator["subprocess.Popen[bytes]"]:
    """Runs tunnelctl, with pipes unless `streams` sets others; ends it and closes its pipes after the body."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    process = subprocess.Popen([*(program or MODULE), *arguments], env=environment(env), bufsize=0, **pipes)
    if process.stderr is not None:
        process.stderr = _Heard(process.stderr)
    # If the body waits on a pipe of a hanging process, this ends the process and so the wait.
    watchdog = threading.Timer(RUN_SECONDS, process.kill)
    watchdog.start()
    try:
        yield process
    finally:
        watchdog.cancel()
        end(process)
        said = process.stderr.all() if isinstance(process.stderr, _Heard) else b""
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
    check_events(said)
    _check_log(arguments)


def _check_log(arguments: Sequence[str]) -> None:
    """Checks the records of an access log file against the manual. A killed program may leave an incomplete last one."""
    for flag, path in pairwise(arguments):
        if flag == "--access-log" and Path(path).is_file():
            for line in Path(path).read_bytes().split(b"\n")[:-1]:
                check_record(json.loads(line))


class _Heard(io.FileIO):
    """A pipe that keeps the data read from it. `communicate` bypasses it, and conftest checks its output separately."""

    def __init__(self, pipe: IO[bytes]) -> None:
        with pipe:
            super().__init__(os.dup(pipe.fileno()))
        self._heard = bytearray()

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(-1 if size is None else size)
        self._heard += data or b""
        return data

    def all(self) -> bytes:
        """The complete lines that were read, and those still unread after the program has ended.

        Does not read to the end of the pipe, which a child of the program may still hold. A killed program may leave an
        incomplete line.
        """
        if not self.closed:
            os.set_blocking(self.fileno(), False)
            while self.read(1 << 16):
                pass
        return bytes(self._heard[: self._heard.rfind(b"\n") + 1])


def echoed(data: bytes, *words: str, env: Mapping[str, str] | None = None) -> Bytes:
    """Runs `tunnelctl connect WORDS` to a target that echoes.

    stdin stays open until all of `data` has come back, because few proxies pass on a half-close.
    """
    back = bytearray()
    with started("connect", *words, env=env) as process:
        feeder = threading.Thread(target=_feed, args=(process.stdin, data))
        feeder.start()
        while len(back) < len(data) and (piece := process.stdout.read(1 << 18)):
            back += piece
        feeder.join()
        process.stdin.close()
        back += process.stdout.read()
        return Bytes(process.args, process.wait(SOON), bytes(back), process.stderr.read())


def _feed(pipe: IO[bytes], data: bytes) -> None:
    """Writes all of it, or stops when the reader is gone: then the exit status has the cause."""
    view = memoryview(data)
    with suppress(BrokenPipeError):
        while view:
            view = view[pipe.write(view) :]


def read_soon(pipe: IO[bytes], size: int) -> bytes:
    """Reads exactly `size` bytes from an unbuffered pipe; fewer at its end or after the time limit."""
    data = b""
    while len(data) < size and select.select([pipe], [], [], SOON)[0]:
        piece = pipe.read(size - len(data))
        if not piece:
            break
        data += piece
    return data


def at_end_soon(pipe: IO[bytes]) -> bool:
    return bool(select.select([pipe], [], [], SOON)[0]) and pipe.read(1) == b""


@contextmanager
def handed_over(*words: str, env: Mapping[str, str] | None = None) -> Iterator[socket.socket]:
    """Runs `tunnelctl connect --fdpass WORDS` to its end, which must be a clean one. Yields the socket that ssh would receive."""
    ours, theirs = socket.socketpair()
    with ours, theirs, started("connect", "--fdpass", *words, env=env, stdout=theirs.fileno()) as process:
        ours.settimeout(SOON)
        byte, (descriptor,), _, _ = socket.recv_fds(ours, 1, 1)
        assert byte == b"\0"
        assert (process.wait(SOON), process.stderr.read()) == (0, b"")
        with socket.socket(fileno=descriptor) as tunnel:
            tunnel.settimeout(SOON)
            yield tunnel


def proxy_command(*proxies: str, options: str = "") -> str:
    """The value of ssh's ProxyCommand for a route through `proxies`."""
    words = [*MODULE, "connect", *(word for proxy in proxies for word in ("-x", proxy))]
    ours = shlex.join(words).replace("%", "%%")  # ssh would expand a percent sign in a URL
    return f"{ours} {options} %h %p".replace("  ", " ")


class Serve:
    """`tunnelctl serve` on a port of its choice; it allows loopback targets unless the caller passes other rules."""

    def __init__(
        self,
        *arguments: str,
        allow: tuple[str, ...] = ("127.0.0.1:*",),
        env: Mapping[str, str] | None = None,
        program: Sequence[str] | None = None,
    ) -> None:
        rules = [word for rule in allow for word in ("--allow", rule)]
        self._command = [*(program or MODULE), "serve", "--listen", "127.0.0.1:0", *rules, *arguments]
        self._env = environment(env)
        self._listening = threading.Event()
        self._lines: list[str] = []
        self._expected = 1
        self.ports: list[int] = []  # of its listeners, in order; 0 for a Unix socket
        self.ended_on_purpose = False  # set by a body that ends the process itself

    def __enter__(self) -> "Serve":
        self.process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=self._env,
            encoding="utf-8",
            errors="backslashreplace",
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._listening.wait(READY_SECONDS) or len(self.ports) < self._expected:
            self._stop()
            raise AssertionError(f"it did not listen:\n{self.log()}")
        return self

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._lines.append(line)
            found = _LISTENING.match(line)
            if found:
                self.ports.append(int(found[1] or 0))
            if len(self.ports) == self._expected and (found or _CONTROL.match(line)):
                self._listening.set()
        self._listening.set()  # the end of stderr: no more lines can follow

    @property
    def port(self) -> int:
        return self.ports[0]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def log(self) -> str:
        return "".join(self._lines)

    def wait_for_log(self, text: str, count: int = 1) -> str:
        """Waits until it has said a text `count` times, and not more; returns the log. Until it has ended, its lines come late."""
        wait_until(lambda: self.log().count(text) >= count, what=f"{text!r}, {count} times")
        assert self.log().count(text) == count, self.log()
        return self.log()

    def _stop(self) -> int:
        end(self.process)
        self._reader.join(RUN_SECONDS)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return self.process.returncode

    def __exit__(self, kind: object, failure: BaseException | None, trace: object) -> None:
        crashed = self.process.poll()
        status = self._stop()
        if failure is not None:
            failure.add_note(f"it said:\n{self.log()}")
            return
        assert crashed is None or self.ended_on_purpose, f"it ended by itself with {crashed}:\n{self.log()}"
        assert status == 0 or self.ended_on_purpose, f"it ended with {status} after SIGTERM:\n{self.log()}"
        assert "Traceback" not in self.log(), self.log()
        check_events(self.log().encode())
        _check_log(self._command)


class Forward(Serve):
    """`tunnelctl forward` with the local ports in its arguments; `ports` has the same order."""

    def __init__(self, *arguments: str, env: Mapping[str, str] | None = None, program: Sequence[str] | None = None) -> None:
        super().__init__(env=env)
        self._command = [*(program or MODULE), "forward", *arguments]
        self._expected = sum(word in ("-L", "-D") for word in arguments)
