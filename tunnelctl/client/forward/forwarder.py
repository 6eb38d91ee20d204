"""`forward`: local ports that lead through the proxies, each connection independent of the others."""

import os
import socket
from collections.abc import Callable, Coroutine, Mapping
from contextlib import ExitStack
from math import inf
from time import time

from tunnelctl import events
from tunnelctl.client.forward.control import serving
from tunnelctl.client.forward.events import Control as ControlOpened
from tunnelctl.client.forward.events import Listening
from tunnelctl.client.forward.listeners import (
    ForwardSpec,
    LocalListener,
    close_local_listeners,
    open_listeners,
    parse_dynamic,
    parse_local,
    refuse_strangers,
)
from tunnelctl.client.forward.options import ForwardOptions
from tunnelctl.client.forward.overview import Activity, ForwardOverview, Program
from tunnelctl.client.forward.session import Check, LocalSession, Sessions
from tunnelctl.client.loop_detector import refuse_own_ports
from tunnelctl.client.pool import ConnectionPool, WarmConnections
from tunnelctl.client.progress import report
from tunnelctl.client.route.fingerprint import fingerprint
from tunnelctl.client.route.planner import RoutePlanner
from tunnelctl.client.tunnel import connect_nearest
from tunnelctl.control.admin import parse_admin
from tunnelctl.control.endpoint import Endpoint
from tunnelctl.control.listener import Control, open_control
from tunnelctl.control.pages import pages_of
from tunnelctl.control.snapshot import ListenerFacts
from tunnelctl.engine.kernel import Nursery, run
from tunnelctl.errors import ListenError, UsageProblem
from tunnelctl.events import Event, Trace, silent
from tunnelctl.proto.address import Address
from tunnelctl.stream.accept import Acceptor, ConnectionCount, Serve, raise_descriptor_limit
from tunnelctl.stream.events import Drain, Stopped
from tunnelctl.stream.listen import bound_address, close_listener, listen
from tunnelctl.stream.relay import TimeLimits
from tunnelctl.stream.service_manager import notify
from tunnelctl.stream.socket_stream import SocketStream
from tunnelctl.stream.vanished import watch_for_vanished_peers


def run_forward(
    options: ForwardOptions,
    environ: Mapping[str, str],
    trace: Trace,
    check: Check | None = None,
    ready: Callable[[], None] = lambda: None,
) -> int:
    """Forwards until a signal ends it, and returns the exit status. Raises TunnelctlError before anything is accepted.

    check: verifies the logins that a dynamic port requires; None: it requires none
    ready: called once the ports accept
    """
    locals_ = [*map(parse_local, options.local), *map(parse_dynamic, options.dynamic)]
    if not locals_ and options.name is None:
        raise UsageProblem("forward", "no local port is named", "no-local-port")
    return run(_forward, options, locals_, environ, trace, check, ready)


async def _forward(
    options: ForwardOptions,
    locals_: list[ForwardSpec],
    environ: Mapping[str, str],
    trace: Trace,
    check: Check | None,
    ready: Callable[[], None],
) -> int:
    planner = RoutePlanner(options.reach, environ, trace, pooled=True)
    # Asks now: before other programs use the terminal, and before any client waits for a tunnel.
    await planner.prepare(ask_now=True, list_ignored=options.output.detailed)
    raise_descriptor_limit()
    local_listeners = open_listeners(locals_, options.reach.keepalive, environ)
    with ExitStack() as stack:
        stack.callback(close_local_listeners, local_listeners)
        refuse_strangers(local_listeners, check is not None, options.open_proxy)
        forwarder = Forwarder(options, planner, local_listeners, trace, check)
        forwarder.open_private(stack, "forward", environ)
        return await forwarder.run(ready)


