"""Runs each command with its parsed line. Heavy imports happen inside the command that needs them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from tunnelctl.cli.parse.call import Call
from tunnelctl.cli.parse.settings import complete, connect_line
from tunnelctl.cli.parse.values import Pair, Settings, build, read_target, wrong_words
from tunnelctl.cli.render.console import Console, write_stdout
from tunnelctl.cli.render.help import emphasized
from tunnelctl.cli.spec.commands import COMMANDS, SHELLS
from tunnelctl.errors import UsageProblem
from tunnelctl.options import OutputOptions
from tunnelctl.status import ExitStatus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tunnelctl.client.forward.setup import Given


def run_call(call: Call) -> int:
    """Runs the command and returns the exit status. Raises TunnelctlError."""
    if call.command == "print":
        write_stdout(emphasized(call.text))
        return ExitStatus.OK
    if call.words and not any(c.words for c in COMMANDS if c.name == call.command):
        raise UsageProblem(
            call.command, f"takes no arguments, got {len(call.words)}", "takes-no-words", facts={"command": call.command}
        )
    return RUN[call.command](call)


def console_for(output: OutputOptions) -> Console:
    return Console(output.verbose, output.quiet, output.json)


def connect(call: Call) -> int:
    from tunnelctl.client.connect import run_connect

    options, settings = connect_line(call.pairs, call.words, os.environ)
    console = console_for(options.output)
    settings.announce(console)
    return int(run_connect(options, os.environ, console))


def forward(call: Call) -> int:
    from tunnelctl.client.forward.forwarder import run_forward
    from tunnelctl.client.forward.options import ForwardOptions

    tidy_at_interrupt()
    settings = complete("forward", call.pairs, os.environ)
    first = settings.build(ForwardOptions)
    console = console_for(first.output)

    def given(settings: Settings) -> Given:
        settings.announce(console)
        options = settings.build(ForwardOptions)
        if options.users is None:
            return options, None
        from tunnelctl.cli.commands.local_logins import local_logins

        return options, local_logins(options, console)

    def read_again() -> Given:
        return given(complete("forward", call.pairs, os.environ))

    def work(ready: Callable[[], None] = lambda: None) -> int:
        options, check = given(settings)
        return int(run_forward(options, os.environ, console, check, read_again, ready))

    if not first.background:
        return work()
    from tunnelctl.cli.commands.background import in_background

    return in_background(work)


def run(call: Call) -> int:
    from tunnelctl.cli.commands.run_variables import variables
    from tunnelctl.client.forward.options import ForwardOptions
    from tunnelctl.client.forward.run_command import run_command

    tidy_at_interrupt()
    settings = complete("run", call.pairs, os.environ)
    options = settings.build(ForwardOptions, command=tuple(call.words))
    console = console_for(options.output)
    settings.announce(console)
    status = run_command(options, os.environ, console, lambda java: variables(os.environ, java))
    # Bypasses `main`, which treats a status above 128 as a signal: here it need not be one, and it would not be ours.
    raise SystemExit(status)


def tidy_at_interrupt() -> None:
    """Makes Ctrl-C raise until the command has its own handler, so that a unix socket that was just created is removed."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def serve(call: Call) -> int:
    from tunnelctl.server.options import ServeOptions
    from tunnelctl.server.serve import run_server

    tidy_at_interrupt()
    settings = complete("serve", call.pairs, os.environ)
    options = settings.build(ServeOptions)
    console = console_for(options.output)
    settings.announce(console)
    if not options.reach.proxy:
        return int(run_server(options, console, os.environ))
    from tunnelctl.cli.commands.upstream import upstream

    return int(run_server(options, console, os.environ, upstream(options, console)))


def status(call: Call) -> int:
    from tunnelctl.cli.commands.status import run_status

    run_status(call.words, build(OutputOptions, call.pairs).json, os.environ)
    return ExitStatus.OK


def top(call: Call) -> int:
    from tunnelctl.cli.commands.top import TopOptions, run_top

    return run_top(build(TopOptions, call.pairs), call.words, os.environ)


def stop(call: Call) -> int:
    from tunnelctl.cli.commands.stop import run_stop

    run_stop(call.words, os.environ)
    return ExitStatus.OK


def check(call: Call) -> int:
    from tunnelctl.cli.commands.check import announce, report_for, show_check
    from tunnelctl.client.check.options import CheckOptions

    if not call.words:
        from tunnelctl.cli.commands.discover import discover

        return discover(call)
    refuse_flags(call.pairs, "Without HOST PORT", "HOST PORT")
    target = read_target(call.words, "check")
    settings = complete("check", call.pairs, os.environ)
    options = settings.build(CheckOptions, target=target)
    report = report_for(options.output.json, options.color, options.reach.ask_password)
    announce(report, call.pairs, settings, options.output.verbose)
    return show_check(options, report)


def refuse_flags(pairs: list[Pair], group: str, other: str) -> None:
    """Raises UsageProblem for a flag of a group. other: what excludes it"""
    for flag, _ in pairs:
        if flag.group == group:
            raise UsageProblem("usage error", f"{flag.spellings[-1]} and {other} cannot be used together", "contradiction")


def ssh_config(call: Call) -> int:
    from tunnelctl.cli.commands import ssh_config

    write_stdout(ssh_config.ssh_config(call, os.environ, Console()))
    return ExitStatus.OK


def setup(call: Call) -> int:
    from tunnelctl.cli.commands.setup import setup

    return setup(call, os.environ, Console())


def env(call: Call) -> int:
    from tunnelctl.cli.commands.env import lines

    write_stdout(lines(call, os.environ))
    return ExitStatus.OK


def check_policy(call: Call) -> int:
    from tunnelctl.cli.commands.check_policy import CheckOptions, run_check

    return int(run_check(build(CheckOptions, call.pairs), call.words))


def hash_password(call: Call) -> int:
    from tunnelctl.cli.commands.hash_password import LineOptions, users_line

    write_stdout(users_line(only_word(call, "USER"), build(LineOptions, call.pairs)))
    return ExitStatus.OK


def completion(call: Call) -> int:
    from tunnelctl.cli.render.completion import SCRIPTS

    shell = only_word(call, "{bash|zsh|fish}")
    if shell not in SHELLS:
        raise UsageProblem("completion", f"unknown shell `{shell}`", "unknown-shell")
    write_stdout(SCRIPTS[shell]())
    return ExitStatus.OK


def selftest(call: Call) -> int:
    from tunnelctl.cli.commands.selftest import run_selftest

    output = build(OutputOptions, call.pairs)
    return int(run_selftest(output.json, console_for(output)))


def help_(call: Call) -> int:
    from tunnelctl.cli.commands.help import show_page

    if len(call.words) > 1:
        raise wrong_words("help", "[COMMAND]", call.words)
    return int(show_page(call.words[0] if call.words else ""))


def only_word(call: Call, wanted: str) -> str:
    """Returns the one positional argument of a command. Raises UsageProblem."""
    if len(call.words) != 1:
        raise wrong_words(call.command, wanted, call.words)
    return call.words[0]


RUN = {
    "connect": connect,
    "forward": forward,
    "run": run,
    "serve": serve,
    "status": status,
    "top": top,
    "stop": stop,
    "check": check,
    "ssh-config": ssh_config,
    "setup": setup,
    "env": env,
    "check-policy": check_policy,
    "hash-password": hash_password,
    "completion": completion,
    "selftest": selftest,
    "help": help_,
}
