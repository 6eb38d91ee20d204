"""The entry: argv in, exit status out. Everything below raises; only here it becomes a line on stderr and a number.

Nothing is imported at the top that takes time: `main` has to see to Ctrl-C first. What a plain `connect` needs is loaded by it,
the rest by the command that wants it (see design: flags are data).
"""

import gc
import os
import sys
from time import monotonic

# Containers made and not freed before the collector looks for cycles among them. A tunnel leaves none behind when it ends, so the
# usual 700 only finds the tunnels that are open; a proxy under load spent 3 % of its time on that.
COLLECT_AFTER = 10_000

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tunnelctl.cli.parse.settings import ConnectLine
    from tunnelctl.cli.render.console import Console
    from tunnelctl.client.options import ConnectOptions
    from tunnelctl.trace import Trace


def main(argv: list[str] | None = None) -> int:
    """Run one command line; `argv` is without the program's name. Returns the exit status, or dies by the signal it stands for."""
    if argv is None:  # the program itself; whoever brings a list has signal handlers and a collector of their own
        end_at_interrupt()
        gc.disable()  # nothing that importing makes is garbage; see `loaded`
        argv = sys.argv[1:]
    if None in (sys.__stdin__, sys.__stdout__, sys.__stderr__):
        from tunnelctl.cli.render.console import reserve_standard_descriptors

        reserve_standard_descriptors()
    status = run(argv)
    if status > 128:
        die_by_signal(status - 128)
    return status


def end_at_interrupt() -> None:
    """Give Ctrl-C its plain effect. Python's handler would raise inside an import, and show the user where.

    The commands that have something to tidy up take the signal over. One that was ignored when we started stays ignored.
    """
    # Built in. What `signal` is made of takes 3 ms to load (enum, functools, collections), and an interrupt would fall into that.
    import _signal as signal  # type: ignore[import-not-found]

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def run(argv: list[str]) -> int:
    """Parse, run, and turn every way to fail into a message and a status."""
    start = monotonic()
    from tunnelctl.cli.parse.fast import expand_short_form, parse_connect
    from tunnelctl.errors import TunnelctlError
    from tunnelctl.status import ExitStatus

    try:
        argv = expand_short_form(argv)
        line = parse_connect(argv, os.environ)
        return run_unusual(argv) if line is None else run_connect(line, start)
    except TunnelctlError as error:
        console_for(argv, start).error(error)
        return error.status
    except KeyboardInterrupt:
        return 130
    except Exception as fault:
        console_for(argv, start).fault(fault, debug=os.environ.get("TUNNELCTL_DEBUG", "") not in ("", "0"))
        return ExitStatus.FAULT


def console_for(argv: list[str], start: float) -> "Console":
    """For a failure. It has the shape that was asked for even where the flags could not be read."""
    from tunnelctl.cli.render.console import Console

    return Console(json="--json" in argv, start=start)


def run_unusual(argv: list[str]) -> int:
    """Everything but a plain connect."""
    from tunnelctl.cli.render.console import write_stderr, write_stdout
    from tunnelctl.cli.render.help import asked_for, short_help
    from tunnelctl.status import ExitStatus

    if not argv:
        write_stderr(short_help().encode())
        return ExitStatus.USAGE
    text = asked_for(argv)
    if text is not None:
        write_stdout(text)
        return ExitStatus.OK
    from tunnelctl.cli.commands.dispatch import run_call
    from tunnelctl.cli.parse.typer_app import parse

    call = parse(argv)
    loaded()
    return run_call(call)


def run_connect(line: "ConnectLine", start: float) -> int:
    from tunnelctl.client.connect import run_connect as connect

    loaded()
    trace = trace_for(line.options, start)
    line.settings.announce(trace)
    return int(connect(line.options, os.environ, trace))


def loaded() -> None:
    """The modules are there and will stay, so the collector need not look at them, now or at the end.

    Of the instructions that a connect takes, that saves 1 in 70 up to the first byte (without `re` in the console script 1 in
    30), and 1 in 11 of all.
    """
    if not gc.isenabled():
        gc.freeze()
        gc.set_threshold(COLLECT_AFTER)
        gc.enable()


def trace_for(options: "ConnectOptions", start: float) -> "Trace":
    """What connect reports to. Where only a warning would be printed, Console (0.3 ms) waits until there is one."""

    def console() -> "Console":
        from tunnelctl.cli.render.console import Console

        return Console(options.verbose, options.quiet, options.json, start=start)

    def warn(event: str, /, **fields: object) -> None:
        if event == "warning":
            console()(event, **fields)

    return console() if options.verbose or options.json or options.progress else warn


def die_by_signal(number: int) -> None:
    """End as the signal would have ended us, so that a shell or a supervisor sees its true cause and not just a number."""
    import signal

    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
