"""`check` chooses its report: in a pipe, on terminals of any width, with and without colour, and as JSON."""

import subprocess

import pytest

from tests.peers.program import MODULE, environment, run
from tests.peers.scripted import Conversation, ScriptedServer
from tests.peers.window import Window
from tunnelctl.cli.commands.check import report_for, speaks_utf8
from tunnelctl.cli.render.check.report import JSONReport, PlainReport
from tunnelctl.errors import UsageProblem


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


@pytest.mark.parametrize(
    ("environ", "utf8"),
    [
        ({}, False),
        ({"LANG": "C.UTF-8"}, True),
        ({"LANG": "de_DE.utf8"}, True),
        ({"LC_ALL": "C", "LANG": "C.UTF-8"}, False),
        ({"LC_ALL": "", "LC_CTYPE": "UTF-8"}, True),
        ({"LANG": "de_DE.ISO-8859-1"}, False),
    ],
)
def test_the_locale_says_whether_the_terminal_shows_utf8(environ, utf8):
    assert speaks_utf8(environ) == utf8


# --- on a terminal


def greet(peer: Conversation) -> None:
    peer.send(b"hello\n")
    peer.wait_gone()


def on_terminal(columns: int, *words: str, **env: str) -> Window:
    """Runs it in a window of that width."""
    with (
        ScriptedServer(greet) as target,
        Window("check", "-x", "direct", *words, target.authority, columns=columns, env=env) as window,
    ):
        assert window.end() == 0, window.rows
    return window


@pytest.mark.parametrize("columns", [40, 65, 66, 80, 200])
def test_the_report_fits_the_width_of_the_terminal(columns):
    """If there is no room for the bars, they are left out and nothing else is cut."""
    rows = on_terminal(columns).rows
    text = " ".join(rows)
    assert ("━" in text) == (columns >= 66)
    assert all(word in text for word in ("route", "dns", "connect", "-x", "127.0.0.1", "hello", "without a proxy"))


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
    assert ("\x1b[32m" in on_terminal(80, *words, **env).output) == coloured


@pytest.mark.parametrize("words", [("--color", "always")])
def test_colour_in_a_pipe_only_if_forced(words):
    with ScriptedServer(greet) as target:
        plain = run("check", "-x", "direct", target.authority, env={"TERM": "xterm"})
        asked = run("check", "-x", "direct", *words, target.authority, env={"TERM": "xterm"})
        forced = run("check", "-x", "direct", target.authority, env={"TERM": "xterm", "FORCE_COLOR": "1"})
    assert b"\x1b" not in plain.stdout
    assert b"\x1b[32m" in asked.stdout
    assert b"\x1b[32m" in forced.stdout


def test_a_closed_stdout_is_reported_without_a_traceback():
    with ScriptedServer(greet) as target:
        line = f'"$@" check -x direct {target.authority} >&-'

        done = subprocess.run(["sh", "-c", line, "sh", *MODULE], capture_output=True, env=environment(), timeout=20)
    assert done.returncode == 74
    assert done.stderr == b"tunnelctl: stdout: it is closed\n"
