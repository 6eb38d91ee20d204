"""Waiting for blocked signals, for a limited time: sigtimedwait(2), and what macOS and OpenBSD have in its place."""

from __future__ import annotations

import signal
from collections.abc import Collection
from math import inf
from time import monotonic, sleep

# Seconds between two looks, where there is no sigtimedwait. A timer with SIGALRM would be no better: another thread that does not
# block that signal may get it, and the process ends.
LOOK_SECONDS = 0.02


def wait_for_signal(signals: Collection[int], seconds: float) -> int | None:
    """Waits for one of these signals, which must be blocked, and returns its number; None if the time passes without one.

    seconds: inf for any length of time
    """
    if seconds == inf:
        return int(signal.sigwait(signals))
    if hasattr(signal, "sigtimedwait"):
        arrived = signal.sigtimedwait(signals, seconds)
        return None if arrived is None else int(arrived.si_signo)
    until = monotonic() + seconds
    while not (pending := signal.sigpending() & set(signals)):
        left = until - monotonic()
        if left <= 0:
            return None
        sleep(min(left, LOOK_SECONDS))
    return int(signal.sigwait(pending))
