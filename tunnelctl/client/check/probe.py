"""One attempt at a tunnel as `check` sees it: its trace, cut into phases with their times."""

from collections.abc import Callable, Mapping
from time import monotonic
from typing import NamedTuple

from tunnelctl.client.retry import open_with_retries
from tunnelctl.client.route.planner import RoutePlanner
from tunnelctl.client.route.route import Route, Tunnel
from tunnelctl.client.upstream import PROTOCOLS
from tunnelctl.errors import SpeaksTLS, TLSFailed, TunnelctlError
from tunnelctl.proto.address import Address
from tunnelctl.stream.base import CHUNK


class Phase(NamedTuple):
    """A phase of the attempt. `detail` may be text from a peer."""

    name: str
    detail: str
    begin: float  # seconds since the attempt began
    seconds: float
    ok: bool = True
    chain: tuple[str, ...] = ()  # of a certificate: see stream.tls.Facts


def _tls(fields: Mapping[str, object]) -> str:
    alpn = f", {fields['alpn']}" if fields["alpn"] else ""
    chain = _chain(fields)
    names = " by ".join(chain) if len(chain) > 1 else f"{fields['subject']} by {fields['issuer']}"
    seen = f"; {names}, until {fields['expires']}" if fields["expires"] else "; not verified"
    return f"{fields['to']}: {fields['version']}, {fields['cipher']}{alpn}{seen}"


def _chain(fields: Mapping[str, object]) -> tuple[str, ...]:
    chain = fields.get("chain")
    return chain if isinstance(chain, tuple) else ()


def _listed(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


# The events that end a phase: its name, and its detail made from the event's fields. A phase begins where the one before ends.
_ENDS: dict[str, tuple[str, Callable[[Mapping[str, object]], str]]] = {
    "route": ("route", lambda fields: f"{_listed(fields['proxies']) or 'no proxy'} ({fields['origin']})"),
    "dial": ("lookup", lambda fields: f"{fields['to']}: {_listed(fields['addresses'])}"),
    "connected": ("tcp", lambda fields: str(fields["address"])),
    "tls": ("tls", _tls),
    "response": ("proxy", lambda fields: status_line(fields["head"])),
}

# The phase in progress at a failure, by the last event.
_UNDER_WAY = {"": "route", "route": "lookup", "lookup": "lookup", "dial": "tcp"}


def status_line(head: object) -> str:
    """The first line of a head."""
    return head.split(b"\n", 1)[0].strip().decode("utf-8", "backslashreplace") if isinstance(head, bytes) else ""


class PhaseTimer:
    """The trace of an attempt."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._start = self._since = clock()
        self._last = ""
        self.phases: list[Phase] = []
        self.origin = ""  # what named the proxies
        self.head = b""  # of the last request, secrets masked
        self.answer = b""  # the head of the last response
        self.warnings: list[str] = []

    def __call__(self, event: str, /, **fields: object) -> None:
        if event == "warning":
            self.warnings.append(str(fields["text"]))
            return
        if event == "lookup":
            self._since = self._clock()  # there may have been a pause
        elif event == "route":
            self.origin = str(fields["origin"])
        elif event == "request":
            self.head = fields["head"] if isinstance(fields["head"], bytes) else b""
        elif event == "response":
            self.answer = fields["head"] if isinstance(fields["head"], bytes) else b""
        if event in _ENDS:
            name, detail = _ENDS[event]
            self._end(name, detail(fields), event != "response" or _granted(self.answer), _chain(fields))
        self._last = event

    def finish(self, error: TunnelctlError | None) -> None:
        """Ends the attempt. Adds the phase that failed, unless the head of a refusal has ended it already."""
        said_no = self._last == "response" and not self.phases[-1].ok
        if error is not None and not said_no:
            in_tls = isinstance(error, TLSFailed) and not isinstance(error, SpeaksTLS)
            name = _UNDER_WAY.get(self._last) or ("tls" if in_tls else "proxy")
            self._end(name, error.cause, False)

    def granted(self) -> None:
        """Ends the phase of a proxy that has opened the tunnel without a head."""
        self._end("proxy", "granted", True)

    def _end(self, name: str, detail: str, ok: bool, chain: tuple[str, ...] = ()) -> None:
        now = self._clock()
        self.phases.append(Phase(name, detail, self._since - self._start, now - self._since, ok, chain))
        self._since = now

    @property
    def seconds(self) -> float:
        """Seconds from the beginning to the end of the last phase."""
        return self._since - self._start


def _granted(head: bytes) -> bool:
    return head.split(b" ", 2)[1:2] != [] and head.split(b" ", 2)[1][:1] == b"2"


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


async def probe(planner: RoutePlanner, target: Address) -> ProbeResult:
    """Opens a tunnel to a target, as `connect` would, and keeps it."""
    watch = PhaseTimer()
    try:
        tunnel, route = await open_with_retries(planner, target, 0, watch)
    except TunnelctlError as error:
        watch.finish(error)
        return ProbeResult(watch, None, None, error)
    if route.hops and not PROTOCOLS[route.hops[-1].protocol].has_fields and route.tls is None:
        watch.granted()
    return ProbeResult(watch, tunnel, route, None)
