"""The reports of `check`: rows and JSON objects for every event, and a region that is redrawn on a terminal."""

import json

import pytest

from tests.peers.events import check_events
from tunnelctl.cli.render.check.report import BAR, JSONReport, PlainReport, bar
from tunnelctl.cli.render.check.rows import LINES
from tunnelctl.client.check.events import (
    CHECK,
    HTTP2,
    Address,
    Attempt,
    Certificate,
    Ends,
    Failure,
    Finding,
    Greeting,
    Idle,
    Interrupted,
    Phase,
    Reply,
    Series,
    Setting,
    Statistics,
    Verdict,
    Waiting,
)
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
    Attempt(1, False, 0.1, HOSTILE),
    Statistics("dns", 2, 1, 0.1, 0.1, 0.1, 0.1),
    Interrupted("proxy", HOSTILE, 3.2),
    Failure(69, HOSTILE, HOSTILE),
    Finding("refused", HOSTILE, HOSTILE),
    Verdict(False, 69, "h:22", ["p:1"], 0.1),
)


def test_every_event_is_rendered():
    assert {type(event) for event in EVENTS} == {*CHECK, Warning}
    assert {*LINES, "series", "statistics"} == {name_of(type(event)) for event in EVENTS}


def test_in_a_pipe_text_is_escaped_and_columns_are_aligned(capfd):
    report = PlainReport()
    for event in EVENTS:
        report(event)
    lines = capfd.readouterr().out.splitlines()
    assert all(line.isprintable() for line in lines)
    assert r"\x1b[31m" in "\n".join(lines)
    assert "connect    2.0 ms  red" in "\n".join(lines)
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


def test_a_failure_is_not_repeated_by_its_finding(capfd):
    report = PlainReport()
    report(Failure(69, "a", "b"))
    report(Finding("refused", "a: b", "c"))
    report(Finding("refused", "d", ""))
    lines = capfd.readouterr().out.splitlines()
    assert [(line[:8].strip(), line[19:]) for line in lines] == [("error", "a: b"), ("hint", "c"), ("finding", "d")]


@pytest.mark.parametrize(
    ("begin", "seconds", "start", "length"),
    [(0.0, 1.0, 0, BAR), (0.5, 0.5, BAR // 2, BAR // 2), (0.0, 0.0, 0, 1), (1.0, 0.0, BAR - 1, 1), (0.99, 0.01, BAR - 1, 1)],
)
def test_a_bar_shows_the_place_and_length_of_a_phase(begin, seconds, start, length):
    assert bar({"begin": begin, "seconds": seconds}, 1.0, "=") == " " * start + "=" * length


def test_a_bar_of_zero_duration_has_one_character():
    assert bar({"begin": 0.0, "seconds": 0.0}, 0.0, "=") == "="


def test_the_verdict_names_a_signal():
    assert LINES["verdict"](Verdict(False, 130, "h:22", [], 0.1).facts())[:3] == (
        "stopped",
        "",
        "h:22 without a proxy; by signal 2",
    )


def test_a_table_of_statistics_comes_before_what_follows(capfd):
    report = PlainReport()
    report(Statistics("dns", 1, 0, 0.1, 0.1, 0.1, 0.1))
    report(Statistics("tunnel", 1, 0, 0.1, 0.1, 0.1, 0.1))
    report(Verdict(True, 0, "h:22", [], 0.1))
    assert [line.split()[0] for line in capfd.readouterr().out.splitlines()] == ["phase", "dns", "tunnel", "works"]
