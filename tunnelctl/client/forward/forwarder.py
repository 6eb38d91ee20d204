"""`forward`: local ports that lead through the proxies, each connection independent of the others."""

import os
import socket
from collections.abc import Callable, Coroutine, Mapping
from contextlib import ExitStack
from time import time

from tunnelctl import events
from tunnelctl.client.follow_network import follow_network
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
from tunnelctl.client.forward.same_user import for_same_user
from tunnelctl.client.forward.session import LocalSession, Sessions
from tunnelctl.client.forward.setup import Check, Given, Setup, SetupReader
from tunnelctl.client.loop_detector import refuse_own_ports
from tunnelctl.client.pool import ConnectionPool, WarmConnections
from tunnelctl.client.progress import report
from tunnelctl.client.route.planner import RoutePlanner
from tunnelctl.client.tunnel import connect_nearest
from tunnelctl.control.admin import parse_admin
from tunnelctl.control.directory import Published
from tunnelctl.control.endpoint import Endpoint
from tunnelctl.control.listener import Control, open_control
from tunnelctl.control.pages import ANNOUNCED, pages_of
from tunnelctl.control.snapshot import ListenerFacts
from tunnelctl.engine.kernel import Nursery, checkpoint, run
from tunnelctl.engine.wakeup import open_signal_receiver
from tunnelctl.errors import ListenError, UsageProblem
from tunnelctl.events import Event, Trace, silent
from tunnelctl.stream.accept import HANGUP, Acceptor, ConnectionCount, Serve, raise_descriptor_limit
from tunnelctl.stream.events import Admin, Drain, Stopped
from tunnelctl.stream.listen import ListenAddress, bound_address, close_listener, listen
from tunnelctl.stream.own_ports import OwnAddresses
from tunnelctl.stream.process import has_terminal
from tunnelctl.stream.reloadable import FileReload, Reloadable, Reloader
from tunnelctl.stream.service_manager import notify
from tunnelctl.stream.socket_stream import SocketStream
from tunnelctl.stream.vanished import watch_for_vanished_peers


def run_forward(
    options: ForwardOptions,
    environ: Mapping[str, str],
    trace: Trace,
    check: Check | None = None,
    read_again: Callable[[], Given] | None = None,
    ready: Callable[[], None] = lambda: None,
) -> int:
    """Forwards until a signal ends it, and returns the exit status. Raises TunnelctlError before anything is accepted.

    check: verifies the logins that a dynamic port requires; None: it requires none
    read_again: reads both again when SIGHUP comes; None: the signal keeps its usual meaning
    ready: called once the ports accept
    """
    locals_ = [*map(parse_local, options.local), *map(parse_dynamic, options.dynamic)]
    if not locals_ and options.name is None:
        raise UsageProblem("forward", "no local port is named", "no-local-port")
    return run(_forward, options, locals_, environ, trace, check, read_again, ready)


async def _forward(
    options: ForwardOptions,
    locals_: list[ForwardSpec],
    environ: Mapping[str, str],
    trace: Trace,
    check: Check | None,
    read_again: Callable[[], Given] | None,
    ready: Callable[[], None],
) -> int:
    activity = Activity(trace)
    planner = RoutePlanner(options.reach, environ, activity, pooled=True)
    # Asks now: before other programs use the terminal, and before any client waits for a tunnel.
    await planner.prepare(ask_now=True, list_ignored=options.output.detailed)
    raise_descriptor_limit()
    local_listeners = open_listeners(locals_, options.reach.keepalive, environ)
    reader = SetupReader(read_again or (lambda: (options, check)), options, local_listeners, environ, activity)
    setup = Reloadable("configuration", reader.load, Setup(options, planner, check), warn=reader.warn)
    with ExitStack() as stack:
        stack.callback(close_local_listeners, local_listeners)
        refuse_strangers(local_listeners, check is not None, options.open_proxy)
        forwarder = Forwarder(setup, local_listeners, activity)
        control = forwarder.open_private(stack, "forward", environ, reader.published(setup.current))
        if control is not None:
            reader.publish = control.publish
        # The shells send the signal to their jobs when a terminal is closed, zsh even when it exits.
        stays = options.background or not has_terminal()
        files = FileReload([setup], forwarder.trace) if read_again is not None and stays else None
        return await forwarder.run(files, ready)


