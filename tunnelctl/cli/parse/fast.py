"""The direct parser: reads plainly valid command lines of `connect`, without Typer and its 120 ms.

ssh starts a ProxyCommand for every connection, so ordinary lines are parsed here. For anything unusual, doubtful or wrong the
parser returns None; Typer then parses the line and explains the error. On every line that this parser accepts, it agrees with
Typer; a property test verifies that.
"""

from collections.abc import Mapping

from tunnelctl.cli.parse.settings import ConnectLine, connect_line
from tunnelctl.cli.parse.values import Pair
from tunnelctl.cli.spec.flag import Flag
from tunnelctl.cli.spec.flags import FLAGS
from tunnelctl.errors import UsageProblem


def expand_short_form(argv: list[str]) -> list[str]:
    """Expands `tunnelctl HOST PORT` to a `connect` line: git's core.gitProxy runs a program with just these two words."""
    if len(argv) != 2 or not argv[1].isdigit() or argv[0][:1] == "-" or argv[0] == "connect":
        return argv
    from tunnelctl.cli.spec.commands import COMMANDS

    return argv if any(argv[0] == c.name for c in COMMANDS) else ["connect", *argv]


def parse_connect(argv: list[str], environ: Mapping[str, str]) -> ConnectLine | None:
    """Parses a `connect` line. Returns None if Typer must parse it."""
    if argv[:1] != ["connect"]:
        return None
    spelled = {s: flag for flag in FLAGS if "connect" in flag.commands for s in flag.spellings}
    pairs: list[Pair] = []
    words: list[str] = []
    rest = iter(argv[1:])
    for arg in rest:
        if not arg.isprintable():  # control characters, and bytes that are not UTF-8
            return None
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
    try:
        return connect_line(pairs, words, environ)
    except UsageProblem:
        return None


def read_flag(arg: str, spelled: dict[str, Flag]) -> Pair | None:
    """Reads `--flag`, `--flag=value`, `-f` or `-vv`, or returns None. The text is "" if the argument contains no value."""
    name, equals, text = arg.partition("=")
    flag = spelled.get("-v" if name == "-vv" else name)
    if flag is None:
        return None
    if equals and not (flag.takes_value and text and name[:2] == "--"):
        return None
    return flag, text
