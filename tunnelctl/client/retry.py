"""Several attempts at one tunnel: the possible routes in turn, and all of them again within the user's retries and timeout."""

from __future__ import annotations

from time import monotonic

from tunnelctl.client.route.planner import RoutePlanner
from tunnelctl.client.route.route import Route, Tunnel
from tunnelctl.client.tunnel import open_tunnel
from tunnelctl.client.upstream.base import FIRST_RETRY, LONGEST_RETRY
from tunnelctl.engine.kernel import sleep
from tunnelctl.errors import MalformedAnswer, NameNotFound, NoAnswer, TimedOut, TunnelctlError, Unanswered, Unreachable
from tunnelctl.events import Trace
from tunnelctl.proto.address import Address
from tunnelctl.proto.headers import Fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tunnelctl.client.pool import ConnectionPool

    Suspect = Callable[[Route, int], None]  # the route, and the index of the proxy in it

_NOT_REACHED = frozenset({502, 503, 504, 1, 3, 4, 5, 6})  # statuses of HTTP, and replies of SOCKS 5 (RFC 1928 section 6)
MOST_REFUSED = 3  # connections on which a proxy leaves a request unprocessed before that counts as a failure
LEAST = 0.1  # seconds that every attempt gets, however late it is

OpenedTunnel = tuple[Tunnel, Route]


async def open_with_retries(
    planner: RoutePlanner,
    target: Address,
    retry: int,
    trace: Trace,
    pool: ConnectionPool | None = None,
    suspect: Suspect | None = None,
    fields: Fields = (),
) -> OpenedTunnel:
    """Opens a tunnel, with up to `retry` retries. No user data has been sent by then, so they repeat nothing.

    pool: may have a connection to begin with, and receives those that other tunnels can use; None: connects anew
    suspect: called with a proxy that may speak TLS; without it, that proxy is probed before this function gives up
    fields: of a forwarded request, for each HTTP proxy
    """
    until = monotonic() + planner.timeout
    found = [route._replace(fields=fields) for route in await planner.to(target, trace)]
    attempts = _Attempts(planner, target, found, until, trace, pool, fields)
    try:
        return await attempts.run(retry)
    except TunnelctlError as error:
        # Only now that nothing is left to try: a proxy that hung up may recover in a moment, and another route may work.
        if not error.may_speak_tls or error.hop is None:
            raise
        if suspect is not None:
            suspect(attempts.route, error.hop)
            raise
        from tunnelctl.client.upstream.http1 import speaks_tls  # neither is needed to open a tunnel
        from tunnelctl.client.upstream.tls_probe import speaks_tls_there

        if not await speaks_tls_there(attempts.route, error.hop, until):
            raise error.within(error.what, no_tls_either=True) from error
        failure = speaks_tls(attempts.route.request(error.hop), attempts.route.hops[error.hop])
        failure.hop = error.hop
        raise failure from error


class _Attempts:
    """The attempts at one tunnel; `route` is the route tried last."""

    def __init__(
        self,
        planner: RoutePlanner,
        target: Address,
        found: Sequence[Route],
        until: float,
        trace: Trace,
        pool: ConnectionPool | None,
        fields: Fields,
    ) -> None:
        self._planner, self._target, self._found, self._until, self._trace = planner, target, found, until, trace
        self._pool, self._fields = pool, fields
        self.route = found[0]

    async def run(self, retry: int) -> OpenedTunnel:
        """Tries all routes, then retries all of them."""
        pause = FIRST_RETRY
        for attempt in range(1, retry + 1):
            try:
                return await self._open_any()
            except Unreachable as error:
                # A proxy that responded has been reached, whatever the result of its own attempt.
                if "code" in error.detail or monotonic() + pause >= self._until:
                    raise
                from tunnelctl.rare_events import Retry

                self._trace(Retry(attempt, pause, str(error)))
            await sleep(pause)
            pause = min(2 * pause, LONGEST_RETRY)
        return await self._open_any()

    async def _open_any(self) -> OpenedTunnel:
        """Opens the first route that works; if none does, one of those that a PAC file names when it is asked anew."""
        try:
            return await self._open_one_of(self._found)
        except TunnelctlError as error:
            if not _is_passed_over(error, self.route):
                raise
            if self._pool is not None:
                self._pool.drop_cut_off()
            anew = await self._planner.anew(self._target, self._found, self._until, self._trace)
            if not anew:
                raise
            self._failover(error, anew[0])
        self._found = [route._replace(fields=self._fields) for route in anew]
        return await self._open_one_of(self._found)

    def _failover(self, error: TunnelctlError, after: Route) -> None:
        from tunnelctl.rare_events import Failover

        self._trace(Failover(str(error), after.via))

    async def _open_one_of(self, found: Sequence[Route]) -> OpenedTunnel:
        """Opens the first route that works. Skips a route only if one of its proxies cannot be reached: a refusal is final."""
        planner, until = self._planner, self._until
        *others, last = found
        for place, route in enumerate(others):
            # A route that leads nowhere, because packets are dropped, must leave some time for those after it.
            share = (until - monotonic()) / (len(found) - place)
            try:
                tunnel = await self._open(route, monotonic() + share)
            except TunnelctlError as error:
                after = found[place + 1]
                if not (_is_out_of_reach(error) if after.fallback else _is_passed_over(error, route)):
                    raise
                # One target that drops packets, or that cannot be reached directly, says nothing about the route to others.
                if route.hops and not isinstance(error, Unanswered):
                    planner.failed(route, error, any(other.fallback for other in found))
                self._failover(error, after)
            else:
                planner.worked(route)
                return tunnel, route
        tunnel = await self._open(last, until)
        planner.worked(last)
        return tunnel, last

    async def _open(self, route: Route, until: float) -> Tunnel:
        self.route, refused = route, 0
        ready = await self._pool.take(route) if self._pool is not None else None
        while True:
            try:
                return await open_tunnel(_limited(route, until), self._trace, self._pool, ready)
            except TimedOut:
                raise
            except (Unreachable, MalformedAnswer) as error:
                # No user data has been sent, so another attempt repeats nothing.
                if "code" in error.detail:
                    raise
                if error.code == "stream-refused":  # not processed: a proxy that is being replaced refuses new connections, too
                    refused += 1
                    if refused > MOST_REFUSED:
                        raise
                elif ready is None or error.code == "stream-reset":  # else the proxy closed it at this very moment
                    raise
            ready = None


# The failures to connect to a proxy: for its name, and for its address.
_OUT_OF_REACH = frozenset({"name-unknown", "name-service", "not-connected", "timed-out"})


def _is_out_of_reach(error: TunnelctlError) -> bool:
    """Whether a proxy cannot be reached, so that a user who allows it goes around it. One that accepts and hangs up may do so as
    a refusal; one with a wrong certificate is there, or somebody is in its place.
    """
    return error.hop is not None and error.code in _OUT_OF_REACH and not isinstance(error, Unanswered)


def _is_passed_over(error: TunnelctlError, route: Route) -> bool:
    """Whether a proxy could not be reached: from here, or from the proxy before it, which then responded in its place."""
    if error.hop is not None and error.hop + 1 < len(route.hops) and error.detail.get("code") in _NOT_REACHED:
        return True
    # The name of a company's proxy is mostly unknown at home.
    return isinstance(error, Unreachable | NameNotFound | NoAnswer) and "code" not in error.detail


def _limited(route: Route, until: float) -> Route:
    return route._replace(timeout=max(LEAST, until - monotonic()))
