"""HTTP/1.1, with or without TLS: CONNECT, with as many authentication steps as the proxy requires."""

from __future__ import annotations

from math import inf

from tunnelctl import events
from tunnelctl.client.route.route import Hop, Tunnel
from tunnelctl.client.upstream.base import ReconnectRequired, SingleTunnelConnection, TunnelRequest, without_deadline
from tunnelctl.engine.kernel import move_on_after
from tunnelctl.errors import AuthenticationFailed, MalformedAnswer, NoAnswer, SpeaksTLS, TLSFailed, TunnelctlError
from tunnelctl.proto.headers import SECRET, Fields, get, get_all, readable, text
from tunnelctl.proto.http1.connect_client import LOGIN_WANTED, SPEAKS_TLS, ConnectClient, Established, Rejected
from tunnelctl.stream.base import CHUNK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tunnelctl.client.auth.exchange import AuthExchange
    from tunnelctl.proto.auth.challenge import Challenge

BAD_REQUEST = 400  # Apache, nginx and our `serve` send it in plain text to a client that should have used TLS

# How long the rest of a refusal's body may take; its head has already said what matters.
BODY_SECONDS = 2.0


# Codes of a proxy without TLS that closed without a response, as a TLS server does on plain text.
_MUTE = ("closed-mute", "broke-mute")


class HTTP1Connection(SingleTunnelConnection):
    """A connection to an HTTP proxy. It becomes the tunnel with the first 2xx; a refusal ends it, unless a login goes on."""

    async def _open(self, request: TunnelRequest) -> Tunnel:
        try:
            return Tunnel(self.stream, await self._named(request))
        except TunnelctlError as error:
            error.may_speak_tls = self._may_speak_tls(error, request.exchange)
            raise

    def _may_speak_tls(self, error: TunnelctlError, exchange: AuthExchange | None) -> bool:
        """True if it failed as a TLS proxy does that is addressed in plain text: it closes silently, or responds with 400."""
        if self.hop.tls is not None or _speaks_http(exchange):
            return False
        return error.code in _MUTE or error.detail.get("code") == BAD_REQUEST

    async def _named(self, request: TunnelRequest) -> bytes:
        """Opens the tunnel, with errors that name the proxy and its task. Returns the bytes that followed the response."""
        try:
            return await self._ask(request)
        except SpeaksTLS as error:
            raise speaks_tls(request.what, self.hop) from error
        except (MalformedAnswer, TLSFailed) as error:
            raise error.within(request.what, speaks_http=_speaks_http(request.exchange)) from error
        except OSError as error:
            raise self.broken(request, error) from error

    async def _ask(self, request: TunnelRequest) -> bytes:
        exchange, early, fresh = request.exchange, self.early, True
        while True:
            fields = await self._fields(request, fresh)
            keep = exchange is not None and exchange.connection_bound
            machine = ConnectClient(request.stop, fields, keep)
            request.trace(events.Request(str(request.stop), machine.version, readable(machine.masked_fields)))
            try:
                answer = await self._converse(request, machine, early, keep)
            except (OSError, NoAnswer) as error:
                if not fresh and not machine.heard:
                    raise _cut_off(request) from error
                if isinstance(error, NoAnswer):
                    raise
                raise self.broken(request, error, machine.heard or _speaks_http(exchange)) from error
            request.trace(shown(answer, fields))
            if isinstance(answer, Established):
                if exchange is not None:
                    exchange.accepted(get(answer.fields, "proxy-authentication-info"))
                return answer.leftover
            if not await self._next_step(request, answer):
                from tunnelctl.client.upstream.error_response import refused  # not needed to open a tunnel, and it loads re

                raise refused(answer, self.hop.address, fields, request.stop, exchange.failure if exchange is not None else None)
            fresh, early = False, b""

    async def _fields(self, request: TunnelRequest, fresh: bool) -> Fields:
        """The fields of the next request. fresh: it is the first on this connection"""
        fields, exchange = (*request.fields, *self.hop.fields), request.exchange
        if exchange is None:
            return fields
        # A proxy that speaks HTTP/1.0, as Squid 2.7 and ISA do, keeps the connection for the next leg only if this field requests
        # it. RFC 9112 Appendix C.2.2 warns of the field because a proxy may forward it; a CONNECT is not forwarded.
        if exchange.keeps_connection and get(fields, "proxy-connection") is None:
            fields = (("Proxy-Connection", "keep-alive"), *fields)
        value = await exchange.value(fresh)
        return (("Proxy-Authorization", value), *fields) if value is not None else fields

    async def _next_step(self, request: TunnelRequest, answer: Rejected) -> bool:
        """Whether the login goes on after this refusal, on this connection. Raises ReconnectRequired if it needs a new one."""
        exchange = request.exchange
        if exchange is None or answer.status not in LOGIN_WANTED:
            return False
        if not await without_deadline(self.hop.login, request.deadline, exchange.answer(challenges(answer))):
            return False
        if not exchange.in_progress:
            raise ReconnectRequired
        if answer.reusable:
            return True
        raise _cut_off(request)

    async def _converse(self, request: TunnelRequest, machine: ConnectClient, early: bytes, keep: bool) -> Established | Rejected:
        """Sends the request and reads the response.

        keep: the connection is needed after a 407, so its body is read, however long that takes
        """
        answer = machine.feed(early) if early else None
        try:
            await self.stream.send_all(machine.request())
        except OSError:
            # The proxy closed without reading. Its reason may be in our receive queue: a refusal, or a TLS alert.
            answer = answer or await self._unread(machine)
            if answer is None:
                raise
        while answer is None:
            if machine.refusing:
                return await self._read_body(request, machine, inf if keep else BODY_SECONDS)
            data = await self.stream.receive_some(1 if request.no_readahead else CHUNK)
            answer = machine.feed(data) if data else machine.eof()
        return answer

    async def _unread(self, machine: ConnectClient) -> Established | Rejected | None:
        """Reads a response that arrived before the connection broke.

        This must wait: after a short read the stream counts as drained until its next event. On a broken one, that has come.
        """
        answer = None
        with move_on_after(BODY_SECONDS):
            while answer is None and (data := await self.stream.receive_some()):
                answer = machine.feed(data)
        return machine.eof() if answer is None and machine.refusing else answer

    async def _read_body(self, request: TunnelRequest, machine: ConnectClient, most: float) -> Established | Rejected:
        """Returns the refusal with as much of its body as arrives in time. Its head is complete: no reset or limit hides it."""

        async def rest() -> Established | Rejected | None:
            while data := await self.stream.receive_some():
                if (answer := machine.feed(data)) is not None:
                    return answer
            return None

        try:
            answer = await request.deadline.at_most(most, rest())
        except OSError:
            answer = None
        return answer or machine.eof()


