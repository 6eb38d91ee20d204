"""Opens a tunnel: the route to a target through any number of proxies.

Theory of operation.

    route.planner    which routes there are to a target, and what each proxy on them may receive
      retry          tries these routes in turn, and all of them again
        tunnel       opens one route: this module
          pool       may have a connection to one of its proxies: retry takes it; `connect` has no pool
          dial, TLS  otherwise make one to the nearest proxy
          upstream   ProxyConnection.open: asks a proxy for a tunnel to the next stop

The same steps serve every hop. A stream reaches the proxy: a TCP connection to the nearest, the tunnel through the proxies before
it to any other. TLS goes on top, if the proxy speaks TLS. The protocol of the hop makes a ProxyConnection of the stream, and
opens a tunnel to the next stop on it. The stream of that tunnel reaches the next proxy, and at last the target. A connection of
HTTP/1.1 or SOCKS becomes its one tunnel. A multiplexed one goes to the pool, carries other tunnels as well, and is where later
routes through the same proxies begin.

When a step fails or is cancelled, it closes the stream that it was given, or gives its place on a multiplexed connection back. So
an opening that fails leaves nothing behind that nobody owns.

Deadlines: one limits the whole route, from the first lookup to the last TLS handshake. It stands still while a person types a
password, and does not cut off the body of a refusal. `_awaited` names what it would interrupt.

Logins: each HTTP proxy has an AuthExchange that lasts for the whole opening, over several connections. It is prepared before
anything is dialled. When a proxy requires a login on a new connection, its ProxyConnection raises ReconnectRequired, and the
route begins again. So it does when a proxy has chosen HTTP/2 that cannot be used.

Never: no byte of the user is sent before every proxy has granted its tunnel (RFC 9931), so a failure may be retried. No proxy
receives what is meant for another. No byte is lost: what a proxy sent along with its response is the beginning of the tunnel.
"""

from __future__ import annotations

import _socket as socket
from errno import EACCES, ECONNREFUSED, EHOSTUNREACH, EINVAL, ENETUNREACH, EPERM, ETIMEDOUT

from tunnelctl import events
from tunnelctl.client.route.route import Route, Tunnel
from tunnelctl.client.route.selection import NOT_CONFIGURED
from tunnelctl.client.upstream import PROTOCOLS
from tunnelctl.client.upstream.base import ReconnectRequired, TunnelRequest, without_deadline
from tunnelctl.engine.kernel import BusyResourceError, TooSlowError
from tunnelctl.engine.resolver import SocketAddress, resolve
from tunnelctl.engine.sync import Deadline
from tunnelctl.errors import NameNotFound, TimedOut, TunnelctlError, Unanswered, Unreachable, reason
from tunnelctl.events import Trace
from tunnelctl.proto.address import Address
from tunnelctl.stream.base import Stream
from tunnelctl.stream.dial import DialError, dial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from typing import TypeVar

    from tunnelctl.client.auth.exchange import AuthExchange
    from tunnelctl.client.pool import ConnectionPool, Dial
    from tunnelctl.client.route.route import Hop
    from tunnelctl.client.upstream.base import ProxyConnection
    from tunnelctl.client.upstream.http_version import HTTPVersion
    from tunnelctl.stream.tls.settings import TLSClient

    Facts = Mapping[str, object]
    T = TypeVar("T")


async def open_tunnel(
    route: Route, trace: Trace, pool: ConnectionPool | None = None, ready: ProxyConnection | None = None
) -> Tunnel:
    """Opens a tunnel. If it fails, leaves open only what the pool has, and raises the matching TunnelctlError.

    pool: receives the multiplexed connections that are made for it, and runs them; None: no hop of the route may have one
    ready: a connection to one of the proxies, with a place reserved for this tunnel
    """
    assert pool is not None or all(hop.http is None for hop in route.hops), "nothing would run a connection of HTTP/2"
    opening = _Opening(route, trace, pool)
    return await opening.within(lambda: opening.run(ready))


async def connect_nearest(route: Route, trace: Trace) -> ProxyConnection:
    """Connects to the nearest proxy, for a later `open_tunnel`."""
    opening = _Opening(route, trace, None)
    try:
        return await opening.within(opening.connect)
    except ReconnectRequired:  # in HTTP/1.1, which never raises it here
        return await connect_nearest(route, trace)


async def start_target_tls(route: Route, trace: Trace, tunnel: Tunnel) -> Tunnel:
    """Starts the TLS with the target that the route calls for, in a tunnel that is open already."""
    opening = _Opening(route, trace, None)
    return await opening.within(lambda: opening.to_target(tunnel))


