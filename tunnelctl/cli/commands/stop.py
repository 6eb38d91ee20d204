"""`tunnelctl stop`: shuts running programs down gracefully, as SIGTERM does, and waits until they have ended."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from select import select
from time import sleep
from typing import Any

from tunnelctl.cli.parse.values import wrong_words
from tunnelctl.cli.render.console import write_stderr
from tunnelctl.control.instances import Instance, named
from tunnelctl.errors import Unreachable

_os: Any = os  # typeshed declares pidfd for Linux only
_signal: Any = signal

POLL_SECONDS = 0.1  # between looks at a process, where the kernel has no pidfd


def run_stop(names: Sequence[str], environ: Mapping[str, str]) -> None:
    """Ends the programs. Raises Unreachable if one does not run; then none has been stopped."""
    if not names:
        raise wrong_words("stop", "NAME...", [])
    several = [(instance, _process_of(instance)) for instance in named(names, environ)]
    for instance, process in several:
        _announce(instance)
        process.terminate()
    for _, process in several:
        process.wait()


def _process_of(instance: Instance) -> _Process:
    """Raises Unreachable if the process that has opened the socket is gone, and others still serve it."""
    pid = instance.pid()
    if not _exists(pid):
        workers = " ".join(str(worker.pid) for worker in instance.status().workers)
        cause = f"its main process, {pid}, was killed, and its workers continue"
        raise Unreachable(instance.name, cause, "instance-orphaned", facts={"workers": workers})
    return _Process(pid)


def _announce(instance: Instance) -> None:
    try:
        tunnels = instance.status().tunnels
    except Unreachable:  # it hangs, and is told to stop nevertheless
        return
    if tunnels:
        write_stderr(f"tunnelctl: {instance.name}: draining, {tunnels} tunnel{'s' * (tunnels != 1)} open\n".encode())


class _Process:
    """A process of this user. With a pidfd, its number cannot come to mean another process."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._fd = _pidfd(pid)

    def terminate(self) -> None:
        """Sends SIGTERM; a process that has ended meanwhile is no error."""
        try:
            if self._fd is None:
                os.kill(self._pid, signal.SIGTERM)
            else:
                _signal.pidfd_send_signal(self._fd, signal.SIGTERM)
        except ProcessLookupError:
            pass

    def wait(self) -> None:
        """Waits for its end."""
        if self._fd is not None:
            select([self._fd], [], [])  # readable once the process has ended
            os.close(self._fd)
            return
        while _exists(self._pid):
            sleep(POLL_SECONDS)


def _pidfd(pid: int) -> int | None:
    try:
        pidfd: int = _os.pidfd_open(pid)
        return pidfd
    except (AttributeError, OSError):  # not Linux, or a sandbox that does not allow it; or the process has ended
        return None


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
