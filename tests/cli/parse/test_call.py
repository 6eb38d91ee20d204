"""The direct parser of all commands: it accepts plain lines, leaves the rest to Typer, and never disagrees with Typer."""

import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cli.parse.lines import anything, plain
from tunnelctl.cli.parse.call import plain_call
from tunnelctl.cli.parse.typer_app import parse
from tunnelctl.cli.spec.commands import COMMANDS
from tunnelctl.cli.spec.flags import flags_of

NAMES = [command.name for command in COMMANDS]


def named(command: str, *given: tuple[str, str]) -> list[object]:
    """Pairs of flags by their names."""
    return [(next(flag for flag in flags_of(command) if flag.name == name), text) for name, text in given]


@pytest.mark.parametrize(
    ("line", "pairs", "words"),
    [
        ("status", [], []),
        ("status --json work", [("json", "")], ["work"]),
        ("serve --allow a:1 --listen 127.0.0.1:1 --allow=b:2", [("listen", "127.0.0.1:1"), ("allow", "a:1"), ("allow", "b:2")], []),
        ("check -vv host 22", [("verbose", ""), ("verbose", "")], ["host", "22"]),
        ("forward --background --name work", [("background", ""), ("name", "work")], []),
        ("run cmd --json -- -x", [], ["cmd", "--json", "--", "-x"]),
        ("run --json -- -x -- y", [("json", "")], ["-x", "--", "y"]),
        ("run --json 'sh' '-c' 'a\nb'", [("json", "")], ["sh", "-c", "a\nb"]),
        ("run", [], []),
        ("status --", None, None),
        ("setup curl --", None, None),
        ("forward --background --background", None, None),
        ("check -x", None, None),
        ("check --nope", None, None),
        ("serve --listen -1", None, None),
        ("-h", None, None),
        ("nothing 1 2", None, None),
    ],
)
def test_plain_lines_are_parsed_directly_and_others_are_left_to_typer(line, pairs, words):
    argv = shlex.split(line)
    call = plain_call(argv)
    if pairs is None:
        assert call is None
    else:
        assert call == parse(argv)
        assert call.words == words
        assert sorted(call.pairs, key=str) == sorted(named(call.command, *pairs), key=str)


@st.composite
def line_of(draw, part, most):
    """A command, its flags, and parts of a line with them."""
    flags = flags_of(name := draw(st.sampled_from(NAMES)))
    return name, draw(st.lists(part(flags), max_size=most))


@given(line_of(anything, 6))
@settings(max_examples=300)
def test_property_the_direct_parser_agrees_with_typer(line):
    name, parts = line
    argv = [name, *(word for part in parts for word in part)]
    call = plain_call(argv)
    if call is not None:
        assert parse(argv) == call


@given(line_of(lambda flags: st.sampled_from(flags).flatmap(plain) if flags else st.just(["word"]), 4))
@settings(max_examples=100)
def test_property_plain_lines_are_accepted(line):
    name, parts = line
    argv = [name, *(word for part in parts for word in part), "word"]
    call = plain_call(argv)
    if call is None:
        spelled = [part[0].partition("=")[0] for part in parts if part[0] != "-vv"]
        names = [flag.name for text in spelled for flag in flags_of(name) if text in flag.spellings]
        assert len(names) > len(set(names)), "only a repetition may be declined"
    else:
        assert parse(argv) == call
