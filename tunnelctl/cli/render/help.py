"""The texts of --help, rendered from cli.spec at 80 columns, regardless of the terminal and the environment."""

import os
import re
from collections.abc import Iterable
from textwrap import wrap

from tunnelctl import __version__
from tunnelctl.cli.spec.commands import COMMANDS, NOTES, Command
from tunnelctl.cli.spec.flag import Flag
from tunnelctl.cli.spec.flags import flags_of
from tunnelctl.status import ExitStatus

WIDTH = 80
COLUMN = 30  # where the explanations start
SHORT_COLUMN = 17  # the same where only the names of commands come before them
SCREEN = 23  # lines of -h: those of a terminal of 24, less the prompt
PROGRAM = "Tunnels ssh, git, pipes and local ports through HTTP, HTTPS and SOCKS proxies; with a small proxy for the other end."
PROGRAM_USAGE = ("Usage: tunnelctl COMMAND [FLAGS] [WORDS]", "       tunnelctl HOST PORT          short for connect")

# In a finished text: headings, flags, and the names in the list of commands, which at least two blanks end.
EMPHASIZED = re.compile(r"^(Usage:|[A-Z][A-Za-z ]*:$)|^(  )(-[\w-]+(?:, --[\w-]+)?|[a-z-]+(?=(?: [A-Z[{]\S*)*  ))", re.MULTILINE)


def asked_for(argv: list[str]) -> str | None:
    """Returns the text for a plain request for help or the version, without Typer; None for anything else."""
    if argv in (["-V"], ["--version"]):
        return version()
    if argv in (["-h"], ["--help"]):
        return program_help() if argv == ["--help"] else short_program_help()
    if len(argv) == 2 and argv[1] in ("-h", "--help") and any(argv[0] == c.name for c in COMMANDS):
        return command_help(argv[0]) if argv[1] == "--help" else short_command_help(argv[0])
    return None


def version() -> str:
    """Returns the output of `tunnelctl --version`."""
    return f"tunnelctl {__version__}\n"


def short_program_help() -> str:
    """Returns the output of `tunnelctl -h`, and of `tunnelctl` without arguments."""
    names = [line for c in COMMANDS for line in row(c.name, c.summary, SHORT_COLUMN)]
    more = "More about one: tunnelctl COMMAND -h. Everything: tunnelctl --help."
    return "\n".join([*PROGRAM_USAGE, "", "Commands:", *names, "", more]) + "\n"


def program_help() -> str:
    """Returns the output of `tunnelctl --help`."""
    shown = (command_of(name).examples[0] for name in ("connect", "forward", "selftest"))
    lines = [
        *PROGRAM_USAGE,
        "",
        *wrap(PROGRAM, WIDTH),
        "",
        *examples(shown),
        "",
        *commands(),
        "",
        "Flags:",
        *row("-V, --version", "print the version"),
        *row("-h", "print the commands; after one, its most used flags"),
        *row("--help", "print this help; after a command, all of its flags"),
        "",
        *statuses(),
    ]
    return "\n".join(lines) + "\n"


def short_command_help(name: str) -> str:
    """Returns the output of `tunnelctl NAME -h`: what people use, on one screen."""
    command = command_of(name)
    lines = [usage(command), f"{command.summary[0].upper()}{command.summary[1:]}.", "", "Examples:"]
    lines += [f"  {line}" for line, _ in command.examples]
    common = [flag for flag in flags_of(name) if name in flag.common]
    if common:
        lines += ["", "Flags:", *(line for flag in common for line in row(left(flag), flag.in_brief))]
    all_of_it = f"All flags: tunnelctl {name} --help. " if common else ""
    return "\n".join([*lines, "", f"{all_of_it}Manual: tunnelctl help {name}."]) + "\n"


def command_help(name: str) -> str:
    """Returns the output of `tunnelctl NAME --help`."""
    command, flags = command_of(name), flags_of(name)
    lines = [usage(command), "", *wrap(command.lead, WIDTH), "", *examples(command.examples)]
    for group in dict.fromkeys(flag.group for flag in flags):
        lines += ["", f"{group}:", *(f"  {line}" for line in wrap(NOTES.get(group, ""), WIDTH - 2, break_on_hyphens=False))]
        for flag in flags:
            if flag.group == group:
                lines += row(left(flag), right(flag))
    lines += ["", "Help:", *row("-h", "print the most used flags"), *row("--help", "print this help")]
    return "\n".join([*lines, "", f"Manual, with exit statuses: tunnelctl help {name}."]) + "\n"


def command_of(name: str) -> Command:
    return next(c for c in COMMANDS if c.name == name)


def usage(command: Command) -> str:
    parts = ("Usage: tunnelctl", command.name, "[FLAGS]" if flags_of(command.name) else "", command.words)
    return " ".join(filter(None, parts))


def left(flag: Flag) -> str:
    """Returns the left column for a flag, such as `-x, --proxy URL`."""
    return f"{', '.join(flag.spellings)} {flag.metavar}".rstrip()


def right(flag: Flag) -> str:
    return f"{flag.help} [{flag.default}]" if flag.default else flag.help


def commands() -> list[str]:
    return ["Commands:", *(line for c in COMMANDS for line in row(f"{c.name} {c.words}".rstrip(), c.summary))]


def examples(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Returns the lines of the examples: each command unwrapped, so that it can be copied, with its explanation below."""
    return ["Examples:", *(line for command, what in pairs for line in (f"  {command}", f"      {what}"))]


def statuses() -> list[str]:
    rows = [(str(int(status)), status.meaning) for status in ExitStatus] + [("128+n", "ended by signal n")]
    return ["Exit status:", *(line for term, text in rows for line in row(term, text, column=9))]


def row(term: str, text: str, column: int = COLUMN) -> list[str]:
    """Lays out a term and its explanation, which starts on its own line if the term is too long."""
    head = f"  {term}"
    texts = wrap(text, WIDTH - column, break_on_hyphens=False)
    if len(head) + 2 > column:
        return [head, *(" " * column + line for line in texts)]
    return [head.ljust(column) + texts[0], *(" " * column + line for line in texts[1:])]


def emphasized(text: str, fd: int = 1) -> str:
    """Returns a help text for a descriptor: with bold headings and names if that is a terminal which is to show them."""
    if not os.isatty(fd) or os.environ.get("NO_COLOR") or os.environ.get("TERM", "") in ("", "dumb"):
        return text
    return EMPHASIZED.sub(lambda match: f"{match[2] or ''}\x1b[1m{match[1] or match[3]}\x1b[m", text)
