"""The end of a child process, as the loop waits for it."""

import os

from tunnelctl.engine.descriptor import Descriptor


async def wait_ended(pid: int) -> None:
    """Until the process has ended. Its status is still to be collected, which then waits for nothing."""
    descriptor = Descriptor(os.pidfd_open(pid))
    descriptor.readable = False
    try:
        await descriptor.wait_readable()  # a pidfd is readable once its process has ended
    finally:
        descriptor.forget()
        os.close(descriptor.fd)
