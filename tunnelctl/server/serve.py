"""`serve`: from its options to a running server, in this process or in several workers.

    run_server        plans the listeners, and reads flags and files (tunnelctl.server.config): every mistake in them ends here
      -> _serve       opens the listeners, and what all workers share: counters, caps, queries of the admin pages
      -> work         in each process: builds a Service, and runs a Server (tunnelctl.server.process.worker)
      -> Server       accepts connections until a signal; reloads files on SIGHUP; drains (tunnelctl.server.server)
      -> ClientConnection -> protocol -> serve_tunnel

With --workers N, this process becomes the supervisor (tunnelctl.server.process.supervisor): it starts the workers, which inherit
the listeners, replaces those that die, and passes signals on. It serves nobody, so that nothing a client does can stop it. The
port is never free while it lives.

Nothing that may block runs in the event loop or in the supervisor's only thread: files are read in a thread, the log is flushed by
one, and no name is looked up for `bind`.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from math import inf
from time import time

from tunnelctl import events
from tunnelctl.control.journal import Journal
from tunnelctl.control.listener import Control, open_control
from tunnelctl.control.snapshot import ListenerFacts
from tunnelctl.engine.resolver import complete_names_only
from tunnelctl.errors import ListenError
from tunnelctl.events import Trace, explained
from tunnelctl.proto.proxy_url import parse_proxy_list
from tunnelctl.server.access.limits import SharedCaps
from tunnelctl.server.announcement import Announcement, announcing
from tunnelctl.server.config import Planned, Settings, plan_listeners, read_settings
from tunnelctl.server.events import Listening
from tunnelctl.server.observe.metrics import SharedCounters
from tunnelctl.server.observe.overview import Program
from tunnelctl.server.options import ServeOptions
from tunnelctl.server.process.supervisor import Supervisor
from tunnelctl.server.process.worker import Shared, work
from tunnelctl.server.process.worker_ipc import WorkerQueries
from tunnelctl.server.upstream import Upstream
from tunnelctl.stream.accept import close_listeners, raise_descriptor_limit
from tunnelctl.stream.events import Drain, Stopped
from tunnelctl.stream.listen import ListenAddress, bound_address, listen
from tunnelctl.stream.reloadable import FileReload
from tunnelctl.stream.service_manager import watchdog_seconds

_LIFE = (Listening, Drain, Stopped)

TICK_SECONDS = 1.0  # between updates of metrics, and between checks for due records of open tunnels


def run_server(options: ServeOptions, trace: Trace, environ: Mapping[str, str], upstream: Upstream | None = None) -> int:
    """Serves until a signal ends it; returns the exit status. Raises a TunnelctlError before anything is accepted.

    environ: where a service manager may have passed sockets and the address for notifications
    upstream: how to reach a target through the next proxy; None: directly
    """
    complete_names_only()
    with ExitStack() as stack:
        planned = plan_listeners(options, environ, stack)
        settings = read_settings([address for address, _ in planned], options)
        if upstream is not None:
            settings = settings._replace(upstream=upstream, name=upstream.name)
        if settings.log_fd is not None:
            stack.callback(os.close, settings.log_fd)
        return _serve(options, settings, planned, trace, environ)


def _serve(options: ServeOptions, settings: Settings, planned: list[Planned], trace: Trace, environ: Mapping[str, str]) -> int:
    raise_descriptor_limit()
    with ExitStack() as stack:
        listeners, bound = _listen(planned, options)
        stack.callback(close_listeners, bound, listeners)
        admin = None
        if settings.admin is not None:
            admin = listen(settings.admin, options.reach.keepalive, option="admin")
            stack.callback(close_listeners, [bound_address(admin)], [admin])
        journal = Journal(trace)
        control = _open_control(options, environ, journal)
        if control is not None:
            stack.callback(control.close)
        several = options.workers > 1
        worker_queries = WorkerQueries(options.workers if several else 0)
        stack.callback(worker_queries.close)
        tick = min(TICK_SECONDS, watchdog_seconds(environ) / 2 or inf)  # also the interval of the workers' heartbeats
        told = announcing(journal, len(bound), _announcement(options, settings, bound, admin).tell)
        caps = SharedCaps(options.workers) if settings.most.any else None
        shared = Shared(
            options=options,
            settings=settings,
            bound=bound,
            admin=admin,
            control=control,
            program=_program(options, bound, "" if control is None else control.name),
            counters=SharedCounters(options.workers),
            worker_queries=worker_queries,
            journal=journal,
            trace=told,
            environ=environ,
            caps=caps,
            tick=tick,
            supervisor=os.getpid(),
        )
        if settings.tls is not None:
            settings.tls.warn(journal)
        if not several:
            return work(shared, listeners)
        # Of several processes, only the supervisor reports start and stop, and notifies the service manager.
        quiet = shared._replace(trace=lambda event: None if isinstance(event, _LIFE) else journal(event), environ={})
        files = FileReload(settings.reread, journal) if shared.reload_signals else None
        share, leave = partial(work, quiet), (lambda: None) if control is None else control.retire
        keepalive, counters = options.reach.keepalive, shared.counters
        return Supervisor(listeners, bound, keepalive, share, counters, told, files, environ, caps, leave).run()


def _open_control(options: ServeOptions, environ: Mapping[str, str], trace: Trace) -> Control | None:
    """Opens the control socket. If that fails, warns and returns None, unless the user has given it a name.

    Anybody may have made the directory in /tmp first: that must not keep a service from starting.
    """
    try:
        return open_control("serve", options.name, environ)
    except ListenError as error:
        if options.name is not None:
            raise
        trace(explained(events.Warning("there is no control socket"), error))
        return None


def _program(options: ServeOptions, bound: list[ListenAddress], name: str) -> Program:
    route = [",".join(map(str, parse_proxy_list(text))) for text in options.reach.proxy]
    return Program(name, os.getpid(), time(), [ListenerFacts(str(address)) for address in bound], route)


def _announcement(
    options: ServeOptions, settings: Settings, bound: list[ListenAddress], admin: socket.socket | None
) -> Announcement:
    """Returns the announcement to make once the listeners accept."""
    users = None if settings.users is None else settings.users.current.count
    certificate = "" if settings.tls is None else str(settings.tls)
    at = None if admin is None else bound_address(admin)
    return Announcement(options, bound, settings.policy.current, users, certificate, at)


def _listen(planned: list[Planned], options: ServeOptions) -> tuple[list[socket.socket], list[ListenAddress]]:
    """Opens the listeners; returns them with the addresses that they are actually bound to."""
    listeners: list[socket.socket] = []
    bound: list[ListenAddress] = []
    try:
        for address, inherited in planned:
            listeners.append(inherited or listen(address, options.reach.keepalive, options.workers > 1, "listen"))
            bound.append(address if inherited else bound_address(listeners[-1]))
    except BaseException:
        close_listeners(bound, listeners)
        raise
    return listeners, bound
