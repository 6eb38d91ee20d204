"""One attempt at a tunnel as `check` sees it: its result, and its phases with their times."""

from collections.abc import Awaitable, Callable
from time import monotonic
from typing import NamedTuple

from tunnelctl import events
from tunnelctl.client.check.events import Phase
from tunnelctl.client.pool import ConnectionPool
from tunnelctl.client.retry import open_with_retries
from tunnelctl.client.route.planner import RoutePlanner
from tunnelctl.client.route.route import Route, Tunnel
from tunnelctl.client.upstream import PROTOCOLS
from tunnelctl.errors import SpeaksTLS, TLSFailed, TunnelctlError
from tunnelctl.events import Event
from tunnelctl.proto.address import Address
from tunnelctl.rare_events import TLS
from tunnelctl.stream.base import CHUNK

Open = Callable[[Route], Awaitable[Tunnel]]  # opens a tunnel as the attempt was made, in the same version of HTTP

# The phase in progress at a failure, by the last event.
_UNDER_WAY: dict[type[Event] | None, str] = {None: "route", events.Route: "dns", events.Lookup: "dns", events.Dial: "connect"}


class PhaseTimer:
    """The trace of an attempt: the clock of its phases. A phase begins where the one before ends."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._start = self._since = clock()
        self._last: type[Event] | None = None
        self.phases: list[Phase] = []
        self.origin = ""  # what named the proxies
        self.warnings: list[events.Warning] = []

    def __call__(self, event: Event, /) -> None:
        match event:
            case events.Warning():
                self.warnings.append(event)
                return
            case events.Lookup():
                self._since = self._clock()  # there may have been a pause
            case events.Route(proxies=proxies, origin=origin):
                self.origin = origin
                self._end("route", f"{', '.join(proxies) or 'no proxy'} ({origin})")
            case events.Dial(to=to, addresses=addresses):
                self._end("dns", f"{to}: {', '.join(addresses)}")
            case events.Connected(address=address):
                self._end("connect", address)
            case TLS(chain=chain):
                self._end("tls", _agreed(event), chain=chain)
            case events.Response(version=version, status=status, phrase=phrase):
                self._end("proxy", f"{version} {status} {phrase}".rstrip(), status // 100 == 2)
        self._last = type(event)

    def finish(self, error: TunnelctlError | None) -> None:
        """Ends the attempt. Adds the phase that failed, unless a refusal has ended it already."""
        said_no = self._last is events.Response and not self.phases[-1].ok
        if error is not None and not said_no:
            in_tls = isinstance(error, TLSFailed) and not isinstance(error, SpeaksTLS)
            name = _UNDER_WAY.get(self._last) or ("tls" if in_tls else "proxy")
            self._end(name, error.cause, False)

    def granted(self) -> None:
        """Ends the phase of a proxy that has opened the tunnel without a head, of which there is no event."""
        self._end("proxy", "granted")

    def _end(self, name: str, detail: str, ok: bool = True, chain: tuple[str, ...] = ()) -> None:
        now = self._clock()
        self.phases.append(Phase(name, detail, self._since - self._start, now - self._since, ok, chain))
        self._since = now

    @property
    def seconds(self) -> float:
        """Seconds from the beginning to the end of the last phase."""
        return self._since - self._start


def _agreed(tls: TLS) -> str:
    alpn = f", {tls.alpn}" if tls.alpn else ""
    names = " by ".join(tls.chain) if len(tls.chain) > 1 else f"{tls.subject} by {tls.issuer}"
    seen = f"; {names}, until {tls.expires}" if tls.expires else "; not verified"
    return f"{tls.role} {tls.to}: {tls.version}, {tls.cipher}{alpn}{seen}"


class ProbeResult(NamedTuple):
    """The result of an attempt: either a tunnel or an error."""

    watch: PhaseTimer
    tunnel: Tunnel | None
    route: Route | None
    error: TunnelctlError | None

    async def greeting(self) -> bytes:
        """The bytes that the target has sent, or sends next; b"" at EOF."""
        assert self.tunnel is not None
        return self.tunnel.early or await self.tunnel.stream.receive_some(CHUNK)


async def probe(planner: RoutePlanner, target: Address, pool: ConnectionPool) -> ProbeResult:
    """Opens a tunnel to a target, as `connect` would, and keeps it. pool: a new one, as `connect` has"""
    watch = PhaseTimer()
    try:
        tunnel, route = await open_with_retries(planner, target, 0, watch, pool)
    except TunnelctlError as error:
        watch.finish(error)
        return ProbeResult(watch, None, None, error)
    if route.hops and not PROTOCOLS[route.hops[-1].protocol].has_fields and route.tls is None:
        watch.granted()
    return ProbeResult(watch, tunnel, route, None)
