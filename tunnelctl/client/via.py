"""`connect --via`: a tunnel that a running `forward` opens, over its control socket.

This process dials no proxy, so it loads nothing of what finds and asks one: one connect(2), one CONNECT, and the relay.

With the name or the path of a socket, it is that forward or none. `auto` is an offer: it takes the first forward, by name, whose
fingerprint equals that of this connect (see route.fingerprint). Whatever goes wrong there, the tunnel is opened without it, as far
as time is left.
"""

from __future__ import annotations

import _socket as socket
import os
from math import inf
from time import monotonic

from tunnelctl import events
from tunnelctl.client.options import ConnectOptions
from tunnelctl.client.route.route import Hop, Route, Tunnel
from tunnelctl.client.upstream.base import TunnelRequest
from tunnelctl.client.upstream.http1 import HTTP1Connection
from tunnelctl.control.directory import SOCKET, candidates, check_name, directory, fault_of, is_same_user, path_of
from tunnelctl.engine.kernel import CancelScope, TooSlowError, sleep
from tunnelctl.engine.sync import Deadline
from tunnelctl.errors import NoAnswer, TimedOut, TunnelctlError, Unanswered, Unreachable, UsageProblem, reason
from tunnelctl.events import Trace
from tunnelctl.options import AUTO
from tunnelctl.proto.address import Address
from tunnelctl.stream.unix_stream import UnixStream, connect_unix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from tunnelctl.client.pool import ConnectionPool
    from tunnelctl.client.retry import OpenedTunnel

    MakePool = Callable[[], ConnectionPool]

# Seconds that `auto` waits for the first sign of life of all forwards together. One that runs answers 100 (Continue) within a
# millisecond, and within some 60 beside 100 bulk tunnels; RFC 8305 section 5 allows the same time before another path is tried.
PATIENCE = 0.25

# Seconds between the attempts to connect to a forward whose backlog is full. No event tells when a place in it becomes free.
BUSY_PAUSE = 0.02


