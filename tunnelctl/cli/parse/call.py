"""A parsed command line of any command, and its direct parser for plain lines, which spares them Typer."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from tunnelctl.cli.parse.fast import split
from tunnelctl.cli.parse.values import Pair
from tunnelctl.cli.spec.commands import COMMANDS
from tunnelctl.cli.spec.flag import LEVEL
from tunnelctl.cli.spec.flags import FLAGS, flags_of


class Call(NamedTuple):
    """A parsed command line: a command with its flags and words, or a text to print (command "print")."""

    command: str
    pairs: list[Pair]
    words: list[str]
    text: str = ""


def plain_call(argv: list[str]) -> Call | None:
    """Parses a plain line; returns None if Typer must parse it. The flags are in the order of the help, as with Typer."""
    command = argv[0]
    if all(command != c.name for c in COMMANDS):
        return None
    found = split(argv, FLAGS)
    if found is None:
        return None
    pairs, words = found
    flags = flags_of(command)
    counts = Counter(flag for flag, _ in pairs)
    if any(count > 1 and not flag.repeat and flag.kind != LEVEL for flag, count in counts.items()):
        return None
    return Call(command, sorted(pairs, key=lambda pair: flags.index(pair[0])), words)
