"""`connect`: a tunnel through the proxies, bridged to stdin and stdout."""

from __future__ import annotations

from errno import EPIPE
from math import inf
from time import monotonic

from tunnelctl import events
from tunnelctl.client.options import ConnectOptions
from tunnelctl.client.route.route import Route, Tunnel
from tunnelctl.engine.kernel import CancelScope, Nursery, run, sleep
from tunnelctl.engine.wakeup import SignalReceiver, open_signal_receiver
from tunnelctl.errors import TimedOut, TunnelBroken, reason
from tunnelctl.events import SIDES, Trace
from tunnelctl.status import ExitStatus
from tunnelctl.stream.relay import Outcome, Relay, TimeLimits
from tunnelctl.stream.socket_stream import SocketStream
from tunnelctl.stream.stdio import Stdio

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Mapping

    from tunnelctl.client.pool import ConnectionPool
    from tunnelctl.client.retry import OpenedTunnel
    from tunnelctl.client.route.planner import RoutePlanner
    from tunnelctl.client.via import ThroughForward

    MakePool = Callable[[], ConnectionPool]
else:
    import _signal as signal  # see `engine.wakeup`

# Seconds that stdin may stay silent after the target's EOF before the tunnel ends. A target that only half-closed still receives
# data; one that is gone cannot be distinguished from it until something is sent.
AFTER_REMOTE_EOF = 5.0

# Seconds before a tunnel is watched for a vanished peer: its first bytes do not wait for that code to load.
WATCHED_AFTER = 1.0

# Seconds. A tunnel that ends this soon without a byte most likely never reached the target.
AT_ONCE = 30.0


def run_connect(options: ConnectOptions, environ: Mapping[str, str], trace: Trace) -> int:
    """Runs `connect` and returns the exit status: 128+n after signal n. Raises the matching TunnelctlError.

    ssh sends SIGHUP when it is done, so SIGHUP counts as a clean end.
    """
    if options.fdpass:
        from tunnelctl.client.fdpass import require_socket

        require_socket()
    usual = ThroughProxies(options, environ, trace)
    opening: ThroughProxies | ThroughForward = usual
    if options.via is not None:
        from tunnelctl.client.via import ThroughForward

        opening = ThroughForward(options, environ, trace, usual.prepare_and_open)
    number = run(_Bridge(options, opening, trace).run)
    return ExitStatus.OK if number in (0, signal.SIGHUP) else 128 + number


class ThroughProxies:
    """The opening of a tunnel through the proxies of the flags or the environment.

    Imports what it needs only when it is used: a tunnel through a control socket does without it, if there is one.
    """

    def __init__(self, options: ConnectOptions, environ: Mapping[str, str], trace: Trace) -> None:
        self._options, self._environ, self._trace = options, environ, trace
        self._planner: RoutePlanner = None  # type: ignore[assignment]

    async def prepare(self) -> None:
        """Validates the flags and reads files. Raises TunnelctlError."""
        from tunnelctl.client.route.planner import RoutePlanner, tls_to_target

        options = self._options
        tls = tls_to_target(options.target, options.target_tls)
        self._planner = RoutePlanner(options.reach, self._environ, self._trace, tls, no_readahead=options.fdpass)
        await self._planner.prepare(list_ignored=options.output.detailed)

    async def prepare_and_open(self, make_pool: MakePool) -> OpenedTunnel:
        """Does both."""
        await self.prepare()
        return await self.open(make_pool)

    async def open(self, make_pool: MakePool) -> OpenedTunnel:
        """Opens the tunnel. Raises TunnelctlError. make_pool: called if HTTP/2 may be spoken"""
        from tunnelctl.client.retry import open_with_retries

        options = self._options
        pool = None if options.reach.http in (None, "1.1") else make_pool()
        return await open_with_retries(self._planner, options.target, options.reach.retry, self._trace, pool)


