"""Keys pressed on the terminal that is stdin, one by one and without echo."""

import os
import termios
from collections.abc import Iterator
from contextlib import contextmanager

from tunnelctl.engine.descriptor import Descriptor
from tunnelctl.engine.kernel import park

STDIN = 0
MOST_KEYS = 1024  # read at once; more than a person types


async def wait_for_key(key: bytes) -> None:
    """Waits until the key is pressed, or the terminal has hung up; for ever if stdin is no terminal of ours."""
    if not _is_ours():
        await park()
    with _single_keys():
        await _read_until(key)


def _is_ours() -> bool:
    """Whether stdin is a terminal and this process in its foreground: one in the background would be stopped (SIGTTOU)."""
    try:
        return os.isatty(STDIN) and os.tcgetpgrp(STDIN) == os.getpgrp()
    except OSError:  # a terminal, but not the one that controls this process
        return False


@contextmanager
def _single_keys() -> Iterator[None]:
    """Switches line mode and echo off until the block ends. Ctrl-C remains a signal."""
    saved = termios.tcgetattr(STDIN)
    changed = list(saved)
    changed[3] &= ~(termios.ICANON | termios.ECHO)
    termios.tcsetattr(STDIN, termios.TCSANOW, changed)
    try:
        yield
    finally:
        try:
            termios.tcsetattr(STDIN, termios.TCSANOW, saved)
        except termios.error:  # the terminal has gone
            pass


async def _read_until(key: bytes) -> None:
    """Reads only where something can be read: stdin stays in blocking mode, because others share the open file."""
    descriptor = Descriptor(STDIN)
    descriptor.readable = False
    try:
        while True:
            await descriptor.wait_readable()
            descriptor.readable = False
            keys = os.read(STDIN, MOST_KEYS)
            if not keys or key in keys:
                return
    except OSError:  # hung up
        return
    finally:
        descriptor.forget(shared=True)
