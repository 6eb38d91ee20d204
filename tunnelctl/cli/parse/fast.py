"""The direct parser: plainly valid command lines of `connect`, without Typer and its 120 ms.

ssh starts a ProxyCommand for every connection, so the ordinary line is read here. Whatever is unusual, doubtful or wrong gets
None, and Typer reads it and explains. It never disagrees with Typer on a line that it accepts; a property test holds that.
"""

from collections.abc import Mapping

from tunnelctl.cli.parse.settings import ConnectLine, connect_line
from tunnelctl.cli.parse.values import Pair
from tunnelctl.cli.spec.flags import FLAGS, Flag
from tunnelctl.errors import UsageProblem


def expand_short_form(argv: list[str]) -> list[str]:
    """`tunnelctl HOST PORT` means connect: git's core.gitProxy runs a program with just these two words."""
    if len(argv) != 2 or not argv[1].isdigit() or argv[0][:1] == "-" or argv[0] == "connect":
        return argv
    from tunnelctl.cli.spec.commands import COMMANDS

    return argv if any(argv[0] == c.name for c in COMMANDS) else ["connect", *argv]


def parse_connect(argv: list[str], environ: Mapping[str, str]) -> ConnectLine | None:
    """What a `connect` line says, or None where Typer must have a look."""
    if argv[:1] != ["connect"]:
        return None
    spelled = {s: flag for flag in FLAGS if "connect" in flag.commands for s in flag.spellings}
    pairs: list[Pair] = []
    words: list[str] = []
    rest = iter(argv[1:])
    for arg in rest:
        if not arg.isprintable():  # controls, and bytes that are no UTF-8
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
    """`--flag`, `--flag=value`, `-f` or `-vv`; the text is "" where the value is still to come."""
    name, equals, text = arg.partition("=")
    flag = spelled.get("-v" if name == "-vv" else name)
    if flag is None:
        return None
    if equals and not (flag.takes_value and text and name[:2] == "--"):
        return None
    return flag, text
