"""What a person reads: the shape of errors, escaping, verbosity, JSON, and a stderr that is not there."""

import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from man.source.man import BOTH_EVENTS, CONNECT_EVENTS, FORWARD_EVENTS, SERVE_EVENTS
from tests.cli.screen import Screen
from tests.peers.events import check_events
from tunnelctl.cli.render import console as module
from tunnelctl.cli.render.console import NOTICES, STAGES, head_lines, write_stderr, write_stdout
from tunnelctl.errors import Refused, TunnelBroken, UsageProblem

# --- errors


def test_an_error_is_a_line_and_a_hint():
    screen = Screen(quiet=True)
    screen.error(Refused("proxy p:3128 refused h:22", "403 Forbidden", "ask for port 22", code=403))
    assert screen.lines == ["tunnelctl: proxy p:3128 refused h:22: 403 Forbidden", "hint: ask for port 22"]


def test_a_hint_is_shown_once_for_connections_that_fail_alike():
    """A browser opens dozens of them; what helps one helps all."""
    screen = Screen()
    for hint in ("a", "a", "", "a", "b\n"):
        screen("failed", client="c", what="w", cause="x", hint=hint)
    failed = "tunnelctl: client c: w: x"
    assert screen.lines == [failed, "hint: a", failed, failed, failed, "hint: a", failed, r"hint: b\x0a"]


def test_hostile_text_in_an_error_stays_one_line():
    screen = Screen()
    screen.error(UsageProblem("a\nb", "\x1b[2J\r", "h\n"))
    assert screen.lines == [r"tunnelctl: a\x0ab: \x1b[2J\x0d", r"hint: h\x0a"]


def test_a_password_in_an_error_is_masked():
    for screen in (Screen(), Screen(json=True)):
        screen.error(UsageProblem("http://u:swordfish@h", "u:swordfish@h", "http://u:swordfish@h"))
        assert b"swordfish" not in screen.written


def test_an_error_as_json():
    screen = Screen(json=True)
    screen.error(Refused("proxy p refused h:22", "403\x1b", "ask", code=403, status=1))
    check_events(screen.written)
    assert screen.records == [
        {
            "event": "error",
            "at": 0.012,
            "status": 69,
            "what": "proxy p refused h:22",
            "cause": "403\\x1b",
            "hint": "ask",
            "code": 403,
        }
    ]


def test_a_fault_has_a_type_a_status_and_a_way_to_see_more():
    screen = Screen()
    screen.fault(ValueError("x\ny"), debug=False)
    assert screen.lines == [
        r"tunnelctl: fault in tunnelctl: ValueError: x\x0ay",
        "hint: TUNNELCTL_DEBUG=1 in the environment shows the traceback",
    ]


def test_a_fault_shows_its_traceback_when_asked():
    screen = Screen()
    try:
        raise ValueError("x")
    except ValueError as fault:
        screen.fault(fault, debug=True)
    assert screen.lines[0] == "Traceback (most recent call last):"
    assert screen.lines[-1] == "tunnelctl: fault in tunnelctl: ValueError: x"


def test_a_fault_as_json():
    screen = Screen(json=True)
    screen.fault(ValueError("x"), debug=False)
    check_events(screen.written)
    assert screen.records[0]["status"] == 70


# --- stages

STORY: list[tuple[str, dict[str, Any]]] = [
    ("route", {"proxies": ["http://u:***@p:3128"], "origin": "-x"}),
    ("lookup", {"host": "p"}),
    ("dial", {"to": "p:3128", "addresses": ["::1", "127.0.0.1"]}),
    ("connected", {"to": "p:3128", "address": "127.0.0.1:3128"}),
    ("request", {"head": b"CONNECT h:22 HTTP/1.1\r\nHost: h:22\r\n\r\n"}),
    ("response", {"head": b"HTTP/1.1 200 \x1b[1m\r\n\r\n", "status": 200}),
    ("retry", {"attempt": 1, "delay": 0.5, "cause": "no\nroute"}),
    ("tunnel", {"target": "h:22", "via": ["p:3128"], "elapsed": 0.01}),
    ("end", {"sent": 1, "received": 2, "elapsed": 3.0, "reason": "eof"}),
]


def tell(screen: Screen) -> list[str]:
    for event, fields in STORY:
        screen(event, **fields)
    return screen.lines


def test_without_v_stages_are_silent():
    assert tell(Screen()) == []