_NO_FACTS: Facts = {}  # for a hint


class _Opening:
    """One attempt to open a tunnel."""

    def __init__(self, route: Route, trace: Trace, pool: ConnectionPool | None) -> None:
        self._route, self._trace, self._pool = route, trace, pool
        self._awaited = "", "timed-out", _NO_FACTS  # what it waits for, in the words of an error; code and facts if that times out
        self._place: int | None = None  # the proxy that it deals with; None: the target, or nobody yet
        self._asking = False  # a request is going to that proxy, which has been reached
        self._deadline = Deadline(route.timeout)
        self._stops = [*(hop.address for hop in route.hops), route.target]
        self._exchanges: list[AuthExchange | None] = [
            hop.login.exchange(stop) if hop.login is not None and PROTOCOLS[hop.protocol].has_schemes else None
            for hop, stop in zip(route.hops, self._stops[1:], strict=True)
        ]

    async def within(self, work: Callable[[], Awaitable[T]]) -> T:
        """Runs `work` within the time limit of the whole route. Its error says which proxy it concerns."""
        try:
            with self._deadline:
                return await work()
        except TooSlowError as error:
            raise self._of_place(self._too_slow()) from error
        except TunnelctlError as error:
            self._of_place(error)
            raise

    def _too_slow(self) -> TunnelctlError:
        kind = Unanswered if self._asking else TimedOut
        what, code, facts = self._awaited
        return kind(what, f"no answer within {round(self._route.timeout, 1):g} s", code, facts=facts)

    def _of_place(self, error: TunnelctlError) -> TunnelctlError:
        if self._place is not None:
            hops, place = self._route.hops, self._place
            error.hop, error.proxy = place, str(hops[place].address)
            error.facts = {**error.facts, **_among_tls(hops, place)}
        return error

    async def run(self, ready: ProxyConnection | None) -> Tunnel:
        """Opens the whole route, and begins again as often as a connection requires it."""
        try:
            await self._prepare_logins()
        except BaseException:
            if ready is not None:
                ready.release()
            raise
        while True:
            try:
                return await self._through(ready)
            except ReconnectRequired:
                ready = self._pool.share(self._route) if self._pool is not None else None

    async def _prepare_logins(self) -> None:
        for hop, exchange in zip(self._route.hops, self._exchanges, strict=True):
            if hop.login is not None:  # before connecting: a person may take longer than a proxy waits
                self._awaited = f"preparing the login to proxy {hop.address}", "timed-out", _NO_FACTS
                work = exchange.prepare() if exchange is not None else hop.login.secret()
                await without_deadline(hop.login, self._deadline, work)

    async def _through(self, ready: ProxyConnection | None) -> Tunnel:
        """Opens a tunnel from stop to stop. ready: the connection to begin with; None: a new one"""
        route = self._route
        if route.hops:
            tunnel = await self._through_proxies(ready)
        else:
            tunnel = Tunnel(await self._dial(route.target, "target"), b"")
        return await self.to_target(tunnel)

    async def to_target(self, tunnel: Tunnel) -> Tunnel:
        """Ends the route with the target, given the tunnel that reaches it."""
        self._place = None
        return await self._secured(tunnel, "target", self._route.target, self._route.tls)

    async def _through_proxies(self, ready: ProxyConnection | None) -> Tunnel:
        hops, pool, dials = self._route.hops, self._pool, {}
        if ready is None and pool is not None and any(hop.http is not None and hop.http.may_be_2 for hop in hops):
            ready = await pool.wait_for(self._route)
        try:
            if pool is not None:
                for place in range(0 if ready is None else len(ready.hops), len(hops)):
                    if (version := hops[place].http) is not None and version.may_be_2:
                        dials[place] = pool.dial(hops[: place + 1])
            connection = ready if ready is not None else self._reserved(await self.connect(), dials)
            tunnel = await self._ask(connection)
            for place in range(len(connection.hops), len(hops)):
                tunnel = await self._ask(self._reserved(await self._connection(place, tunnel), dials))
        finally:
            for dial in dials.values():
                dial.end()
        return tunnel

    async def connect(self) -> ProxyConnection:
        """Connects to the nearest proxy."""
        self._place = 0
        return await self._connection(0, Tunnel(await self._dial(self._stops[0], "proxy"), b""))

    async def _connection(self, place: int, below: Tunnel) -> ProxyConnection:
        """Makes a connection to the proxy at index `place`, over the stream that reaches it."""
        hop, self._place = self._route.hops[place], place
        tls = hop.tls
        if tls is not None and hop.http is not None:
            tls = tls._replace(alpn=hop.http.alpn)
        stream, early = await self._secured(below, "proxy", hop.address, tls)
        if hop.http is not None:
            try:
                self._check_version(hop.http, stream, self._route.request(place))
            except BaseException:
                stream.close()
                raise
        return PROTOCOLS[hop.protocol].connect(self._route.hops[: place + 1], stream, early)

    @staticmethod
    def _check_version(version: HTTPVersion, stream: Stream, what: str) -> None:
        """Raises MalformedAnswer or ReconnectRequired if a new connection is not one in which the proxy can be spoken to."""
        if not version.check(stream, what):
            from tunnelctl.client.upstream.http2 import decline

            raise decline(stream, version, what)

    def _reserved(self, connection: ProxyConnection, dials: Mapping[int, Dial]) -> ProxyConnection:
        """Reserves a place on a new connection, and hands it to the pool if others can use it too. dials: those for this tunnel"""
        connection.reserve()
        pool = self._pool if connection.multiplexed else None
        if pool is not None:
            pool.add(connection)
        if (dial := dials.get(len(connection.hops) - 1)) is not None:
            dial.end(connection if pool is not None else None)
        return connection

    async def _ask(self, connection: ProxyConnection) -> Tunnel:
        """Asks a proxy for a tunnel to the next stop, in the place that is reserved."""
        route, hop, place = self._route, connection.hop, len(connection.hops) - 1
        stop, exchange = self._stops[place + 1], self._exchanges[place]
        inner = place + 1 < len(route.hops)  # the next stop is another proxy
        facts: Facts = {"proxy": hop.address, "inner": inner}
        self._awaited = f"waiting for proxy {hop.address} to reach {stop}", _mute(hop, exchange), facts
        self._place, self._asking = place, True
        what, deadline = route.request(place), self._deadline
        request = TunnelRequest(stop, what, deadline, self._trace, exchange, route.fields, route.no_readahead)
        try:
            return await connection.open(request)
        except TunnelctlError as error:
            raise error.within(error.what, inner=inner) from error

    async def _secured(self, tunnel: Tunnel, role: str, address: Address, settings: TLSClient | None) -> Tunnel:
        """Starts TLS with the peer at the other end of a stream, unless `settings` is None."""
        if settings is None:
            return tunnel
        return Tunnel(await self._wrap(tunnel.stream, role, address, settings, tunnel.early), b"")

    async def _wrap(self, stream: Stream, role: str, address: Address, settings: TLSClient, early: bytes) -> Stream:
        peer = f"{role} {address}"
        from tunnelctl.rare_events import TLS
        from tunnelctl.stream.tls.failure import tls_error
        from tunnelctl.stream.tls.stream import start_tls

        facts: Facts = {"target": role == "target", "peer": address}
        self._awaited = f"TLS handshake with {peer}", "tls-mute", facts
        try:
            wrapped = await start_tls(stream, settings, early)
        except OSError as error:
            stream.close()
            what = f"TLS with {peer}"
            raise tls_error(what, error, settings, address) from error
        except BaseException:
            stream.close()
            raise
        seen = wrapped.facts()
        self._trace(TLS(to=str(address), role=role, **seen._asdict()))
        return wrapped

    async def _dial(self, address: Address, role: str) -> Stream:
        self._asking = False
        self._awaited = f"looking up {role} {address.host}", "timed-out", _unreached(self._route)
        self._trace(events.Lookup(address.host))
        addresses = await self._resolve(address, role)
        self._awaited = f"connecting to {role} {address}", "timed-out", _unreached(self._route)
        self._trace(events.Dial(str(address), [entry.host for entry in addresses]))
        try:
            stream = await dial(addresses, self._route.keepalive, self._route.attempt_timeout)
        except DialError as error:
            what, facts = f"cannot connect to {role} {address}", _not_connected(error, self._route)
            detail = _detail(role, _error_type(error))
            raise Unreachable(what, _attempts(error), "not-connected", facts=facts, detail=detail) from error
        self._trace(events.Connected(str(address), str(stream.peer)))
        return stream

    async def _resolve(self, address: Address, role: str) -> list[SocketAddress]:
        family = {4: socket.AF_INET, 6: socket.AF_INET6}.get(self._route.family, socket.AF_UNSPEC)
        what = f"cannot resolve {role} {address.host}"
        try:
            return await resolve(address.host, address.port, family)
        except BusyResourceError as error:
            raise Unreachable(what, "too many lookups are pending", "lookups-hang") from error
        except (socket.gaierror, UnicodeError) as error:
            if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
                cause, facts = "the name service does not answer", without_proxy(self._route)
                raise Unreachable(what, cause, "name-service", facts=facts, detail=_detail(role, "dns_timeout")) from error
            cause = f"no IPv{self._route.family} address" if self._route.family else "no such host"
            facts, detail = _unknown(self._route), _detail(role, "dns_error")
            raise NameNotFound(what, cause, "name-unknown", facts=facts, detail=detail) from error
        except OSError as error:  # EAI_SYSTEM: the resolver has no descriptor left, or no memory
            raise Unreachable(what, reason(error), "lookup-failed") from error


