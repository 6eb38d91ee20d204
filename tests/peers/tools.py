"""Real tools that read what `setup` prints: their home directory, the proxy's log as the witness, and mounts of their own."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.peers.process import path_of
from tests.peers.program import RUN_SECONDS, SCRIPT, SOON, environment, patched

NAME = "pkg.example.test"
# serve looks the name up as this machine; no tool can.
LOOKUP = patched(
    f"import _socket as socket; real = socket.getaddrinfo\ndef known(host, *rest):\n"
    f"    return real('127.0.0.1' if host in ({NAME!r}, {NAME.encode()!r}, {NAME.encode() + b'.'!r}) else host, *rest)\n"
    f"socket.getaddrinfo = known"
)
SECONDS = 60.0


class Route:
    """A proxy on a port, and the access log of the serve to which it leads: the witness."""

    def __init__(self, port: int, log: Path) -> None:
        self.port, self._log = port, log

    def went_to(self, port: int) -> bool:
        """Whether a tunnel led to that port. A record may be written some moments after the tool has ended."""
        deadline = time.monotonic() + SOON
        while f'"target":"{NAME}:{port}"' not in self._log.read_text():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True


def env(home: Path, **extra: str) -> dict[str, str]:
    """The environment of a user with that home, and none of ours that would name another proxy or index."""
    inherited = {
        name: value for name, value in environment().items() if not name.startswith(("PIP_", "UV_", "NPM_", "npm_", "XDG_"))
    }
    return {**inherited, "HOME": str(home), **extra}


def lines(home: Path, tool: str, *words: str) -> str:
    """What `setup` prints for a tool, to stdout."""
    command = [SCRIPT, "setup", tool, *words]
    done = subprocess.run(command, capture_output=True, text=True, env=env(home), timeout=RUN_SECONDS)
    assert done.returncode in (0, 78), done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def printed(home: Path, tool: str, port: int, *words: str) -> str:
    """The lines that lead to the port of a forward."""
    return lines(home, tool, "-D", str(port), *words)


def install(home: Path, tool: str, port: int, *place: str) -> Path:
    """Writes the lines into the file below the home directory, and checks that --check finds them from then on, and not before."""
    assert " lacks " in printed(home, tool, port, "--check")
    file = home.joinpath(*place)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(printed(home, tool, port))
    assert " has the lines\n" in printed(home, tool, port, "--check")
    assert "another value for " in printed(home, tool, 1, "--check")
    return file


def ran(home: Path, *command: str, cwd: Path | str | None = None, **extra: str) -> "subprocess.CompletedProcess[str]":
    words = [path_of(command[0]), *command[1:]]
    return subprocess.run(
        words, capture_output=True, text=True, env=env(home, **extra), timeout=SECONDS, cwd=cwd or home, stdin=subprocess.DEVNULL
    )


def in_own_mounts(script: str, *words: str) -> list[str]:
    """The command of a shell script that runs as root, and whose mounts only it sees. Skips the test where that is impossible.

    The words are its parameters. What it mounts on /run, /etc and /var is no change of the machine.
    """
    unshare = [path_of("unshare"), "--mount", "--propagation", "private"]
    if os.geteuid() != 0 or subprocess.run([*unshare, "true"], capture_output=True, timeout=RUN_SECONDS).returncode:
        pytest.skip("needs root, and the right to mount")
    return [*unshare, "sh", "-euc", script, "sh", *words]