class Forwarder:
    """The open local ports and the control socket, and what they share."""

    def __init__(
        self,
        options: ForwardOptions,
        planner: RoutePlanner,
        local_listeners: list[LocalListener],
        trace: Trace,
        check: Check | None = None,
    ) -> None:
        """check: see `run_forward`. Raises UsageProblem if the nearest proxy is one of the doors."""
        refuse_own_ports(planner.outlook(None).chains, (local_listener.address for local_listener in local_listeners))
        self._options, self._planner, self._local_listeners = options, planner, local_listeners
        self._trace = self._activity = Activity(trace)
        stages = trace if options.output.verbose > 1 else silent
        self.sessions = Sessions(
            planner, options.reach.retry, TimeLimits(options.idle_timeout or inf), options.max_connections, self._activity, stages
        )
        self._check = check
        self._control: Control | None = None
        self._private: list[tuple[socket.socket, Serve]] = []  # stays open while connections drain
        self.acceptor = Acceptor(self.sessions, options.drain, self._speak)
        self.served: list[tuple[socket.socket, Serve]] = [
            (local_listener.listener, self._serve(local_listener.target)) for local_listener in local_listeners
        ]

    def open_private(self, stack: ExitStack, command: str, environ: Mapping[str, str]) -> None:
        """Opens the private endpoint: the control socket, and the port of --admin. Raises ListenError. To be called before `run`.

        If the control socket fails, that is a warning, unless the user has given it a name. stack: closes what is opened
        """
        options = self._options
        try:
            route = fingerprint(options.reach, environ) if command == "forward" else None
            self._control = open_control(command, options.name, environ, route)
            stack.callback(self._control.close)
        except ListenError as error:
            if options.name is not None:
                raise
            self._trace(events.explained(events.Warning("there is no control socket"), error))
        pages = pages_of(self._overview(command))
        if self._control is not None:
            endpoint = Endpoint(pages, self._control.address, self._trace)
            self.served.append((self._control.listener, serving(self.sessions, endpoint)))
        if options.admin is not None:
            admin = listen(parse_admin(options.admin, options.open_admin), options.reach.keepalive, option="admin")
            stack.callback(close_listener, bound_address(admin), admin)
            self._private.append((admin, Endpoint(pages, bound_address(admin), self._trace).session))

    def _overview(self, command: str) -> ForwardOverview:
        listeners = [ListenerFacts(str(one.address), str(one.target or "")) for one in self._local_listeners]
        program = Program(command, "" if self._control is None else self._control.name, time(), listeners)
        return ForwardOverview(program, self.sessions, self._activity, lambda: self._planner.outlook(None).proxies)

    async def run(self, ready: Callable[[], None]) -> int:
        """Runs until a signal stops it, and returns the exit status. ready: called once the ports accept"""

        def begin() -> None:
            self.announce()
            ready()

        inherited = [local_listener.listener for local_listener in self._local_listeners if local_listener.address.inherited]
        async with Nursery() as helpers:
            self.start_helpers(helpers)
            status = await Acceptor(ConnectionCount(), 0.0, self._trace).during(
                self._private, lambda: self.acceptor.run(self.served, begin, self._close, inherited)
            )
            if self.sessions.pool is not None:
                await self.sessions.pool.finish()
            helpers.cancel_scope.cancel()
        self._trace(Stopped())
        return status

    def _close(self) -> None:
        close_local_listeners(self._local_listeners)
        if self._control is not None:
            self._control.close()

    def start_helpers(self, helpers: Nursery) -> None:
        """Starts the tasks that run beside the sessions."""
        helpers.start_soon(self.sessions.probe.run)
        if self._options.reach.keepalive:
            helpers.start_soon(watch_for_vanished_peers, self._options.reach.keepalive)
        if self._options.output.verbose:
            self._planner.announce(self._trace)
        pool = self.sessions.pool = ConnectionPool(helpers, self._options.reach.connections)
        if self._options.warm:
            warm = WarmConnections(helpers, pool, lambda route: connect_nearest(route, silent), self._options.warm)
            self.sessions.warm = warm
            if (route := self._planner.default()) is not None:
                warm.keep(route)
        if self._options.output.progress:
            helpers.start_soon(report, self._trace, lambda: self.sessions.connections, lambda: self.sessions.moved)

    def announce(self) -> None:
        """Traces the open ports and where they lead, and notifies the service manager."""
        self.warn_of_strangers()
        login = self._check is not None
        for local_listener in self._local_listeners:
            selection = self._planner.outlook(local_listener.target)
            address, target = str(local_listener.address), str(local_listener.target or "")
            self._trace(Listening(address, target, selection.proxies, selection.origin, login and not target))
        ports = ", ".join(str(local_listener.address) for local_listener in self._local_listeners)
        if self._control is not None:
            self._trace(ControlOpened(self._control.name, str(self._control.address)))
            ports = ports or str(self._control.address)
        notify(f"READY=1\nSTATUS=forwarding {ports}", os.environ)

    def warn_of_strangers(self) -> None:
        """Warns of ports that other machines can use without a login."""
        for local_listener in self._local_listeners:
            if not local_listener.address.private and (self._check is None or local_listener.target is not None):
                text = f"{local_listener.address} can be reached from other machines, and they need no login to use it"
                self._trace(events.Warning(text))

    def _serve(self, target: Address | None) -> Serve:
        def session(accepted: socket.SocketType, host: str, client: str) -> Coroutine[None, None, None]:
            return LocalSession(self.sessions, SocketStream(accepted), host, client, target, self._check, _serve_http).run()

        return session

    def _speak(self, event: Event, /) -> None:
        if isinstance(event, Drain):
            notify(f"STOPPING=1\nSTATUS=draining, {event.connections} open", os.environ)
        self._trace(event)


async def _serve_http(session: LocalSession, first: bytes) -> None:
    from tunnelctl.client.forward.http import PlainHTTP  # loads h11, which most sessions do not need

    await PlainHTTP(session).run(first)