class _Bridge:
    """The tunnel and stdio, and the signals that may end them."""

    def __init__(self, options: ConnectOptions, opening: ThroughProxies | ThroughForward, trace: Trace) -> None:
        self._options, self._opening, self._trace = options, opening, trace
        self._relay: Relay | None = None
        self._helpers: Nursery = None  # type: ignore[assignment]
        self._pool: ConnectionPool | None = None
        self._ended_by = 0

    async def run(self) -> int:
        """Runs the tunnel and returns the number of the signal that ended it, or 0."""
        await self._opening.prepare()
        with open_signal_receiver(signal.SIGHUP, signal.SIGTERM, signal.SIGINT) as signals:
            async with Nursery() as nursery:
                self._helpers = nursery
                nursery.start_soon(self._listen, signals, nursery.cancel_scope)
                await self._bridge()
                if self._pool is not None:
                    await self._pool.finish()
                nursery.cancel_scope.cancel()
        return self._ended_by

    async def _listen(self, signals: SignalReceiver, scope: CancelScope) -> None:
        async for number in signals:
            self._ended_by = number
            if number == signal.SIGHUP and self._relay is not None:
                self._relay.hang_up()  # ssh has left; its last bytes are still in the pipe
            else:
                scope.cancel()

    async def _bridge(self) -> None:
        begun = monotonic()
        tunnel, route = await self._opening.open(self._make_pool)
        self._trace(events.Opened(str(route.target), route.via, monotonic() - begun))
        if self._options.fdpass:
            from tunnelctl.client.fdpass import pass_descriptor

            assert isinstance(tunnel.stream, SocketStream)  # RoutePlanner has refused all other kinds
            pass_descriptor(tunnel.stream)
            return
        opened = monotonic()
        outcome = await self._run_relay(tunnel, begun)
        assert self._relay is not None
        # Leaves out the time since the far side's EOF, which is our own wait for stdin.
        seconds = monotonic() - opened - (self._relay.idle or 0.0)
        if outcome.cause in _CLEAN and _came_to_nothing(outcome):
            # Valid on the wire, so the status is 0. To the user it is a failure, and ssh reports only a closed connection.
            what, who = _name(route), "the proxy or the target" if route.hops else "the target"
            cause = f"ended by {who} after {seconds:.3f} s, 0 bytes received"
            self._trace(
                events.explained(events.Warning(""), TunnelBroken(what, cause, "tunnel-empty", facts=_facts(route, seconds)))
            )
        _judge(outcome, self._options, route, tunnel.early, seconds)

    def _make_pool(self) -> ConnectionPool:
        """Makes a pool, which a connection of HTTP/2 needs to run in, even if it carries only one tunnel."""
        from tunnelctl.client.pool import ConnectionPool

        self._pool = ConnectionPool(self._helpers)
        return self._pool

    async def _run_relay(self, tunnel: Tunnel, begun: float) -> Outcome:
        stdio = Stdio()
        after_remote_eof = 0.0 if stdio.interactive else AFTER_REMOTE_EOF
        limits = TimeLimits(self._options.idle_timeout or inf, inf, after_remote_eof)
        relay = self._relay = Relay(stdio, tunnel.stream, b"", tunnel.early, limits)
        if self._options.output.progress:
            from tunnelctl.client.progress import report

            self._helpers.start_soon(report, self._trace, lambda: 1, lambda: relay.moved)
        if self._options.reach.keepalive:
            self._helpers.start_soon(_watch, self._options.reach.keepalive)
        closed_by, cause = "tunnelctl", "signal"
        try:
            outcome = await relay.run()
            closed_by, cause = SIDES[outcome.ended_by], outcome.cause
        finally:
            sent, received = relay.moved
            self._trace(events.Closed(sent, received, monotonic() - begun, closed_by, cause))
        return outcome


async def _watch(keepalive: float) -> None:
    await sleep(WATCHED_AFTER)
    from tunnelctl.stream.vanished import watch_for_vanished_peers

    await watch_for_vanished_peers(keepalive)


_CLEAN = ("eof", "hangup")


def _name(route: Route) -> str:
    return f"tunnel to {route.target}" + (f" via proxy {route.hops[0].address}" if route.hops else "")


def _judge(outcome: Outcome, options: ConnectOptions, route: Route, early: bytes, seconds: float) -> None:
    """Raises unless the tunnel ended cleanly. early: bytes that came with the proxy's response; seconds: duration of the tunnel"""
    if outcome.cause in _CLEAN:
        return
    if outcome.cause in ("idle", "half-closed"):
        raise TimedOut(_name(route), f"no byte moved for {options.idle_timeout:g} s", "idle")
    assert outcome.error is not None
    cause = reason(outcome.error)
    if outcome.ended_by == "right":
        raise TunnelBroken(_name(route), cause, "tunnel-broke", facts=_broken_facts(outcome, route, early, seconds))
    if outcome.error.errno != EPIPE:  # the reader of stdout may close it early; a full disk is an error
        raise TunnelBroken("stdin" if outcome.cause == "reset" else "stdout", cause, "stdio-failed")


def _came_to_nothing(outcome: Outcome) -> bool:
    """True if the far side ended first and sent no byte. After our own EOF that is no failure: an upload may need no response."""
    return outcome.ended_by == "right" and outcome.backward == 0


def _broken_facts(outcome: Outcome, route: Route, early: bytes, seconds: float) -> dict[str, object]:
    from tunnelctl.client.check.diagnosis import greeting_of_a_portal

    if greeting_of_a_portal(early) is not None:
        return {"portal": True}
    return _facts(route, seconds) if _came_to_nothing(outcome) else {}


def _facts(route: Route, seconds: float) -> dict[str, object]:
    """Facts about a tunnel that delivered no byte."""
    target = f"{route.target.host} {route.target.port}"
    if not route.hops:
        from tunnelctl.client.tunnel import without_proxy

        return {**without_proxy(route), "direct": True, "host_port": target}
    return {"host_port": target, **({"idle": max(1, round(seconds))} if seconds > AT_ONCE else {})}
