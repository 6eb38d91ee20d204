"""Files that an operator writes: UTF-8, and not without end."""

import os
import select
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from errno import ETIMEDOUT
from time import monotonic

from tunnelctl.errors import SettingsError, reason

PIPE_SECONDS = 10.0  # for what writes to a pipe, as of <(COMMAND)


def read_text(path: str, what: str, most: int) -> str:
    """The whole text. Raises SettingsError, also for more than `most` characters: a wrong path may be a device without an end.

    A pipe that nobody writes to does not keep it waiting.
    """
    try:
        with _opened(path) as fd:
            piped = stat.S_ISFIFO(os.fstat(fd).st_mode)
            text = b"".join(_pieces(fd, 4 * most + 4)).decode("utf-8")
            spent = piped and not text
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{what} {path}", reason(error) if isinstance(error, OSError) else "it is not UTF-8") from error
    if spent:  # by the first reading, as of <(COMMAND); to take it for a file without rules would open what they had closed
        raise SettingsError(f"{what} {path}", "a pipe can be read once, and nothing is left in it", "give a file that stays")
    if len(text) > most:
        raise SettingsError(f"{what} {path}", f"it is longer than {most >> 20} MiB")
    return text


@contextmanager
def _opened(path: str) -> Iterator[int]:
    # O_NONBLOCK: open(2) of a FIFO waits for somebody to write to it, and nothing ends that but a signal.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _pieces(fd: int, most: int) -> Iterator[bytes]:
    """What is in it, up to the end or to `most` octets."""
    until = monotonic() + PIPE_SECONDS
    while most > 0:
        try:
            piece = os.read(fd, most)
        except BlockingIOError:  # somebody has the other end of a pipe, and has not written yet
            _wait(fd, until - monotonic())
            continue
        if not piece:
            return
        most -= len(piece)
        yield piece


def _wait(fd: int, seconds: float) -> None:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    if not poll.poll(max(0.0, seconds) * 1000):
        raise TimeoutError(ETIMEDOUT, f"nothing came through the pipe within {PIPE_SECONDS:g} s")
