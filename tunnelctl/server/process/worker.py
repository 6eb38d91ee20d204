"""One serving process: builds its service from the settings that all processes share, and runs it."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from tunnelctl.control.endpoint import Endpoint
from tunnelctl.control.journal import Journal
from tunnelctl.control.listener import Control
from tunnelctl.control.pages import pages_of
from tunnelctl.engine.kernel import run, sleep
from tunnelctl.events import Trace, Warning
from tunnelctl.server.access.limits import Caps, SharedCaps
from tunnelctl.server.access.proxy_header import TrustedProxies
from tunnelctl.server.config import Settings
from tunnelctl.server.observe.access_log import STDOUT, AccessLog
from tunnelctl.server.observe.activity import Activity
from tunnelctl.server.observe.metrics import Metrics, SharedCounters
from tunnelctl.server.observe.open_records import OpenTunnelReporter
from tunnelctl.server.observe.overview import Program, ServerOverview
from tunnelctl.server.observe.pages import metrics_page
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

if TYPE_CHECKING:
    from tunnelctl.server.observe import prometheus

# Ctrl-C reaches every process of the group, systemd's SIGTERM every process of the service, and the supervisor passes on the
# signals that it receives. A worker must treat all of these as one, not as the second signal, which ends the drain.
DEBOUNCE_SECONDS = 0.5


class Shared(NamedTuple):
    """State that exists before the first worker, and is the same for all of them."""

    options: ServeOptions
    settings: Settings
    bound: list[ListenAddress]
    admin: socket.socket | None
    control: Control | None
    program: Program
    counters: SharedCounters
    worker_queries: WorkerQueries
    journal: Journal  # the trace of all that is worth keeping for later
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
    overview = _overview(shared, service, number)
    several = options.workers > 1

    def on_stop_accepting() -> None:
        if not several:  # otherwise the supervisor removes what all of them share
            close_listeners(shared.bound, listeners)
            if shared.control is not None:
                shared.control.retire()

    told = shared.journal.note if several else shared.trace
    settings = ServerSettings(
        drain=options.drain,
        debounce=DEBOUNCE_SECONDS if several else 0.0,
        reload_signals=shared.reload_signals,
        # Of several processes, the supervisor reports the outcome of a reload: it reads the same files on the same signal.
        files=FileReload(shared.settings.reread, told) if shared.reload_signals else None,
        helpers=[*_helpers(shared, service, number), *overview.helpers()],
        private=_private(shared, service, overview),
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
        recorder=Recorder(log, trace, options.output.verbose > 0, metrics, Activity(), shared.counters.rules.tally(number)),
        trace=trace,
        tls=settings.tls,
        upstream=settings.upstream,
        prefixes=settings.prefixes,
        trusted=TrustedProxies(settings.trusted, settings.timeouts.head, trace) if settings.trusted else None,
        plain_http=options.plain_http,
        name=settings.name,
    )


def _overview(shared: Shared, service: Service, number: int) -> ServerOverview:
    assert service.recorder.activity is not None
    return ServerOverview(
        shared.program,
        service.counts,
        service.recorder,
        service.recorder.activity,
        shared.journal,
        shared.worker_queries,
        number,
        shared.counters.silence,
        _certificate(shared),
    )


def _certificate(shared: Shared) -> Callable[[], float | None]:
    """Returns what tells until when the certificate is valid: a reload may change that."""
    tls = shared.settings.tls
    return lambda: None if tls is None else tls.current.ends


def _facts(shared: Shared, counts: ConnectionCount) -> Callable[[], prometheus.Program]:
    """Returns what tells the facts for Prometheus that are not counted."""
    from tunnelctl.server.observe.prometheus import Program

    settings, certificate = shared.settings, _certificate(shared)
    return lambda: Program(
        started=shared.program.started,
        certificate=certificate(),
        most_tunnels=settings.most.tunnels,
        draining=counts.draining.is_set(),
        reloaded=not any(one.failed for one in settings.reread),
    )


def _private(shared: Shared, service: Service, overview: ServerOverview) -> list[tuple[socket.socket, Serve]]:
    """Returns the private listeners, each with the function that serves it."""
    metrics = None
    if shared.admin is not None:
        metrics = metrics_page(shared.counters, service.counts, service.caps, service.recorder, _facts(shared, service.counts))
    pages, found = pages_of(overview, metrics), list[tuple[socket.socket, Serve]]()
    if shared.admin is not None:
        found.append((shared.admin, Endpoint(pages, bound_address(shared.admin), shared.trace).session))
    if shared.control is not None:
        found.append((shared.control.listener, Endpoint(pages, shared.control.address, shared.trace).private_session))
    return found


def _helpers(shared: Shared, service: Service, number: int) -> list[Helper]:
    """Returns the tasks that run beside the connections."""
    keepalive, log, helpers = shared.options.reach.keepalive, service.recorder.log, list[Helper]()
    if log is not None:
        helpers.append(log.run)
    if service.upstream is not None:
        helpers.append(service.upstream.helper)
    if shared.settings.reread and number == 0:  # its signal reaches the others too; a replacement of this worker may send one more
        helpers.append(lambda: shared.settings.switch.run(lambda: _hang_up(shared.supervisor, shared.trace)))
    if keepalive:
        helpers.append(lambda: watch_for_vanished_peers(keepalive, turn_on=True))
    if ticks := _ticks(shared, service, number):
        helpers.append(lambda: _tick(ticks, shared.tick))
    return helpers


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


def _hang_up(program: int, trace: Trace) -> None:
    """Does what the user's SIGHUP does. program: pid of the process that receives it, unless that has died"""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        trace(Warning("files were replaced, and are not read again: SIGHUP is ignored, as nohup makes it"))
    elif program in (os.getpid(), os.getppid()):
        os.kill(program, signal.SIGHUP)


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
