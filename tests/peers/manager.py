"""A service manager as described in sd_notify(3): a socket that receives the state messages of a service."""

import os
import socket
import time
from pathlib import Path

SECONDS = 15.0

# A program that starts tunnelctl with a descriptor passed as by a socket unit (sd_listen_fds(3)).
ACTIVATE = """
import os, sys
passed = int(sys.argv[1])
os.dup2(passed, 3, inheritable=True)
if passed != 3:  # another copy would stay open, and keep the listener alive when the program closes its own
    os.close(passed)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="db")
os.execv(sys.executable, [sys.executable, "-m", "tunnelctl", *sys.argv[2:]])
"""


class Manager:
    """Binds its socket in a directory of the test."""

    def __init__(self, directory: Path) -> None:
        self._path = os.fspath(directory / "notify")

    def __enter__(self) -> "Manager":
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self._path)
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    @property
    def environ(self) -> dict[str, str]:
        return {"NOTIFY_SOCKET": self._path}

    def wait_for(self, state: str) -> list[str]:
        """Waits for a message that begins with this line; returns its other lines."""
        deadline = time.monotonic() + SECONDS
        while True:
            self._socket.settimeout(max(0.01, deadline - time.monotonic()))
            first, *others = self._socket.recv(4096).decode().split("\n")
            if first == state:
                return others
