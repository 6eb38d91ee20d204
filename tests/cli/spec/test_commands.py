"""Commands and their examples: every example parses."""

import shlex

import pytest

from tunnelctl.cli.commands.dispatch import RUN
from tunnelctl.cli.parse.typer_app import parse
from tunnelctl.cli.render.completion import SCRIPTS
from tunnelctl.cli.spec.commands import COMMANDS, SHELLS, VARIABLES
from tunnelctl.cli.spec.flags import FLAGS

EXAMPLES = [line for command in COMMANDS for line, _ in command.examples]


def tunnelctl_words(line: str) -> list[str]:
    """Returns the arguments after `tunnelctl` in a shell line: in a pipe, a list, a substitution or an option of ssh."""
    for part in line.replace("<(", "| ").replace('"$(', "| ").replace(')"', "").replace(")", "").replace("&&", "|").split("|"):
        words = shlex.split(part)
        if words[0] == "ssh":
            words = words[2].removeprefix("ProxyCommand ").replace("%h", "host").replace("%p", "22").split()
        if words[0] == "tunnelctl":
            return words[1 : words.index(">") if ">" in words else words.index(">>") if ">>" in words else None]
    raise AssertionError(line)


@pytest.mark.parametrize("line", EXAMPLES)
def test_every_example_parses(line):
    words = tunnelctl_words(line)
    assert parse(words).command == words[0]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c.name)
def test_summary_and_lead_have_the_same_form_in_every_command(command):
    assert command.summary[0].islower()
    assert not command.summary.endswith(".")
    assert command.lead.count(". ") == 1, "the lead must have two sentences"
    assert len(command.examples) == 3


def test_every_command_has_a_function():
    assert set(RUN) == {c.name for c in COMMANDS}


def test_every_shell_has_a_script():
    assert set(SCRIPTS) == set(SHELLS)


def test_every_variable_of_a_flag_is_in_the_manual():
    assert {name for flag in FLAGS for name in flag.env} <= {name for v in VARIABLES for name in v.names}
