"""`tunnelctl stop`: shuts running programs down gracefully, as SIGTERM does, and waits until they have ended."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from select import select
from time import sleep

from tunnelctl.cli.parse.values import wrong_words
from tunnelctl.cli.render.console import write_stderr
from tunnelctl.control.instances import Instance, named
from tunnelctl.errors import Unreachable
from tunnelctl.stream.process import EndOfProcess, end_of

POLL_SECONDS = 0.1  # between looks at a process, where there is no descriptor of its end


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
    try:
        return _Process(pid, _end_of(pid))
    except ProcessLookupError:
        workers = " ".join(str(worker.pid) for worker in instance.status().workers)
        cause = f"its main process, {pid}, was killed, and its workers continue"
        raise Unreachable(instance.name, cause, "instance-orphaned", facts={"workers": workers}) from None


def _end_of(pid: int) -> EndOfProcess | None:
    """Returns None where the kernel, or a sandbox, allows no such descriptor. Raises ProcessLookupError if it has ended."""
    try:
        return end_of(pid)
    except ProcessLookupError:
        raise
    except OSError:
        os.kill(pid, 0)
        return None


def _announce(instance: Instance) -> None:
    try:
        tunnels = instance.status().tunnels
    except Unreachable:  # it hangs, and is told to stop nevertheless
        return
    if tunnels:
        write_stderr(f"tunnelctl: {instance.name}: draining, {tunnels} tunnel{'s' * (tunnels != 1)} open\n".encode())


class _Process:
    """A process of this user. With a descriptor of its end, its number cannot come to mean another process."""

    def __init__(self, pid: int, end: EndOfProcess | None) -> None:
        """end: None where the kernel has no such descriptor"""
        self._pid, self._end = pid, end

    def terminate(self) -> None:
        """Sends SIGTERM; a process that has ended meanwhile is no error."""
        try:
            if self._end is not None and hasattr(signal, "pidfd_send_signal"):
                signal.pidfd_send_signal(self._end.fileno(), signal.SIGTERM)
            elif self._end is None or not _is_readable(self._end, 0):
                os.kill(self._pid, signal.SIGTERM)
        except ProcessLookupError:
            pass

    def wait(self) -> None:
        """Waits for its end."""
        if self._end is not None:
            _is_readable(self._end, None)
            self._end.close()
            return
        while _exists(self._pid):
            sleep(POLL_SECONDS)


def _is_readable(end: EndOfProcess, seconds: float | None) -> bool:
    return bool(select([end], [], [], seconds)[0])


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