def test_v_is_a_line_a_stage_with_elapsed_time():
    assert tell(Screen(verbose=1)) == [
        "tunnelctl: [0.012s] route: http://u:***@p:3128 (-x)",
        "tunnelctl: [0.012s] looking up p",
        "tunnelctl: [0.012s] connecting to p:3128 at ::1, 127.0.0.1",
        "tunnelctl: [0.012s] connected to p:3128 at 127.0.0.1:3128",
        "tunnelctl: [0.012s] request sent",
        "tunnelctl: [0.012s] answer: 200",
        r"tunnelctl: [0.012s] attempt 1 failed: no\x0aroute; next in 0.5 s",
        "tunnelctl: [0.012s] tunnel to h:22 open, via p:3128",
        "tunnelctl: [0.012s] tunnel ended: eof; sent 1 B, received 2 B",
    ]


def test_a_failover_says_what_is_next():
    screen = Screen(verbose=1)
    for proxies in (["p:3128", "q:1080"], []):
        screen("failover", cause="no route", proxies=proxies)
    assert [line.partition("] ")[2] for line in screen.lines] == [
        "not reached: no route; next: p:3128, q:1080",
        "not reached: no route; next: no proxy",
    ]


def test_tls_shows_the_name_that_was_verified_or_the_key():
    screen = Screen(verbose=1)
    agreed = {"to": "proxy p:443", "version": "TLSv1.3", "cipher": "X", "pin": "sha256//k="}
    screen("tls", **agreed, subject="p")
    screen("tls", **agreed, subject="")
    assert [line.partition("] ")[2] for line in screen.lines] == [
        "TLS with proxy p:443: TLSv1.3, X, certificate of p",
        "TLS with proxy p:443: TLSv1.3, X, key sha256//k=",
    ]


def test_vv_adds_the_heads():
    lines = tell(Screen(verbose=2))
    assert lines[5:7] == ["> CONNECT h:22 HTTP/1.1", "> Host: h:22"]
    assert r"< HTTP/1.1 200 \x1b[1m" in lines


def test_an_address_that_is_no_name_is_shown_once():
    screen = Screen(verbose=1)
    screen("dial", to="[::1]:3128", addresses=["::1"])
    screen("connected", to="127.0.0.1:3128", address="127.0.0.1:3128")
    assert screen.lines == ["tunnelctl: [0.012s] connecting to [::1]:3128", "tunnelctl: [0.012s] connected to 127.0.0.1:3128"]


def test_going_without_a_proxy_is_told():
    screen = Screen(verbose=1)
    screen("route", proxies=[], origin="no_proxy has h")
    screen("tunnel", target="h:22", via=[], elapsed=0.1)
    assert [line.partition("] ")[2] for line in screen.lines] == [
        "route: no proxy (no_proxy has h)",
        "connection to h:22 open, without a proxy",
    ]


SERVED = [
    (
        {"client": "[::1]:5", "user": "", "target": "h:443", "address": "192.0.2.1:443", "status": 200, "rule": "allow *:443"},
        "client [::1]:5: tunnel to h:443 open, at 192.0.2.1:443 (allow *:443)",
    ),
    (
        {"client": "c:5", "user": "alice", "target": "h:22", "status": 403, "rule": "deny h:*", "error": "http_request_denied"}
        | {"details": "the rules do not allow it"},
        "client c:5 (alice): tunnel to h:22 refused: 403 http_request_denied: the rules do not allow it (deny h:*)",
    ),
    (
        {"client": "c:5", "user": "", "target": "", "status": 400, "rule": "", "error": "http_request_error"}
        | {"details": "malformed head: {a} \x1b[2J"},
        r"client c:5: request refused: 400 http_request_error: malformed head: {a} \x1b[2J",
    ),
    (
        {"client": "c:5", "user": "{a}\x1b", "target": "h:22", "status": 502, "rule": "", "error": "connection_refused"},
        r"client c:5 ({a}\x1b): tunnel to h:22 refused: 502 connection_refused",
    ),
]


@pytest.mark.parametrize(("fields", "line"), SERVED)
def test_a_decision_of_serve_is_a_line(fields, line):
    screen = Screen(verbose=1)
    screen("decision", **fields)
    assert screen.lines == [f"tunnelctl: [0.012s] {line}"]
    quiet = Screen()
    quiet("decision", **fields)
    assert quiet.lines == []