class Forwarder:
    """The open local ports and the control socket, and what they share."""

    def __init__(self, setup: Reloadable[Setup], local_listeners: list[LocalListener], activity: Activity) -> None:
        """activity: the trace of the planner as well, whose warnings belong to the status

        Raises UsageProblem if the nearest proxy is one of the local ports.
        """
        self._setup, self._local_listeners = setup, local_listeners
        self.trace = self._activity = activity
        self._applied = setup.current
        options, planner, _ = setup.current
        refuse_own_ports(planner.outlook(None).chains, (local_listener.address for local_listener in local_listeners))
        self.sessions = Sessions(setup, activity, activity if options.output.verbose > 1 else silent)
        self._control: Control | None = None
        self._admin: ListenAddress | None = None
        self.private: list[tuple[socket.socket, Serve]] = []  # stays open while connections drain
        self.acceptor = Acceptor(self.sessions, options.drain, self._speak)
        self.served: list[tuple[socket.socket, Serve]] = [
            (local_listener.listener, self._serve(local_listener)) for local_listener in local_listeners
        ]

    def open_private(
        self, stack: ExitStack, command: str, environ: Mapping[str, str], told: Published | None = None
    ) -> Control | None:
        """Opens the private endpoint: the control socket, which it returns, and the port of --admin. To be called before `run`.

        Raises ListenError. If the control socket fails, that is a warning, unless the user has given it a name.
        stack: closes what is opened; told: see `open_control`
        """
        options = self._setup.current.options
        try:
            self._control = open_control(command, options.name, environ, told)
            stack.callback(self._control.close)
        except ListenError as error:
            if options.name is not None:
                raise
            self.trace(events.explained(events.Warning("there is no control socket"), error))
        pages = pages_of(self._overview(command))
        if self._control is not None:
            endpoint = Endpoint(pages, self._control.address, self.trace)
            self.private.append((self._control.listener, serving(self.sessions, endpoint)))
        if options.admin is not None:
            admin = listen(parse_admin(options.admin, options.open_admin), options.reach.keepalive, option="admin")
            self._admin = bound_address(admin)
            stack.callback(close_listener, self._admin, admin)
            self.sessions.own = OwnAddresses([self._admin])
            self.private.append((admin, Endpoint(pages, self._admin, self.trace).session))
        return self._control

    def _overview(self, command: str) -> ForwardOverview:
        listeners = [ListenerFacts(str(one.address), str(one.target or "")) for one in self._local_listeners]
        program = Program(command, "" if self._control is None else self._control.name, time(), listeners)
        return ForwardOverview(program, self.sessions, self._activity, lambda: self._setup.current.planner.outlook(None).proxies)

    async def run(self, files: FileReload | None, ready: Callable[[], None]) -> int:
        """Runs until a signal stops it, and returns the exit status.

        files: what SIGHUP reads again; None: it stops as well; ready: called once the ports accept
        """

        def begin() -> None:
            self.announce()
            ready()

        async with Nursery() as helpers:
            await self.start_helpers(helpers)
            if files is None:
                status = await self._accept(begin)
            else:
                with open_signal_receiver(HANGUP) as hangups:
                    reloader = Reloader(files, lambda state: notify(state, os.environ), lambda: self._apply(helpers))
                    helpers.start_soon(reloader.run, hangups)
                    status = await self._accept(begin)
            if self.sessions.pool is not None:
                await self.sessions.pool.finish()
            helpers.cancel_scope.cancel()
        self.trace(Stopped())
        return status

    async def _accept(self, begin: Callable[[], None]) -> int:
        inherited = [local_listener.listener for local_listener in self._local_listeners if local_listener.address.inherited]
        return await Acceptor(ConnectionCount(), 0.0, self.trace).during(
            self.private, lambda: self.acceptor.run(self.served, begin, self._close, inherited)
        )

    async def _apply(self, helpers: Nursery) -> None:
        """Does what new connections do not do by themselves after a reload."""
        if self._setup.current is self._applied:
            return
        self._applied = self._setup.current
        if self.sessions.warm is not None:
            self.sessions.warm.stop()
        assert self.sessions.pool is not None
        self.sessions.pool.drop_all()
        self._start_warm(helpers, self.sessions.pool)
        if self._applied.options.output.verbose:
            self._applied.planner.announce(self.trace)

    def _close(self) -> None:
        close_local_listeners(self._local_listeners)
        if self._control is not None:
            self._control.retire()

    async def start_helpers(self, helpers: Nursery) -> None:
        """Starts the tasks that run beside the sessions, and lets them begin: no change of the network is missed after this."""
        options, planner, _ = self._setup.current
        helpers.start_soon(self.sessions.probe.run)
        if options.reach.keepalive:
            helpers.start_soon(watch_for_vanished_peers, options.reach.keepalive)
        if options.output.verbose:
            planner.announce(self.trace)
        pool = self.sessions.pool = ConnectionPool(helpers, options.reach.connections)
        helpers.start_soon(follow_network, lambda: self._setup.current.planner, pool, self.trace)
        self._start_warm(helpers, pool)
        if options.output.progress:
            helpers.start_soon(report, self.trace, lambda: self.sessions.connections, lambda: self.sessions.moved)
        await checkpoint()

    def _start_warm(self, helpers: Nursery, pool: ConnectionPool) -> None:
        """Keeps connections ready, if the options say so."""
        options, planner, _ = self._setup.current
        self.sessions.warm = None
        if options.warm:
            warm = self.sessions.warm = WarmConnections(helpers, pool, lambda route: connect_nearest(route, silent), options.warm)
            if (route := planner.default()) is not None:
                warm.keep(route)

    def announce(self) -> None:
        """Traces the open ports and where they lead, and notifies the service manager."""
        self.warn_of_strangers()
        login = self._setup.current.check is not None
        for local_listener in self._local_listeners:
            selection = self._setup.current.planner.outlook(local_listener.target)
            address, target = str(local_listener.address), str(local_listener.target or "")
            self.trace(Listening(address, target, selection.proxies, selection.origin, login and not target))
        ports = ", ".join(str(local_listener.address) for local_listener in self._local_listeners)
        if self._control is not None:
            self.trace(ControlOpened(self._control.name, str(self._control.address)))
            ports = ports or str(self._control.address)
        self.announce_admin()
        notify(f"READY=1\nSTATUS=forwarding {ports}", os.environ)

    def announce_admin(self) -> None:
        """Traces the address of --admin, if there is one: with port 0, nothing else tells which port it is."""
        if self._admin is not None:
            self.trace(Admin(str(self._admin), list(ANNOUNCED)))

    def warn_of_strangers(self) -> None:
        """Warns of ports that other machines can use without a login."""
        for local_listener in self._local_listeners:
            checked = self._setup.current.check is not None and local_listener.target is None
            if not local_listener.address.private and not checked:
                text = f"{local_listener.address} can be reached from other machines, and they need no login to use it"
                self.trace(events.Warning(text))

    def _serve(self, local_listener: LocalListener) -> Serve:
        target, same_user = local_listener.target, local_listener.same_user

        def session(accepted: socket.SocketType, host: str, client: str) -> Coroutine[None, None, None]:
            check = None if same_user else self._setup.current.check
            return LocalSession(self.sessions, SocketStream(accepted), host, client, target, check, _serve_http).run()

        return for_same_user(session, str(local_listener.address), self.trace) if same_user else session

    def _speak(self, event: Event, /) -> None:
        if isinstance(event, Drain):
            notify(f"STOPPING=1\nSTATUS=draining, {event.connections} open", os.environ)
        self.trace(event)


async def _serve_http(session: LocalSession, first: bytes) -> None:
    from tunnelctl.client.forward.http import PlainHTTP  # loads h11, which most sessions do not need

    await PlainHTTP(session).run(first)
