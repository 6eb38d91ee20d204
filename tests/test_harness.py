"""The suite itself: it passes however it was started, also in the background or with nohup."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SECONDS = 60.0

# A script's `&` ignores SIGINT and SIGQUIT in the program it starts; nohup ignores SIGHUP.
SHIELDED = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM, signal.SIGCHLD, signal.SIGTSTP)
STATES = {
    "ignored": f"[signal.signal(number, signal.SIG_IGN) for number in {[*map(int, SHIELDED)]}]",
    "blocked": f"signal.pthread_sigmask(signal.SIG_BLOCK, {[*map(int, SHIELDED)]})",
}

SIGNALS_OF_A_PROGRAM = """
import signal
ignored = [number for number in signal.valid_signals() if signal.getsignal(number) is signal.SIG_IGN]
print(*sorted(ignored), *signal.pthread_sigmask(signal.SIG_BLOCK, []))
"""


def python(code: str, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, cwd=ROOT, timeout=SECONDS, text=True)


def test_a_program_has_every_signal_at_its_default():
    """Except those that Python itself ignores."""
    assert python(SIGNALS_OF_A_PROGRAM).stdout.split() == [str(int(signal.SIGPIPE)), str(int(signal.SIGXFSZ))]


@pytest.mark.parametrize("state", STATES)
def test_the_suite_passes_with_signals_ignored_or_blocked(state):
    """Runs tests whose programs receive signals, and one that signals the test process itself."""
    tests = [
        "tests/test_harness.py::test_a_program_has_every_signal_at_its_default",
        "tests/client/forward/test_run_command.py::test_signals_reach_the_command",
        "tests/engine/test_signals.py::test_ctrl_c_raises_no_exception_while_a_receiver_is_open",
    ]
    start = f"import os, signal, sys; {STATES[state]}; os.execv(sys.executable, [sys.executable, '-m', 'pytest', *sys.argv[1:]])"
    done = python(start, "-q", "-p", "no:cacheprovider", *tests)
    assert done.returncode == 0, done.stdout


def test_signals_ignored_at_the_start_stay_ignored_in_the_suite():
    """Closing the terminal of a run under nohup does not end it."""
    code = f"""
import os, signal
{STATES["ignored"]}
from tests.peers.process import give_programs_their_signals
give_programs_their_signals()
for number in {[*map(int, SHIELDED)]}:
    os.kill(os.getpid(), number)
print("lives")
"""
    assert python(code).stdout == "lives\n"
