"""Tests that the documentation is complete and correct: commands, flags, variables, statuses, events, messages.

The pages are generated from lists (see test_man); these tests look at the program itself: its source, its help, its
behaviour.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from man.source.man import pages
from tests.peers.program import run
from tunnelctl.cli.parse.typer_app import build
from tunnelctl.cli.spec.commands import COMMANDS, VARIABLES
from tunnelctl.cli.spec.flags import FLAGS
from tunnelctl.status import ExitStatus

ROOT = Path(__file__).parents[2]
SOURCES = {path: path.read_text("utf-8") for path in sorted((ROOT / "tunnelctl").rglob("*.py"))}
PAGES = pages()
PROSE = "\n".join((*PAGES.values(), (ROOT / "README.md").read_text("utf-8"))).replace("\\-", "-")

# Variables that are only mentioned, set for other programs, or read by programs that we run; and a switch for our own tests.
KNOWN_ELSEWHERE = {"TUNNELCTL_POLLER", "LOCALDOMAIN"}


def literals(pattern: str) -> Iterator[str]:
    """Yields the string literals in the source that match the pattern."""
    for source in SOURCES.values():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(pattern, node.value):
                yield node.value


def read_from_the_environment() -> set[str]:
    """Returns the environment variables that the source reads, named directly or by a constant."""
    asked = set()
    for source in SOURCES.values():
        tree = ast.parse(source)
        constants = {
            target.id: str(node.value.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            key = None
            if isinstance(node, ast.Call) and re.search(r"environ(\.get|\.pop)?$", ast.unparse(node.func)) and node.args:
                key = node.args[0]
            elif isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith("environ"):
                key = node.slice
            elif isinstance(node, ast.Compare) and ast.unparse(node.comparators[0]).endswith("environ"):
                key = node.left
            if isinstance(key, ast.Name):
                asked.add(constants.get(key.id, ""))
            elif isinstance(key, ast.Constant):
                asked.add(str(key.value))
    return asked - {""}


def test_documented_variables_are_those_of_the_source():
    documented = {name for variable in VARIABLES for name in variable.names}
    foreign = {"HOME", "XDG_CONFIG_HOME", "NETRC", "SHELL", "PATH", "TERM"}
    asked = read_from_the_environment()
    assert {"TUNNELCTL_DEBUG", "TUNNELCTL_PROXY_PASSWORD"} <= asked, "the search misses known variables"
    assert asked - documented - foreign - KNOWN_ELSEWHERE == set()
    named = set(literals(r"(TUNNELCTL|LISTEN|NOTIFY|GIT_SSH|NODE_USE)_[A-Z_0-9]+|[a-z]+_proxy|[A-Z]+_PROXY"))
    assert documented - named - asked == set(), "documented but unused in the program"


def test_every_command_is_registered_and_has_a_page():
    listed = run("--help").stdout.decode().partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    with_help = {line.split()[0] for line in listed if re.match("  [a-z]", line)}
    registered = {command.name for command in build(lambda call: None).registered_commands}
    assert with_help == registered == {command.name for command in COMMANDS}
    assert {f"tunnelctl-{name}.1" for name in registered} <= set(PAGES)


def test_only_existing_commands_are_mentioned():
    marked = set(re.findall(r"^(?:\.B |\.BR |\\fB)tunnelctl(?:\\fR \\fB| )([a-z][a-z-]+)", PROSE, re.M))
    assert {"connect", "serve", "run"} <= marked
    assert marked - {command.name for command in COMMANDS} == set()


def test_documented_flags_are_those_of_the_program():
    """Every word in a page that looks like a flag of ours is one, and the pages name every flag."""
    ours = {spelling for flag in FLAGS for spelling in flag.spellings} | {"--help", "--version", "-h", "-V", "--"}
    text = "\n".join(PAGES[name] for name in PAGES if name != "tunnelctl-messages.7").replace("\\-", "-")
    page = re.sub(r"\\f[BIR]", " ", re.sub(r"^\.\\\".*$", "", text, flags=re.M))
    spoken = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", page))
    theirs = {
        "--global", "--system", "--keep-open", "--proxy-type", "--proxy-auth", "--pinnedpubkey", "--hide-bad-request", "--stop",
    }  # fmt: skip
    assert len(spoken) > 40
    assert spoken - ours - theirs == set()
    assert {spelling for flag in FLAGS for spelling in flag.spellings} - set(
        re.findall(r"(?<![\w-])--?[a-zA-Z0-9][a-z0-9-]*", page)
    ) == set()


def test_documented_exit_statuses_are_those_of_the_source():
    """The source uses each status, and the page lists no others."""
    used = {name for source in SOURCES.values() for name in re.findall(r"ExitStatus\.([A-Z_]+)", source)}
    assert {status.name for status in ExitStatus} <= used
    section = PAGES["tunnelctl.1"].partition("\n.SH EXIT STATUS\n")[2].partition("\n.SH ")[0]
    assert re.findall(r"^\.B (\d+)$", section, re.M) == [str(int(status)) for status in ExitStatus]


@pytest.mark.parametrize("name", PAGES)
def test_page_templates_have_a_uniform_style(name):
    """No line of a template is too long to read, and none contains double blanks."""
    template = (ROOT / "man/source" / f"{name}.in").read_text("utf-8")
    assert max(map(len, template.splitlines())) <= 160
    assert "  " not in re.sub(r"^(\.nf\n.*?^\.fi|\.\\.*)$", "", template, flags=re.M | re.S).replace("\\ ", "")
