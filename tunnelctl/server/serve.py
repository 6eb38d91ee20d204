"""`serve`: the listeners, their sessions, and an orderly shutdown."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

from tunnelctl.engine.kernel import BusyResourceError, Nursery, move_on_after, run, sleep
from tunnelctl.engine.outside import SignalReceiver, open_signal_receiver, to_thread
from tunnelctl.engine.resolver import complete_names_only
from tunnelctl.engine.sync import Event
from tunnelctl.errors import UsageProblem
from tunnelctl.proto.network import Network
from tunnelctl.server.access.limits import CapLimits, Caps, SharedCaps, parse_prefixes
from tunnelctl.server.access.proxy_header import TrustedProxies, parse_trusted
from tunnelctl.server.access.users import CredentialCache, Users, describe_users, load_users
from tunnelctl.server.announcement import Announcement, announcing
from tunnelctl.server.observe.access_log import LAST_SECONDS, STDOUT, AccessLog, open_log
from tunnelctl.server.observe.admin import Admin, Pages, parse_admin
from tunnelctl.server.observe.metrics import Metrics, SharedCounters
from tunnelctl.server.observe.open_records import OpenTunnelReporter
from tunnelctl.server.observe.recorder import Recorder
from tunnelctl.server.options import ServeOptions
from tunnelctl.server.policy.file import describe_policy, load_policy
from tunnelctl.server.policy.rules import Policy
from tunnelctl.server.process.worker_ipc import WorkerQueries
from tunnelctl.server.process.workers import RELOAD, Supervisor
from tunnelctl.server.reloadable import READ_SECONDS, FileReload, Reloadable
from tunnelctl.server.session import Service, Session, Timeouts
from tunnelctl.server.upstream import Upstream
from tunnelctl.stream.accept import Acceptor, ConnectionCount, Serve, close_listeners, raise_descriptor_limit
from tunnelctl.stream.listen import ListenAddress, bound_address, listen, parse_listen
from tunnelctl.stream.own_ports import OwnAddresses
from tunnelctl.stream.relay import TimeLimits
from tunnelctl.stream.service_manager import INHERITED, inherited_socket, notify, reloading, watchdog_seconds
from tunnelctl.stream.socket_stream import set_socket_options
from tunnelctl.stream.vanished import watch_for_vanished_peers
from tunnelctl.trace import Trace, silent

if TYPE_CHECKING:
    import ssl

# Ctrl-C reaches every process of the group, systemd's SIGTERM every process of the service, and the supervisor passes on the
# signals that it receives. A worker must treat all of these as one, not as the second signal, which ends the drain.
DEBOUNCE_SECONDS = 0.5

_LIFE = frozenset({"listening", "drain", "stopped"})

TICK_SECONDS = 1.0  # between updates of metrics, and between checks for due records of open tunnels

Helper = Callable[[], Coroutine[None, None, None]]


# Where to listen, and the socket if a service manager has opened it.
Planned = tuple[ListenAddress, socket.socket | None]


def run_server(options: ServeOptions, trace: Trace, environ: Mapping[str, str], upstream: Upstream | None = None) -> int:
    """Serves until a signal ends it; returns the exit status. Raises a TunnelctlError before anything is accepted.

    environ: where a service manager may have passed sockets and the address for notifications
    upstream: how to reach a target through the next proxy; None: directly
    """
    complete_names_only()
    with ExitStack() as stack:
        planned: list[Planned] = []
        for text in options.listen:
            planned.append(_plan(text, options, environ, stack, [listener for _, listener in planned if listener is not None]))
        settings = _read([address for address, _ in planned], options)._replace(upstream=upstream)
        if settings.log_fd is not None:
            stack.callback(os.close, settings.log_fd)
        return _serve(options, settings, planned, trace, environ)


def _plan(text: str, options: ServeOptions, environ: Mapping[str, str], stack: ExitStack, taken: list[socket.socket]) -> Planned:
    if not text.startswith(INHERITED):
        return parse_listen(text), None
    inherited = inherited_socket(text.removeprefix(INHERITED), environ)
    if inherited.fileno() in [other.fileno() for other in taken]:
        inherited.detach()  # the other entry closes it
        raise UsageProblem("--listen", "the same inherited socket is named twice")
    stack.callback(inherited.close)
    address = bound_address(inherited)._replace(inherited=True)
    if not address.path:
        set_socket_options(inherited, options.keepalive)
    return address, inherited


class Settings(NamedTuple):
    """The values of flags and files, ready for use; read before anything is opened to clients."""

    policy: Reloadable[Policy]
    users: Reloadable[Users] | None
    tls: Reloadable[ssl.SSLContext] | None
    reread: tuple[Reloadable[Any], ...]  # those of them that come from files
    most: CapLimits
    prefixes: tuple[int, int]  # prefix lengths of a client network, for IPv4 and IPv6
    trusted: tuple[Network, ...]
    timeouts: Timeouts
    admin: ListenAddress | None
    log_fd: int | None
    upstream: Upstream | None = None


def _read(addresses: list[ListenAddress], options: ServeOptions) -> Settings:
    policy = Reloadable("policy", lambda: _load_policy(addresses, options), describe_policy)
    users, tls = _users(options.users), _tls(options)
    per_owner = options.max_per_client, options.max_per_user, options.max_per_target
    tunnel = TimeLimits(options.idle_timeout or inf, options.half_close_timeout or inf)
    phases = options.head_timeout or inf, options.dial_timeout or inf
    return Settings(
        policy=policy,
        users=users,
        tls=tls,
        reread=tuple(one for one in (policy if options.policy is not None else None, users, tls) if one is not None),
        most=CapLimits(options.max_tunnels, *per_owner, options.max_dials),
        prefixes=parse_prefixes(options.client_prefix),
        trusted=tuple(map(parse_trusted, options.proxy_protocol)),
        timeouts=Timeouts(*phases, options.keepalive, tunnel, options.max_lifetime or inf),
        admin=parse_admin(options.admin, options.open_admin) if options.admin is not None else None,
        log_fd=open_log(options.access_log) if options.access_log is not None else None,
    )


class Shared(NamedTuple):
    """State that exists before the first worker, and is the same for all of them."""

    options: ServeOptions
    settings: Settings
    bound: list[ListenAddress]
    admin: socket.socket | None
    counters: SharedCounters
    worker_queries: WorkerQueries
    trace: Trace
    environ: Mapping[str, str]
    caps: SharedCaps | None
    tick: float  # seconds between two periodic checks
    supervisor: int  # pid of the process that starts the workers

    @property
    def reloads(self) -> tuple[signal.Signals, ...]:
        """The signals on which files are read again or reopened. Without such files, SIGHUP keeps its usual meaning."""
        return RELOAD if self.settings.reread or self.options.access_log not in (None, STDOUT) else ()


def _serve(options: ServeOptions, settings: Settings, planned: list[Planned], trace: Trace, environ: Mapping[str, str]) -> int:
    raise_descriptor_limit()
    with ExitStack() as stack:
        listeners, bound = _listen(planned, options)
        stack.callback(close_listeners, bound, listeners)
        admin = None
        if settings.admin is not None:
            admin = listen(settings.admin, options.keepalive, flag="--admin")
            stack.callback(close_listeners, [bound_address(admin)], [admin])
        several = options.workers > 1
        worker_queries = WorkerQueries(options.workers if several and admin is not None else 0)
        stack.callback(worker_queries.close)
        tick = min(TICK_SECONDS, watchdog_seconds(environ) / 2 or inf)  # also the interval of the workers' heartbeats
        told = announcing(trace, len(bound), _announcement(options, settings, bound, admin).tell)
        caps = SharedCaps(options.workers) if settings.most.any else None
        shared = Shared(
            options, settings, bound, admin, SharedCounters(options.workers), worker_queries, told, environ, caps, tick, os.getpid()
        )
        if settings.tls is not None:
            settings.tls.warn(trace)
        if not several:
            return work(shared, listeners)
        # Of several processes, only the supervisor reports start and stop, and notifies the service manager.
        quiet = shared._replace(trace=lambda event, **fields: None if event in _LIFE else trace(event, **fields), environ={})
        files = FileReload(settings.reread, trace) if shared.reloads else None
        share = partial(work, quiet)
        return Supervisor(listeners, bound, options.keepalive, share, shared.counters, told, files, environ, caps).run()


def _announcement(
    options: ServeOptions, settings: Settings, bound: list[ListenAddress], admin: socket.socket | None
) -> Announcement:
    """Returns the announcement to make once the listeners accept."""
    users = None if settings.users is None else settings.users.current.count
    certificate = "" if settings.tls is None else str(settings.tls)
    at = None if admin is None else bound_address(admin)
    return Announcement(options, bound, settings.policy.current, users, certificate, at)


def _load_policy(addresses: list[ListenAddress], options: ServeOptions) -> Policy:
    policy = load_policy(options.policy, options.allow, options.deny)
    _refuse_open_proxy(addresses, options, policy)
    return policy


def _refuse_open_proxy(addresses: list[ListenAddress], options: ServeOptions, policy: Policy) -> None:
    """Raises UsageProblem for a proxy that anybody can reach and use: soon the whole Internet would use it."""
    for address in addresses:
        if not (address.private or options.users or options.client_ca or options.open_proxy or policy.is_personal):
            hint = (
                "give --users FILE, --client-ca FILE, or clients in each allow rule of --policy FILE, listen on 127.0.0.1, "
                "or give --open-proxy if something else keeps strangers out"
            )
            cause = "no login is required there, so it would be an open proxy"
            raise UsageProblem(f"cannot listen on {address}", cause, hint)


def _listen(planned: list[Planned], options: ServeOptions) -> tuple[list[socket.socket], list[ListenAddress]]:
    """Opens the listeners; returns them with the addresses that they are actually bound to."""
    listeners: list[socket.socket] = []
    bound: list[ListenAddress] = []
    try:
        for address, inherited in planned:
            listeners.append(inherited or listen(address, options.keepalive, options.workers > 1, "--listen"))
            bound.append(address if inherited else bound_address(listeners[-1]))
    except BaseException:
        close_listeners(bound, listeners)
        raise
    return listeners, bound


def _users(path: str | None) -> Reloadable[Users] | None:
    if path is None:
        return None
    kept = CredentialCache()  # created before the workers, which share it
    return Reloadable("users file", lambda: load_users(path, kept), describe_users)


def _tls(options: ServeOptions) -> Reloadable[ssl.SSLContext] | None:
    if not (options.tls_cert or options.tls_key or options.client_ca):
        return None
    from tunnelctl.server.tls import describe_certificate, listener_context, warn_of_dates  # loads ssl

    def describe(_: ssl.SSLContext) -> str:
        return describe_certificate(options.tls_cert)

    return Reloadable("certificate", lambda: listener_context(options), describe, partial(warn_of_dates, options))


def work(shared: Shared, listeners: list[socket.socket], number: int = 0) -> int:
    """Does one process's share of the work; returns the exit status. number: of the worker"""
    options, settings, trace = shared.options, shared.settings, shared.trace
    log = AccessLog(settings.log_fd, trace, options.access_log or STDOUT) if settings.log_fd is not None else None
    metrics = Metrics(shared.counters.rows[number]) if shared.admin is not None else None
    recorder, caps = Recorder(log, trace, options.verbose > 0, metrics), Caps(settings.most, shared.caps, number)
    own = OwnAddresses([*shared.bound, *([] if shared.admin is None else [bound_address(shared.admin)])])
    tls_and_upstream = settings.tls, settings.upstream
    service = Service(
        settings.policy, settings.users, own, caps, settings.timeouts, recorder, trace, *tls_and_upstream, settings.prefixes
    )
    trusted_proxies = TrustedProxies(settings.trusted, settings.timeouts.head, trace)

    def tell(state: str) -> None:
        notify(state, shared.environ)

    helpers: list[Helper] = []
    if log is not None:
        helpers.append(log.run)
    if settings.upstream is not None:
        helpers.append(settings.upstream.helper)
    if options.keepalive:
        helpers.append(lambda: watch_for_vanished_peers(options.keepalive))
    ticks = _ticks(shared, number, recorder, caps)
    if ticks:
        helpers.append(lambda: _tick(ticks, shared.tick))
    admin = None
    if shared.admin is not None and metrics is not None:
        ask = Pages(shared.counters, metrics, caps, recorder, shared.worker_queries, number, trace)
        helpers += ask.helpers()
        admin = shared.admin, Admin(ask.by_path(), bound_address(shared.admin), trace).session
    debounce = DEBOUNCE_SECONDS if options.workers > 1 else 0.0
    # Of several processes, the supervisor reports the outcome of reading files again: it reads the same ones on the same signal.
    files = FileReload(settings.reread, silent if options.workers > 1 else trace)
    reloads = shared.reloads

    def leave() -> None:
        if options.workers == 1:  # otherwise the supervisor removes what all of them share
            close_listeners(shared.bound, listeners)

    return run(
        Server(service, listeners, options.drain, trace, debounce, trusted_proxies, reloads, files, helpers, admin, tell, leave).run
    )