@pytest.mark.parametrize(
    ("received", "ended_by", "advice"),
    [
        (0, "target", ": `tunnelctl check h:22` tells more, and many proxies let only TLS through"),
        (1, "target", ""),
        (0, "client", ""),
        (0, "tunnelctl", ""),
    ],
)
def test_an_end_of_forward_is_a_line_with_advice_where_it_brought_nothing(received, ended_by, advice):
    screen = Screen(verbose=1)
    fields = {"client": "c:5", "target": "h:22", "sent": 1, "received": received, "seconds": 0.5, "cause": "eof"}
    screen("ended", connection=3, ended_by=ended_by, **fields)
    line = f"client c:5: tunnel to h:22 ended by the {ended_by} (eof) after 0.5 s; sent 1 B, received {received} B{advice}"
    assert screen.lines == [f"tunnelctl: [0.012s] #3 {line}"]
    quiet = Screen()
    quiet("ended", connection=3, ended_by=ended_by, **fields)
    assert quiet.lines == []


def test_an_end_of_serve_is_a_line():
    screen = Screen(verbose=1)
    screen("closed", client="c:5", target="h:22", sent=1, received=2, seconds=0.5, ended_by="target", cause="eof")
    assert screen.lines == [
        "tunnelctl: [0.012s] client c:5: tunnel to h:22 ended by the target (eof) after 0.5 s; sent 1 B, received 2 B"
    ]


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"seen": "TLS", "sni": "h"}, "carries TLS, server name h"),
        ({"seen": "no TLS", "sni": "", "cut_by": "allow *:443", "reports": []}, "carries no TLS; cut by allow *:443"),
        ({"seen": "TLS", "sni": "a\x1b", "cut_by": "", "reports": ["report *:1"]}, r"carries TLS, server name a\x1b; report *:1"),
    ],
)
def test_what_a_tunnel_carries_is_a_line(fields, line):
    screen = Screen(verbose=1)
    screen("inspected", client="c:5", target="h:22", **fields)
    assert screen.lines == [f"tunnelctl: [0.012s] client c:5: tunnel to h:22 {line}"]


def test_reports_are_in_the_line_of_a_decision():
    screen = Screen(verbose=1)
    known = {"client": "c:5", "target": "h:22", "address": "a:22", "status": 200, "rule": "allow *:22"}
    screen("decision", **known, reports=["report *:22", "report h:*"])
    assert screen.lines == ["tunnelctl: [0.012s] client c:5: tunnel to h:22 open, at a:22 (allow *:22; report *:22, report h:*)"]


def test_q_leaves_only_errors():
    screen = Screen(quiet=True)
    tell(screen)
    for event in (*NOTICES, "warning", "listening"):
        screen(event, text="x", address="y", tunnels=1, seconds=2)
    assert screen.lines == []


def test_notices_need_no_v_and_the_listening_line_is_stable():
    screen = Screen()
    screen("listening", address="127.0.0.1:3128")
    screen("warning", text="file others\ncan read")
    screen("drain", connections=3, tunnels=3, seconds=30.0)
    screen("stopped")
    assert screen.lines == [
        "listening on 127.0.0.1:3128",
        r"tunnelctl: warning: file others\x0acan read",
        "tunnelctl: draining: 3 open, 30 s at most",
        "tunnelctl: stopped",
    ]


def test_a_notice_without_its_fields_is_no_fault():
    screen = Screen()
    for event in NOTICES:
        screen(event)
    assert len(screen.lines) >= len(NOTICES)


LISTENING = [
    ({}, ""),
    ({"target": "db:5432", "via": ["http://proxy:3128"], "origin": "-x"}, " -> db:5432 via proxy http://proxy:3128"),
    (
        {"target": "db:5432", "via": ["http://a:1,http://b:1", "socks5://c:2"], "origin": "-x"},
        " -> db:5432 via proxies http://a:1 or http://b:1, then socks5://c:2",
    ),
    ({"target": "db:5432", "via": [], "origin": "no_proxy has db"}, " -> db:5432, directly: no_proxy has db"),
    ({"target": "db:5432", "via": [], "origin": "-x"}, " -> db:5432, directly (-x)"),
    ({"target": "db:5432", "via": [], "origin": "--pac"}, " -> db:5432 via the proxies of the PAC file"),
    (
        {"target": "", "via": [], "origin": "no proxy is configured", "login": False},
        " -> any target (SOCKS and HTTP), directly: no proxy is configured",
    ),
    (
        {"target": "", "via": ["http://anna:secret@proxy:3128"], "origin": "https_proxy", "login": True},
        " -> any target (SOCKS and HTTP) via proxy http://anna:***@proxy:3128, login required",
    ),
]


