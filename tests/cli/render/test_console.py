"""Output for a person: the form of errors, escaping, verbosity, JSON, and an unusable stderr."""

import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from man.source.events import EVENTS, keys_of
from tests.cli.screen import Screen
from tests.peers.events import check_events
from tunnelctl import events
from tunnelctl import rare_events as rare
from tunnelctl.cli.render import console as module
from tunnelctl.cli.render.console import NOTICES, STAGES, head_lines, write_stderr, write_stdout
from tunnelctl.cli.render.text import plain
from tunnelctl.client.forward import events as forward
from tunnelctl.errors import Refused, TunnelBroken, UsageProblem
from tunnelctl.events import name_of
from tunnelctl.server import events as serve
from tunnelctl.server.http1 import PLAIN_OFF
from tunnelctl.server.policy.rules import NO_ALLOW
from tunnelctl.stream.events import Admin, Drain, Reloaded, Stopped

# The events that the console renders; check and selftest have their own reports.
CONSOLE = tuple(dict.fromkeys(kind for command in ("", "connect", "forward", "serve") for kind in EVENTS[command]))

BUSY = "the proxy has reached one of its limits; try again later"

# --- errors


def test_an_error_is_a_line_and_a_hint():
    screen = Screen(quiet=True)
    screen.error(Refused("proxy p:3128 refused h:22", "403 Forbidden", "busy", detail={"code": 403}))
    assert screen.lines == [
        "tunnelctl: proxy p:3128 refused h:22: 403 Forbidden",
        f"hint: {BUSY}",
    ]


def test_a_hint_is_not_repeated_for_connections_that_fail_alike():
    """A browser opens dozens of connections, and one hint helps with all of them."""
    screen = Screen()
    for hint in ("a", "a", "", "a", "b\n"):
        screen(forward.Failed("1", "c", "", None, None, 69, "w", "x", hint))
    failed = "tunnelctl: client c: w: x"
    assert screen.lines == [failed, "hint: a", failed, failed, failed, "hint: a", failed, r"hint: b\x0a"]


def test_hostile_text_in_an_error_is_escaped_on_one_line():
    screen = Screen()
    screen.error(UsageProblem("a\nb", "\x1b[2J\r", "syntax", facts={"command": "h\n"}))
    assert screen.lines == [r"tunnelctl: a\x0ab: \x1b[2J\x0d", r"hint: tunnelctl h\x0a --help"]


def test_a_password_in_an_error_is_masked():
    for screen in (Screen(), Screen(json=True)):
        screen.error(UsageProblem("http://u:swordfish@h", "u:swordfish@h", "syntax", facts={"command": "http://u:swordfish@h"}))
        assert b"swordfish" not in screen.written


def test_an_error_is_printed_as_json():
    screen = Screen(json=True, quiet=True)
    screen.error(Refused("proxy p refused h:22", "403\x1b", "busy", detail={"code": 403}))
    check_events(screen.written)
    assert screen.records == [
        {
            "event": "error",
            "time": 1e9,
            "exit_status": 69,
            "what": "proxy p refused h:22",
            "cause": "403\\x1b",
            "hint": BUSY,
            "code": 403,
        }
    ]


def test_a_fault_prints_its_type_and_a_hint_at_the_traceback():
    screen = Screen()
    screen.fault(ValueError("x\ny"), debug=False)
    assert screen.lines == [
        r"tunnelctl: fault in tunnelctl: ValueError: x\x0ay",
        "hint: TUNNELCTL_DEBUG=1 in the environment shows the traceback",
    ]


def test_a_fault_prints_its_traceback_in_debug_mode():
    screen = Screen()
    try:
        raise ValueError("x")
    except ValueError as fault:
        screen.fault(fault, debug=True)
    assert screen.lines[0] == "Traceback (most recent call last):"
    assert screen.lines[-1] == "tunnelctl: fault in tunnelctl: ValueError: x"


