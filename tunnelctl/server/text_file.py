"""Text files written by an operator: UTF-8, with or without a byte order mark, of bounded size."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from errno import ETIMEDOUT
from time import monotonic

from tunnelctl.engine.poller import IN, poll_once
from tunnelctl.errors import SettingsError, reason
from tunnelctl.files.text import decode

OPEN_SECONDS = 1.0  # for the writer of a named pipe to open it, if both programs were started at the same moment
PIPE_SECONDS = 10.0  # for the writer of a pipe to write, as with <(COMMAND)


def read_text(path: str, kind: str, most: int) -> str:
    """Returns the whole text. Raises SettingsError, also for more than `most` bytes: a wrong path may be an endless device.

    kind: the kind of file, for the errors. Waits up to OPEN_SECONDS for the writer of a pipe.
    """
    what = f"{kind} {path}"
    try:
        with _opened(path) as fd:
            piped = stat.S_ISFIFO(os.fstat(fd).st_mode)
            if piped:
                _await_writer(fd)
            octets = b"".join(_pieces(fd, most + 1))
    except OSError as error:
        raise SettingsError(what, reason(error), "unreadable") from error
    # An earlier read took it, as with <(COMMAND), or nothing writes to the pipe: without rules, what they closed would be open.
    if piped and not octets:
        raise SettingsError(what, "the pipe is empty, and no program writes to it", "pipe-empty")
    if len(octets) > most:
        raise SettingsError(what, f"longer than {most >> 20} MiB", "too-large")
    return decode(octets, what)


@contextmanager
def _opened(path: str) -> Iterator[int]:
    # O_NONBLOCK: open(2) of a FIFO waits for a writer, and only a signal ends that wait.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _await_writer(fd: int) -> None:
    """Waits briefly for the first writer of a named pipe. Without a writer, read(2) reports end of file, and poll(2) does not."""
    poll_once(fd, IN, OPEN_SECONDS)


def _pieces(fd: int, most: int) -> Iterator[bytes]:
    """Yields the content, up to its end or to `most` octets."""
    until = monotonic() + PIPE_SECONDS
    while most > 0:
        try:
            piece = os.read(fd, most)
        except BlockingIOError:  # a writer has the pipe open, and has not written yet
            _wait(fd, until - monotonic())
            continue
        if not piece:
            return
        most -= len(piece)
        yield piece


def _wait(fd: int, seconds: float) -> None:
    if not poll_once(fd, IN, max(0.0, seconds)):
        raise TimeoutError(ETIMEDOUT, f"nothing came through the pipe within {PIPE_SECONDS:g} s")
