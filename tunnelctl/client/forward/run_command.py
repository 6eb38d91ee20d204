"""`run`: runs a program with a private proxy in its environment, which lives as long as the program."""

import os
import secrets
import signal
import subprocess
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack

from tunnelctl import events
from tunnelctl.client.forward.forwarder import Forwarder
from tunnelctl.client.forward.listeners import ForwardSpec, close_local_listeners, open_listeners, parse_local, refuse_strangers
from tunnelctl.client.forward.options import ForwardOptions
from tunnelctl.client.forward.overview import Activity
from tunnelctl.client.forward.setup import Check, Setup
from tunnelctl.client.route.planner import RoutePlanner
from tunnelctl.engine.kernel import Nursery, run
from tunnelctl.engine.wakeup import SignalReceiver, open_signal_receiver
from tunnelctl.errors import CannotRun, CommandNotFound, UsageProblem, reason
from tunnelctl.events import Trace
from tunnelctl.proto.address import shown
from tunnelctl.stream.process import wait_ended
from tunnelctl.stream.reloadable import Reloadable
from tunnelctl.stream.tcp_owner import is_available

USER = "tunnelctl"
PASSWORD_BYTES = 18  # of randomness; any local user may try to guess it at the port

VARIABLES = ("http_proxy", "https_proxy", "all_proxy")  # and the same in capitals
PORT_VARIABLE = "TUNNELCTL_PORT"

_ANY_PORT = "127.0.0.1:0"

# Makes variables from the port for a JVM, None if there is none. That port is open only to this user, and requires no login.
Variables = Callable[[int | None], Mapping[str, str]]

FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_FROM_TERMINAL = frozenset({signal.SIGINT, signal.SIGQUIT, signal.SIGHUP})


def run_command(options: ForwardOptions, environ: Mapping[str, str], trace: Trace, more: Variables) -> int:
    """Runs the command and returns its exit status, 128+n if signal n ended it. Raises the matching TunnelctlError.

    more: returns variables for the command, besides those that name the proxy
    """
    if not options.command:
        raise UsageProblem("run", "missing argument COMMAND", "missing-command")
    if options.java and not is_available():
        raise UsageProblem("", "this system does not show which user owns a connection", "java-needs-owner", option="java")
    locals_ = [ForwardSpec(_ANY_PORT, None), *map(parse_local, options.local)]
    if options.java:
        locals_.append(ForwardSpec(_ANY_PORT, None, same_user=True))
    return run(_run_behind, options, locals_, environ, trace, more)


async def _run_behind(
    options: ForwardOptions, locals_: list[ForwardSpec], environ: Mapping[str, str], trace: Trace, more: Variables
) -> int:
    trace = activity = Activity(trace)
    planner = RoutePlanner(options.reach, environ, activity, pooled=True)
    await planner.prepare(ask_now=True, list_ignored=options.output.detailed)  # before the command has the terminal
    local_listeners = open_listeners(locals_, options.reach.keepalive, environ)
    with ExitStack() as stack:
        stack.callback(close_local_listeners, local_listeners)
        refuse_strangers(local_listeners, login=True, open_proxy=options.open_proxy)
        password = secrets.token_urlsafe(PASSWORD_BYTES)
        setup = Setup(options, planner, _only(USER, password))
        forwarder = Forwarder(Reloadable("configuration", lambda: setup, setup), local_listeners, activity)
        forwarder.warn_of_strangers()
        direct = options.reach.pac is None and not any(planner.outlook(None).chains)
        if direct and not options.reach.proxy:
            trace(events.Warning("no proxy is configured: the command connects directly"))
        ports = [local_listener.address.port for local_listener in local_listeners]
        java = ports.pop() if options.java else None
        child = _environment({**environ, **more(java)}, ports, USER, password)
        forwarder.open_private(stack, "run", environ)
        forwarder.announce_admin()
        status = await _Command(options.command, child, forwarder).run()
        if forwarder.sessions.count == forwarder.sessions.looks and not direct:
            text = f"{shown(options.command[0])} did not use the proxy: any connections that it made bypassed it"
            trace(events.Warning(text))
        return status


def _only(user: str, password: str) -> Check:
    """Returns a check that admits nobody else. It compares in constant time."""

    async def check(given_user: str, given_password: str, _: str) -> bool:
        return secrets.compare_digest(f"{given_user}:{given_password}".encode(), f"{user}:{password}".encode())

    return check


def _environment(environ: Mapping[str, str], ports: list[int], user: str, password: str) -> dict[str, str]:
    """Our environment with the private proxy added. Replaces or leaves out our own variables about the next proxy."""
    child = {name: value for name, value in environ.items() if name != "TUNNELCTL_PROXY_PASSWORD"}
    url = f"http://{user}:{password}@127.0.0.1:{ports[0]}"
    child.update((spelling, url) for name in VARIABLES for spelling in (name, name.upper()))
    child["TUNNELCTL_PROXY"] = url  # for a `connect` below the command: the settings file may name another proxy
    child[PORT_VARIABLE] = str(ports[0])
    # A unix socket has no port.
    child.update((f"{PORT_VARIABLE}_{number}", str(port)) for number, port in enumerate(ports[1:], 1) if port)
    return child


class _Command:
    """The child process, and what it needs while it runs."""

    def __init__(self, words: tuple[str, ...], environ: dict[str, str], forwarder: Forwarder) -> None:
        self._words, self._environ, self._forwarder = words, environ, forwarder

    async def run(self) -> int:
        """Runs the command and returns its exit status."""
        forwarder = self._forwarder
        with open_signal_receiver(*FORWARDED) as signals:
            async with Nursery() as helpers:
                await forwarder.start_helpers(helpers)
                status = await forwarder.acceptor.during([*forwarder.served, *forwarder.private], self._work(helpers, signals))
                helpers.cancel_scope.cancel()
        return status

    def _work(self, helpers: Nursery, signals: SignalReceiver) -> Callable[[], Awaitable[int]]:
        async def work() -> int:
            child = _start(self._words, self._environ)
            helpers.start_soon(_pass_on, signals, child)
            await wait_ended(child.pid)
            status = child.wait()
            return status if status >= 0 else 128 - status

        return work


def _start(words: tuple[str, ...], environ: dict[str, str]) -> "subprocess.Popen[bytes]":
    try:
        return subprocess.Popen(words, env=environ)
    except OSError as error:
        kind = CommandNotFound if isinstance(error, FileNotFoundError) else CannotRun
        raise kind(f"cannot run {words[0]}", reason(error), "not-run") from error
    except ValueError as error:
        raise CannotRun(f"cannot run {words[0]!a}", "an argument contains a NUL", "nul-in-word") from error


async def _pass_on(signals: SignalReceiver, child: "subprocess.Popen[bytes]") -> None:
    async for number in signals:
        if not (number in _FROM_TERMINAL and _in_foreground()):
            child.send_signal(number)


def _in_foreground() -> bool:
    """Whether Ctrl-C goes to our whole process group. Then the command has it already, and a second one may mean more to it."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
