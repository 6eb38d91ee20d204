"""One attempt at a tunnel as `check` sees it: its result, and its phases with their times."""

from collections.abc import Awaitable, Callable
from time import gmtime, monotonic, strftime
from typing import NamedTuple

from tunnelctl import events
from tunnelctl.client.check.events import Phase, Statistics
from tunnelctl.client.pool import ConnectionPool
from tunnelctl.client.retry import open_with_retries
from tunnelctl.client.route.planner import RoutePlanner
from tunnelctl.client.route.route import Route, Tunnel
from tunnelctl.client.upstream import PROTOCOLS
from tunnelctl.errors import SpeaksTLS, TLSFailed, TunnelctlError
from tunnelctl.events import Event, silent
from tunnelctl.proto.address import Address
from tunnelctl.rare_events import TLS
from tunnelctl.stream.base import CHUNK

Open = Callable[[Route], Awaitable[Tunnel]]  # opens a tunnel as the attempt was made, in the same version of HTTP

LOGIN_REQUIRED = 407

# The phase in progress at a failure, by the last event.
_UNDER_WAY: dict[type[Event] | None, str] = {None: "route", events.Route: "dns", events.Lookup: "dns", events.Dial: "connect"}


# What is waited for in each phase, in words.
_AWAITED = {
    "route": "finding the proxies for the target",
    "dns": "looking up {host}",
    "connect": "connecting to {peer}",
    "tls": "TLS with {peer}",
    "proxy": "{peer} has not answered yet",
}


class Awaited(NamedTuple):
    """The pending step of `check`.

    word: the phase, or the name of a further check; text: the same in more words; begin: seconds since the attempt began, or None
    for what is no part of it; seconds: how long it has been waited for; statistics: with --watch, of the attempts so far
    """

    word: str
    text: str
    begin: float | None
    seconds: float
    statistics: tuple[Statistics, ...] = ()


class PhaseTimer:
    """The trace of an attempt: the clock of its phases. A phase begins where the one before ends.

    report: called with each phase when it ends, and with warnings
    """

    def __init__(self, report: Callable[[Event], None] = silent, clock: Callable[[], float] = monotonic) -> None:
        self._report, self._clock = report, clock
        self._start = self._since = clock()
        self._last: type[Event] | None = None
        self._host = ""  # that is looked up
        self._peer = ""  # that is dialled, spoken to by TLS, or asked
        self._next = ""  # that it was asked for
        self._login_asked = False  # whether the last answer was 407: what follows then repeats phases, with a login
        self.phases: list[Phase] = []
        self.proxies: list[str] = []
        self.origin = ""  # what named the proxies

    def __call__(self, event: Event, /) -> None:
        match event:
            case events.Warning():
                self._report(event)
                return
            case events.Lookup(host=host):
                self._since = self._clock()  # there may have been a pause
                self._host = host
            case events.Route(proxies=proxies, origin=origin):
                self.origin, self.proxies = origin, proxies
                self._end("route", f"{', '.join(proxies) or 'no proxy'} ({origin})")
            case events.Dial(to=to, addresses=addresses):
                self._peer = to
                self._end("dns", f"{to}: {', '.join(addresses)}")
            case events.Connected(address=address):
                self._end("connect", address)
            case TLS(chain=chain):
                self._end("tls", _agreed(event), chain=chain)
            case events.Request(target=target):
                self._next = target
            case events.Response(version=version, status=status, phrase=phrase):
                self._end("proxy", f"{version} {status} {phrase}".rstrip(), status // 100 == 2)
                self._login_asked = status == LOGIN_REQUIRED
                self._peer = self._next if status // 100 == 2 else self._peer
        self._last = type(event)

    @property
    def via(self) -> list[str]:
        """The proxies of the attempt, without schemes and logins."""
        return [url.rpartition("//")[2].rpartition("@")[2] for url in self.proxies]

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

    def awaited(self) -> Awaited:
        """The phase in progress."""
        word = _UNDER_WAY.get(self._last) or ("tls" if self._awaits_tls() else "proxy")
        text = _AWAITED[word].format(host=self._host, peer=self._peer)
        return Awaited(word, text, self._since - self._start, self._clock() - self._since)

    def _awaits_tls(self) -> bool:
        """Whether TLS comes next: with the first peer, or, where no request follows a tunnel at once, with the next one."""
        if self._last is events.Connected:
            return not self.proxies or self.proxies[0].startswith("https://")
        return self._last is events.Response and not self._login_asked

    def _end(self, name: str, detail: str, ok: bool = True, chain: tuple[str, ...] = ()) -> None:
        now = self._clock()
        again = "again, with a login: " if self._login_asked else ""
        self._login_asked = False
        phase = Phase(name, f"{again}{detail}", self._since - self._start, now - self._since, ok, chain)
        self.phases.append(phase)
        self._since = now
        self._report(phase)

    @property
    def seconds(self) -> float:
        """Seconds from the beginning to the end of the last phase."""
        return self._since - self._start


def _agreed(tls: TLS) -> str:
    alpn = f", {tls.alpn}" if tls.alpn else ""
    names = " by ".join(tls.chain) if len(tls.chain) > 1 else f"{tls.subject} by {tls.issuer}"
    seen = f"; {names}, until {_date(tls.expires)}" if tls.expires else "; not verified"
    return f"{tls.role} {tls.to}: {tls.version}, {tls.cipher}{alpn}{seen}"


def _date(expires: str) -> str:
    """The date of a certificate's end, which the ssl module has as `Dec 28 02:14:32 2026 GMT`."""
    from ssl import cert_time_to_seconds  # only here: it loads all of Python's ssl, 7 ms

    return strftime("%Y-%m-%d", gmtime(cert_time_to_seconds(expires)))


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


async def probe(planner: RoutePlanner, target: Address, pool: ConnectionPool, watch: PhaseTimer) -> ProbeResult:
    """Opens a tunnel to a target, as `connect` would, and keeps it. pool, watch: new ones; `connect` too has a new pool"""
    try:
        tunnel, route = await open_with_retries(planner, target, 0, watch, pool)
    except TunnelctlError as error:
        watch.finish(error)
        return ProbeResult(watch, None, None, error)
    if route.hops and not PROTOCOLS[route.hops[-1].protocol].has_fields and route.tls is None:
        watch.granted()
    return ProbeResult(watch, tunnel, route, None)