def _ticks(shared: Shared, number: int, recorder: Recorder, caps: Caps) -> list[Callable[[], None]]:
    """Returns the functions to call at every tick."""
    options, ticks = shared.options, list[Callable[[], None]]()
    metrics = recorder.metrics
    if metrics is not None:
        ticks.append(lambda: metrics.refresh(caps, recorder.open.values(), recorder.lost))
    if recorder.log is not None and (options.log_interval or options.log_bytes):
        ticks.append(OpenTunnelReporter(recorder.log, recorder.open, options.log_interval, options.log_bytes).tick)
    if options.workers > 1:
        ticks += [lambda: shared.counters.heartbeat(number), _Orphan(shared.supervisor).tick]
    elif watchdog_seconds(shared.environ):
        ticks.append(lambda: notify("WATCHDOG=1", shared.environ))
    return ticks


class _Orphan:
    """Stops a worker whose supervisor has died, because nothing else would ever stop it."""

    def __init__(self, supervisor: int) -> None:
        self._supervisor, self._told = supervisor, False

    def tick(self) -> None:
        if os.getppid() != self._supervisor and not self._told:
            self._told = True  # a second signal would end the drain
            os.kill(os.getpid(), signal.SIGTERM)


async def _tick(ticks: list[Callable[[], None]], seconds: float) -> None:
    while True:
        for tick in ticks:
            tick()
        await sleep(seconds)


