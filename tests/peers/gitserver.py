"""git without user or system settings, a repository, and git's own daemon for it."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.peers.process import Daemon, path_of

_IDENTITY: dict[str, Any] = {
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.test",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.test",
}


def environment(**extra: str) -> dict[str, str]:
    """The environment of a git without user or system settings and without prompts."""
    quiet = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
    return {**os.environ, "PYTHONWARNINGS": "error", **quiet, **extra}


def git(*words: str, seconds: float = 60, **extra: Any) -> str:
    command = [path_of("git"), *words]
    done = subprocess.run(command, env=environment(**extra), capture_output=True, timeout=seconds, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stderr.decode(errors='replace')}"
    return done.stdout.decode()


def make_repository(directory: Path, content: bytes) -> Path:
    """Creates a bare repository `directory`/repo.git with one commit of one file `content`, usable over dumb HTTP too."""
    work, bare = directory / "work", directory / "repo.git"
    git("init", "-q", "-b", "main", str(work))
    (work / "content").write_bytes(content)
    git("-C", str(work), "add", "content")
    git("-C", str(work), "commit", "-q", "-m", "one", **_IDENTITY)
    git("clone", "-q", "--bare", str(work), str(bare))
    git("-C", str(bare), "update-server-info")
    return bare


@contextmanager
def daemon(base: Path, log: Path) -> Iterator[int]:
    """Runs git daemon for every repository under `base`; yields its port."""

    def command(port: int) -> list[str]:
        words = ["--listen=127.0.0.1", f"--port={port}", f"--base-path={base}", "--export-all", "--reuseaddr"]
        return [path_of("git-daemon"), *words]

    with Daemon(command, log) as running:
        yield running.port
