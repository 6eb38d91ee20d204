"""The texts of --help, rendered from cli.spec at 80 columns, regardless of the terminal and the environment."""

from textwrap import wrap

from tunnelctl import __version__
from tunnelctl.cli.spec.commands import COMMANDS, NOTES
from tunnelctl.cli.spec.flags import Flag, flags_of
from tunnelctl.status import ExitStatus

WIDTH = 80
COLUMN = 30  # where the explanations start
PROGRAM = "Tunnels ssh, git, pipes and local ports through HTTP, HTTPS and SOCKS proxies; with a small proxy for the other end."


def asked_for(argv: list[str]) -> str | None:
    """Returns the text for a plain request for help or the version, 150 ms earlier than through Typer; None for anything else."""
    if argv == ["--version"]:
        return version()
    if argv[-1:] in (["-h"], ["--help"]):
        if len(argv) == 1:
            return program_help()
        if len(argv) == 2 and any(argv[0] == c.name for c in COMMANDS):
            return command_help(argv[0])
    return None


def version() -> str:
    """Returns the output of `tunnelctl --version`."""
    return f"tunnelctl {__version__}\n"


def short_help() -> str:
    """Returns the output of `tunnelctl` without arguments."""
    lines = ["usage: tunnelctl COMMAND [FLAGS] [WORDS]", "", *commands(), "", "tunnelctl COMMAND --help says more."]
    return "\n".join(lines) + "\n"


def program_help() -> str:
    """Returns the output of `tunnelctl --help`."""
    connect = COMMANDS[0]
    lines = [
        "Usage: tunnelctl COMMAND [FLAGS] [WORDS]",
        "       tunnelctl HOST PORT          short for connect",
        "",
        *wrap(PROGRAM, WIDTH),
        "",
        *examples((connect.examples[0], COMMANDS[1].examples[0], COMMANDS[-1].examples[0])),
        "",
        *commands(),
        "",
        "Flags:",
        *row("--version", "print the version"),
        *row("-h, --help", "print this help; after a command, that command's"),
        "",
        *statuses(),
    ]
    return "\n".join(lines) + "\n"


def command_help(name: str) -> str:
    """Returns the output of `tunnelctl NAME --help`."""
    command = next(c for c in COMMANDS if c.name == name)
    flags = flags_of(name)
    usage = " ".join(word for word in ("Usage: tunnelctl", name, "[FLAGS]" if flags else "", command.words) if word)
    lines = [usage, "", *wrap(command.lead, WIDTH), "", *examples(command.examples)]
    for group in dict.fromkeys(flag.group for flag in flags):
        lines += ["", f"{group}:", *(f"  {line}" for line in wrap(NOTES.get(group, ""), WIDTH - 2, break_on_hyphens=False))]
        for flag in flags:
            if flag.group == group:
                lines += row(left(flag), right(flag))
    lines += ["", "Help:", *row("-h, --help", "print this help")]
    if flags:
        lines += ["", *statuses()]
    return "\n".join(lines) + "\n"


def left(flag: Flag) -> str:
    """Returns the left column for a flag, such as `-x, --proxy URL`."""
    return f"{', '.join(flag.spellings)} {flag.metavar}".rstrip()


def right(flag: Flag) -> str:
    return f"{flag.help} [{flag.default}]" if flag.default else flag.help


def commands() -> list[str]:
    return ["Commands:", *(line for c in COMMANDS for line in row(f"{c.name} {c.words}".rstrip(), c.summary))]


def examples(pairs: tuple[tuple[str, str], ...]) -> list[str]:
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