def test_a_fault_is_printed_as_json():
    screen = Screen(json=True)
    screen.fault(ValueError("x"), debug=False)
    check_events(screen.written)
    assert screen.records[0]["exit_status"] == 70


# --- stages

STORY = [
    events.Route(["http://u:***@p:3128"], "-x"),
    events.Lookup("p"),
    events.Dial("p:3128", ["::1", "127.0.0.1"]),
    events.Connected("p:3128", "127.0.0.1:3128"),
    events.Request("h:22", "HTTP/1.1", (("Host", "h:22"),)),
    events.Response("HTTP/1.1", 200, "\x1b[1m", ()),
    rare.Retry(1, 0.5, "no\nroute"),
    events.Opened("h:22", ["p:3128"], 0.01),
    events.Closed(1, 2, 3.0, "client", "eof"),
]


def tell(screen: Screen) -> list[str]:
    for event in STORY:
        screen(event)
    return screen.lines


def test_without_v_stages_are_not_printed():
    assert tell(Screen()) == []


def test_v_prints_a_line_a_stage_with_the_elapsed_time():
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


def test_a_failover_names_the_next_proxies():
    screen = Screen(verbose=1)
    for proxies in (["p:3128", "q:1080"], []):
        screen(rare.Failover("no route", proxies))
    assert [line.partition("] ")[2] for line in screen.lines] == [
        "not reached: no route; next: p:3128, q:1080",
        "not reached: no route; next: no proxy",
    ]


def test_tls_shows_the_verified_name_or_the_key():
    screen = Screen(verbose=1)
    for subject in ("p", ""):
        screen(rare.TLS("p:443", "proxy", "TLSv1.3", "X", "", subject, "", "", "sha256//k=", ()))
    assert [line.partition("] ")[2] for line in screen.lines] == [
        "TLS with proxy p:443: TLSv1.3, X, certificate of p",
        "TLS with proxy p:443: TLSv1.3, X, key sha256//k=",
    ]


def test_vv_adds_the_heads():
    lines = tell(Screen(verbose=2))
    assert lines[5:7] == ["> CONNECT h:22 HTTP/1.1", "> Host: h:22"]
    assert r"< HTTP/1.1 200 \x1b[1m" in lines


def test_vv_prints_heads_of_every_http_version_alike():
    screen = Screen(verbose=2)
    screen(events.Request("h:22", "HTTP/2", (("user-agent", "a\x1b"),)))
    screen(events.Response("HTTP/2", 403, "", (("proxy-status", "p; error=x"),)))
    assert screen.lines[1:3] == ["> CONNECT h:22 HTTP/2", r"> user-agent: a\x1b"]
    assert screen.lines[4:] == ["< HTTP/2 403", "< proxy-status: p; error=x"]


def test_the_address_of_a_literal_is_not_repeated():
    screen = Screen(verbose=1)
    screen(events.Dial("[::1]:3128", ["::1"]))
    screen(events.Connected("127.0.0.1:3128", "127.0.0.1:3128"))
    assert screen.lines == ["tunnelctl: [0.012s] connecting to [::1]:3128", "tunnelctl: [0.012s] connected to 127.0.0.1:3128"]


def test_a_direct_connection_is_reported_with_its_reason():
    screen = Screen(verbose=1)
    screen(events.Route([], "no_proxy has h"))
    screen(events.Opened("h:22", [], 0.1))
    assert [line.partition("] ")[2] for line in screen.lines] == [
        "route: no proxy (no_proxy has h)",
        "connection to h:22 open, without a proxy",
    ]


IDS = ("a-1", "a-1.1")


def opened(client: str, user: str, rule: str, *reports: str, method: str = "CONNECT") -> serve.Opened:
    return serve.Opened(*IDS, client, user, method, "h:443", "192.0.2.1:443", "", 200, rule, list(reports), {})


def refused(
    client: str, user: str, target: str, status: int, rule: str, error: str, details: str = "", method: str = "CONNECT"
) -> serve.Refused:
    return serve.Refused(*IDS, client, user, method, target, status, rule, [], error, details, "head", {})