@pytest.mark.parametrize(("fields", "rest"), LISTENING, ids=range(len(LISTENING)))
def test_the_listening_line_says_where_it_leads(fields, rest):
    """Behind a blank, so that whoever takes the third word has the address."""
    screen = Screen()
    screen("listening", address="127.0.0.1:1080", **fields)
    assert screen.lines == [f"listening on 127.0.0.1:1080{rest}"]


def test_an_event_without_a_sentence_is_shown_rather_than_lost():
    screen = Screen(verbose=1)
    screen("accept", client="192.0.2.1\x1b", number=3)
    assert screen.lines == [r"tunnelctl: [0.012s] accept client=192.0.2.1\x1b number=3"]


def test_a_stage_without_its_fields_is_no_fault():
    screen = Screen(verbose=2)
    for event in STAGES:
        screen(event)
    assert len(screen.lines) == len(STAGES)


def test_json_is_every_event_ascii_and_one_a_line():
    screen = Screen(json=True)
    tell(screen)
    check_events(screen.written)
    assert screen.written.isascii()
    assert [record["event"] for record in screen.records] == [event for event, _ in STORY]
    assert screen.records[5] == {"event": "response", "at": 0.012, "head": "HTTP/1.1 200 \x1b[1m\r\n\r\n", "status": 200}
    assert b"\x1b" not in screen.written
    assert screen.records[2]["addresses"] == ["::1", "127.0.0.1"]


def test_json_takes_whatever_it_is_given():
    screen = Screen(json=True)
    screen("x", nothing=None, flag=True, raw=b"\xff", odd={1}, event_="y")
    assert screen.records == [
        {"event": "x", "at": 0.012, "nothing": None, "flag": True, "raw": "\\xff", "odd": "{1}", "event_": "y"}
    ]


def test_numbers_in_json_have_six_decimals_at_most():
    screen = Screen(json=True)
    screen("end", elapsed=0.1 + 0.2, seconds=[1 / 3], sent=10**15)
    assert screen.records[0] == {"event": "end", "at": 0.012, "elapsed": 0.3, "seconds": [0.333333], "sent": 10**15}


@given(st.binary(max_size=3000))
def test_heads_are_bounded_printable_lines(head):
    assert all(line.isprintable() and len(line) <= module.HEAD_LINE_LIMIT for line in head_lines(head))


def test_a_head_of_many_lines_is_cut():
    lines = head_lines(b"a: b\r\n" * 1000)
    assert len(lines) == module.HEAD_LINES_LIMIT + 1
    assert lines[-1] == "… 940 more lines"


def test_every_event_is_in_the_manual():
    documented = [event.name for event in (*CONNECT_EVENTS, *FORWARD_EVENTS, *SERVE_EVENTS, *BOTH_EVENTS)]
    assert set(documented) == {*STAGES, *NOTICES, "warning", "listening", "error", "failed", "progress"}


def test_time_counts_from_the_start_of_the_program_where_that_is_given():
    screen = Screen(verbose=1, start=-1.0)
    screen("lookup", host="p")
    assert screen.lines == ["tunnelctl: [1.000s] looking up p"]  # Screen's clock says 0, then 12 ms


# --- descriptors


@pytest.mark.parametrize("error", [BrokenPipeError, OSError, BlockingIOError])
def test_a_stderr_that_fails_is_no_failure(monkeypatch, error):
    def fail(fd, data):
        raise error

    monkeypatch.setattr(os, "write", fail)
    write_stderr(b"x")


def test_short_writes_are_continued(monkeypatch):
    got = bytearray()

    def drop(fd, data):
        got.extend(data[:2])
        return min(2, len(data))

    monkeypatch.setattr(os, "write", drop)
    write_stderr(b"abcde")
    write_stdout("fghij")
    assert got == b"abcdefghij"


def test_a_vanished_reader_of_stdout_is_no_error_and_a_full_disk_is(monkeypatch):
    def fail(fd, data):
        raise failures.pop()

    failures = [OSError(28, "No space left on device"), BrokenPipeError()]
    monkeypatch.setattr(os, "write", fail)
    write_stdout("x")
    with pytest.raises(TunnelBroken, match="stdout: no space left on device"):
        write_stdout("x")


def test_a_stdout_that_is_closed_is_called_so(monkeypatch):
    def fail(fd, data):
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(os, "write", fail)
    with pytest.raises(TunnelBroken, match=r"^stdout: it is closed$"):
        write_stdout("x")
