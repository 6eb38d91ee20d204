"""`check` on a terminal: rows appear and count while they wait, Ctrl-C shows what was found, and --watch repeats."""

import json
import re
import signal
import subprocess
import termios
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pexpect
import pytest

from tests.peers.events import check_events
from tests.peers.process import scratch_directory
from tests.peers.program import MODULE, environment, run
from tests.peers.scripted import ESTABLISHED, Conversation, ScriptedServer, refusing_port
from tests.peers.window import Window

TARGET = ("host.example", "22")


def hold(peer: Conversation) -> None:
    """A proxy that reads the request, and never answers."""
    peer.read_head()
    peer.wait_gone()


def open_at_once(peer: Conversation) -> None:
    with suppress(AssertionError, OSError):  # the end of --watch can be in the middle of an attempt
        peer.read_head()
        peer.send(ESTABLISHED + b"220 hello\r\n")
        peer.wait_gone()


def refuse(peer: Conversation) -> None:
    with suppress(AssertionError, OSError):
        peer.read_head()
        peer.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        peer.end_output()
        peer.wait_gone()


def ask_for_login(peer: Conversation) -> None:
    with suppress(AssertionError, OSError):
        peer.read_head()
        peer.send(b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        peer.end_output()
        peer.wait_gone()


@pytest.fixture
def silent() -> Iterator[ScriptedServer]:
    with ScriptedServer(hold) as proxy:
        yield proxy


def events_of(text: str) -> list[dict[str, Any]]:
    check_events(text.encode())
    return [json.loads(line) for line in text.splitlines()]


def counted(rows: list[str], word: str) -> float:
    """The seconds that the row of a phase shows; 0 if there is no such row."""
    found = (re.match(rf"{word} +(\d+\.\d) s ", row) for row in rows)
    return next((float(match[1]) for match in found if match), 0.0)


def words_of(rows: list[str]) -> list[str]:
    return [row.split()[0] for row in rows]


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_a_silent_proxy_shows_what_is_done_and_counts(silent: ScriptedServer, columns: int) -> None:
    with Window("check", "-x", silent.url, *TARGET, columns=columns) as window:
        first = counted(window.until(lambda rows: counted(rows, "proxy")), "proxy")
        said = "has not answered yet" if columns == 120 else ""
        rows = window.until(lambda rows: counted(rows, "proxy") >= first + 0.3 and said in rows[-1])
        assert [row.split()[0] for row in rows] == ["route", "dns", "connect", "proxy"]
        assert max(map(len, rows)) < columns
        assert any("━" in row for row in rows) == (columns >= 66)


def test_ctrl_c_shows_what_was_found_and_what_was_waited_for(silent: ScriptedServer) -> None:
    with Window("check", "-x", silent.url, *TARGET, columns=120) as window:
        window.until(lambda rows: counted(rows, "proxy"))
        window.send("\x03")
        assert window.end() == 130
        route, dns, connect, proxy, stopped = window.rows
    assert [route.split()[0], dns.split()[0], connect.split()[0]] == ["route", "dns", "connect"]
    assert proxy.startswith("proxy ")
    assert proxy.endswith(f"interrupted: {silent.authority} has not answered yet")
    assert stopped.split() == ["stopped", "host.example:22", "via", f"{silent.authority};", "by", "signal", "2"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_do_so_too(silent: ScriptedServer, number: signal.Signals) -> None:
    with Window("check", "-x", silent.url, *TARGET, columns=120) as window:
        window.until(lambda rows: counted(rows, "proxy"))
        window.child.kill(number)
        assert window.end() == 128 + number
        assert "interrupted" in window.rows[-2] or number == signal.SIGHUP


def test_a_resize_leaves_no_pieces_behind(silent: ScriptedServer) -> None:
    """Wider, narrower and lower: the emulator cuts lines where most terminals break them."""
    with Window("check", "-x", silent.url, *TARGET, columns=80) as window:
        for columns, lines in ((120, 24), (70, 24), (120, 3)):
            window.resize(columns, lines)
            since = counted(window.until(lambda rows: counted(rows, "proxy")), "proxy")
            left = ["route", "dns", "connect", "proxy"][-min(lines - 1, 4) :]
            # Rows of the size before may still be on their way.
            window.until(lambda rows, since=since, left=left: counted(rows, "proxy") > since + 0.2 and words_of(rows) == left)


@pytest.mark.parametrize(
    ("env", "bars", "colour"),
    [
        ({}, "━", "green"),
        ({"NO_COLOR": "1"}, "━", "default"),
        ({"LC_ALL": "C"}, "=", "green"),
    ],
    ids=str,
)
def test_colours_and_bars_are_those_that_the_terminal_shows(env: dict[str, str], bars: str, colour: str) -> None:
    with ScriptedServer(refuse) as proxy, Window("check", "-x", proxy.url, "host.example", "443", env=env) as window:
        assert window.end() == 69
        assert window.colour("route") == colour
        assert ({"━", "="} & set("".join(window.rows))) == {bars}
        assert [row.split()[0] for row in window.rows if row[0] != " "] == [
            "route",
            "dns",
            "connect",
            "proxy",
            "error",
            "hint",
            "fails",
        ]


def test_a_terminal_that_cannot_move_its_cursor_gets_plain_rows(silent: ScriptedServer) -> None:
    with Window("check", "-x", silent.url, *TARGET, env={"TERM": "dumb"}) as window:
        window.until(lambda rows: len(rows) == 3)
        silent.wait_for_heads()
        window.send("\x03")
        assert window.end() == 130
        assert "\x1b" not in window.output
        assert [row.replace("^C", "").split()[0] for row in window.rows][:4] == ["route", "dns", "connect", "proxy"]


@pytest.mark.parametrize("words", [(), ("--json",)], ids=["text", "json"])
def test_in_a_pipe_rows_are_printed_as_they_are_known(silent: ScriptedServer, words: tuple[str, ...]) -> None:
    command = [*MODULE, "check", *words, "-x", silent.url, *TARGET]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment(), text=True) as process:
        known = [process.stdout.readline() for _ in range(3)]
        silent.wait_for_heads()
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(20) == -signal.SIGINT
    assert "\x1b" not in "".join(known) + rest
    if words:
        records = events_of("".join(known) + rest)
        assert [record["event"] for record in records] == ["phase"] * 3 + ["interrupted", "verdict"]
        assert (records[3]["phase"], records[4]["exit_status"]) == ("proxy", 130)
    else:
        assert [line.split()[0] for line in known] == ["route", "dns", "connect"]
        assert "interrupted: " in rest


def test_ctrl_c_while_it_waits_for_another_attempt() -> None:
    sock, port = refusing_port()
    with sock, Window("check", "--wait", "60", "-x", f"127.0.0.1:{port}", *TARGET, columns=120) as window:
        window.until(lambda rows: any("the next attempt" in row for row in rows))
        window.send("\x03")
        assert window.end() == 130
        assert any("connection refused" in row for row in window.rows)
        assert "Traceback" not in window.output


def require_login(peer: Conversation) -> None:
    with suppress(AssertionError, OSError):
        if b"Proxy-Authorization" in peer.read_head():
            peer.send(ESTABLISHED)
        else:
            peer.send(b'HTTP/1.1 407 Login\r\nProxy-Authenticate: Basic realm="x"\r\nConnection: close\r\n\r\n')
            peer.end_output()
        peer.wait_gone()


def test_the_second_round_of_a_login_says_why() -> None:
    with ScriptedServer(require_login) as proxy:
        done = run("check", "--count", "2", "--interval", "0", "-x", proxy.url.replace("//", "//anna:secret@"), *TARGET)
    lines = done.stdout.decode().splitlines()
    assert [line.split()[0] for line in lines[:7]] == ["route", "dns", "connect", "proxy", "dns", "connect", "proxy"]
    assert "again, with a login: " in lines[4]
    assert "secret" not in done.stdout.decode()


def test_a_password_is_asked_for_below_the_rows_that_are_known() -> None:
    words = ("check", "--proxy-user", "anna", "--ask-password")
    with ScriptedServer(require_login) as proxy, Window(*words, "-x", proxy.url, *TARGET) as window:
        rows = window.until(lambda rows: rows and rows[-1] == f"password for anna at proxy {proxy.authority}:")
        assert [row.split()[0] for row in rows] == ["route", "dns", "connect", "proxy", "password"]
        window.send("secret\r")
        window.until(lambda rows: any("again, with a login" in row for row in rows))
        assert "secret" not in window.output


# --- --watch


def lasts(rows: list[str]) -> int:
    """How many attempts the table shows. Its last row is complete as soon as the one of what is waited for follows it."""
    return next((int(row.split()[-1]) for row in rows[:-1] if row.startswith("tunnel ")), 0)


@pytest.mark.parametrize("keys", ["q", "xq", "\x03"])
def test_watch_repeats_until_q_or_ctrl_c(keys: str) -> None:
    """The table stays, with what it is about; the terminal is as it was, and the status that of the last attempt."""
    script = (
        f"stty -a >before; {' '.join(MODULE)} check --watch --interval 0.05 -x $0 host.example 22; echo status $?; stty -a >after"
    )
    with scratch_directory() as directory, ScriptedServer(open_at_once) as proxy:
        command = ("sh", "-c", f"cd {directory}; trap : INT; {script}", proxy.url)
        with Window(command=command) as window:
            window.until(lambda rows: lasts(rows) >= 3)
            window.send(keys)
            assert window.end() == 0
            header, *rows = [row for row in window.rows if row[0] != " "]
        assert (directory / "before").read_text() == (directory / "after").read_text()
    assert header.split() == ["phase", "last", "loss", "average", "worst", "best", "of"]
    assert [row.split()[0] for row in rows] == ["route", "dns", "connect", "proxy", "tunnel", "works", "status"]
    assert {row.split()[3] for row in rows[:5] if row.split()[1] != "-"} == {"0.0"}
    assert rows[-1] == "status 0"


def test_watch_shows_the_last_failure_and_counts_losses() -> None:
    with ScriptedServer(refuse) as proxy, Window("check", "--watch", "--interval", "0.05", "-x", proxy.url, *TARGET) as window:
        rows = window.until(lambda rows: lasts(rows) >= 2 and any(row.startswith("failed") for row in rows))
        assert any(re.match(r"proxy +- +100\.0 % ", row) for row in rows)
        assert any(re.match(r"connect .* 0\.0 % ", row) for row in rows)
        window.send("q")
        assert window.end() == 69
        assert window.rows[-1].split()[-1] == "69" or "69" in window.rows[-2]


def is_complete_after_a_failure(rows: list[str]) -> bool:
    """The row of what is waited for comes last, after those of the failure: the terminal may pass on one row at a time."""
    words = [row.partition(" ")[0] for row in rows]
    return "failed" in words and words[-1] not in ("failed", "")


def test_watch_shows_the_whole_cause_and_at_the_end_the_error_with_its_hint() -> None:
    with (
        ScriptedServer(ask_for_login) as proxy,
        Window("check", "--watch", "--interval", "0.05", "-x", proxy.url, *TARGET) as window,
    ):
        rows = window.until(is_complete_after_a_failure)
        first = next(place for place, row in enumerate(rows) if row.startswith("failed"))
        shown = " ".join(row.removeprefix("failed").strip() for row in rows[first:-1])
        assert re.search(r"^\d+: proxy .* requires a login for a tunnel to host\.example:22: .*407", shown)
        window.send("q")
        assert window.end() == 77
        words = [row.split()[0] for row in window.rows if row[0] != " "]
        assert words[-3:] == ["error", "hint", "fails"]
        assert "failed" not in words


@pytest.mark.parametrize("key", ["q", "\x03"])
def test_watch_names_the_phase_that_waits(silent: ScriptedServer, key: str) -> None:
    """Without one attempt that has ended there are no statistics, and nothing that could be said to work."""
    with Window("check", "--watch", "-x", silent.url, *TARGET, columns=120) as window:
        window.until(lambda rows: counted(rows, "proxy"))
        window.send(key)
        assert window.end() == 130
        assert [row.split()[0] for row in window.rows] == ["proxy", "stopped"]
        assert "interrupted: " in window.rows[0]


def test_a_signal_that_ends_watch_shows_the_statistics_too() -> None:
    with (
        ScriptedServer(open_at_once) as proxy,
        Window("check", "--watch", "--interval", "0.05", "-x", proxy.url, *TARGET) as window,
    ):
        window.until(lambda rows: lasts(rows) >= 1)
        window.child.kill(signal.SIGTERM)
        assert window.end() == 128 + signal.SIGTERM
        assert [row.split()[0] for row in window.rows][-2:] == ["tunnel", "stopped"]


def test_watch_on_a_narrow_terminal() -> None:
    with (
        ScriptedServer(open_at_once) as proxy,
        Window("check", "--watch", "--interval", "0.05", "-x", proxy.url, *TARGET, columns=40) as window,
    ):
        window.until(lambda rows: any(row.startswith("tunnel ") for row in rows))
        assert next(row for row in window.rows if row.startswith("phase")).split() == ["phase", "last", "loss"]
        window.send("q")
        assert window.end() == 0


def test_watch_in_a_pipe_has_a_line_for_each_attempt_and_the_table() -> None:
    with ScriptedServer(open_at_once) as proxy:
        line = ("check", "--watch", "--count", "3", "--interval", "0", "-x", proxy.url, *TARGET)
        text, records = run(*line), events_of(run(*line, "--json").stdout.decode())
    words = [row.split()[0] for row in text.stdout.decode().splitlines()]
    assert words == ["attempt"] * 3 + ["phase", "route", "dns", "connect", "proxy", "tunnel", "works"]
    assert [record["event"] for record in records] == ["attempt"] * 3 + ["statistics"] * 5 + ["verdict"]
    assert [record["count"] for record in records[3:8]] == [3] * 5
    assert all(record["best"] <= record["average"] <= record["worst"] for record in records[3:8])


@pytest.mark.parametrize("other", ["--get=/", "--idle=1", "--wait=1", "--expect=aa"])
def test_watch_and_further_probes_contradict_each_other(other: str) -> None:
    done = run("check", "--watch", other, "--tls", *TARGET)
    assert done.returncode == 2
    assert b"cannot be used together" in done.stderr


def test_watch_in_the_background_leaves_the_terminal_alone(silent: ScriptedServer) -> None:
    """A background process that changes the terminal would be stopped."""
    line = f"set -m; {' '.join(MODULE)} check --watch -x {silent.url} host.example 22 >/dev/null & read line; kill %1"
    child = pexpect.spawn("/bin/bash", ["--norc", "-c", line], env=environment(), encoding="utf-8", timeout=20)
    try:
        silent.wait_for_heads()
        assert termios.tcgetattr(child.child_fd)[3] & termios.ICANON
        child.sendline("")
        child.expect(pexpect.EOF)
    finally:
        child.close(force=True)
