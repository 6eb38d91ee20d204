"""Waiting for signals that are blocked at any other time."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from math import inf
from pathlib import Path
from threading import Timer, main_thread
from time import monotonic

import pytest

from tests.peers.process import wait_until
from tunnelctl.server.process.signals import BlockedSignals

SIGNALS = {signal.SIGUSR1, signal.SIGUSR2}


@pytest.fixture
def signals() -> Iterator[BlockedSignals]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    handlers = [signal.getsignal(number) for number in SIGNALS]
    with BlockedSignals(*SIGNALS) as signals:
        yield signals
    assert [signal.getsignal(number) for number in SIGNALS] == handlers
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


def send(number: int) -> None:
    """Sends it to the thread of the test. Another thread, as pytest-xdist has, does not block it."""
    signal.pthread_kill(main_thread().ident, number)


@pytest.mark.parametrize("seconds", [0, 5, inf])
def test_a_pending_signal_is_returned_at_once(signals: BlockedSignals, seconds: float) -> None:
    send(signal.SIGUSR2)
    assert signal.sigpending() & SIGNALS == {signal.SIGUSR2}
    assert signals.wait(seconds) == signal.SIGUSR2
    assert signals.wait(0) is None


@pytest.mark.parametrize("seconds", [20, inf])
def test_a_signal_ends_the_wait(signals: BlockedSignals, seconds: float) -> None:
    timer = Timer(0.05, send, [signal.SIGUSR1])
    timer.start()
    begun = monotonic()
    assert signals.wait(seconds) == signal.SIGUSR1
    assert monotonic() - begun < 10
    timer.join()


def test_the_time_passes(signals: BlockedSignals) -> None:
    begun = monotonic()
    assert signals.wait(0.05) is None
    assert monotonic() - begun >= 0.04
    assert signals.wait(1e-9) is None


def test_signals_come_one_by_one(signals: BlockedSignals) -> None:
    for number in SIGNALS:
        send(number)
    assert {signals.wait(1), signals.wait(1)} == SIGNALS
    assert signals.wait(0) is None


def test_the_end_discards_what_has_arrived(signals: BlockedSignals) -> None:
    send(signal.SIGUSR1)  # its usual action would end the process


WAITS = """
import signal, sys
from tunnelctl.server.process.signals import BlockedSignals
with BlockedSignals(signal.SIGHUP, signal.SIGTERM) as signals:
    print("ready", flush=True)
    print(*(signals.wait(0.3) for _ in range(5)), flush=True)
"""


def test_a_process_that_stood_still_takes_that_for_no_signal() -> None:
    """Ctrl-Z and fg, or a debugger: the wait is interrupted, and its time has passed."""
    with subprocess.Popen([sys.executable, "-c", WAITS], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        wait_until(lambda: Path(f"/proc/{process.pid}/stat").read_text().split()[2] == "S", 20, "the wait")
        os.kill(process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.4)  # until the wait should have ended
        os.kill(process.pid, signal.SIGCONT)
        assert process.stdout.read().split() == ["None"] * 5
