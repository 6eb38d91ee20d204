"""The Typer application, generated from cli.spec.flags: help, suggestions, and all command lines that the direct parser declines.

Typer only parses: the function of a command records its arguments, and main runs the command afterwards. So nothing that a
command raises, an interrupt or a broken pipe included, passes through Typer's own error handling.
"""

import contextlib
import inspect
import io
from collections.abc import Callable
from functools import partial
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from tunnelctl.cli.parse.call import Call
from tunnelctl.cli.parse.values import Pair, corkscrew_hint, is_digits
from tunnelctl.cli.render.help import command_help, program_help, short_command_help, short_program_help
from tunnelctl.cli.render.help import version as version_text
from tunnelctl.cli.render.text import mask_word
from tunnelctl.cli.spec.commands import COMMANDS, Command
from tunnelctl.cli.spec.flag import LEVEL, SWITCH, Flag
from tunnelctl.cli.spec.flags import FLAGS, flags_of
from tunnelctl.errors import UsageProblem

CONTEXT = {"help_option_names": ["--help"]}  # -h is a flag of ours: its text is a shorter one


def parse(argv: list[str]) -> Call:
    """Parses with Typer. Raises UsageProblem."""
    calls: list[Call] = []
    printed = io.StringIO()
    command = typer.main.get_command(build(calls.append))
    try:
        with contextlib.redirect_stdout(printed):
            # The empty name switches off completion by environment variable, which Typer does even with add_completion=False.
            command.main(argv, prog_name="tunnelctl", complete_var="", standalone_mode=False)
    except typer.TyperException as error:
        raise explain(error, argv) from None
    return calls[-1] if calls else Call("print", [], [], printed.getvalue())


def build(note: Callable[[Call], None]) -> typer.Typer:
    """Builds the application; it passes the call of the parsed command to `note`."""
    app = typer.Typer(
        cls=_Group,
        rich_markup_mode=None,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings=CONTEXT,
    )

    def top(
        version: bool = printing(version_text, note, "-V", "--version"),
        short: bool = printing(short_program_help, note, "-h"),
    ) -> None:
        pass

    app.callback(invoke_without_command=True)(top)
    for command in COMMANDS:
        # Flags after the COMMAND of `run` belong to that command, as with env(1), ssh(1) and sudo(8).
        settings = {**CONTEXT, "allow_interspersed_args": command.name != "run"}
        app.command(command.name, cls=_Command, context_settings=settings)(function(command, note))
    return app


def printing(text: Callable[[], str], note: Callable[[Call], None], *spellings: str) -> Any:
    """Returns Typer's description of a flag that prints a text and ends, wherever it is in the line."""

    def act(given: bool) -> None:
        if given:
            note(Call("print", [], [], text()))
            raise typer.Exit

    return typer.Option(False, *spellings, is_eager=True, callback=act)


class _Command(TyperCommand):
    """Takes the help from cli.render.help: grouped, with examples first, at 80 columns regardless of the environment."""

    def get_help(self, ctx: Any) -> str:
        return command_help(self.name or "").rstrip("\n")


class _Group(TyperGroup):
    def get_help(self, ctx: Any) -> str:
        return program_help().rstrip("\n")


def function(command: Command, note: Callable[[Call], None]) -> Callable[..., None]:
    """Returns a function whose signature declares the flags of a command, as Typer requires."""
    flags = flags_of(command.name)

    def call(words: list[str] | None = None, **values: Any) -> None:
        pairs = [pair for flag in flags for pair in given(flag, values[parameter(flag)])]
        note(Call(command.name, pairs, list(words or ())))

    # Words are declared even for a command that takes none: Typer's own error message would quote them.
    declared = [inspect.Parameter("words", KEYWORD, default=typer.Argument(None), annotation=list[str])]
    declared += [inspect.Parameter(parameter(flag), KEYWORD, default=option(flag), annotation=kind(flag)) for flag in flags]
    short = printing(partial(short_command_help, command.name), note, "-h")
    declared.append(inspect.Parameter("short_help", KEYWORD, default=short, annotation=bool))
    call.__signature__ = inspect.Signature(declared)  # type: ignore[attr-defined]
    call.__annotations__ = {}
    return call


KEYWORD = inspect.Parameter.KEYWORD_ONLY


def parameter(flag: Flag) -> str:
    """Returns the name of a flag's parameter: two flags may share a field, but parameters may not share a name."""
    return f"flag_{(flag.name or flag.short).replace('-', '_')}"


def kind(flag: Flag) -> Any:
    """Returns the annotation of a flag's parameter. Values stay text: cli.parse.values reads them for both parsers."""
    if flag.kind == SWITCH:
        return bool
    if flag.kind == LEVEL:
        return int
    return list[str] if flag.repeat else str


