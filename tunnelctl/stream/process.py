"""Processes: the terminal of this one, and waiting in the event loop for the end of a child."""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from functools import partial

from tunnelctl.engine.descriptor import Descriptor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# typeshed declares pidfd for Linux, and kqueue for macOS and the BSDs only.
_os: Any = os
_select: Any = select


class EndOfProcess:
    """A descriptor that is readable once a process has ended: a pidfd, or a kqueue, which can itself be waited for."""

    def __init__(self, fd: int, close: Callable[[], None]) -> None:
        self._fd, self.close = fd, close

    def fileno(self) -> int:
        return self._fd


def end_of(pid: int) -> EndOfProcess:
    """Opens such a descriptor. Raises OSError: ProcessLookupError if the process has ended already.

    A process that has ended, and was not collected, has a pidfd; on macOS it has none.
    """
    if hasattr(os, "pidfd_open"):
        pidfd: int = _os.pidfd_open(pid)
        return EndOfProcess(pidfd, partial(os.close, pidfd))
    queue = _select.kqueue()
    try:
        queue.control([_select.kevent(pid, _select.KQ_FILTER_PROC, _select.KQ_EV_ADD, _select.KQ_NOTE_EXIT)], 0)
    except BaseException:
        queue.close()
        raise
    return EndOfProcess(queue.fileno(), queue.close)


async def wait_ended(pid: int) -> None:
    """Waits until the process has ended. The caller then collects its status, without blocking."""
    try:
        end = end_of(pid)
    except ProcessLookupError:
        return
    descriptor = Descriptor(end.fileno())
    descriptor.readable = False
    try:
        await descriptor.wait_readable()
    finally:
        descriptor.forget()
        end.close()


def has_terminal() -> bool:
    """Whether this process has a controlling terminal, whatever its standard input and output are."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
