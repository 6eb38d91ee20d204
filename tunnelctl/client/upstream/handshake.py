"""The handshake with one proxy, on a stream that reaches it: CONNECT with as many legs of a login as it takes, or SOCKS."""

from __future__ import annotations

from math import inf
from time import monotonic

from tunnelctl.client.route.route import Hop
from tunnelctl.engine.kernel import CancelScope, move_on_after
from tunnelctl.errors import (
    AuthenticationFailed,
    MalformedAnswer,
    NoAnswer,
    SpeaksTLS,
    TLSFailed,
    TunnelctlError,
    Unreachable,
    reason,
)
from tunnelctl.namedtuple import NamedTuple
from tunnelctl.proto.address import Address
from tunnelctl.proto.headers import SECRET, Fields, get, get_all
from tunnelctl.proto.http1.connect_client import IS_IT_TLS, LOGIN_WANTED, SPEAKS_TLS, ConnectClient, Established, Rejected
from tunnelctl.stream.base import CHUNK, Stream
from tunnelctl.trace import Trace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable
    from typing import TypeVar

    from tunnelctl.client.auth.exchange import AuthExchange
    from tunnelctl.proto.auth.challenge import Challenge

    T = TypeVar("T")

BAD_REQUEST = 400  # Apache, nginx and our `serve` send it in plain text to a client that should have used TLS

# How long the rest of a refusal's body may take; its head has already said what matters.
BODY_SECONDS = 2.0


class ReconnectRequired(Exception):
    """The proxy requires a login, which is to be sent on a new connection."""


class Handshake(NamedTuple):
    """One handshake: the proxy, and the next stop to request from it."""

    hop: Hop
    stop: Address  # the next proxy, or the target
    no_readahead: bool  # read no byte beyond the response: the socket itself will be passed on
    limit: CancelScope  # on the whole route
    trace: Trace

    @property
    def what(self) -> str:
        """The subject of an error."""
        return f"proxy {self.hop.address}, asked for {self.stop}"


async def ask(question: Handshake, stream: Stream, early: bytes, exchange: AuthExchange | None) -> bytes:
    """Opens the tunnel to the next stop. Returns its bytes that followed the response. Raises TunnelctlError or ReconnectRequired.

    early: bytes that the proxy has sent already
    """
    try:
        if question.hop.protocol != "http":
            return await _ask_socks(question, stream, early)
        return await _ask_http(question, stream, early, exchange)
    except SpeaksTLS as error:
        raise speaks_tls(question.what, question.hop) from error
    except (MalformedAnswer, TLSFailed) as error:
        error.what = question.what
        if error.hint == IS_IT_TLS and _speaks_http(exchange):
            error.hint = ""
        raise
    except OSError as error:
        raise _broken(question, error, IS_IT_TLS) from error


def speaks_tls(what: str, hop: Hop) -> SpeaksTLS:
    """The error for a proxy that speaks TLS although its URL says http://."""
    return SpeaksTLS(what, SPEAKS_TLS, f"its URL is https://{hop.address}")


def _speaks_http(exchange: AuthExchange | None) -> bool:
    """Whether the proxy is known to speak HTTP, because it has already required a login."""
    return exchange is not None and exchange.challenged


def may_speak_tls(hop: Hop, error: TunnelctlError, exchange: AuthExchange | None) -> bool:
    """True if the failure looks like a TLS proxy addressed in plain text: it closes without a response, or responds with 400.

    Never with SOCKS: the greeting of version 5 is shorter than the header of a TLS record, so a TLS proxy waits for the rest.
    """
    if hop.tls is not None or hop.protocol != "http" or _speaks_http(exchange):
        return False
    return error.hint == IS_IT_TLS or error.detail.get("code") == BAD_REQUEST


