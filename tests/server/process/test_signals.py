"""Waiting for blocked signals, with sigtimedwait(2) and without."""

import signal
from collections.abc import Iterator
from math import inf
from threading import Timer, main_thread
from time import monotonic

import pytest

from tunnelctl.server.process.signals import wait_for_signal

SIGNALS = {signal.SIGUSR1, signal.SIGUSR2}


@pytest.fixture(autouse=True, params=["sigtimedwait", "looking"])
def blocked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Blocks the signals, and takes away sigtimedwait for half of the tests."""
    if request.param == "looking":
        monkeypatch.delattr(signal, "sigtimedwait", raising=False)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    yield
    assert not signal.sigpending() & SIGNALS
    assert signal.pthread_sigmask(signal.SIG_SETMASK, before) == before | SIGNALS


def send(number: int) -> None:
    """Sends it to the thread of the test. Another thread, as pytest-xdist has, does not block it."""
    signal.pthread_kill(main_thread().ident, number)


@pytest.mark.parametrize("seconds", [0, 5, inf])
def test_a_pending_signal_is_returned_at_once(seconds: float) -> None:
    send(signal.SIGUSR2)
    assert wait_for_signal(SIGNALS, seconds) == signal.SIGUSR2
    assert wait_for_signal(SIGNALS, 0) is None


@pytest.mark.parametrize("seconds", [20, inf])
def test_a_signal_ends_the_wait(seconds: float) -> None:
    timer = Timer(0.05, send, [signal.SIGUSR1])
    timer.start()
    begun = monotonic()
    assert wait_for_signal(SIGNALS, seconds) == signal.SIGUSR1
    assert monotonic() - begun < 10
    timer.join()


def test_the_time_passes() -> None:
    begun = monotonic()
    assert wait_for_signal(SIGNALS, 0.05) is None
    assert monotonic() - begun >= 0.04
    assert wait_for_signal(SIGNALS, 1e-9) is None


def test_signals_come_one_by_one() -> None:
    for number in SIGNALS:
        send(number)
    assert {wait_for_signal(SIGNALS, 1), wait_for_signal(SIGNALS, 1)} == SIGNALS
    assert wait_for_signal(SIGNALS, 0) is None
