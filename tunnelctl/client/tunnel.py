"""The route to a target through any number of proxies: look-up, dial, TLS, and a handshake with each proxy on it."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from errno import EACCES, ECONNREFUSED, EHOSTUNREACH, EINVAL, ENETUNREACH, EPERM, ETIMEDOUT

from tunnelctl.client.route.route import Route, Tunnel
from tunnelctl.client.upstream.handshake import Handshake, ReconnectRequired, ask, may_speak_tls, without_deadline
from tunnelctl.engine.kernel import BusyResourceError, CancelScope, TooSlowError, fail_after
from tunnelctl.engine.resolver import SocketAddress, resolve
from tunnelctl.errors import NameNotFound, TimedOut, TunnelctlError, Unanswered, Unreachable, reason
from tunnelctl.proto.address import Address
from tunnelctl.proto.http1.connect_client import WITHOUT_TLS
from tunnelctl.stream.base import Stream
from tunnelctl.stream.dial import DialError, dial
from tunnelctl.trace import Trace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    from tunnelctl.client.auth.exchange import AuthExchange
    from tunnelctl.client.route.route import Hop
    from tunnelctl.stream.tls.settings import TLSClient

    T = TypeVar("T")


async def open_tunnel(route: Route, trace: Trace, ready: Stream | None = None) -> Tunnel:
    """Opens a tunnel. If it fails, leaves nothing open and raises the matching TunnelctlError.

    ready: an established connection to the nearest proxy, which the tunnel takes over
    """
    opening = _Opening(route, trace)
    return await opening.within(lambda: opening.run(ready))


async def connect_nearest(route: Route, trace: Trace) -> Stream:
    """Connects to the nearest proxy, for a later `open_tunnel`."""
    opening = _Opening(route, trace)
    return await opening.within(opening.connect)


_BEYOND = "the target may be out of its reach"
_LONGER = "--timeout sets how long the whole way may take"


class _Opening:
    """One attempt to open a tunnel."""

    def __init__(self, route: Route, trace: Trace) -> None:
        self._route, self._trace = route, trace
        self._awaited = "", _LONGER  # what it waits for, in the words of an error, and a hint if that times out
        self._asking = False  # a request is going to a proxy, which has been reached
        self.limit = CancelScope()  # on the whole route
        self._stops = [*(hop.address for hop in route.hops), route.target]
        self._exchanges: list[AuthExchange | None] = [
            hop.login.exchange(stop) if hop.login is not None and hop.protocol == "http" else None
            for hop, stop in zip(route.hops, self._stops[1:], strict=True)
        ]

    async def within(self, work: Callable[[], Awaitable[T]]) -> T:
        """Runs `work` within the time limit of the whole route."""
        try:
            with fail_after(self._route.timeout) as self.limit:
                return await work()
        except TooSlowError as error:
            kind = Unanswered if self._asking else TimedOut
            what, hint = self._awaited
            raise kind(what, f"no answer within {round(self._route.timeout, 1):g} s", hint) from error

    async def connect(self) -> Stream:
        """Connects to the first stop: the target, or the nearest proxy with its TLS, if any."""
        hops = self._route.hops
        stream: Stream = await self._dial(self._stops[0], "proxy" if hops else "target")
        return await self._wrap(stream, "proxy", hops[0].address, hops[0].tls, b"") if hops else stream

    async def run(self, ready: Stream | None) -> Tunnel:
        """Opens the whole route. Each login that a proxy requires costs a connection: the refused one is not used again."""
        try:
            await self._prepare_logins()
        except BaseException:
            if ready is not None:
                ready.close()
            raise
        while True:
            try:
                return await self._through(ready or await self.connect())
            except ReconnectRequired:
                ready = None

    async def _prepare_logins(self) -> None:
        for hop, exchange in zip(self._route.hops, self._exchanges, strict=True):
            if hop.login is not None:  # before connecting: a person may take longer than a proxy waits
                self._awaited = f"preparing the login to proxy {hop.address}", _LONGER
                await without_deadline(hop, self.limit, exchange.prepare() if exchange is not None else hop.login.secret())

    async def _through(self, stream: Stream) -> Tunnel:
        route, early = self._route, b""
        try:
            for place, hop in enumerate(route.hops):
                if place:
                    stream, early = await self._wrap(stream, "proxy", hop.address, hop.tls, early), b"" if hop.tls else early
                stop = self._stops[place + 1]
                inner = place + 1 < len(route.hops)  # the next stop is another proxy
                hint = _silence(hop, self._exchanges[place])
                self._awaited = f"waiting for proxy {hop.address} to reach {stop}", _of_a_proxy(hint) if inner else hint
                self._asking = True
                challenged = hop._replace(fields=(*route.fields, *hop.fields)) if route.fields and hop.protocol == "http" else hop
                question = Handshake(challenged, stop, route.no_readahead, self.limit, self._trace)
                try:
                    early = await ask(question, stream, early, self._exchanges[place])
                except TunnelctlError as error:
                    error.hop, error.may_speak_tls = place, may_speak_tls(hop, error, self._exchanges[place])
                    error.hint = _of_a_proxy(error.hint) if inner else error.hint
                    raise
            if route.tls is not None:
                stream, early = await self._wrap(stream, "target", route.target, route.tls, early), b""
        except BaseException:
            stream.close()
            raise
        return Tunnel(stream, early)

    async def _wrap(self, stream: Stream, role: str, address: Address, settings: TLSClient | None, early: bytes) -> Stream:
        """Starts TLS with the peer at the other end of a stream, unless `settings` is None."""
        if settings is None:
            return stream
        peer = f"{role} {address}"
        from tunnelctl.stream.tls.failure import tls_error
        from tunnelctl.stream.tls.stream import start_tls

        self._awaited = f"waiting for TLS with {peer}", _silence_in_tls(role, address)
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
        facts = {"version": seen.version, "cipher": seen.cipher, "alpn": seen.alpn, "pin": seen.pin, "chain": seen.chain}
        self._trace("tls", to=peer, subject=seen.subject, issuer=seen.issuer, expires=seen.expires, **facts)
        return wrapped

    async def _dial(self, address: Address, role: str) -> Stream:
        self._asking = False
        self._awaited = f"looking up {role} {address.host}", _unreached(self._route)
        self._trace("lookup", host=address.host)
        addresses = await self._resolve(address, role)
        self._awaited = f"connecting to {role} {address}", _unreached(self._route)
        self._trace("dial", to=str(address), addresses=[entry.host for entry in addresses])
        try:
            stream = await dial(addresses, self._route.keepalive, self._route.attempt_timeout)
        except DialError as error:
            what, hint = f"cannot connect to {role} {address}", _not_connected(error, self._route)
            raise Unreachable(what, _attempts(error), hint, **_detail(role, _error_type(error))) from error
        self._trace("connected", to=str(address), address=stream.peer)
        return stream

    async def _resolve(self, address: Address, role: str) -> list[SocketAddress]:
        family = {4: socket.AF_INET, 6: socket.AF_INET6}.get(self._route.family, socket.AF_UNSPEC)
        what = f"cannot look up {role} {address.host}"
        try:
            return await resolve(address.host, address.port, family)
        except BusyResourceError as error:
            raise Unreachable(what, "too many look-ups hang") from error
        except (socket.gaierror, UnicodeError) as error:
            if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
                cause, hint = "the name service does not answer", direct_hint(self._route)
                raise Unreachable(what, cause, hint, **_detail(role, "dns_timeout")) from error
            suffix = f" in IPv{self._route.family}" if self._route.family else ""
            raise NameNotFound(what, f"it has no address{suffix}", _unknown(self._route), **_detail(role, "dns_error")) from error
        except OSError as error:  # EAI_SYSTEM: the resolver has no descriptor left, or no memory
            raise Unreachable(what, reason(error)) from error


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


def direct_hint(route: Route) -> str:
    """Hint for a target that could not be reached without a proxy; "" if there is a proxy, or the user chose to use none."""
    if route.hops or route.origin == "-x":
        return ""
    if route.unused:
        return f"{route.unused} is set, and tunnelctl does not look at it: set https_proxy, or give -x URL"
    return f"this was without a proxy ({route.origin}); -x URL names one"


def _unreached(route: Route) -> str:
    """Hint for a look-up or a connection that took too long."""
    return direct_hint(route) or (_port(route.hops[0]) if route.hops else "") or _LONGER


def _not_connected(error: DialError, route: Route) -> str:
    if not route.hops:
        return direct_hint(route)
    if any(cause.errno == EINVAL and address.host.startswith("fe80:") for address, cause in error.attempts):
        return f"a link-local address needs its interface, as in [{route.hops[0].address.host}%25eth0]"
    if all(isinstance(cause, ConnectionRefusedError) for _, cause in error.attempts):
        return _port(route.hops[0]) or "nothing listens there; is the port right?"
    return _port(route.hops[0])


def _port(hop: Hop) -> str:
    """Hint for a proxy on the port of web servers, which is the default of a URL without a port."""
    web = 80 if hop.tls is None else 443
    usual = hop.protocol == "http" and hop.address.port == web
    return f"{web} is the port of web servers, and of a URL without a port: most proxies listen on 3128 or 8080" if usual else ""


def _unknown(route: Route) -> str:
    if not route.hops:
        return direct_hint(route)
    if route.family:
        return f"does it have one in IPv{10 - route.family}? Then leave -{route.family} out"
    return "is it spelled right? Some names are known inside a company's network or VPN only"


def _silence(hop: Hop, exchange: AuthExchange | None) -> str:
    """Hint for a proxy that sent no response to a request: it waits for the target, or it speaks another protocol."""
    if hop.protocol != "http":
        return f"{_BEYOND}; or it is no SOCKS proxy: if it speaks HTTP, its URL is http://{hop.address}, or https:// with TLS"
    if hop.tls is None and not (exchange is not None and exchange.challenged):
        return f"{_BEYOND}; or it is no HTTP proxy: if it speaks TLS, its URL is https://{hop.address}, or socks5:// for SOCKS"
    return f"{_BEYOND}; {_LONGER}"


def _of_a_proxy(hint: str) -> str:
    """Rewords a hint about the target for a proxy whose next stop is another proxy."""
    return hint.replace("the target", "the next proxy").replace("are host and port right?", "are host and port in its URL right?")


def _silence_in_tls(role: str, address: Address) -> str:
    if role == "target":
        return "it has said nothing to a TLS greeting; is the port right?"
    without = WITHOUT_TLS.format(peer=address)
    return f"it has said nothing to a TLS greeting; {without}"