def _broken(question: Handshake, error: OSError, in_the_clear: str) -> TunnelctlError:
    """Translates a connection failure during the handshake into an error. in_the_clear: the hint for a proxy without TLS"""
    hint = in_the_clear
    if question.hop.tls is not None:
        from tunnelctl.stream.tls.failure import tls_error

        failure = tls_error(question.what, error, question.hop.tls, question.hop.address)
        if isinstance(failure, TLSFailed):  # in TLS 1.3 a missing client certificate is reported only now
            return failure
        hint = f"it may want a client certificate ({question.hop.tls.flags}-cert)" if question.hop.tls.cert is None else ""
    return Unreachable(f"{question.what}, broke the connection before it answered", reason(error), hint)


async def _ask_http(question: Handshake, stream: Stream, early: bytes, exchange: AuthExchange | None) -> bytes:
    fresh = True
    while True:
        fields = await _fields(question.hop, exchange, fresh)
        keep = exchange is not None and exchange.connection_bound
        machine = ConnectClient(question.stop, fields, keep)
        question.trace("request", head=machine.masked_request())
        try:
            answer = await _converse(question, stream, machine, early, keep)
        except (OSError, NoAnswer) as error:
            if not fresh and not machine.heard:
                raise _cut_off(question) from error
            if isinstance(error, NoAnswer):
                raise
            hint = "" if machine.heard or _speaks_http(exchange) else IS_IT_TLS
            raise _broken(question, error, hint) from error
        question.trace("response", head=_shown(answer, fields), status=answer.status)
        if isinstance(answer, Established):
            if exchange is not None:
                exchange.accepted(get(answer.fields, "proxy-authentication-info"))
            return answer.leftover
        if not await _next_step(question, answer, exchange):
            from tunnelctl.client.upstream.error_response import refused  # not needed to open a tunnel, and it loads re

            raise refused(answer, question.hop.address, fields, question.stop, exchange.failure if exchange is not None else None)
        fresh, early = False, b""


async def _fields(hop: Hop, exchange: AuthExchange | None, fresh: bool) -> Fields:
    """The fields of the next request."""
    if exchange is None:
        return hop.fields
    fields = hop.fields
    # A proxy that speaks HTTP/1.0, as Squid 2.7 and ISA do, keeps the connection for the next leg only if this field requests it.
    # RFC 9112 Appendix C.2.2 warns of the field because a proxy may forward it; a CONNECT is not forwarded.
    if exchange.keeps_connection and get(fields, "proxy-connection") is None:
        fields = (("Proxy-Connection", "keep-alive"), *fields)
    value = await exchange.value(fresh)
    return (("Proxy-Authorization", value), *fields) if value is not None else fields


def _shown(answer: Established | Rejected, sent: Fields) -> bytes:
    """The head of the response, for people and logs, without secrets: some proxies repeat the request in it."""
    if not any(name.lower() in SECRET for name, _ in sent):
        return answer.head
    from tunnelctl.client.upstream.redact import Redactor

    return Redactor(sent).masked_in_head(answer.head)


async def _next_step(question: Handshake, answer: Rejected, exchange: AuthExchange | None) -> bool:
    """Whether the login continues after this refusal, on the same connection. Raises ReconnectRequired if it needs a new one."""
    if exchange is None or answer.status not in LOGIN_WANTED:
        return False
    if not await without_deadline(question.hop, question.limit, exchange.answer(_challenges(answer))):
        return False
    if not exchange.in_progress:
        raise ReconnectRequired
    if answer.reusable:
        return True
    raise _cut_off(question)


def _cut_off(question: Handshake) -> AuthenticationFailed:
    """The error for a proxy that ends the connection between two legs of a login, announced or not."""
    cause = "it closed the connection in the middle of the login, which is bound to it"
    hint = "NTLM and Negotiate need a connection that stays open: is there a load balancer, or another proxy, that ends it?"
    return AuthenticationFailed(question.what, cause, hint)


