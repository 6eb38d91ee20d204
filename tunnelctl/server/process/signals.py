"""Waiting for signals that are blocked at any other time.

Not with sigtimedwait(2): where a stop (SIGSTOP, Ctrl-Z) or a debugger interrupts the call and its time passes meanwhile, CPython
returns what happened to be in memory, and the caller takes that for a signal that nobody sent. macOS and OpenBSD have no such call.
"""

from __future__ import annotations

import os
import select
import signal
from collections import deque
from math import ceil, inf


class BlockedSignals:
    """Receives these signals, in place of their previous handlers, until the block ends. Only in the main thread."""

    def __init__(self, *numbers: int) -> None:
        self._numbers = numbers
        self._arrived: deque[int] = deque()

    def __enter__(self) -> BlockedSignals:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._poll = select.poll()
        self._poll.register(self._reader, select.POLLIN)
        self._wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        signal.pthread_sigmask(signal.SIG_BLOCK, self._numbers)
        # The handler does nothing, but without one no byte would arrive in the pipe.
        self._handlers = {number: signal.signal(number, lambda *_: None) for number in self._numbers}
        return self

    def __exit__(self, *_: object) -> None:
        """Discards what has arrived, and lets later signals through to the previous handlers."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._numbers)
        self.leave()

    def wait(self, seconds: float) -> int | None:
        """Waits for one of the signals, and returns its number; None if the time passes without one.

        seconds: inf for any length of time
        """
        if not self._arrived:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, self._numbers)
            found = self._poll.poll(None if seconds == inf else ceil(seconds * 1000))
            signal.pthread_sigmask(signal.SIG_BLOCK, self._numbers)
            if found:
                self._arrived.extend(os.read(self._reader, 4096))
        return self._arrived.popleft() if self._arrived else None

    def leave(self) -> None:
        """Gives the previous handlers back, and leaves the signals blocked. A forked child calls this: the pipe is its parent's."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._reader)
        os.close(self._writer)