class Server:
    """One process's share of the work: its listeners, sessions, helpers and signals."""

    def __init__(
        self,
        service: Service,
        listeners: list[socket.socket],
        drain: float,
        trace: Trace,
        debounce: float = 0.0,
        trusted_proxies: TrustedProxies | None = None,
        reloads: tuple[signal.Signals, ...] = (),
        files: FileReload | None = None,
        helpers: Sequence[Helper] = (),
        admin: tuple[socket.socket, Serve] | None = None,
        tell: Callable[[str], None] = lambda _: None,
        leave: Callable[[], None] = lambda: None,
    ) -> None:
        """
        drain, echo: see Acceptor
        balancers: the trusted load balancers, if any
        reloads: the signals on which files are read again or reopened; files: those to read
        helpers: tasks that run beside the sessions; admin: a listener that stays open while they drain, and the function serving it
        tell: notifies the service manager of a state; leave: see Acceptor
        """
        self._service, self._listeners, self._trace, self._trusted_proxies = service, listeners, trace, trusted_proxies
        self._reloads, self._files, self._helpers, self._admin, self._tell = reloads, files, helpers, admin, tell
        self._leave = leave
        self._asked = Event()  # set when a signal requires a reload
        self._acceptor = Acceptor(service.caps, drain, self._speak, debounce)
        self._count = 0
        self._process = os.urandom(4).hex()  # not the pid: in a container that is the same after each restart

    async def run(self) -> int:
        """Serves until a signal stops it; returns the exit status."""
        with open_signal_receiver(*self._reloads) as hangups:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, self._reloads)  # a worker starts with them blocked
            return await self._run(hangups)

    async def _run(self, hangups: SignalReceiver) -> int:
        log = self._service.recorder.log
        async with Nursery() as helpers:
            if self._reloads:
                helpers.start_soon(self._hear, hangups)
                helpers.start_soon(self._reload)
            for helper in self._helpers:
                helpers.start_soon(helper)
            if self._admin is None:
                status = await self._accept()
            else:
                status = await Acceptor(ConnectionCount(), 0.0, self._trace).during([self._admin], self._accept)
            helpers.cancel_scope.cancel()
        if log is not None:
            await log.close()
        self._trace("stopped")
        return status

    async def _hear(self, hangups: SignalReceiver) -> None:
        """Notes each signal. Any number of signals during a reload cause just one more."""
        async for _ in hangups:
            self._asked.set()

    async def _reload(self) -> None:
        """After each signal, reads the files again and reopens the log."""
        while True:
            await self._asked.wait()
            self._asked = Event()
            self._tell(reloading())
            if self._files is not None:
                await self._read_again(self._files)
            if self._service.recorder.log is not None:
                await self._reopen(self._service.recorder.log)
            self._tell("READY=1")

    async def _read_again(self, files: FileReload) -> None:
        """Reads the files again. A long file takes a second; a file system that hangs must not block later signals."""
        if not files.begin():
            return
        try:
            with move_on_after(READ_SECONDS) as scope:
                await to_thread(files.run)
        except BusyResourceError as error:
            files.give_up(str(error))
        if scope.cancelled_caught:
            files.warn_late()

    async def _reopen(self, log: AccessLog) -> None:
        """Reopens the log. A disk that hangs must not block later signals."""
        with move_on_after(LAST_SECONDS) as scope:
            await log.reopen()
        if scope.cancelled_caught:
            self._trace("warning", text=f"access log {log.path}: it does not open: the old one stays in use until it does")

    async def _accept(self) -> int:
        return await self._acceptor.run([(listener, self._session) for listener in self._listeners], self._announce, self._leave)

    def _speak(self, event: str, /, **fields: object) -> None:
        if event == "drain":
            self._tell(f"STOPPING=1\nSTATUS=draining, {fields['tunnels']} open")
        self._trace(event, **fields)

    def _announce(self) -> None:
        for listener in self._listeners:
            self._trace("listening", address=str(bound_address(listener)))
        self._tell(f"READY=1\nSTATUS=serving {', '.join(str(bound_address(listener)) for listener in self._listeners)}")

    def _session(self, accepted: socket.SocketType, host: str, client: str) -> Coroutine[None, None, None]:
        if self._trusted_proxies is not None and self._trusted_proxies.contains(host):
            return self._behind(self._trusted_proxies, accepted, host, client)
        return self._begin(accepted, host, client)

    async def _behind(self, trusted_proxies: TrustedProxies, accepted: socket.SocketType, host: str, client: str) -> None:
        connections = self._service.caps
        connections.enter()  # the drain waits for this client as for any other
        source = None
        try:
            source = await trusted_proxies.source(accepted, host, client)
        except Exception as fault:  # it ends only this connection, as in Session.run
            self._trace("warning", text=f"fault in a PROXY header: {type(fault).__name__}: {fault}")
        finally:
            if source is None:
                connections.leave()
        if source is not None:
            connections.sessions -= 1  # the session counts itself at once; leave() could report an empty crowd in between
            await self._begin(accepted, *source)

    def _begin(self, accepted: socket.SocketType, host: str, client: str) -> Coroutine[None, None, None]:
        self._count += 1
        return Session(self._service, accepted, host, client, f"{self._process}-{self._count}").run()