SERVED = [
    (opened("[::1]:5", "", "allow *:443"), "client [::1]:5: tunnel to h:443 open, at 192.0.2.1:443 (allow *:443)"),
    (
        refused("c:5", "alice", "h:22", 403, "deny h:*", "http_request_denied", "the rules do not allow it"),
        "client c:5 (alice): tunnel to h:22 refused: 403 http_request_denied: the rules do not allow it (deny h:*)",
    ),
    (
        opened("c:5", "", "allow *:443", method="GET"),
        "client c:5: GET to h:443 open, at 192.0.2.1:443 (allow *:443)",
    ),
    (
        refused("c:5", "", "", 405, PLAIN_OFF, "http_request_error", "only CONNECT", method="GET"),
        "client c:5: request refused: 405 http_request_error: only CONNECT (plain http is off; --plain-http serves http:// URLs)",
    ),
    (
        refused("c:5", "", "h:80", 403, NO_ALLOW, "http_request_denied", "no", method="GET"),
        "client c:5: GET to h:80 refused: 403 http_request_denied: no (no allow rule; --allow 'h:80' allows it)",
    ),
    (
        refused("c:5", "", "", 400, "", "http_request_error", "malformed head: {a} \x1b[2J"),
        r"client c:5: request refused: 400 http_request_error: malformed head: {a} \x1b[2J",
    ),
    (
        refused("c:5", "{a}\x1b", "h:22", 502, "", "connection_refused"),
        r"client c:5 ({a}\x1b): tunnel to h:22 refused: 502 connection_refused",
    ),
    (
        opened("c:5", "", "allow *:443", "report *:443", "report h:*"),
        "client c:5: tunnel to h:443 open, at 192.0.2.1:443 (allow *:443; report *:443, report h:*)",
    ),
]


@pytest.mark.parametrize(("event", "line"), SERVED, ids=range(len(SERVED)))
def test_a_decision_of_serve_is_a_line(event, line):
    screen = Screen(verbose=1)
    screen(event)
    assert screen.lines == [f"tunnelctl: [0.012s] {line}"]
    quiet = Screen()
    quiet(event)
    assert quiet.lines == []


@pytest.mark.parametrize(
    ("received", "closed_by", "advice"),
    [
        (0, "target", ": `tunnelctl check h:22` tells more, and many proxies allow only TLS"),
        (1, "target", ""),
        (0, "client", ""),
        (0, "tunnelctl", ""),
    ],
)
def test_an_end_of_forward_is_a_line_with_advice_if_nothing_arrived(received, closed_by, advice):
    screen = Screen(verbose=1)
    event = forward.Closed("3", "c:5", "h:22", 1, received, 0.5, closed_by, "eof")
    screen(event)
    line = f"client c:5: tunnel to h:22 ended by the {closed_by} (eof) after 0.5 s; sent 1 B, received {received} B{advice}"
    assert screen.lines == [f"tunnelctl: [0.012s] #3 {line}"]
    quiet = Screen()
    quiet(event)
    assert quiet.lines == []


def test_lines_of_forward_begin_with_the_number_of_the_connection():
    for options in ({"verbose": 1}, {"json": True}):
        screen = Screen(**options)
        screen(rare.OfConnection("3", events.Lookup("p")))
        screen(forward.Opened("3", "c:5", "h:22", [], 0.5))
        screen(forward.Opened("4", "c:5", "h:22", ["p:3128"], 0.5))
        if options.get("json"):
            check_events(screen.written)
            assert screen.records[0] == {"event": "lookup", "time": 1e9, "connection": "3", "host": "p"}
        else:
            assert [line.partition("] ")[2] for line in screen.lines] == [
                "#3 looking up p",
                "#3 client c:5: tunnel to h:22 open after 0.5 s, without a proxy",
                "#4 client c:5: tunnel to h:22 open after 0.5 s",
            ]


