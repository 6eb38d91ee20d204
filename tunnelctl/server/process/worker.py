"""One serving process: builds its service from the settings that all processes share, and runs it."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Mapping
from typing import NamedTuple

from tunnelctl.engine.kernel import run, sleep
from tunnelctl.events import Trace, silent
from tunnelctl.server.access.limits import Caps, SharedCaps
from tunnelctl.server.access.proxy_header import TrustedProxies
from tunnelctl.server.config import Settings
from tunnelctl.server.observe.access_log import STDOUT, AccessLog
from tunnelctl.server.observe.admin import Admin, Pages
from tunnelctl.server.observe.metrics import Metrics, SharedCounters
from tunnelctl.server.observe.open_records import OpenTunnelReporter
from tunnelctl.server.observe.recorder import Recorder
from tunnelctl.server.options import ServeOptions
from tunnelctl.server.process.supervisor import RELOAD
from tunnelctl.server.process.worker_ipc import WorkerQueries
from tunnelctl.server.server import Helper, Server, ServerSettings
from tunnelctl.server.service import Service
from tunnelctl.stream.accept import ConnectionCount, Serve, close_listeners
from tunnelctl.stream.listen import ListenAddress, bound_address
from tunnelctl.stream.own_ports import OwnAddresses
from tunnelctl.stream.reloadable import FileReload
from tunnelctl.stream.service_manager import notify, watchdog_seconds
from tunnelctl.stream.vanished import watch_for_vanished_peers

# Ctrl-C reaches every process of the group, systemd's SIGTERM every process of the service, and the supervisor passes on the
# signals that it receives. A worker must treat all of these as one, not as the second signal, which ends the drain.
DEBOUNCE_SECONDS = 0.5


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
    def reload_signals(self) -> tuple[signal.Signals, ...]:
        """The signals on which files are read again or reopened. Without such files, SIGHUP keeps its usual meaning."""
        return RELOAD if self.settings.reread or self.options.access_log not in (None, STDOUT) else ()


def work(shared: Shared, listeners: list[socket.socket], number: int = 0) -> int:
    """Does one process's share of the work; returns the exit status. number: of the worker"""
    options = shared.options
    service = _service(shared, number)
    pages = _pages(shared, service, number)
    several = options.workers > 1

    def on_stop_accepting() -> None:
        if not several:  # otherwise the supervisor removes what all of them share
            close_listeners(shared.bound, listeners)

    settings = ServerSettings(
        drain=options.drain,
        debounce=DEBOUNCE_SECONDS if several else 0.0,
        reload_signals=shared.reload_signals,
        # Of several processes, the supervisor reports the outcome of a reload: it reads the same files on the same signal.
        files=FileReload(shared.settings.reread, silent if several else shared.trace) if shared.reload_signals else None,
        helpers=_helpers(shared, service, pages, number),
        admin=None if pages is None else _admin(shared, pages),
        notify=lambda state: notify(state, shared.environ),
        on_stop_accepting=on_stop_accepting,
        inherited=[listener for address, listener in zip(shared.bound, listeners, strict=True) if address.inherited],
    )
    return run(Server(service, listeners, settings).run)


def _service(shared: Shared, number: int) -> Service:
    options, settings, trace = shared.options, shared.settings, shared.trace
    log = AccessLog(settings.log_fd, trace, options.access_log or STDOUT) if settings.log_fd is not None else None
    metrics = Metrics(shared.counters.rows[number]) if shared.admin is not None else None
    return Service(
        policy=settings.policy,
        users=settings.users,
        own=OwnAddresses([*shared.bound, *([] if shared.admin is None else [bound_address(shared.admin)])]),
        caps=Caps(settings.most, shared.caps, number),
        counts=ConnectionCount(),
        timeouts=settings.timeouts,
        recorder=Recorder(log, trace, options.output.verbose > 0, metrics),
        trace=trace,
        tls=settings.tls,
        upstream=settings.upstream,
        prefixes=settings.prefixes,
        trusted=TrustedProxies(settings.trusted, settings.timeouts.head, trace) if settings.trusted else None,
    )


def _pages(shared: Shared, service: Service, number: int) -> Pages | None:
    if shared.admin is None:
        return None
    return Pages(shared.counters, service.counts, service.caps, service.recorder, shared.worker_queries, number, shared.trace)


def _admin(shared: Shared, pages: Pages) -> tuple[socket.socket, Serve]:
    """Returns the admin listener, and the function that serves it."""
    assert shared.admin is not None
    return shared.admin, Admin(pages.by_path(), bound_address(shared.admin), shared.trace).session


def _helpers(shared: Shared, service: Service, pages: Pages | None, number: int) -> list[Helper]:
    """Returns the tasks that run beside the connections."""
    keepalive, log, helpers = shared.options.reach.keepalive, service.recorder.log, list[Helper]()
    if log is not None:
        helpers.append(log.run)
    if service.upstream is not None:
        helpers.append(service.upstream.helper)
    if keepalive:
        helpers.append(lambda: watch_for_vanished_peers(keepalive))
    if ticks := _ticks(shared, service, number):
        helpers.append(lambda: _tick(ticks, shared.tick))
    return helpers if pages is None else helpers + pages.helpers()


def _ticks(shared: Shared, service: Service, number: int) -> list[Callable[[], None]]:
    """Returns the functions to call at every tick."""
    options, recorder, ticks = shared.options, service.recorder, list[Callable[[], None]]()
    if (metrics := recorder.metrics) is not None:
        ticks.append(lambda: metrics.refresh(service.counts, service.caps.dials, recorder.open.values(), recorder.lost))
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
