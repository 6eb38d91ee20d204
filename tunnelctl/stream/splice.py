"""Moving bytes inside the kernel: splice(2), and the pipes it needs.

Only ever with SPLICE_F_NONBLOCK: a blocking splice into a pipe holds the pipe's lock while it waits for the socket, and the pipe's
reader then hangs although data lies in it.
"""

import os

FLAGS = os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE

# What one call is asked to move, and the capacity that pipes are given: 64 KiB by default, 1 MiB is the most that an
# unprivileged process may ask for. Measured against 64 KiB on loopback, with the ends on the same two cores: 0.5 of the CPU a GiB
# between two sockets, 0.6 from stdin, 0.3 to stdout; bytes a second the same, and 1.3 times as many to stdout.
CAPACITY = 1 << 20
F_SETPIPE_SZ, F_GETPIPE_SZ = 1031, 1032  # linux/fcntl.h; fcntl has them too, but its import is saved until bulk arrives

# Pipes kept for the next burst. A pipe of 1 MiB counts against the user's soft limit (pipe-user-pages-soft, 64 MiB), after which
# new ones are small; so only a few are kept, whatever the number of tunnels.
POOLED = 16


class Pipe:
    """A pipe of our own, empty whenever it lies in the pool."""

    __slots__ = ("reader", "writer")

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        os.set_blocking(self.writer, False)
        enlarge(self.writer)

    def close(self) -> None:
        os.close(self.reader)
        os.close(self.writer)


def enlarge(pipe: int) -> None:
    """Gives a pipe that has less the capacity that bulk wants. The kernel may refuse (the user's limit): then it stays as it is."""
    from fcntl import fcntl

    try:
        if fcntl(pipe, F_GETPIPE_SZ) < CAPACITY:
            fcntl(pipe, F_SETPIPE_SZ, CAPACITY)
    except OSError:
        pass


_pool: list[Pipe] = []


def take_pipe() -> Pipe | None:
    """A pipe from the pool or a new one; None when descriptors have run out, and the bytes go through Python instead."""
    if _pool:
        return _pool.pop()
    try:
        return Pipe()
    except OSError:
        return None


def give_pipe(pipe: Pipe) -> None:
    """Returns an empty pipe."""
    if len(_pool) < POOLED:
        _pool.append(pipe)
    else:
        pipe.close()


def splice(source: int, sink: int, limit: int) -> int | None:
    """Moves at most `limit` bytes; 0 is EOF, None that one side or the other is not ready."""
    try:
        return os.splice(source, sink, limit, flags=FLAGS)
    except BlockingIOError:
        return None
