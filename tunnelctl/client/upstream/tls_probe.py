"""A probe for TLS, which distinguishes http:// in place of https:// from a proxy that is down.

Most TLS proxies close a plain-text connection without a response, and so does a front end of a dead proxy. One more connection
distinguishes them: it sends a ClientHello, but neither the target nor credentials.

A command for one tunnel probes when it gives up. A process with many tunnels probes in the background: the client whose tunnel
failed gets its response at once, and a proxy is probed once in AGAIN seconds, however many tunnels fail there.
"""

from __future__ import annotations

from time import monotonic

from tunnelctl import events
from tunnelctl.client.pool import ConnectionPool
from tunnelctl.client.route.route import Route
from tunnelctl.client.tunnel import open_tunnel
from tunnelctl.engine.kernel import Nursery, move_on_after
from tunnelctl.engine.sync import Event
from tunnelctl.errors import TunnelctlError
from tunnelctl.events import Trace, silent
from tunnelctl.proto.address import without_scope

# A proxy that closed one connection responds on the next, or closes it, as fast. The rest is for the round trips of a far proxy.
SECONDS = 2.0
AGAIN = 300.0


async def speaks_tls_there(route: Route, place: int, until: float) -> bool:
    """Whether the proxy at index `place` of the route responds to a ClientHello in TLS, within SECONDS and before `until`."""
    # Through the proxies before it as usual. The proxy itself is the target now, and receives nothing but the ClientHello.
    to_it = route._replace(target=route.hops[place].address, hops=route.hops[:place], no_readahead=False, tls=None)
    with move_on_after(min(SECONDS, until - monotonic())):
        async with Nursery() as connections:  # of HTTP/2, which run beside
            answered = await _answers_tls(to_it, ConnectionPool(connections))
            connections.cancel_scope.cancel()
        return answered
    return False


async def _answers_tls(route: Route, pool: ConnectionPool) -> bool:
    from tunnelctl.stream.tls.stream import answers_tls  # loads ssl, which a process may not need before its first probe

    try:
        tunnel = await open_tunnel(route, silent, pool)
    except TunnelctlError:
        return False
    try:
        return await answers_tls(tunnel.stream, without_scope(route.target.host), tunnel.early)
    except OSError:
        return False
    finally:
        tunnel.stream.close()


class BackgroundProbe:
    """Probes the proxies that may speak TLS, one after the other, and warns of those that do."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._asked: dict[str, float] = {}  # by proxy, the time from which it may be probed again
        self._suspects: list[tuple[Route, int]] = []
        self._suspected = Event()

    def suspect(self, route: Route, place: int) -> None:
        """Schedules a probe of the proxy at index `place` of the route, unless that was done in the last AGAIN seconds."""
        now = monotonic()
        self._asked = {proxy: until for proxy, until in self._asked.items() if until > now}
        if route.via[place] not in self._asked:
            self._asked[route.via[place]] = now + AGAIN
            self._suspects.append((route, place))
            self._suspected.set()

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            await self._suspected.wait()
            route, place = self._suspects.pop(0)
            if not self._suspects:
                self._suspected = Event()
            if await speaks_tls_there(route, place, monotonic() + SECONDS):
                proxy = route.via[place]
                self._trace(events.Warning(f"proxy {proxy} speaks TLS, not plain HTTP: its URL is https://{proxy}"))
