"""The entry point: argv in, exit status out. Everything below raises; only here an error becomes a line on stderr and a status.

This module imports nothing slow at the top: `main` has to take care of Ctrl-C first. A plain `connect` loads only what it needs;
the other commands load the rest.
"""

import gc
import os
import sys
from time import monotonic

# Net container allocations that start a garbage collection. An ended tunnel leaves no cycles behind, so with the default of 700
# the collector only traverses the open tunnels. That took 3 % of the time of a proxy under load.
COLLECT_AFTER = 10_000

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tunnelctl.cli.parse.settings import ConnectLine
    from tunnelctl.cli.render.console import Console
    from tunnelctl.events import Event, Trace
    from tunnelctl.options import OutputOptions


def main(argv: list[str] | None = None) -> int:
    """Runs one command line; `argv` excludes the program's name. Returns the exit status, or dies by the signal that it encodes."""
    if sys.platform == "win32":
        return refuse_windows()
    if argv is None:  # run as the program; a caller that passes argv manages its own signal handlers and collector
        end_at_interrupt()
        gc.disable()  # importing creates no garbage; see `loaded`
        argv = sys.argv[1:]
    if None in (sys.__stdin__, sys.__stdout__, sys.__stderr__):
        from tunnelctl.cli.render.console import reserve_standard_descriptors

        reserve_standard_descriptors()
    status = run(argv)
    if status > 128:
        die_by_signal(status - 128)
    return status


def refuse_windows() -> int:
    """Says what is missing there: fcntl, poll, unix sockets and signals. Loads nothing that needs them."""
    from tunnelctl.status import ExitStatus

    sys.stderr.write("tunnelctl: cannot run on Windows: it needs Linux, macOS or a BSD, for example Linux in WSL (wsl --install)\n")
    return ExitStatus.SETTINGS


def end_at_interrupt() -> None:
    """Gives Ctrl-C its default effect. Python's handler would raise inside an import, and show the user a traceback.

    Commands that have to clean up install their own handler. A SIGINT that was ignored at start stays ignored.
    """
    # Built in. `signal` takes 3 ms to load (enum, functools, collections), and an interrupt could arrive in that time.
    import _signal as signal  # type: ignore[import-not-found]

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def run(argv: list[str]) -> int:
    """Parses and runs a command line; turns every failure into a message and a status."""
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
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    except Exception as fault:
        console_for(argv, start).fault(fault, debug=os.environ.get("TUNNELCTL_DEBUG", "") not in ("", "0"))
        return ExitStatus.FAULT


def console_for(argv: list[str], start: float) -> "Console":
    """Returns the console for a failure. It obeys --json even if the flags could not be parsed."""
    from tunnelctl.cli.render.console import Console

    return Console(json="--json" in argv, start=start)


def run_unusual(argv: list[str]) -> int:
    """Runs everything except a plain connect."""
    from tunnelctl.cli.render.console import write_stderr, write_stdout
    from tunnelctl.cli.render.help import asked_for, emphasized, short_program_help
    from tunnelctl.status import ExitStatus

    if not argv:
        write_stderr(emphasized(short_program_help(), fd=2).encode())
        return ExitStatus.USAGE
    text = asked_for(argv)
    if text is not None:
        write_stdout(emphasized(text))
        return ExitStatus.OK
    from tunnelctl.cli.commands.dispatch import run_call
    from tunnelctl.cli.parse.call import plain_call

    call = plain_call(argv)
    if call is None:
        from tunnelctl.cli.parse.typer_app import parse

        call = parse(argv)
    loaded()
    return run_call(call)


def run_connect(line: "ConnectLine", start: float) -> int:
    from tunnelctl.client.connect import run_connect as connect

    loaded()
    trace = trace_for(line.options.output, start)
    line.settings.announce(trace)
    return int(connect(line.options, os.environ, trace))


def loaded() -> None:
    """Freezes the loaded modules, so that the collector never visits them, not even at exit; then enables the collector.

    Of the instructions of a connect, that saves 1 in 30 up to the first byte, and 1 in 11 in total.
    """
    if not gc.isenabled():
        gc.freeze()
        gc.set_threshold(COLLECT_AFTER)
        gc.enable()


def trace_for(output: "OutputOptions", start: float) -> "Trace":
    """Returns the trace for connect. If only warnings would be printed, Console (0.3 ms) is loaded at the first one."""

    def console() -> "Console":
        from tunnelctl.cli.render.console import Console

        return Console(output.verbose, output.quiet, output.json, start=start)

    def warn(event: "Event", /) -> None:
        from tunnelctl.events import Explained, Warning

        if isinstance(event, (Warning, Explained)):
            console()(event)

    return console() if output.detailed or output.progress else warn


def die_by_signal(number: int) -> None:
    """Kills this process by the signal, so that a shell or a supervisor sees the true cause and not just a number."""
    import signal

    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
