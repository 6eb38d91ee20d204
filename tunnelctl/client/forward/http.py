"""Plain http requests at a dynamic port: each opens a tunnel to its host, and streams through it."""

from typing import NoReturn

import h11

from tunnelctl.client.forward.session import HALF_CLOSED_SECONDS, REQUEST_SECONDS, LocalSession
from tunnelctl.engine.kernel import current_time, move_on_after
from tunnelctl.errors import MalformedAnswer, TunnelBroken, TunnelctlError, reason
from tunnelctl.proto import refusal
from tunnelctl.proto.address import Address
from tunnelctl.proto.http1.forward_request import NotForUs, authorization, to_origin, via
from tunnelctl.proto.http1.messages import Incomplete, MessageError, Messages
from tunnelctl.proto.http1.render import render_refusal
from tunnelctl.proto.local_port import LocalRefusal, read_login, refusal_for
from tunnelctl.proto.refusal import Refusal
from tunnelctl.stream.exchange import Exchange
from tunnelctl.stream.relay import TimeLimits


class PlainHTTP:
    """One client connection and its requests, one after the other."""

    def __init__(self, session: LocalSession) -> None:
        self._session = session
        self._stream = session.stream
        self._client = Messages(h11.SERVER)
        self._to_head = False  # whether the current request is HEAD, so that its response has no content

    async def run(self, first: bytes) -> None:
        """Serves the requests until one side ends the connection."""
        self._client.receive(first)
        try:
            while (request := await self._next_request()) is not None and await self._serve(request):
                pass
        except NotForUs as no:
            await self._session.turn_away(LocalRefusal(render_refusal(no.answer, to_head=self._to_head), no.cause))
        else:
            await self._session.after_remote_eof(b"")

    async def _next_request(self) -> h11.Request | None:
        self._to_head = False
        with move_on_after(REQUEST_SECONDS):
            try:
                while (event := self._client.next_event()) is h11.NEED_DATA:
                    self._client.receive(await self._stream.receive_some())
            except MessageError as error:
                self._to_head = error.to_head
                raise NotForUs(refusal.bad_request(error.cause, error.status)) from None
            if isinstance(event, h11.Request):
                self._to_head = event.method == b"HEAD"
                return event
        return None

    async def _serve(self, request: h11.Request) -> bool:
        """Serves one request to the end of its response. True if another one may follow on the connection."""
        if self._session.login:
            await self._admit(authorization(request))
        target, forwarded = to_origin(request, self._session.name)
        tunnel = await self._session.open_or_report(target, via(request))
        if isinstance(tunnel, TunnelctlError):
            raise NotForUs(refusal_for(tunnel), "")
        if tunnel is None:
            return False
        limits = TimeLimits(self._session.idle, HALF_CLOSED_SECONDS)
        exchange, begun = Exchange(self._client, self._stream, tunnel.stream, tunnel.early, limits), current_time()
        ended_by, cause = "", "drained"
        self._session.moved = exchange.moved
        try:
            _, _, ended_by, cause, _ = await exchange.run(forwarded, self._session.name, self._session.watch, last=False)
        finally:
            self._session.ended(exchange.moved[0], exchange.moved[1], current_time() - begun, ended_by, cause)
        if cause != "eof":
            self._broken(exchange, target)
        return self._client.next_cycle()

    async def _admit(self, given: str | None) -> None:
        """Raises NotForUs for a request without a login, or with a wrong one. given: its Proxy-Authorization"""
        login = read_login(given)
        answer = login if isinstance(login, Refusal) else await self._session.judge(login)
        if answer is not None:
            raise NotForUs(answer, "" if given is None else None)  # most clients log in only after a challenge

    def _broken(self, exchange: Exchange, target: Address) -> NoReturn:
        """Raises NotForUs while an error can still be sent to the client.

        Otherwise raises ConnectionResetError: after the head of a response, only a reset shows that it is incomplete.
        """
        error = exchange.failure
        if error is None or exchange.client_failed:
            if exchange.may_answer and isinstance(error, MessageError):
                raise NotForUs(refusal.bad_request(error.cause, error.status))
            raise ConnectionResetError("the client has gone")
        failure = _failure(error, target)
        if isinstance(error, MessageError) or (exchange.may_answer and not exchange.client_ended):
            self._session.report(failure)
        if exchange.may_answer:
            raise NotForUs(refusal_for(failure), "")
        raise ConnectionResetError("the exchange broke")


def _failure(error: MessageError | OSError, target: Address) -> TunnelctlError:
    """The error of the server, or of the tunnel to it."""
    if isinstance(error, OSError):
        return TunnelBroken(f"target {target}", reason(error), "target-broke", detail={"error": "connection_terminated"})
    kind = "http_response_incomplete" if isinstance(error, Incomplete) else "http_protocol_error"
    return MalformedAnswer(f"target {target}", error.cause, "target-answer", detail={"error": kind})
