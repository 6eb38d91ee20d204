"""Help texts compared with golden files.

`tunnelctl [COMMAND] --help > tests/data/help/NAME.txt` renews one, and with -h NAME.short.txt.
"""

import re
from pathlib import Path

import pexpect
import pytest

from tests.peers.program import MODULE, environment, run
from tunnelctl.cli.parse.typer_app import parse
from tunnelctl.cli.render.help import (
    SCREEN,
    WIDTH,
    asked_for,
    command_help,
    program_help,
    row,
    short_command_help,
    short_program_help,
)
from tunnelctl.cli.spec.commands import COMMANDS
from tunnelctl.cli.spec.flag import BRIEF, RULE
from tunnelctl.cli.spec.flags import FLAGS, flags_of
from tunnelctl.status import ExitStatus

GOLDEN = Path(__file__).parents[2] / "data" / "help"
NAMES = [c.name for c in COMMANDS]


@pytest.mark.parametrize("name", NAMES)
def test_the_help_of_a_command_equals_its_golden_file(name):
    assert command_help(name) == (GOLDEN / f"{name}.txt").read_text()


def test_the_help_of_the_program_equals_its_golden_file():
    assert program_help() == (GOLDEN / "tunnelctl.txt").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_the_short_help_of_a_command_equals_its_golden_file(name):
    assert short_command_help(name) == (GOLDEN / f"{name}.short.txt").read_text()


def test_the_short_help_of_the_program_equals_its_golden_file():
    assert short_program_help() == (GOLDEN / "tunnelctl.short.txt").read_text()


def test_every_golden_file_has_a_command():
    assert {path.name for path in GOLDEN.iterdir()} == {
        f"{name}{kind}.txt" for name in (*NAMES, "tunnelctl") for kind in ("", ".short")
    }


SHORT = [short_program_help(), *map(short_command_help, NAMES)]
LONG = [program_help(), *map(command_help, NAMES)]


@pytest.mark.parametrize("text", SHORT, ids=["program", *NAMES])
def test_short_help_fits_one_screen(text):
    """The screen has 24 lines, and the prompt takes one. No explanation takes a second line."""
    lines = text.splitlines()
    assert len(lines) <= SCREEN == 23
    assert not [line for line in lines if line.startswith(" " * 10)]
    assert "Exit status" not in text


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: f"{flag.commands[0]}{flag.spellings[-1]}")
def test_a_flag_has_a_brief_text(flag):
    assert len(flag.in_brief) <= BRIEF
    assert flag.brief == "" or len(flag.brief) < len(flag.help), "give a brief text only where the help is too long"
    assert flag.brief[:1].islower() or flag.brief[:4] in ("", "JSON")
    assert set(flag.common) <= set(flag.commands)


def test_the_statuses_are_in_the_help_of_the_program_only():
    assert [text.count("Exit status:") for text in LONG] == [1] + [0] * len(NAMES)


@pytest.mark.parametrize("text", [*SHORT, *LONG], ids=[f"{kind}{name}" for kind in ("short ", "") for name in ("program", *NAMES)])
def test_help_fits_80_columns_in_plain_ascii(text):
    assert max(map(len, text.splitlines())) <= WIDTH == 80
    assert text.isascii()
    assert "\x1b" not in text
    assert not any(line != line.rstrip() for line in text.splitlines())


@pytest.mark.parametrize("name", NAMES)
def test_help_lists_every_flag_and_puts_examples_first(name):
    text = command_help(name)
    assert all(s in text for flag in flags_of(name) for s in flag.spellings)
    assert text.index("Examples:") < text.index("  --help")


def test_help_lists_every_exit_status():
    assert all(f"  {int(status)} " in program_help() for status in ExitStatus)


REQUESTS = [["-V"], ["--version"], ["-h"], ["--help"], *([name, flag] for name in NAMES for flag in ("-h", "--help"))]


@pytest.mark.parametrize("argv", REQUESTS, ids=" ".join)
def test_plain_requests_for_help_print_the_same_as_typer(argv):
    call = parse(argv)
    assert call.command == "print"
    assert asked_for(argv) == call.text


@pytest.mark.parametrize(
    "argv", [[], ["-v"], ["nope", "--help"], ["connect", "h", "-h"], ["connect"], ["--version", "-h"]], ids=" ".join
)
def test_other_lines_are_no_plain_request_for_help(argv):
    assert asked_for(argv) is None


def test_exit_statuses_are_aligned():
    lines = program_help().partition("Exit status:\n")[2].splitlines()
    assert {len(line) - len(line[9:].lstrip()) for line in lines} == {9}
    assert "  128+n  ended by signal n" in lines


def test_the_help_of_serve_explains_rules():
    policy = command_help("serve").partition("\nPolicy:\n")[2].partition("\n\n")[0]
    assert " ".join(policy.split()).startswith(RULE)
    assert policy.splitlines()[1].endswith("443."), "the text must break into two lines"


def test_a_long_term_has_a_line_of_its_own():
    assert row("x" * 40, "text") == ["  " + "x" * 40, " " * 30 + "text"]


def test_the_environment_does_not_change_the_help():
    """Typer with rich reads each of these variables."""
    colourful = {
        "COLUMNS": "40", "TERMINAL_WIDTH": "40", "FORCE_COLOR": "1", "PY_COLORS": "1", "GITHUB_ACTIONS": "true",
        "TYPER_USE_RICH": "1", "LANGUAGE": "de", "TERM": "xterm-256color",
    }  # fmt: skip
    done = run("connect", "--help", env=colourful)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == command_help("connect")


# --- on a terminal


def on_terminal(*words: str, **env: str) -> str:
    child = pexpect.spawn(MODULE[0], [*MODULE[1:], *words], env=environment({"TERM": "xterm", **env}), encoding="utf-8", timeout=20)
    child.expect(pexpect.EOF)
    child.close()
    return child.before.replace("\r\n", "\n")


BOLD = re.compile("\x1b\\[1m(.*?)\x1b\\[m")


@pytest.mark.parametrize(
    "words", [("serve", "-h"), ("serve", "--help"), ("-h",), ("--help",), ("serve", "--users", "x", "-h"), ()], ids=str
)
def test_headings_and_names_are_bold_on_a_terminal(words):
    text = on_terminal(*words)
    bold = BOLD.findall(text)
    assert bold[0] == "Usage:"
    assert ("-v, --verbose" if "serve" in words else "hash-password") in bold
    assert not [part for part in bold if "tunnelctl " in part]
    assert BOLD.sub(r"\1", text) == (run(*words).stdout or run(*words).stderr).decode()


def test_every_flag_is_bold():
    bold = BOLD.findall(on_terminal("connect", "--help"))
    assert {", ".join(flag.spellings) for flag in flags_of("connect")} <= set(bold)
    assert "Proxy:" in bold


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"TERM": ""}], ids=str)
def test_nothing_is_bold_where_that_is_not_wanted(env):
    assert on_terminal("connect", "--help", **env) == command_help("connect")
