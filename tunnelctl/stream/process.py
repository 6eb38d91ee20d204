"""Processes: the terminal of this one, and waiting in the event loop for the end of a child."""

import os

from tunnelctl.engine.descriptor import Descriptor


async def wait_ended(pid: int) -> None:
    """Waits until the process has ended. The caller then collects its status, without blocking."""
    descriptor = Descriptor(os.pidfd_open(pid))
    descriptor.readable = False
    try:
        await descriptor.wait_readable()  # a pidfd is readable once its process has ended
    finally:
        descriptor.forget()
        os.close(descriptor.fd)


def has_terminal() -> bool:
    """Whether this process has a controlling terminal, whatever its standard input and output are."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
