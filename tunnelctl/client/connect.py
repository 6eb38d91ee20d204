"""`connect`: a tunnel through the proxies, bridged to stdin and stdout."""

import signal
from collections.abc import Mapping
from errno import EPIPE
from math import inf
from time import monotonic

from tunnelctl.client.options import ConnectOptions
from tunnelctl.client.route import Route, choose_route
from tunnelctl.client.tunnel import Hop, Tunnel, Way, open_tunnel
from tunnelctl.engine.kernel import CancelScope, Nursery, run, sleep
from tunnelctl.engine.outside import SignalReceiver, open_signal_receiver
from tunnelctl.errors import TimedOut, TunnelBroken, Unreachable, reason
from tunnelctl.proto import fields as header
from tunnelctl.proto.connect_client import ConnectClient
from tunnelctl.proto.fields import Fields
from tunnelctl.proto.proxy_url import ProxyURL
from tunnelctl.status import ExitStatus
from tunnelctl.stream.relay import Limits, Outcome, Relay
from tunnelctl.stream.stdio import Stdio
from tunnelctl.trace import Trace

# Seconds that stdin may be silent after the target has ended, before that ends it all. A target that only half-closed still gets
# what comes; one that is gone cannot be told apart from it until something is sent.
FAREWELL = 5.0

FIRST_RETRY, LONGEST_RETRY = 0.5, 10.0  # seconds of pause before a retry: doubled each time, up to the longest


def run_connect(options: ConnectOptions, environ: Mapping[str, str], trace: Trace) -> int:
    """Runs `connect` to its end and returns the exit status: 128+n after signal n. Raises the TunnelctlError that fits.

    SIGHUP is how ssh says goodbye, and therefore a clean end.
    """
    if options.fdpass:
        from tunnelctl.client.fdpass import require_socket

        require_socket()
    way = _way(options, environ, trace)
    number = run(_Bridge(options, way, trace).run)
    return ExitStatus.OK if number in (0, signal.SIGHUP) else 128 + number


def _way(options: ConnectOptions, environ: Mapping[str, str], trace: Trace) -> Way:
    route = choose_route(options.target, options.proxy, environ)
    trace("route", proxies=[str(proxy) for proxy in route.proxies], origin=route.origin)
    return Way(
        options.target,
        _hops(route, options, environ, trace),
        options.family,
        options.timeout or inf,
        options.connect_timeout or inf,
        options.keepalive,
        options.fdpass,
    )


def _hops(route: Route, options: ConnectOptions, environ: Mapping[str, str], trace: Trace) -> tuple[Hop, ...]:
    extra = tuple(header.parse(text) for text in options.header)
    if extra:
        ConnectClient(options.target, extra)  # raises for a field that is not the user's to set, before anybody is asked
    return tuple(
        Hop(proxy.address, _fields(proxy, place == 0, extra, options, environ, trace)) for place, proxy in enumerate(route.proxies)
    )


def _fields(
    proxy: ProxyURL, nearest: bool, extra: Fields, options: ConnectOptions, environ: Mapping[str, str], trace: Trace
) -> Fields:
    """What a proxy is sent: its own credentials; and for the nearest the user's fields, which may be secrets as well."""
    secret = None
    if proxy.user is not None or (nearest and (options.proxy_user or options.proxy_password_file or options.proxy_auth_file)):
        from tunnelctl.client.credentials import authorization

        secret = authorization(proxy, nearest, options, environ, trace)
    own = (("Proxy-Authorization", secret),) if secret is not None else ()
    return own + extra if nearest else own


class _Bridge:
    """The tunnel and stdio, under the signals that may end them."""

    def __init__(self, options: ConnectOptions, way: Way, trace: Trace) -> None:
        self._options, self._way, self._trace = options, way, trace
        self._relay: Relay | None = None
        self._ended_by = 0

    async def run(self) -> int:
        """Runs the tunnel; the number of the signal that ended it, 0 if none did."""
        with open_signal_receiver(signal.SIGHUP, signal.SIGTERM, signal.SIGINT) as signals:
            async with Nursery() as nursery:
                nursery.start_soon(self._listen, signals, nursery.cancel_scope)
                await self._bridge()
                nursery.cancel_scope.cancel()
        return self._ended_by

    async def _listen(self, signals: SignalReceiver, scope: CancelScope) -> None:
        async for number in signals:
            self._ended_by = number
            if number == signal.SIGHUP and self._relay is not None:
                self._relay.hang_up()  # ssh has left, with its last words in the pipe
            else:
                scope.cancel()

    async def _bridge(self) -> None:
        begun = monotonic()
        tunnel = await _open(self._options, self._way, self._trace)
        via = [str(hop.address) for hop in self._way.hops]
        self._trace("tunnel", target=str(self._way.target), via=via, elapsed=monotonic() - begun)
        if self._options.fdpass:
            from tunnelctl.client.fdpass import pass_descriptor

            pass_descriptor(tunnel.stream)
            return
        outcome = await self._run_relay(tunnel, begun)
        _judge(outcome, self._options, self._way)

    async def _run_relay(self, tunnel: Tunnel, begun: float) -> Outcome:
        stdio = Stdio()
        farewell = 0.0 if stdio.interactive else FAREWELL
        limits = Limits(self._options.idle_timeout or inf, inf, farewell)
        relay = self._relay = Relay(stdio, tunnel.stream, b"", tunnel.early, limits)
        reason = "signal"
        try:
            outcome = await relay.run()
            reason = outcome.cause
        finally:
            sent, received = relay.moved
            self._trace("end", sent=sent, received=received, elapsed=monotonic() - begun, reason=reason)
        return outcome


async def _open(options: ConnectOptions, way: Way, trace: Trace) -> Tunnel:
    """Opens the tunnel, again as often as `--retry` allows: while nothing of the user's has been sent, that repeats nothing."""
    until, pause = monotonic() + way.timeout, FIRST_RETRY
    for attempt in range(1, options.retry + 1):
        try:
            return await open_tunnel(way, trace)
        except Unreachable as error:
            # A proxy that answered has been reached, whatever became of its own attempt.
            if "code" in error.detail or monotonic() + pause >= until:
                raise
            trace("retry", attempt=attempt, delay=pause, cause=str(error))
        await sleep(pause)
        pause = min(2 * pause, LONGEST_RETRY)
        way = way._replace(timeout=max(0.1, round(until - monotonic(), 1)))
    return await open_tunnel(way, trace)


def _judge(outcome: Outcome, options: ConnectOptions, way: Way) -> None:
    """Raises for an end that is no clean one."""
    if outcome.cause in ("eof", "hangup"):
        return
    what = f"tunnel to {way.target}" + (f" via proxy {way.hops[0].address}" if way.hops else "")
    if outcome.cause in ("idle", "half-closed"):
        raise TimedOut(what, f"no byte moved for {options.idle_timeout:g} s", "--idle-timeout sets the limit")
    assert outcome.error is not None
    cause = reason(outcome.error)
    if outcome.ended_by == "right":
        raise TunnelBroken(what, cause)
    if outcome.error.errno != EPIPE:  # the reader of stdout may leave when it has enough; a full disk is another matter
        raise TunnelBroken("stdin" if outcome.cause == "reset" else "stdout", cause)
