"""The report of `check`: in a pipe, on terminals of any width, with and without colour, and as JSON."""

import json
import re
import signal
import subprocess

import pexpect
import pytest

from tests.peers.events import check_events
from tests.peers.program import MODULE, environment, run
from tests.peers.scripted import Conversation, ScriptedServer, refusing_port
from tunnelctl.cli.commands.check import BAR, LINES, JSONReport, PlainReport, bar, buckets, milliseconds, report_for, series
from tunnelctl.client.check.events import (
    CHECK,
    HTTP2,
    Address,
    Certificate,
    Ends,
    Failure,
    Finding,
    Greeting,
    Idle,
    Phase,
    Reply,
    Series,
    Setting,
    Verdict,
    Waiting,
)
from tunnelctl.errors import UsageProblem
from tunnelctl.events import Warning, name_of
from tunnelctl.rare_events import Ignored

HOSTILE = "red \x1b[31m\u202e"
EVENTS = (
    Setting("--proxy", "flag"),
    Ignored("no_proxy", HOSTILE, "empty"),
    Waiting(HOSTILE),
    Warning(HOSTILE),
    Phase("connect", HOSTILE, 0.001, 0.002, True, (HOSTILE,)),
    HTTP2(True, False, 100, 65535, 16384, 0.05, 10.5, 0.1, HOSTILE),
    HTTP2(False, cause=HOSTILE),
    Ends(True, False, ""),
    Ends(None, None, HOSTILE),
    Greeting(b"\x1b[31mSSH-2.0\r\nmore", 0.1),
    Idle(False, 9.0, HOSTILE),
    Certificate(HOSTILE, HOSTILE, "2027-01-01T00:00:00+00:00", "aa", "p", True, False, "same", None),
    Reply(True, 200, HOSTILE, 2048, 0.1, ""),
    Address("::1", False, 0.1, HOSTILE),
    Series(3, 1, [0.1, 0.2], 0.1, 0.1, 0.2, 0.2),
    Failure(69, HOSTILE, HOSTILE),
    Finding("refused", HOSTILE, HOSTILE),
    Verdict(False, 69, "h:22", ["p:1"], 0.1),
)


def test_every_event_is_rendered():
    assert {type(event) for event in EVENTS} == {*CHECK, Warning}
    assert {*LINES, "series"} == {name_of(type(event)) for event in EVENTS}


def test_in_a_pipe_text_is_escaped_and_columns_are_aligned(capfd):
    report = PlainReport()
    for event in EVENTS:
        report(event)
    lines = capfd.readouterr().out.splitlines()
    assert all(line.isprintable() for line in lines)
    assert r"\x1b[31m" in "\n".join(lines)
    assert "connect      2.0 ms  red" in "\n".join(lines)
    assert [line[:8].strip() for line in lines if "SSH" in line] == ["target"]
    assert any(line.startswith("hint") for line in lines)


def test_every_event_is_printed_as_json(capfd):
    report = JSONReport()
    for event in EVENTS:
        report(event)
    out = capfd.readouterr().out
    assert out.isascii()
    check_events(out.encode())
    assert [json.loads(line)["event"] for line in out.splitlines()] == [name_of(type(event)) for event in EVENTS]


def test_the_report_for_a_pipe_is_plain(monkeypatch):
    assert isinstance(report_for(False, "auto"), PlainReport)
    assert isinstance(report_for(False, "never"), PlainReport)
    assert isinstance(report_for(True, "always"), JSONReport)
    with pytest.raises(UsageProblem):
        run_usage("--color", "red")


def run_usage(*words: str) -> None:
    done = run("check", *words, "host", "22")
    assert done.returncode == 2, done.stderr
    raise UsageProblem("--color", done.stderr.decode(), "syntax")


def test_a_failure_is_not_repeated_by_its_finding(capfd):
    report = PlainReport()
    report(Failure(69, "a", "b"))
    report(Finding("refused", "a: b", "c"))
    report(Finding("refused", "d", ""))
    lines = capfd.readouterr().out.splitlines()
    assert [(line[:8].strip(), line[21:]) for line in lines] == [("error", "a: b"), ("hint", "c"), ("finding", "d")]


# --- numbers


@pytest.mark.parametrize(("value", "text"), [(0.0, "0.0 ms"), (0.0123, "12.3 ms"), (2.5, "2500.0 ms"), (None, "")])
def test_times_are_in_milliseconds(value, text):
    assert milliseconds(value) == text