def option(flag: Flag) -> Any:
    """Returns Typer's description of a flag. Explicit spellings keep Typer from inventing a negation for a switch."""
    if flag.kind == SWITCH:
        return typer.Option(False, *flag.spellings)
    if flag.kind == LEVEL:
        return typer.Option(0, *flag.spellings, count=True)
    return typer.Option(None, *flag.spellings, metavar=flag.metavar)


def given(flag: Flag, value: Any) -> list[Pair]:
    """Converts a value from Typer to pairs."""
    if flag.kind in (SWITCH, LEVEL):
        return [(flag, "")] * int(value)
    if flag.repeat:
        return [(flag, text) for text in value or ()]
    return [] if value is None else [(flag, value)]


def explain(error: typer.TyperException, argv: list[str]) -> UsageProblem:
    """Converts Typer's error. Its message may quote what the user typed, so only messages known to be harmless are repeated."""
    command = next((c.name for c in COMMANDS if argv and c.name == argv[0]), "")
    flag = getattr(error, "option_name", None)
    if flag is not None and hasattr(error, "possibilities"):
        return unknown_flag(mask_word(flag), command, list(error.possibilities or ()), argv)
    if flag is not None:
        name = next((f.spellings[-1] for f in flags_of(command) if flag in f.spellings), flag)  # as in cli.parse.values
        cause, code = ("takes no value", "no-value") if "not take" in error.message else ("the value is missing", "value-missing")
        return UsageProblem(name, cause, code, facts={"command": command})
    if not command and argv:
        return unknown_command(argv)
    return UsageProblem(command or "usage error", error.format_message().rstrip("."), "syntax", facts={"command": command})


LISTEN = "the address to listen on has the port in it: tunnelctl serve --listen 127.0.0.1:PORT"

# Flags that users of nc, connect-proxy, proxytunnel or curl type by habit, and the equivalent here.
HABITS = {
    "connect": {
        "-X": "-X is nc's; a proxy is named by its URL: tunnelctl connect -x http://PROXY:PORT HOST PORT",
        "-w": "-w is nc's; the time limit for opening a tunnel is --timeout SECONDS",
        "-P": "-P is nc's; the name to log in with is --proxy-user NAME, and --proxy-password-file FILE has the password",
        "-U": "-U is curl's; the name to log in with is --proxy-user NAME, and --proxy-password-file FILE has the password",
        "-H": "a proxy, as with connect-proxy, is -x URL; a field, as with curl, is --header 'NAME: VALUE'",
        "-p": "the target's port is an argument, as in tunnelctl connect HOST PORT; a proxy, as with proxytunnel, is -x URL",
        "--port": "the target's port is an argument: tunnelctl connect HOST PORT; serve has its own in --listen",
    },
    "forward": {
        "-R": "a proxy gives no way back in: ports at the far end are for ssh -R, through `tunnelctl connect`",
        "-p": "the local port is in the SPEC: -L PORT:HOST:HOSTPORT",
    },
    "serve": {"-p": LISTEN, "--port": LISTEN, "-l": LISTEN},
}


def unknown_flag(flag: str, command: str, near: list[str], argv: list[str]) -> UsageProblem:
    """Returns the error for an unknown flag. The hint is the equivalent of a habit, the commands with it, or a similar flag."""
    owners = sorted({name for f in FLAGS for name in f.commands if flag in f.spellings})
    facts = {
        "version": flag in ("--version", "-V"),
        "habit": HABITS.get(command or "connect", {}).get(flag, ""),
        "early": flag if not command and "connect" in owners else "",
        "owners": " and ".join(owners),
        "near": " or ".join(near),
        "flag": flag,
        "command": command,
    }
    return UsageProblem(command or "usage error", f"unknown flag {flag}", "unknown-flag", facts=facts)


def unknown_command(argv: list[str]) -> UsageProblem:
    """Returns the error for an unknown command. The hint: a similar one, our form of a corkscrew line, or the missing `connect`."""
    from difflib import get_close_matches

    word = mask_word(argv[0])
    near = get_close_matches(argv[0], [c.name for c in COMMANDS])
    facts = {
        "version": argv[0] == "version",
        "near": "" if is_digits(argv[1] if len(argv) > 1 else "") else " or ".join(near),
        "corkscrew": corkscrew_hint(argv),
        **forgotten_connect(word, argv[1:]),
    }
    return UsageProblem("usage error", f"unknown command `{word}`", "unknown-command", facts=facts)


def forgotten_connect(word: str, rest: list[str]) -> dict[str, str]:
    """Returns the words for a hint with `connect` put in, if it was left out: those behind the first two may be secret."""
    if "@" in word:
        return {}
    if any(w[:1] == "-" for w in rest):
        port = f" {rest[0]}" if is_digits(rest[0]) else ""
        return {"with_flags": f"{word}{port}"}
    return {"target": word} if ":" in word else {}