async def without_deadline(hop: Hop, limit: CancelScope, work: Awaitable[T]) -> T:
    """Awaits `work`, and suspends the limit on the whole route meanwhile if a person may have to type a password."""
    if hop.login is None or not hop.login.may_prompt:
        return await work
    left, limit.deadline = limit.deadline - monotonic(), inf
    try:
        return await work
    finally:
        limit.deadline = monotonic() + left


def _challenges(answer: Rejected) -> tuple[Challenge, ...]:
    from tunnelctl.proto.auth.challenge import parse_challenges

    # 401 is for servers, but some proxies send it in place of 407; the credentials are the proxy's in any case.
    names = ("proxy-authenticate", "www-authenticate") if answer.status == 401 else ("proxy-authenticate",)
    return parse_challenges(value for name in names for value in get_all(answer.fields, name))


async def _converse(
    question: Handshake, stream: Stream, machine: ConnectClient, early: bytes, keep: bool
) -> Established | Rejected:
    """Sends the request and reads the response.

    keep: the connection is needed after a 407, so its body is read, however long that takes
    """
    answer = machine.feed(early) if early else None
    try:
        await stream.send_all(machine.request())
    except OSError:
        # The proxy closed without reading. Its reason may be in our receive queue: a refusal, or a TLS alert.
        answer = answer or await _unread(stream, machine)
        if answer is None:
            raise
    while answer is None:
        if machine.refusing:
            return await _read_body(question, stream, machine, inf if keep else BODY_SECONDS)
        answer = await _read(question, stream, machine)
    return answer


async def _unread(stream: Stream, machine: ConnectClient) -> Established | Rejected | None:
    """Reads a response that arrived before the connection broke.

    This must wait: after a short read the stream counts as drained until its next event. On a broken one, that has already come.
    """
    answer = None
    with move_on_after(BODY_SECONDS):
        while answer is None and (data := await stream.receive_some()):
            answer = machine.feed(data)
    return machine.eof() if answer is None and machine.refusing else answer


async def _read(question: Handshake, stream: Stream, machine: ConnectClient) -> Established | Rejected | None:
    data = await stream.receive_some(1 if question.no_readahead else CHUNK)
    return machine.feed(data) if data else machine.eof()


async def _read_body(question: Handshake, stream: Stream, machine: ConnectClient, most: float) -> Established | Rejected:
    """Returns the refusal with as much of its body as arrives in time. Its head is complete: no reset or limit hides it."""
    limit = question.limit
    left = limit.deadline - monotonic()
    limit.deadline += BODY_SECONDS  # so that the limit below strikes, and not this one, which reports "timed out"
    try:
        with move_on_after(min(most, left)):
            while data := await stream.receive_some():
                answer = machine.feed(data)
                if answer is not None:
                    return answer
    except OSError:
        pass
    finally:
        limit.deadline -= BODY_SECONDS  # the next request is under it again
    return machine.eof()


async def _ask_socks(question: Handshake, stream: Stream, early: bytes) -> bytes:
    from tunnelctl.proto.socks.client import SocksClient

    login = question.hop.login
    secret = await without_deadline(question.hop, question.limit, login.secret()) if login is not None else None
    machine = SocksClient(question.stop, question.hop.protocol, (secret.user or "", secret.password) if secret else None)
    try:
        await stream.send_all(machine.request())
        outcome = machine.feed(early) if early else None
        while outcome is None:
            if output := machine.take_output():
                await stream.send_all(output)
            data = await stream.receive_some(machine.wanted if question.no_readahead else CHUNK)
            if not data:
                raise machine.eof()
            outcome = machine.feed(data)
    except TunnelctlError as error:
        error.what = question.what
        if isinstance(error, AuthenticationFailed) and secret is None and login is not None and question.hop.protocol == "socks5":
            from tunnelctl.client.upstream.error_response import NO_LOGIN

            error.hint = NO_LOGIN[login.missing]
        raise
    return outcome.leftover