@pytest.mark.parametrize(
    ("begin", "seconds", "start", "length"),
    [(0.0, 1.0, 0, BAR), (0.5, 0.5, BAR // 2, BAR // 2), (0.0, 0.0, 0, 1), (1.0, 0.0, BAR - 1, 1), (0.99, 0.01, BAR - 1, 1)],
)
def test_a_bar_shows_the_place_and_length_of_a_phase(begin, seconds, start, length):
    assert bar({"begin": begin, "seconds": seconds}, 1.0) == " " * start + "━" * length


def test_a_bar_of_zero_duration_has_one_character():
    assert bar({"begin": 0.0, "seconds": 0.0}, 0.0) == "━"


def test_times_are_counted_in_buckets():
    assert [count for _, count in buckets([1.0, 1.0, 2.0, 9.0])] == [2, 1, 0, 0, 0, 0, 0, 1]
    assert sum(count for _, count in buckets([5.0, 5.0])) == 2


def test_a_series_without_success():
    nothing = dict.fromkeys(("min", "median", "p99", "max"))
    assert series({"count": 2, "failed": 2, "times": [], **nothing}) == ["series        2 run  none worked; 2 failed"]


# --- on a terminal


def greet(peer: Conversation) -> None:
    peer.send(b"hello\n")
    peer.wait_gone()


def on_terminal(columns: int, *words: str, **env: str) -> str:
    """Returns the output on a terminal of that width."""
    with ScriptedServer(greet) as target:
        command = [*MODULE[1:], "check", "-x", "direct", *words, target.authority]
        child = pexpect.spawn(
            MODULE[0], command, env=environment({"TERM": "xterm", **env}), dimensions=(24, columns), encoding="utf-8", timeout=20
        )
        child.expect(pexpect.EOF)
        child.close()
    assert child.exitstatus == 0, child.before
    return child.before


@pytest.mark.parametrize("columns", [40, 65, 66, 80, 200])
def test_the_report_fits_the_width_of_the_terminal(columns):
    """If there is no room for the bars, they are left out and nothing else is cut."""
    text = re.sub("\x1b\\[[0-9;]*m", "", on_terminal(columns))
    assert ("━" in text) == (columns >= 66)
    assert "…" not in text
    assert all(word in text for word in ("route", "dns", "connect", "-x", "127.0.0.1", "hello"))
    assert max(len(line) for line in text.replace("\r", "").split("\n")) <= columns
    assert "works" in text


@pytest.mark.parametrize(
    ("words", "env", "coloured"),
    [
        ((), {}, True),
        ((), {"NO_COLOR": "1"}, False),
        (("--color", "never"), {}, False),
        (("--color", "never"), {"FORCE_COLOR": "1"}, False),
        (("--color", "always"), {"NO_COLOR": "1"}, True),
        ((), {"TERM": "dumb"}, False),
    ],
    ids=str,
)
def test_colour_follows_the_flag_and_the_environment(words, env, coloured):
    assert ("\x1b[32m" in on_terminal(80, *words, **env)) == coloured


@pytest.mark.parametrize("words", [("--color", "always")])
def test_colour_in_a_pipe_only_if_forced(words):
    with ScriptedServer(greet) as target:
        plain = run("check", "-x", "direct", target.authority, env={"TERM": "xterm"})
        asked = run("check", "-x", "direct", *words, target.authority, env={"TERM": "xterm"})
        forced = run("check", "-x", "direct", target.authority, env={"TERM": "xterm", "FORCE_COLOR": "1"})
    assert b"\x1b" not in plain.stdout
    assert b"\x1b[32m" in asked.stdout
    assert b"\x1b[32m" in forced.stdout


def test_ctrl_c_ends_a_waiting_check_without_a_traceback():
    sock, port = refusing_port()
    with sock:
        words = [*MODULE[1:], "check", "--wait", "60", "-x", f"127.0.0.1:{port}", "host", "22"]
        child = pexpect.spawn(MODULE[0], words, env=environment(), encoding="utf-8", timeout=20)
        child.expect("waiting")
        child.sendintr()
        child.expect(pexpect.EOF)
        child.close()
    assert child.signalstatus == signal.SIGINT
    assert "Traceback" not in child.before


def test_a_closed_stdout_is_reported_without_a_traceback():
    with ScriptedServer(greet) as target:
        line = f'"$@" check -x direct {target.authority} >&-'

        done = subprocess.run(["sh", "-c", line, "sh", *MODULE], capture_output=True, env=environment(), timeout=20)
    assert done.returncode == 74
    assert done.stderr == b"tunnelctl: stdout: it is closed\n"