ENDED = "client c:5: tunnel to h:22 ended by the target (eof) after 0.5 s; sent 1 B, received 2 B"


def closed(*seen: Any) -> serve.Closed:
    return serve.Closed(*IDS, "c:5", "", "CONNECT", "h:22", 0.5, 1, 2, None, "target", "eof", "", "tunnel", *seen)


def test_an_end_of_serve_is_a_line():
    screen = Screen(verbose=1)
    screen(closed())
    assert screen.lines == [f"tunnelctl: [0.012s] {ENDED}"]


@pytest.mark.parametrize(
    ("seen", "line"),
    [
        (("TLS", "h", "", []), "; it carried TLS, server name h"),
        (("no TLS", "", "allow *:443", []), "; it carried no TLS; cut by allow *:443"),
        (("TLS", "a\x1b", "", ["report *:1"]), r"; it carried TLS, server name a\x1b; report *:1"),
    ],
)
def test_an_end_of_serve_tells_what_the_tunnel_carried(seen, line):
    screen = Screen(verbose=1)
    screen(closed(*seen))
    assert screen.lines == [f"tunnelctl: [0.012s] {ENDED}{line}"]


SERVING = serve.Serving([], [], [], "", "machine", False, [], None, "", [], "", False, False, 1, "", "http://127.0.0.1:3128")
NOTICED = [
    SERVING,
    Admin("127.0.0.1:9", ["/", "/metrics"]),
    Reloaded("policy", "2 rules"),
    forward.Control("work", "unix:/run/user/1000/tunnelctl/work.sock"),
    Drain(1, 1, 2.0),
    Stopped(),
]


def test_q_leaves_only_errors():
    screen = Screen(quiet=True)
    tell(screen)
    for event in (*NOTICED, events.Warning("x"), serve.Listening("y")):
        screen(event)
    assert screen.lines == []
    screen(forward.Failed("1", "c", "", None, None, 69, "w", "x", ""))
    assert screen.lines == ["tunnelctl: client c: w: x"]


def test_notices_need_no_v_and_the_listening_line_is_stable():
    screen = Screen()
    screen(serve.Listening("127.0.0.1:3128"))
    screen(events.Warning("file others\ncan read"))
    screen(Drain(3, 3, 30.0))
    screen(Stopped())
    assert screen.lines == [
        "listening on 127.0.0.1:3128",
        r"tunnelctl: warning: file others\x0acan read",
        "tunnelctl: draining: 3 open, 30 s at most",
        "tunnelctl: stopped",
    ]


def test_every_notice_is_a_line():
    assert {name_of(type(event)) for event in NOTICED} == set(NOTICES)
    for event in NOTICED:
        screen = Screen()
        screen(event)
        assert screen.lines


LISTENING = [
    ({"target": "db:5432", "via": ["http://proxy:3128"], "origin": "-x"}, " -> db:5432 via http://proxy:3128"),
    (
        {"target": "db:5432", "via": ["http://a:1,http://b:1", "socks5://c:2"], "origin": "-x"},
        " -> db:5432 via http://a:1 or http://b:1, then socks5://c:2",
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
        " -> any target (SOCKS and HTTP) via http://anna:***@proxy:3128, login required",
    ),
]


@pytest.mark.parametrize(("leads", "rest"), LISTENING, ids=range(len(LISTENING)))
def test_the_listening_line_of_forward_shows_the_route(leads, rest):
    """After a space, so that scripts that take the third word get the address."""
    screen = Screen()
    screen(forward.Listening("127.0.0.1:1080", **{"login": False, **leads}))
    assert screen.lines == [f"listening on 127.0.0.1:1080{rest}"]


EXAMPLES = {
    "str": "x", "bytes": b"x", "int": 1, "float": 0.5, "bool": True, "list[str]": ["x"], "tuple[str, ...]": ("x",),
    "list[float]": [0.5], "dict[str, float]": {"head": 0.5}, "Fields": (("x", "y"),),
}  # fmt: skip