class ThroughForward:
    """The opening of a tunnel through a forward."""

    def __init__(
        self,
        options: ConnectOptions,
        environ: Mapping[str, str],
        trace: Trace,
        without: Callable[[MakePool], Awaitable[OpenedTunnel]],
    ) -> None:
        """without: opens the tunnel without a forward"""
        self._options, self._environ, self._trace, self._without = options, environ, trace, without
        self._tried_until = inf  # until when a forward must have answered

    async def prepare(self) -> None:
        """Refuses what can never work. Raises UsageProblem."""
        if self._options.fdpass and self._options.target_tls.tls:
            raise UsageProblem("", "the route includes TLS, so tunnelctl must keep running", "fdpass-tls", option="fdpass")

    async def open(self, make_pool: MakePool) -> OpenedTunnel:
        """Opens the tunnel. Raises TunnelctlError. make_pool: see ThroughProxies"""
        via = self._options.via
        assert via is not None
        if via == AUTO:
            return await self._try_forwards() or await self._without(make_pool)
        if "/" in via:
            return await self._through(via)
        check_name(via, "via")
        path = directory(self._environ)
        if os.path.lexists(path) and (fault := fault_of(path)):
            facts = {"path": path, "of_mode": fault.of_mode}
            raise Unreachable(f"control directory {path}", fault.cause, "control-directory", facts=facts)
        return await self._through(path_of(via, self._environ))

    async def _try_forwards(self) -> OpenedTunnel | None:
        """Tries the forwards that lead where this connect would; None if none of them opens the tunnel."""
        self._tried_until = monotonic() + PATIENCE
        for path in self._candidates():
            try:
                return await self._through(path)
            except TimedOut:  # the proxies or the target: the time for opening a tunnel is used up
                raise
            except TunnelctlError as error:
                from tunnelctl.rare_events import Skipped

                self._trace(Skipped(str(error)))
                # Another forward would meet the same refusal; and all of them together have PATIENCE.
                if not isinstance(error, Unreachable) or monotonic() >= self._tried_until:
                    break
        return None

    def _candidates(self) -> Iterator[str]:
        """Returns the sockets of the forwards with our fingerprint, by name."""
        path = directory(self._environ)
        if fault_of(path) or not any(name.endswith(SOCKET) for name in os.listdir(path)):
            return iter(())
        from tunnelctl.client.route.fingerprint import fingerprint

        return candidates(self._environ, fingerprint(self._options.reach, self._environ))

    async def _through(self, path: str) -> OpenedTunnel:
        """Opens the tunnel over the control socket at a path. Raises TunnelctlError."""
        options, place = self._options, _Place(path, 0)
        route = Route(
            options.target, (Hop(place),), timeout=options.reach.timeout or inf, no_readahead=options.fdpass, origin="--via"
        )
        self._trace(events.Route(route.via, route.origin))
        deadline = Deadline(route.timeout)
        stream = await self._connect(path, place, deadline)
        self._trace(events.Connected(str(place), str(stream.peer)))
        tunnel = await self._ask(route, stream, deadline)
        if not options.target_tls.tls:
            return tunnel, route
        from tunnelctl.client.route.planner import tls_to_target
        from tunnelctl.client.tunnel import start_target_tls

        route = route._replace(tls=tls_to_target(options.target, options.target_tls))
        return await start_target_tls(route, self._trace, tunnel), route

    async def _connect(self, path: str, place: _Place, deadline: Deadline) -> _ForwardStream:
        what = f"cannot connect to proxy {place}"
        while (stream := self._try_connect(path, place, what)) is None:
            # Over TCP, connect(2) would wait here as well. `auto` need not: it has another route.
            if self._options.via == AUTO:
                raise Unreachable(what, "its backlog is full", "forward-busy")
            if monotonic() >= deadline.deadline:
                raise Unreachable(what, f"its backlog was full for {self._options.reach.timeout:g} s", "forward-busy")
            await sleep(min(BUSY_PAUSE, deadline.deadline - monotonic()))
        if not is_same_user(stream.socket):
            stream.close()
            raise Unreachable(what, "it belongs to another user", "forward-of-another")
        if not self._options.fdpass:  # ssh knows nothing of them, and notices a cut by itself
            stream.offer_marks()
        return stream

    def _try_connect(self, path: str, place: _Place, what: str) -> _ForwardStream | None:
        """Returns None if the backlog of the forward is full."""
        try:
            return _ForwardStream(connect_unix(path), str(place))
        except BlockingIOError:
            return None
        except OSError as error:
            name = self._options.via
            facts = {"name": name if "/" not in str(name) else None}
            raise Unreachable(what, reason(error), "no-forward", facts=facts) from error

    async def _ask(self, route: Route, stream: _ForwardStream, deadline: Deadline) -> Tunnel:
        """Asks a forward for the tunnel. Closes the stream if that fails."""
        what = route.request(0)
        connection = HTTP1Connection(route.hops, stream)
        connection.reserve()
        request = TunnelRequest(route.target, what, deadline, self._trace, no_readahead=route.no_readahead)
        try:
            with deadline, CancelScope() as patience:
                patience.reschedule(self._tried_until)
                stream.answered = lambda: patience.reschedule(inf)
                return await connection.open(request)
        except TooSlowError as error:
            what = f"waiting for proxy {route.hops[0].address} to reach {route.target}"
            raise Unanswered(what, f"no answer within {route.timeout:g} s", "proxy-mute") from error
        except TimedOut:
            raise
        except (NoAnswer, Unreachable) as error:
            raise Unreachable(error.what, error.cause, "forward-closed") from error
        finally:
            stream.answered = _ignore
        raise Unreachable(what, f"no answer within {PATIENCE:g} s", "forward-mute")


class _Place(Address):
    """The path of a control socket, where a route has the address of a proxy."""

    __slots__ = ()

    def __str__(self) -> str:
        return f"unix:{self.host}"


def _ignore() -> None:
    pass


class _ForwardStream(UnixStream):
    """The stream of a tunnel through a forward. Calls `answered` at each arrival of data."""

    __slots__ = ("answered",)

    def __init__(self, connected: socket.SocketType, peer: str) -> None:
        super().__init__(connected, peer)
        self.answered: Callable[[], None] = _ignore

    def receive_nowait(self, limit: int) -> bytes | None:
        data = super().receive_nowait(limit)
        if data:
            self.answered()
        return data
