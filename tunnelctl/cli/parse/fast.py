"""The direct parser: splits plain command lines without Typer and its 120 ms.

ssh starts a ProxyCommand for every connection, and a shell may run `tunnelctl env` at each start. For anything unusual or doubtful
the parser returns None; Typer then parses the line, and explains what is wrong in it. On every line that this parser accepts, it
agrees with Typer; a property test verifies that. The path of `connect` is here; cli.parse.call has that of the other commands.
"""

from __future__ import annotations

from tunnelctl.cli.parse.settings import ConnectLine, connect_line
from tunnelctl.cli.parse.values import Pair
from tunnelctl.cli.spec.connect_flags import OPENING, REPORTING
from tunnelctl.cli.spec.flag import Flag
from tunnelctl.errors import UsageProblem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def expand_short_form(argv: list[str]) -> list[str]:
    """Expands `tunnelctl HOST PORT` to a `connect` line: git's core.gitProxy runs a program with just these two words."""
    if len(argv) != 2 or not argv[1].isdigit() or argv[0][:1] == "-" or argv[0] == "connect":
        return argv
    from tunnelctl.cli.spec.commands import COMMANDS

    return argv if any(argv[0] == c.name for c in COMMANDS) else ["connect", *argv]


def parse_connect(argv: list[str], environ: Mapping[str, str]) -> ConnectLine | None:
    """Parses a `connect` line. Returns None if it is not plainly valid."""
    found = split(argv, (*OPENING, *REPORTING)) if argv[:1] == ["connect"] else None
    if found is None:
        return None
    try:
        return connect_line(*found, environ)
    except UsageProblem:
        return None


def split(argv: list[str], flags: tuple[Flag, ...]) -> tuple[list[Pair], list[str]] | None:
    """Splits a line that begins with a command into flags with their texts, and words. Returns None if it is not plainly valid.

    flags: those of the command, perhaps among others
    """
    command = argv[0]
    spelled = {s: flag for flag in flags if command in flag.commands for s in flag.spellings}
    pairs: list[Pair] = []
    words: list[str] = []
    rest = iter(argv[1:])
    for arg in rest:
        if not arg.isprintable():  # control characters, and bytes that are not UTF-8
            return None
        if command == "run" and (arg == "--" or arg[:1] != "-"):  # what follows is for the command that it runs
            return pairs, [*([arg] if arg != "--" else ()), *rest]
        if arg[:1] != "-":
            words.append(arg)
            continue
        found = read_flag(arg, spelled)
        if found is None:
            return None
        flag, text = found
        if flag.takes_value and not text:
            text = next(rest, "")
            if not text or text[0] == "-" or not text.isprintable():
                return None
        pairs += [(flag, text)] * (2 if arg == "-vv" else 1)
    return pairs, words


def read_flag(arg: str, spelled: dict[str, Flag]) -> Pair | None:
    """Reads `--flag`, `--flag=value`, `-f` or `-vv`, or returns None. The text is "" if the argument contains no value."""
    name, equals, text = arg.partition("=")
    flag = spelled.get("-v" if name == "-vv" else name)
    if flag is None:
        return None
    if equals and not (flag.takes_value and text and name[:2] == "--"):
        return None
    return flag, text
