"""The report of `check` without a target: folded on terminals, not in a pipe; nothing raw, and no password."""

import pytest

from tunnelctl.cli.render.discovery import CELL, SHOW, DiscoveryReport, Span, put_plain
from tunnelctl.client.check.events import Finding, Setting
from tunnelctl.client.discovery.events import DISCOVERY, Named, Outcome, Proxy, Script, Trial, Trying, Unread
from tunnelctl.events import Event, Warning, name_of

HOSTILE = "red \x1b[31m\u202e http://alice:swordfish@p"
URL, OTHER = "http://proxy.example.com:3128", "http://alice:***@old.example.com:8080"
EVENTS: tuple[Event, ...] = (
    Setting("--proxy", "flag"),
    Warning(HOSTILE),
    Named("proxy", "environment", "https_proxy", "", 0, "", [URL]),
    Named("proxy", "environment", "HTTPS_PROXY", "", 0, "", [URL]),
    Named("proxy", "git", "http.proxy", "~/.gitconfig", 3, "", [OTHER, URL]),
    Named("proxy", "ssh", "ProxyCommand", "~/.ssh/config", 3, "Host *.x", [f"{URL}, then {OTHER}"]),
    Named("proxy", "npm", HOSTILE, HOSTILE, 3, HOSTILE, []),
    Named("exempt", "environment", "no_proxy", "", 0, "", [HOSTILE]),
    Named("pac", "KDE", "Proxy Config Script", "~/.config/kioslaverc", 4, "", ["http://x/p.pac"]),
    Named("wpad", "WPAD", "wpad.x", "/etc/resolv.conf", 1, "", ["wpad.x"]),
    Named("wpad", "GNOME", "mode", "gsettings", 0, "", []),
    Named("program", "ssh", "ProxyCommand", "~/.ssh/config", 9, "", ["cloudflared"]),
    Unread("curl", HOSTILE, HOSTILE),
    Script("http://x/p.pac", "h:443", [URL, "direct"]),
    Trying(["h:443", "h:22"], [URL, OTHER, OTHER], 10.0),
    Trial(1, "h:443", True, 0.0123, ""),
    Trial(1, "h:22", False, 0.1, HOSTILE, 403),
    Proxy(1, [URL], ["https_proxy"], True, True, "none", [], "intercepted", HOSTILE),
    Trial(2, "h:443", False, 0.1, "407 Login", 407),
    Proxy(2, [OTHER], ["git http.proxy"], False, False, "refused", ["ntlm", "negotiate"], "unknown", ""),
    Trial(0, "h:443", False, 0.1, HOSTILE),
    Proxy(0, [], [], False, False, "unknown", [], "unknown", ""),
    Finding("refused", HOSTILE, HOSTILE),
    Finding("refused", "d", ""),
    Outcome(True, 0, [URL, "", f"{URL}, then {OTHER}"]),
    Outcome(False, 75, []),
)


def lines(width: int | None, *events: Event) -> list[str]:
    found: list[str] = []

    def put(spans: list[Span]) -> None:
        found.append("".join(text for text, _ in spans))

    report = DiscoveryReport(put, width)
    for event in events or EVENTS:
        report(event)
    return found


def test_every_event_is_rendered() -> None:
    assert {type(event) for event in EVENTS} == {*DISCOVERY, Setting, Warning, Finding}
    assert set(SHOW) == {name_of(type(event)) for event in EVENTS}


@pytest.mark.parametrize("width", [20, 40, 80, 120, None])
def test_nothing_raw_and_no_password(width: int | None) -> None:
    text = lines(width)
    assert all(line.isprintable() for line in text)
    assert "swordfish" not in "".join(text)
    assert r"\x1b[31m" in "".join(text)


@pytest.mark.parametrize("width", [80, 120])
def test_lines_fit_the_terminal(width: int) -> None:
    tame = [event for event in EVENTS if "swordfish" not in str(event.facts())]
    assert [line for line in lines(width, *tame) if len(line.rstrip()) > width] == []


TABLE = (*EVENTS[2:6], *EVENTS[8:12], Trying(["h:1"], [], 5.0))


def test_the_table_of_settings_in_a_pipe() -> None:
    assert lines(None, *TABLE)[:5] == [
        f"environment  https_proxy, HTTPS_PROXY            {URL}",
        f"git          http.proxy (~/.gitconfig:3)         {OTHER} or {URL}",
        f"ssh          ProxyCommand (~/.ssh/config:3)      {URL}, then {OTHER} (Host *.x)",
        "KDE          Proxy Config Script (~/.config/kioslaverc:4)  PAC file http://x/p.pac",
        "WPAD         wpad.x (/etc/resolv.conf:1)         not looked up; --wpad does",
    ]


def test_the_table_of_settings_on_a_terminal() -> None:
    """No URL is cut that fits a line."""
    assert lines(80, *TABLE)[:5] == [
        f"environment  https_proxy, HTTPS_PROXY            {URL}",
        "git          http.proxy (~/.gitconfig:3)",
        f"               {OTHER} or",
        f"               {URL}",
        "ssh          ProxyCommand (~/.ssh/config:3)",
    ]


def test_the_rows_of_a_proxy() -> None:
    rows = lines(None, *EVENTS[14:21])
    assert rows[:3] == ["nothing on this machine names a proxy", "         asking for h:443 and h:22; each attempt has 10 s", ""]
    assert rows[3] == f"{'':9}{'h:443':<{CELL}}{'h:22':<{CELL}}{'login':<13}TLS inside"
    assert rows[4] == f"works    {URL}   <- tunnelctl uses this"
    assert rows[5].startswith(f"{'':9}{'12 ms':<{CELL}}{'refused (403)':<{CELL}}{'none':<13}intercepted")
    assert rows[6] == f"fails    {OTHER} (git http.proxy)"
    assert rows[7] == f"{'':9}{'refused (407)':<{CELL}}{'not asked':<{CELL}}refused (NTLM, Negotiate)  -"


def test_a_proxy_that_does_not_answer_has_its_cause_in_the_row() -> None:
    failed = Trial(0, "h:443", False, 0.1, "connection refused")
    rows = lines(None, Trying(["h:443", "h:22"], [], 10.0), failed, EVENTS[21])
    assert rows[-2:] == ["fails    no proxy", "         connection refused"]


def test_the_last_line() -> None:
    assert lines(None, EVENTS[-2])[-1] == f"works    {URL}; no proxy; {URL}, then {OTHER}"
    assert lines(None, EVENTS[-1])[-1] == "fails    nothing works; exit status 75"


def test_a_line_in_a_pipe(capfd: pytest.CaptureFixture[str]) -> None:
    put_plain([("a  ", "bold"), ("b ", "")])
    assert capfd.readouterr().out == "a  b\n"


def test_a_path_that_reaches_only_the_second_target_has_all_its_results() -> None:
    """As where a firewall blocks one port. The cause of the first is above."""
    first, second = Trial(0, "h:443", False, 0.1, "no route to host"), Trial(0, "h:22", True, 0.0123, "")
    rows = lines(None, Trying(["h:443", "h:22"], [], 10.0), first, second, EVENTS[21])
    assert rows[-3:-1] == ["fails    no proxy", "         no route to host"]
    assert rows[-1].startswith(f"{'':9}{'no tunnel':<{CELL}}{'12 ms':<{CELL}}")