@pytest.mark.parametrize("sparse", [False, True], ids=["whole", "sparse"])
@pytest.mark.parametrize("kind", [kind for kind in CONSOLE if kind is not rare.Error], ids=name_of)
def test_every_event_is_rendered_with_each_key_that_it_declares(kind, sparse):
    """A template with an undeclared key would raise KeyError."""
    values = {key.name: EXAMPLES[key.type.removesuffix(" | None")] for key in keys_of(kind) if not (key.sometimes and sparse)}
    if sparse:
        values = {key: value if key == "pages" else type(value)() for key, value in values.items()}
    screen = Screen(verbose=2)
    screen(kind(**values))
    assert screen.lines or kind is rare.Progress
    screen = Screen(json=True)
    screen(kind(**values))
    check_events(screen.written)
    assert screen.records[0].keys() == {"event", "time", *values}


def test_json_prints_every_event_as_one_ascii_line():
    screen = Screen(json=True)
    tell(screen)
    check_events(screen.written)
    assert screen.written.isascii()
    assert [record["event"] for record in screen.records] == [name_of(type(event)) for event in STORY]
    assert screen.records[5] == {
        "event": "response", "time": 1e9, "version": "HTTP/1.1", "status": 200, "phrase": "\x1b[1m", "fields": [],
    }  # fmt: skip
    assert screen.records[4]["fields"] == [["Host", "h:22"]]
    assert b"\x1b" not in screen.written
    assert screen.records[2]["addresses"] == ["::1", "127.0.0.1"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, None),
        (True, True),
        (b"\xff", "\\xff"),
        ({1}, "{1}"),
        ({"a": (b"b",)}, {"a": ["b"]}),
        (0.1 + 0.2, 0.3),
        (10**15, 10**15),
    ],
    ids=repr,
)
def test_json_accepts_any_value(value, shown):
    """Numbers have six decimals at most."""
    assert plain(value) == shown
    assert plain([value, 1 / 3]) == [shown, 0.333333]


@given(st.lists(st.tuples(st.text(max_size=400), st.text(max_size=400)), max_size=80))
def test_property_heads_are_bounded_printable_lines(fields):
    lines = head_lines("response", {"version": "HTTP/1.1", "status": 200, "phrase": "", "fields": fields})
    assert all(line.isprintable() and len(line) <= module.HEAD_LINE_LIMIT for line in lines)


def test_a_head_of_many_lines_is_cut():
    lines = head_lines("request", {"target": "h:1", "version": "HTTP/1.1", "fields": [("a", "b")] * 999})
    assert len(lines) == module.HEAD_LINES_LIMIT + 1
    assert lines[-1] == "> … 940 more lines"


def test_every_event_is_in_the_manual():
    assert {name_of(kind) for kind in CONSOLE} == {*STAGES, *NOTICES, "warning", "listening", "error", "failed", "progress"}


def test_the_elapsed_time_counts_from_a_given_start():
    screen = Screen(verbose=1, start=-1.0)
    screen(events.Lookup("p"))
    assert screen.lines == ["tunnelctl: [1.000s] looking up p"]  # the clock of Screen reads 0, then 12 ms


# --- descriptors


@pytest.mark.parametrize("error", [BrokenPipeError, OSError, BlockingIOError])
def test_a_failing_write_to_stderr_is_ignored(monkeypatch, error):
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


def test_a_closed_reader_of_stdout_is_no_error_but_a_full_disk_is(monkeypatch):
    def fail(fd, data):
        raise failures.pop()

    failures = [OSError(28, "No space left on device"), BrokenPipeError()]
    monkeypatch.setattr(os, "write", fail)
    write_stdout("x")
    with pytest.raises(TunnelBroken, match="stdout: no space left on device"):
        write_stdout("x")


def test_a_closed_stdout_is_reported_as_closed(monkeypatch):
    def fail(fd, data):
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(os, "write", fail)
    with pytest.raises(TunnelBroken, match=r"^stdout: it is closed$"):
        write_stdout("x")
