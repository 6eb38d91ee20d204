"""`--background`: the command returns once its work has begun, and the work goes on in a process without a terminal."""

import os
from collections.abc import Callable
from contextlib import suppress

READY = b"+"

Ready = Callable[[], None]


def in_background(work: Callable[[Ready], int]) -> int:
    """Runs `work` in a child; returns 0 once it calls its argument, or its exit status if it ends before.

    Until then the child has our standard streams, and is in our process group: what it prints is seen, it may ask for a password at
    the terminal, and Ctrl-C ends it too.
    """
    waiting, telling = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(waiting)
        return work(lambda: _detach(telling))
    os.close(telling)
    with open(waiting, "rb") as pipe:
        if pipe.read(1) == READY:
            return 0
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _detach(telling: int) -> None:
    """Leaves the session, and with it the terminal; then tells the parent. The directory stays: paths may be relative to it."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    if null > 2:
        os.close(null)
    with suppress(OSError):  # the parent has been killed
        os.write(telling, READY)
    os.close(telling)