def speaks_tls(what: str, hop: Hop) -> SpeaksTLS:
    """The error for a proxy that speaks TLS although its URL says http://."""
    error = SpeaksTLS(what, SPEAKS_TLS, "speaks-tls", facts={"peer": hop.address})
    error.proxy = str(hop.address)
    return error


def _speaks_http(exchange: AuthExchange | None) -> bool:
    """Whether the proxy is known to speak HTTP, because it has already required a login."""
    return exchange is not None and exchange.challenged


def _cut_off(request: TunnelRequest) -> AuthenticationFailed:
    """The error for a proxy that ends the connection between two legs of a login, announced or not."""
    cause = "it closed the connection in the middle of the login, which must stay on one connection"
    return AuthenticationFailed(request.what, cause, "login-cut-off")


def shown(answer: Established | Rejected, sent: Fields) -> events.Response:
    """The response for people and logs, without secrets: some proxies repeat the request in it."""
    reason, fields = answer.reason, answer.fields
    if any(name.lower() in SECRET for name, _ in sent):
        from tunnelctl.client.upstream.redact import Redactor

        redactor = Redactor(sent)
        reason, fields = redactor.masked(reason), redactor.masked_fields(fields)
    return events.Response(answer.version, answer.status, text(reason), readable(fields))


def challenges(answer: Rejected) -> tuple[Challenge, ...]:
    """The challenges of a refusal that requires a login."""
    from tunnelctl.proto.auth.challenge import parse_challenges

    # 401 is for servers, but some proxies send it in place of 407; the credentials are the proxy's in any case.
    names = ("proxy-authenticate", "www-authenticate") if answer.status == 401 else ("proxy-authenticate",)
    return parse_challenges(value for name in names for value in get_all(answer.fields, name))