# The RFC 9209 error type by errno of an attempt. Of several attempts, the first in this order counts: a host that refuses is there,
# and an address family without a route says the least.
_ERROR_TYPES = {
    ECONNREFUSED: "connection_refused",
    EACCES: "destination_ip_prohibited",  # by this machine's packet filter
    EPERM: "destination_ip_prohibited",
    ETIMEDOUT: "connection_timeout",
    EHOSTUNREACH: "destination_unavailable",
    ENETUNREACH: "destination_ip_unroutable",
}


def _error_type(error: DialError) -> str:
    """The RFC 9209 type of a failure to connect; "" if the attempts hit a limit of ours, or failed otherwise."""
    seen = {cause.errno for _, cause in error.attempts}
    return next((kind for number, kind in _ERROR_TYPES.items() if number in seen), "")


def _detail(role: str, kind: str) -> dict[str, str]:
    """The details of an error about the target, for a response in another protocol; none about a proxy that failed."""
    return {"error": kind} if role == "target" and kind else {}


def _attempts(error: DialError) -> str:
    causes = [(address.host, reason(cause)) for address, cause in error.attempts]
    if len(causes) == 1:
        return causes[0][1]
    return ", ".join(f"{host}: {cause}" for host, cause in causes)


def without_proxy(route: Route) -> Facts:
    """Facts about a route without a proxy: why there is none. Empty if there is one, or if the user chose to use none."""
    if route.hops or route.origin == "-x":
        return _NO_FACTS
    unnamed = route.origin == NOT_CONFIGURED and not _is_this_machine(route.target.host)
    return {"unused": route.unused, "without": route.origin, "unnamed": unnamed}


