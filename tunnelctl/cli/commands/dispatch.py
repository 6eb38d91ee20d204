"""Runs each command with its parsed line. Heavy imports happen inside the command that needs them."""

import os
import signal

from tunnelctl.cli.parse.settings import complete, connect_line
from tunnelctl.cli.parse.typer_app import Call
from tunnelctl.cli.parse.values import build, read_target, wrong_words
from tunnelctl.cli.render.console import Console, write_stdout
from tunnelctl.cli.spec.commands import COMMANDS, SHELLS
from tunnelctl.errors import UsageProblem
from tunnelctl.options import OutputOptions
from tunnelctl.status import ExitStatus


def run_call(call: Call) -> int:
    """Runs the command and returns the exit status. Raises TunnelctlError."""
    if call.command == "print":
        write_stdout(call.text)
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
    options = settings.build(ForwardOptions)
    console = console_for(options.output)
    settings.announce(console)
    if options.users is None:
        return int(run_forward(options, os.environ, console))
    from tunnelctl.cli.commands.local_logins import local_logins

    return int(run_forward(options, os.environ, console, local_logins(options, console)))


def run(call: Call) -> int:
    from tunnelctl.client.forward.options import ForwardOptions
    from tunnelctl.client.forward.run_command import run_command

    tidy_at_interrupt()
    settings = complete("run", call.pairs, os.environ)
    options = settings.build(ForwardOptions, command=tuple(call.words))
    console = console_for(options.output)
    settings.announce(console)
    status = run_command(options, os.environ, console)
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


def check(call: Call) -> int:
    from tunnelctl.cli.commands.check import announce, report_for
    from tunnelctl.client.check.check import run_check
    from tunnelctl.client.check.options import CheckOptions

    target = read_target(call.words, "check")
    settings = complete("check", call.pairs, os.environ)
    options = settings.build(CheckOptions, target=target)
    report = report_for(options.output.json, options.color)
    announce(report, call.pairs, settings, options.output.verbose)
    return run_check(options, os.environ, report)


def ssh_config(call: Call) -> int:
    from tunnelctl.cli.commands import ssh_config

    write_stdout(ssh_config.ssh_config(call, Console()))
    return ExitStatus.OK


def setup(call: Call) -> int:
    from tunnelctl.cli.commands.setup import setup

    return setup(call, os.environ, Console())


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
    "check": check,
    "ssh-config": ssh_config,
    "setup": setup,
    "check-policy": check_policy,
    "hash-password": hash_password,
    "completion": completion,
    "selftest": selftest,
}
