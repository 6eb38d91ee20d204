"""The report of `check` without a target: folded on terminals, not in a pipe; nothing raw, and no password."""

import pytest

from tunnelctl.cli.render.check.terminal import Row
from tunnelctl.cli.render.discovery import SHOW, DiscoveryReport, waiting_rows
from tunnelctl.client.check.events import Finding, Interrupted, Setting
from tunnelctl.client.discovery.events import DISCOVERY, Named, Outcome, Proxy, Script, Trial, Trying, Unread
from tunnelctl.client.discovery.waits import Awaited
from tunnelctl.events import Event, Warning, name_of

CELL = 17  # columns for the usual targets
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
    Trial(2, "h:443", True, 0.1, ""),
    Interrupted("proxy", HOSTILE, 3.2),
    Outcome(False, 130, [""]),
)


def lines(width: int | None, *events: Event) -> list[str]:
    found: list[str] = []

    def put(row: Row) -> None:
        found.append("".join(text for text, _ in row))

    report = DiscoveryReport(put, width)
    for event in events or EVENTS:
        report(event)
    return found


def test_every_event_is_rendered() -> None:
    assert {type(event) for event in EVENTS} == {*DISCOVERY, Setting, Warning, Finding, Interrupted}
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
    rows = lines(None, Trying(["example.com:443", "h:22"], [URL, OTHER, OTHER], 10.0), *EVENTS[15:21])
    assert rows[:3] == [
        "nothing on this machine names a proxy",
        "         asking for example.com:443 and h:22; each attempt has 10 s",
        "",
    ]
    assert rows[3] == f"{'':9}{'example.com:443':<{CELL}}{'h:22':<{CELL}}{'login':<13}TLS inside"
    assert rows[4] == f"works    {URL}   <- tunnelctl uses this"
    assert rows[5].startswith(f"{'':9}{'12 ms':<{CELL}}{'refused (403)':<{CELL}}{'none':<13}intercepted")
    assert rows[6] == f"fails    {OTHER} (git http.proxy)"
    assert rows[7] == f"{'':9}{'refused (407)':<{CELL}}{'not asked':<{CELL}}refused (NTLM, Negotiate)  -"


def test_a_proxy_that_does_not_answer_has_its_cause_in_the_row() -> None:
    failed = Trial(0, "h:443", False, 0.1, "connection refused")
    rows = lines(None, Trying(["h:443", "h:22"], [], 10.0), failed, EVENTS[21])
    assert rows[-2:] == ["fails    no proxy", "         connection refused"]


def test_the_last_line() -> None:
    assert lines(None, EVENTS[24])[-1] == f"works    {URL}; no proxy; {URL}, then {OTHER}"
    assert lines(None, EVENTS[25])[-1] == "fails    nothing works; exit status 75"
    rows = lines(None, Outcome(False, 69, [""]))
    assert rows[-2:] == ["works    no proxy", "fails    none of the proxies works; exit status 69"]


LONG = "very-long-name-of-a-host.example.com:443"


def test_a_column_is_as_wide_as_the_longest_target() -> None:
    rows = lines(None, Trying([LONG, "h:22"], [URL], 10.0), *EVENTS[15:18])
    cell = len(LONG) + 2
    assert rows[3] == f"{'':9}{LONG:<{cell}}{'h:22':<{cell}}{'login':<13}TLS inside"
    assert rows[5].startswith(f"{'':9}{'12 ms':<{cell}}{'refused (403)':<{cell}}none")


def test_targets_that_do_not_fit_side_by_side_have_a_line_each() -> None:
    rows = lines(80, Trying([LONG, "h:22"], [URL], 10.0), *EVENTS[15:18])
    column = len(LONG) + 2
    assert rows[3:] == [
        "",
        f"works    {URL}   <- tunnelctl uses this",
        f"{'':9}{LONG:<{column}}12 ms",
        f"{'':9}{'h:22':<{column}}refused (403)",
        f"{'':9}{'login':<{column}}none",
        f"{'':9}{'TLS inside':<{column}}intercepted",
    ]


def test_after_ctrl_c_the_results_of_a_proxy_that_is_not_done_are_shown() -> None:
    trying, known = Trying(["h:443", "h:22"], [URL], 10.0), Trial(1, "h:443", True, 0.0123, "")
    rows = lines(None, trying, known, Interrupted("proxy", f"{URL} had not answered", 3.2), Outcome(False, 130, [""]))
    assert rows[-5:] == [
        f"stopped  {URL}",
        f"{'':9}{'12 ms':<15}{'no answer yet':<15}{'-':<13}-",
        "",
        "works    no proxy",
        f"stopped: {URL} had not answered",
    ]


def test_after_ctrl_c_the_settings_are_shown_even_if_no_proxy_was_tried() -> None:
    told = (EVENTS[2], Interrupted("pac", "http://x/p.pac had not answered", 3.2), Outcome(False, 130, []))
    assert lines(None, *told) == [f"environment  https_proxy  {URL}", "", "stopped: http://x/p.pac had not answered"]


def test_a_row_for_each_proxy_that_is_waited_for() -> None:
    url = "http://127.0.0.1:4001"
    waits = [Awaited("proxy", url, "example.com:443", 3.21), Awaited("proxy", "", "github.com:22", 10.0)]
    rows = ["".join(text for text, _ in row) for row in waiting_rows(waits, 80)]
    assert rows == [
        f"waiting  {url}   3.2 s  example.com:443",
        f"waiting  {'no proxy':<{len(url)}}  10.0 s  github.com:22",
    ]
    (row,) = waiting_rows([Awaited("proxy", HOSTILE * 5, HOSTILE, 1.0)], 40)
    text = "".join(part for part, _ in row)
    assert text.isprintable()
    assert "swordfish" not in text
    assert text[:40].endswith("1.0 s")


def test_what_wpad_found() -> None:
    """A row without a search domain, and none of its own for a name that nobody has looked up."""
    nowhere = Unread("WPAD", "/etc/resolv.conf", "has no search domain")
    assert lines(None, nowhere, Trying(["h:1"], [], 5.0))[:2] == [
        "nothing on this machine names a proxy",
        "WPAD  /etc/resolv.conf  has no search domain",
    ]


def test_a_path_that_reaches_only_the_second_target_has_all_its_results() -> None:
    """As where a firewall blocks one port. The cause of the first is above."""
    first, second = Trial(0, "h:443", False, 0.1, "no route to host"), Trial(0, "h:22", True, 0.0123, "")
    rows = lines(None, Trying(["h:443", "h:22"], [], 10.0), first, second, EVENTS[21])
    assert rows[-3:-1] == ["fails    no proxy", "         no route to host"]
    assert rows[-1].startswith(f"{'':9}{'no tunnel':<15}{'12 ms':<15}")
