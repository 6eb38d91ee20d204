"""Other processes that share counters with the test."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tunnelctl.server.process.shared_counters import SharedLock


@contextmanager
def held(lock: SharedLock) -> Iterator[None]:
    """Lets another process hold the lock."""
    (asked, told), (ending, end) = os.pipe(), os.pipe()
    pid = os.fork()
    if not pid:
        os.close(end)
        with suppress(BaseException), lock.hold():
            os.write(told, b"x")
            os.read(ending, 1)
        os._exit(0)
    try:
        assert os.read(asked, 1) == b"x"
        yield
    finally:
        os.close(end)
        os.waitpid(pid, 0)
        for fd in (asked, told, ending):
            os.close(fd)


def in_a_child(check: object) -> bool:
    """Whether `check` returns true in a forked process."""
    pid = os.fork()
    if not pid:
        status = 1
        with suppress(BaseException):
            status = 0 if check() else 1  # type: ignore[operator]
        os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
