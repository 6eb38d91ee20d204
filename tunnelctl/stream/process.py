"""Processes: the terminal of this one, and waiting in the event loop for the end of a child."""

from __future__ import annotations

import os
import select

from tunnelctl.engine.descriptor import Descriptor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# typeshed declares pidfd for Linux, and kqueue for macOS and the BSDs only.
_os: Any = os
_select: Any = select


async def wait_ended(pid: int) -> None:
    """Waits until the process has ended. The caller then collects its status, without blocking."""
    if hasattr(os, "pidfd_open"):
        pidfd = _os.pidfd_open(pid)  # readable once its process has ended
        try:
            await _wait_readable(pidfd)
        finally:
            os.close(pidfd)
        return
    queue = _select.kqueue()  # can itself be waited for
    try:
        queue.control([_select.kevent(pid, _select.KQ_FILTER_PROC, _select.KQ_EV_ADD, _select.KQ_NOTE_EXIT)], 0)
        await _wait_readable(queue.fileno())
    except ProcessLookupError:  # macOS: it has ended already
        pass
    finally:
        queue.close()


async def _wait_readable(fd: int) -> None:
    descriptor = Descriptor(fd)
    descriptor.readable = False
    try:
        await descriptor.wait_readable()
    finally:
        descriptor.forget()


def has_terminal() -> bool:
    """Whether this process has a controlling terminal, whatever its standard input and output are."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
