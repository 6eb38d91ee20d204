"""Help texts compared with golden files: `tunnelctl [COMMAND] --help > tests/data/help/NAME.txt` renews one."""

from pathlib import Path

import pytest

from tests.peers.program import run
from tunnelctl.cli.parse.typer_app import parse
from tunnelctl.cli.render.help import WIDTH, asked_for, command_help, program_help, row, short_help
from tunnelctl.cli.spec.commands import COMMANDS
from tunnelctl.cli.spec.flags import RULE, flags_of
from tunnelctl.status import ExitStatus

GOLDEN = Path(__file__).parents[2] / "data" / "help"
NAMES = [c.name for c in COMMANDS]


@pytest.mark.parametrize("name", NAMES)
def test_the_help_of_a_command_equals_its_golden_file(name):
    assert command_help(name) == (GOLDEN / f"{name}.txt").read_text()


def test_the_help_of_the_program_equals_its_golden_file():
    assert program_help() == (GOLDEN / "tunnelctl.txt").read_text()


def test_every_golden_file_has_a_command():
    assert {path.stem for path in GOLDEN.iterdir()} == {*NAMES, "tunnelctl"}


@pytest.mark.parametrize("text", [short_help(), program_help(), *map(command_help, NAMES)], ids=["short", "program", *NAMES])
def test_help_fits_80_columns_in_plain_ascii(text):
    assert max(map(len, text.splitlines())) <= WIDTH == 80
    assert text.isascii()
    assert "\x1b" not in text
    assert not any(line != line.rstrip() for line in text.splitlines())


@pytest.mark.parametrize("name", NAMES)
def test_help_lists_every_flag_and_puts_examples_first(name):
    text = command_help(name)
    assert all(s in text for flag in flags_of(name) for s in flag.spellings)
    assert text.index("Examples:") < text.index("-h, --help")


def test_help_lists_every_exit_status():
    assert all(f"  {int(status)} " in program_help() for status in ExitStatus)


REQUESTS = [["--version"], ["-h"], ["--help"], *([name, flag] for name in NAMES for flag in ("-h", "--help"))]


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
