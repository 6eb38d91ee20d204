"""One process's share of `serve`: its listeners, their connections, the helpers beside them, reloads, and an orderly shutdown."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import NamedTuple

from tunnelctl import events
from tunnelctl.engine.kernel import Nursery, move_on_after
from tunnelctl.engine.wakeup import SignalReceiver, open_signal_receiver
from tunnelctl.server.connection import ClientConnection
from tunnelctl.server.events import Listening
from tunnelctl.server.observe.access_log import LAST_SECONDS, AccessLog
from tunnelctl.server.service import Service
from tunnelctl.stream.accept import Acceptor, ConnectionCount, Serve
from tunnelctl.stream.events import Drain, Stopped
from tunnelctl.stream.listen import bound_address
from tunnelctl.stream.reloadable import FileReload, Reloader

Helper = Callable[[], Coroutine[None, None, None]]


class ServerSettings(NamedTuple):
    """Settings of a server that do not concern its tunnels.

    drain, debounce: see Acceptor
    reload_signals: those on which files are read again or reopened; files: those to read, None without such signals
    helpers: tasks that run beside the connections
    private: listeners that stay open while connections drain, each with the function that serves it
    notify: tells the service manager of a state
    on_stop_accepting, inherited: see Acceptor
    """

    drain: float = 0.0
    debounce: float = 0.0
    reload_signals: tuple[signal.Signals, ...] = ()
    files: FileReload | None = None
    helpers: Sequence[Helper] = ()
    private: Sequence[tuple[socket.socket, Serve]] = ()
    notify: Callable[[str], None] = lambda _: None
    on_stop_accepting: Callable[[], None] = lambda: None
    inherited: Collection[socket.socket] = ()


class Server:
    """Serves clients until a signal ends it."""

    def __init__(self, service: Service, listeners: list[socket.socket], settings: ServerSettings) -> None:
        self._service, self._listeners, self._settings, self._trace = service, listeners, settings, service.trace
        self._acceptor = Acceptor(service.counts, settings.drain, self._report, settings.debounce)
        self._count = 0
        self._process = os.urandom(4).hex()  # not the pid: in a container that is the same after each restart

    async def run(self) -> int:
        """Serves until a signal stops it; returns the exit status."""
        with open_signal_receiver(*self._settings.reload_signals) as hangups:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, self._settings.reload_signals)  # a worker starts with them blocked
            return await self._run(hangups)

    async def _run(self, hangups: SignalReceiver) -> int:
        log = self._service.recorder.log
        async with Nursery() as helpers:
            if self._settings.files is not None:
                reloader = Reloader(self._settings.files, self._settings.notify, self._reopen_log)
                helpers.start_soon(reloader.run, hangups)
            for helper in self._settings.helpers:
                helpers.start_soon(helper)
            status = await Acceptor(ConnectionCount(), 0.0, self._trace).during(self._settings.private, self._accept)
            helpers.cancel_scope.cancel()
        if log is not None:
            await log.close()
        self._trace(Stopped())
        return status

    async def _reopen_log(self) -> None:
        if self._service.recorder.log is not None:
            await self._reopen(self._service.recorder.log)

    async def _reopen(self, log: AccessLog) -> None:
        """Reopens the log. A disk that hangs must not block later signals."""
        with move_on_after(LAST_SECONDS) as scope:
            await log.reopen()
        if scope.cancelled_caught:
            self._trace(events.Warning(f"access log {log.path}: opening it takes too long: the old one stays in use meanwhile"))

    async def _accept(self) -> int:
        serving: list[tuple[socket.socket, Serve]] = [(listener, self._serve_connection) for listener in self._listeners]
        return await self._acceptor.run(serving, self._announce, self._settings.on_stop_accepting, self._settings.inherited)

    def _report(self, event: events.Event, /) -> None:
        if isinstance(event, Drain):
            self._settings.notify(f"STOPPING=1\nSTATUS=draining, {event.connections} open")
        self._trace(event)

    def _announce(self) -> None:
        for listener in self._listeners:
            self._trace(Listening(str(bound_address(listener))))
        self._settings.notify(f"READY=1\nSTATUS=serving {', '.join(str(bound_address(listener)) for listener in self._listeners)}")

    def _serve_connection(self, accepted: socket.SocketType, host: str, name: str) -> Coroutine[None, None, None]:
        self._count += 1
        return ClientConnection(self._service, accepted, host, name, f"{self._process}-{self._count}").run()