def _is_this_machine(host: str) -> bool:
    """Returns whether no proxy could be of help, by the most common spellings."""
    return host in ("localhost", "::1") or host.startswith("127.")


def _unreached(route: Route) -> Facts:
    """Facts about a lookup or a connection that took too long."""
    return {**without_proxy(route), **(_web_port(route.hops[0]) if route.hops else {})}


def _not_connected(error: DialError, route: Route) -> Facts:
    if not route.hops:
        return without_proxy(route)
    if any(cause.errno == EINVAL and address.host.startswith("fe80:") for address, cause in error.attempts):
        return {"link_local": route.hops[0].address.host}
    refused = all(isinstance(cause, ConnectionRefusedError) for _, cause in error.attempts)
    return {**_web_port(route.hops[0]), "refused": refused}


def _web_port(hop: Hop) -> Facts:
    """The fact that a proxy is on the port of web servers, which is the default of a URL without a port."""
    web = 80 if hop.tls is None else 443
    return {"web_port": web} if PROTOCOLS[hop.protocol].on_web_ports and hop.address.port == web else {}


def _unknown(route: Route) -> Facts:
    if not route.hops:
        return without_proxy(route)
    return {"family": route.family, "other_family": 10 - route.family} if route.family else {"proxied": True}


def _among_tls(hops: tuple[Hop, ...], place: int) -> Facts:
    """Facts about one of several proxies that speak TLS: the client certificate and the pin are for the first of them."""
    speak_tls = [number for number, hop in enumerate(hops) if hop.tls is not None]
    if len(speak_tls) < 2 or place not in speak_tls:
        return _NO_FACTS
    return {"tls_chain": True, "later_tls": place != speak_tls[0]}


def _mute(hop: Hop, exchange: AuthExchange | None) -> str:
    """The code for a proxy that sent no response to a request: it waits for the target, or it speaks another protocol."""
    if hop.http is not None and hop.http.required and hop.tls is None:
        return "http2-mute"
    known = hop.tls is not None or (exchange is not None and exchange.challenged)  # that it speaks the protocol
    return "proxy-mute" if known else PROTOCOLS[hop.protocol].mute
