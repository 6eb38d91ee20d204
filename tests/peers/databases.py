"""PostgreSQL and Redis on loopback, created for a test and removed after it."""

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.peers.process import Daemon, path_of, scratch_directory

USER = "tester"


def _as_somebody() -> list[str]:
    """Prefix of a command that runs it as another user: PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return []
    account = pwd.getpwnam("nobody")
    return ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]


@contextmanager
def postgresql() -> Iterator[int]:
    """Runs a cluster that trusts every user on loopback; yields its port."""
    with scratch_directory() as directory:
        data = directory / "data"
        data.mkdir(0o700)
        if os.getuid() == 0:
            shutil.chown(data, "nobody")
            shutil.chown(directory, "nobody")
        binaries = Path(path_of("initdb")).resolve().parent  # all from one version, whatever others are installed
        options = ["-A", "trust", "-U", USER, "--no-sync", "--no-locale", "-E", "UTF8"]
        make = [*_as_somebody(), str(binaries / "initdb"), "-D", str(data), *options]
        subprocess.run(make, check=True, capture_output=True, timeout=60, cwd=directory)

        def command(port: int) -> list[str]:
            settings = [f"port={port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={directory}", "fsync=off"]
            words = [word for setting in settings for word in ("-c", setting)]
            return [*_as_somebody(), str(binaries / "postgres"), "-D", str(data), *words]

        with Daemon(command, directory / "log", end_with=signal.SIGINT) as daemon:
            yield daemon.port


@contextmanager
def redis() -> Iterator[int]:
    """Runs a Redis that stores nothing on disk; yields its port."""
    with scratch_directory() as directory:

        def command(port: int) -> list[str]:
            return [path_of("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(directory)]

        with Daemon(command, directory / "log") as daemon:
            yield daemon.port
