"""`serve`: the listeners, their sessions, and an orderly end."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Coroutine
from functools import partial
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from tunnelctl.engine.kernel import Nursery, run
from tunnelctl.engine.outside import SignalReceiver, open_signal_receiver, to_thread
from tunnelctl.errors import UsageProblem
from tunnelctl.proto.network import Network
from tunnelctl.proto.policy import Policy
from tunnelctl.server.access_log import STDOUT, AccessLog, open_log
from tunnelctl.server.account import Books
from tunnelctl.server.behind import Balancers, parse_trusted
from tunnelctl.server.limits import Caps, Most, parse_prefixes
from tunnelctl.server.options import ServeOptions
from tunnelctl.server.own import OwnPorts
from tunnelctl.server.policy_file import PolicyInForce, load_policy
from tunnelctl.server.session import Service, Session, Timeouts
from tunnelctl.server.upstream import Reach
from tunnelctl.server.users import Users, load_users
from tunnelctl.server.workers import RELOAD, supervise
from tunnelctl.stream.accept import Acceptor, close_listeners, raise_descriptor_limit
from tunnelctl.stream.listen import ListenAddress, bound_address, listen, parse_listen
from tunnelctl.stream.relay import Limits
from tunnelctl.trace import Trace

if TYPE_CHECKING:
    import ssl

# Ctrl-C reaches every process of the group, systemd's SIGTERM every one of the service, and the first process passes on what it
# gets. All of that is one wish, and a worker must not take it for the second signal that ends the drain.
ECHO_SECONDS = 0.5

_LIFE = frozenset({"listening", "drain", "stopped"})


def run_server(options: ServeOptions, trace: Trace, reach: Reach | None = None) -> int:
    """Serves until a signal ends it; returns the exit status. Raises the TunnelctlError that fits before anything is accepted.

    reach: how to get to a target through the next proxy; None: straight
    """
    addresses = [parse_listen(text) for text in options.listen]
    settings = _read(addresses, options)._replace(reach=reach)
    try:
        return _serve(addresses, options, settings, trace)
    finally:
        if settings.log_fd is not None:
            os.close(settings.log_fd)


class Settings(NamedTuple):
    """What flags and files say, as it is used; read before anything is opened to clients."""

    policy: PolicyInForce
    users: Users | None
    most: Most
    trusted: tuple[Network, ...]
    timeouts: Timeouts
    tls: ssl.SSLContext | None
    log_fd: int | None
    reach: Reach | None = None


def _read(addresses: list[ListenAddress], options: ServeOptions) -> Settings:
    of_whom = options.max_per_client, options.max_per_user, options.max_per_target
    tunnel = Limits(options.idle_timeout or inf, options.half_close_timeout or inf)
    phases = options.head_timeout or inf, options.dial_timeout or inf
    return Settings(
        policy=PolicyInForce(lambda: _load_policy(addresses, options), options.policy is not None),
        users=load_users(options.users) if options.users is not None else None,
        most=Most(options.max_tunnels, *of_whom, options.max_dials, parse_prefixes(options.client_prefix)),
        trusted=tuple(map(parse_trusted, options.proxy_protocol)),
        timeouts=Timeouts(*phases, options.keepalive, tunnel, options.max_lifetime or inf),
        tls=_tls(options),
        log_fd=open_log(options.access_log) if options.access_log is not None else None,
    )


def _serve(addresses: list[ListenAddress], options: ServeOptions, settings: Settings, trace: Trace) -> int:
    raise_descriptor_limit()
    listeners = _listen(addresses, options)
    bound = [bound_address(listener) for listener in listeners]

    def work(mine: list[socket.socket]) -> int:
        settings.policy.silent = options.workers > 1  # in a worker; the first process tells what comes of reading it again
        log = AccessLog(settings.log_fd, trace, options.access_log or STDOUT) if settings.log_fd is not None else None
        books = Books(log, trace, options.verbose > 0)
        caps = Caps(settings.most)
        own = OwnPorts(bound)
        service = Service(settings.policy, settings.users, own, caps, settings.timeouts, books, trace, settings.tls, settings.reach)
        balancers = Balancers(settings.trusted, settings.timeouts.head, trace)
        echo = ECHO_SECONDS if options.workers > 1 else 0.0
        return run(Server(service, mine, options.drain, speak, echo, balancers, reloads).run)

    # Without a file to read or to open anew, SIGHUP keeps the meaning that it has for any program.
    reloads = RELOAD if options.policy is not None or options.access_log not in (None, STDOUT) else ()
    # Of several processes one speaks for all about coming and going.
    speak = trace if options.workers == 1 else lambda event, **fields: None if event in _LIFE else trace(event, **fields)
    try:
        if options.workers > 1:
            reload = partial(settings.policy.reload, trace) if reloads else None
            return supervise(options.workers, listeners, bound, options.keepalive, work, trace, reload)
        return work(listeners)
    finally:
        close_listeners(bound, listeners)


def _load_policy(addresses: list[ListenAddress], options: ServeOptions) -> Policy:
    policy = load_policy(options.policy, options.allow, options.deny)
    _refuse_open_proxy(addresses, options, policy)
    return policy


def _refuse_open_proxy(addresses: list[ListenAddress], options: ServeOptions, policy: Policy) -> None:
    """A proxy that anybody can reach and use serves the whole Internet, and soon that is who uses it."""
    for address in addresses:
        if not (address.private or options.users or options.client_ca or options.open_proxy or policy.is_personal):
            hint = (
                "give --users FILE, --client-ca FILE, or clients in each allow rule of --policy FILE, listen on 127.0.0.1, "
                "or say --open-proxy if something else keeps strangers out"
            )
            raise UsageProblem(f"listening on {address}", "that would be an open proxy: no credentials are wanted", hint)


def _listen(addresses: list[ListenAddress], options: ServeOptions) -> list[socket.socket]:
    listeners: list[socket.socket] = []
    try:
        for address in addresses:
            listeners.append(listen(address, options.keepalive, share=options.workers > 1))
    except BaseException:
        close_listeners(addresses[: len(listeners)], listeners)
        raise
    return listeners


def _tls(options: ServeOptions) -> ssl.SSLContext | None:
    if not (options.tls_cert or options.tls_key or options.client_ca):
        return None
    from tunnelctl.server.tls import listener_context  # loads ssl

    return listener_context(options)


class Server:
    """One process's share of the work."""

    def __init__(
        self,
        service: Service,
        listeners: list[socket.socket],
        drain: float,
        trace: Trace,
        echo: float = 0.0,
        balancers: Balancers | None = None,
        reloads: tuple[signal.Signals, ...] = (),
    ) -> None:
        """
        drain, echo: see Acceptor
        balancers: the peers that speak for others, if there are any
        reloads: the signals at which files are read or opened anew
        """
        self._service, self._listeners, self._trace, self._balancers = service, listeners, trace, balancers
        self._reloads = reloads
        self._acceptor = Acceptor(service.caps, drain, trace, echo)
        self._count = 0
        self._process = os.urandom(4).hex()  # no process number: in a container that is the same after each restart

    async def run(self) -> int:
        """Serves until told to stop; the exit status."""
        with open_signal_receiver(*self._reloads) as hangups:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, self._reloads)  # a worker starts with them blocked
            return await self._run(hangups)

    async def _run(self, hangups: SignalReceiver) -> int:
        log = self._service.books.log
        async with Nursery() as helpers:
            if self._reloads:
                helpers.start_soon(self._reload, hangups)
            if log is not None:
                helpers.start_soon(log.run)
            status = await self._acceptor.run([(listener, self._session) for listener in self._listeners], self._announce)
            helpers.cancel_scope.cancel()
        if log is not None:
            await log.close()
        self._trace("stopped")
        return status

    async def _reload(self, hangups: SignalReceiver) -> None:
        """At each signal opens the log anew, and reads the policy again."""
        async for _ in hangups:
            if self._service.books.log is not None:
                await self._service.books.log.reopen()
            await to_thread(self._service.policy.reload, self._trace)  # a long file takes a second to read

    def _announce(self) -> None:
        for listener in self._listeners:
            self._trace("listening", address=str(bound_address(listener)))

    def _session(self, accepted: socket.SocketType, host: str, client: str) -> Coroutine[None, None, None]:
        if self._balancers is not None and self._balancers.contain(host):
            return self._behind(self._balancers, accepted, host, client)
        return self._begin(accepted, host, client)

    async def _behind(self, balancers: Balancers, accepted: socket.SocketType, host: str, client: str) -> None:
        crowd = self._service.caps
        crowd.enter()  # somebody is there, and is let finish as everybody is
        source = None
        try:
            source = await balancers.source(accepted, host, client)
        finally:
            if source is None:
                crowd.leave()
        if source is not None:
            crowd.sessions -= 1  # the session counts itself at once; to leave would tell that nobody is here
            await self._begin(accepted, *source)

    def _begin(self, accepted: socket.SocketType, host: str, client: str) -> Coroutine[None, None, None]:
        self._count += 1
        return Session(self._service, accepted, host, client, f"{self._process}-{self._count}").run()
