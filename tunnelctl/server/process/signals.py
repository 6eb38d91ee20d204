"""Waiting for blocked signals, for a limited time: sigtimedwait(2), and what macOS and OpenBSD have in its place."""

from __future__ import annotations

import signal
from collections.abc import Collection
from math import inf


def wait_for_signal(signals: Collection[int], seconds: float) -> int | None:
    """Waits for one of these signals, which must be blocked, and returns its number; None if the time passes without one.

    seconds: inf for any length of time. For more than 0, this process must not use SIGALRM or its timer otherwise
    """
    if hasattr(signal, "sigtimedwait") and seconds != inf:
        arrived = signal.sigtimedwait(signals, seconds)
        return None if arrived is None else int(arrived.si_signo)
    if seconds == inf:
        return int(signal.sigwait(signals))
    pending = signal.sigpending() & set(signals)
    if pending or not seconds:
        return int(signal.sigwait(pending)) if pending else None
    return _wait_with_timer(signals, seconds)


def _wait_with_timer(signals: Collection[int], seconds: float) -> int | None:
    """Waits for SIGALRM as well, which a timer sends."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        number = signal.sigwait({*signals, signal.SIGALRM})
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        if signal.SIGALRM in signal.sigpending():  # it came at the same moment as another
            signal.sigwait([signal.SIGALRM])
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
    return None if number == signal.SIGALRM else int(number)
