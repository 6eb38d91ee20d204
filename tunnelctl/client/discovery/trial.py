"""One proxy, tried with each target in turn: does it open tunnels, what login does it ask for, is TLS inside untouched?

The targets are tried one after the other, and no more of them after a login was refused: many companies lock an account after a few
wrong passwords.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic
from typing import NamedTuple

from tunnelctl import events
from tunnelctl.client.check.interception import publicly_trusted, shown_certificate
from tunnelctl.client.discovery.candidates import Candidate
from tunnelctl.client.discovery.waits import Waits
from tunnelctl.client.pool import ConnectionPool
from tunnelctl.client.retry import open_with_retries
from tunnelctl.client.route.planner import RoutePlanner
from tunnelctl.client.route.route import Route, Tunnel
from tunnelctl.client.route.selection import Chain
from tunnelctl.client.tunnel import open_tunnel
from tunnelctl.engine.kernel import Nursery, move_on_after
from tunnelctl.engine.sync import Event as Flag
from tunnelctl.errors import AuthenticationFailed, NameNotFound, TunnelctlError, Unreachable, reason
from tunnelctl.events import Event, silent
from tunnelctl.options import ReachOptions
from tunnelctl.proto.address import Address
from tunnelctl.proto.auth.challenge import parse_challenges
from tunnelctl.proto.headers import get_all
from tunnelctl.proto.tls.certificate import decode
from tunnelctl.stream.tls.settings import TLSClient

ATTEMPT = 10.0  # seconds for each attempt; a person waits, and a proxy that takes longer is of little use
AT_ONCE = 0.5  # seconds in which a tunnel must not end: some proxies grant everything, and drop what they do not like
LOGIN_WANTED = (401, 407)

UNTOUCHED, INTERCEPTED, PRIVATE, NO_TLS, UNKNOWN = "untouched", "intercepted", "private", "none", "unknown"


class Attempt(NamedTuple):
    """An attempt at a target. error: why there is no tunnel, or None; ended: how a tunnel ended at once, or "" """

    target: Address
    seconds: float
    error: TunnelctlError | None = None
    ended: str = ""

    @property
    def ok(self) -> bool:
        """Whether there was a tunnel that stayed."""
        return self.error is None and not self.ended

    @property
    def cause(self) -> str:
        """The reason why there was none; or ""."""
        if self.error is None:
            return self.ended
        return ": ".join(filter(None, (self.error.what, self.error.cause)))


class TLSInside(NamedTuple):
    """The state of TLS through a proxy. verdict: one of the words above; issuer: of the certificate, or "" """

    verdict: str = UNKNOWN
    issuer: str = ""


class Result(NamedTuple):
    """The result for a candidate. login, schemes: as in events.Proxy"""

    candidate: Candidate
    attempts: tuple[Attempt, ...]
    login: str
    schemes: tuple[str, ...]
    tls: TLSInside

    @property
    def first(self) -> Attempt:
        """The attempt at the first target, by which a proxy is judged."""
        return self.attempts[0]


class LoginWatch:
    """A trace that notes what login the proxies asked for."""

    def __init__(self) -> None:
        self.answered = False
        self.schemes: tuple[str, ...] = ()
        self.challenged = False

    def __call__(self, event: Event, /) -> None:
        if isinstance(event, events.Response):
            self.answered = True
            if event.status in LOGIN_WANTED:
                self.challenged = True
                offered = parse_challenges(get_all(event.fields, "proxy-authenticate"))
                self.schemes = tuple(dict.fromkeys((*self.schemes, *(challenge.scheme for challenge in offered))))

    def outcome(self, error: TunnelctlError | None) -> str:
        """Returns the word for `login`."""
        if isinstance(error, AuthenticationFailed):
            return "refused" if error.sent else "required"
        if self.challenged:
            return "accepted"
        return "none" if self.answered or error is None else UNKNOWN


class Trials:
    """Tries candidates, and compares what they show of the first target with what it shows without a proxy."""

    def __init__(
        self,
        reach: ReachOptions,
        own: frozenset[Chain],
        environ: Mapping[str, str],
        tls: TLSClient | None,
        connections: Nursery,
        waits: Waits,
    ) -> None:
        """own: the chains that the flags about logins are for; tls: for the first target, None if it does not speak TLS

        connections: runs those of HTTP/2; waits: where to note what is waited for
        """
        self._reach, self._own, self._environ, self._tls = reach, own, environ, tls
        self._connections, self._waits = connections, waits
        self._direct: bytes | None = None
        self._direct_known = Flag()

    async def run(self, candidate: Candidate, targets: tuple[Address, ...], tell: Callable[[Attempt], None]) -> Result:
        """Tries one candidate. The one without a proxy has to be tried as well, or the others wait for its certificate.

        tell: called with each attempt as soon as it has ended
        """
        try:
            return await self._run(candidate, targets, tell)
        finally:
            if not candidate.chain:
                self._direct_known.set()

    async def _run(self, candidate: Candidate, targets: tuple[Address, ...], tell: Callable[[Attempt], None]) -> Result:
        watch = LoginWatch()
        planner = RoutePlanner(self._reach_of(candidate), self._environ_of(candidate), silent)
        attempts: list[Attempt] = []
        inside = TLSInside()
        for target in targets:
            tls = self._tls if not attempts else None
            with self._waits.on("proxy", candidate.name, str(target)):
                attempt, route = await self._attempt(planner, target, watch, tls is not None)
            attempts.append(attempt)
            tell(attempt)
            if route is not None and tls is not None:
                with self._waits.on("proxy", candidate.name, f"the certificate of {target.host}"):
                    inside = await self._look_inside(route._replace(tls=tls), candidate)
            if isinstance(attempt.error, AuthenticationFailed) or _is_out_of_reach(candidate, attempt):
                break
        return Result(candidate, tuple(attempts), watch.outcome(attempts[0].error), watch.schemes, inside)

    async def _attempt(
        self, planner: RoutePlanner, target: Address, watch: LoginWatch, expects_tls: bool
    ) -> tuple[Attempt, Route | None]:
        """Opens a tunnel and closes it. Returns the route as well, if that worked."""
        begun = monotonic()
        try:
            await planner.prepare()
            tunnel, route = await open_with_retries(planner, target, 0, watch, ConnectionPool(self._connections))
        except TunnelctlError as error:
            return Attempt(target, monotonic() - begun, error), None
        seconds = monotonic() - begun
        try:
            # A server of TLS waits for its client, and its certificate tells more.
            ended = "" if expects_tls else await _end_of(tunnel)
        finally:
            tunnel.stream.close()
        return Attempt(target, seconds, None, ended), route

    def _reach_of(self, candidate: Candidate) -> ReachOptions:
        """The options for a candidate. What the user gave for one proxy goes to no other: logins, fields, a client certificate."""
        reach = self._reach._replace(
            proxy=candidate.urls or ("direct",), pac=None, timeout=min(self._reach.timeout or ATTEMPT, ATTEMPT)
        )
        if candidate.chain in self._own:
            return reach
        return reach._replace(
            proxy_user=None,
            proxy_password_file=None,
            password_command=None,
            ask_password=False,
            proxy_auth_file=None,
            proxy_cert=None,
            proxy_key=None,
            proxy_pin=None,
            header=(),
        )

    def _environ_of(self, candidate: Candidate) -> Mapping[str, str]:
        if candidate.chain in self._own:
            return self._environ
        return {name: value for name, value in self._environ.items() if name != "TUNNELCTL_PROXY_PASSWORD"}

    async def _look_inside(self, route: Route, candidate: Candidate) -> TLSInside:
        """Judges the certificate of the first target as seen on a route. It needs up to three more connections."""
        seen = await shown_certificate(route, self._open)
        if not candidate.chain:
            self._direct = seen
            self._direct_known.set()
        if seen is None:
            return TLSInside(NO_TLS)
        issuer = decode(seen).issuer
        if await publicly_trusted(route, self._open):
            return TLSInside(UNTOUCHED, issuer)
        await self._direct_known.wait()
        if self._direct is None or not candidate.chain:
            return TLSInside(PRIVATE, issuer)
        return TLSInside(UNTOUCHED if self._direct == seen else INTERCEPTED, issuer)

    async def _open(self, route: Route) -> Tunnel:
        return await open_tunnel(route, silent, ConnectionPool(self._connections))


def _is_out_of_reach(candidate: Candidate, attempt: Attempt) -> bool:
    """Whether a proxy gave no answer. Another target would only double the wait."""
    error = attempt.error
    return bool(candidate.chain) and isinstance(error, NameNotFound | Unreachable) and "code" not in error.detail


async def _end_of(tunnel: Tunnel) -> str:
    """Returns how the tunnel ends before the target has said anything; "" if it stays."""
    cause, data = "the tunnel was ended as soon as it stood", tunnel.early
    with move_on_after(AT_ONCE) as silence:
        try:
            data = data or await tunnel.stream.receive_some()
        except OSError as error:
            cause = f"the tunnel broke as soon as it stood: {reason(error)}"
    return "" if data or silence.cancelled_caught else cause
