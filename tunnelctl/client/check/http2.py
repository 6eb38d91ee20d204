"""Measures what the nearest proxy supports over HTTP/2, on a separate connection."""

from __future__ import annotations

from time import monotonic
from typing import Any

from tunnelctl.client.check.events import HTTP2
from tunnelctl.client.pool import ConnectionPool
from tunnelctl.client.route.route import Route
from tunnelctl.client.tunnel import connect_nearest, open_tunnel
from tunnelctl.client.upstream.http2 import HTTP2Connection
from tunnelctl.client.upstream.http_version import HTTPVersion
from tunnelctl.engine.kernel import Nursery, TooSlowError, fail_after
from tunnelctl.errors import TunnelctlError
from tunnelctl.events import silent
from tunnelctl.proto.http2.settings import UNLIMITED

PROBE = 5.0  # seconds for each step


async def inspect(route: Route) -> HTTP2 | None:
    """Asks the nearest proxy. None if it cannot be asked: it is no HTTP proxy, or none can be reached by TLS."""
    nearest = route.hops[0] if route.hops else None
    by_knowledge = nearest is not None and nearest.http is not None and nearest.http.required
    if nearest is None or nearest.protocol != "http" or (nearest.tls is None and not by_knowledge):
        return None
    hop = nearest._replace(http=HTTPVersion(nearest.tls is None, nearest.tls is not None, 0.0))
    route = route._replace(hops=(hop, *route.hops[1:]), timeout=PROBE, no_readahead=False)
    try:
        connection = await connect_nearest(route, silent)
    except TunnelctlError as error:
        return HTTP2(False, cause=error.cause)
    if not isinstance(connection, HTTP2Connection):
        connection.close()
        return HTTP2(False, cause=_why_not(hop.http))
    async with Nursery() as nursery:
        pool = ConnectionPool(nursery)
        connection.reserve()
        pool.add(connection)
        found = await _examine(route, connection, pool)
        nursery.cancel_scope.cancel()
    return found


def _why_not(version: HTTPVersion | None) -> str:
    """Returns the reason why HTTP/2 over TLS is not used with the nearest proxy."""
    if version is not None and version.forbidden_suite:
        return f"the proxy chose it with {version.forbidden_suite}, which HTTP/2 forbids"
    return "the proxy does not choose it (ALPN)"


async def _examine(route: Route, connection: HTTP2Connection, pool: ConnectionPool) -> HTTP2:
    try:
        with fail_after(PROBE):
            peer, round_trip = await connection.greeting()
    except (TooSlowError, OSError):
        connection.release()
        return HTTP2(False, cause="the proxy sends no SETTINGS")
    window = min(peer.initial_window_size, connection.send_window)
    found: dict[str, Any] = {
        "streams": peer.max_concurrent_streams if peer.max_concurrent_streams != UNLIMITED else None,
        "window": window,
        "frame": peer.max_frame_size,
        "round_trip": round_trip,
        "limit": window * 8 / 1e6 / round_trip if round_trip else None,
    }
    begun = monotonic()
    try:
        tunnel = await open_tunnel(route, silent, pool, connection)
    except TunnelctlError as error:
        return HTTP2(True, connects=False, cause=error.cause, **found)
    seconds = monotonic() - begun
    tunnel.stream.abort()
    # It has gone back to HTTP/1.1 if the proxy knows no CONNECT in HTTP/2.
    fell_back = route.hops[0].http is not None and route.hops[0].http.only_1_1
    return HTTP2(
        True, connects=not fell_back, seconds=seconds, cause="it does not support CONNECT in HTTP/2" if fell_back else "", **found
    )
