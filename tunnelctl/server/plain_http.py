"""Plain http requests on a connection from a client, with --plain-http: one request, its response, and the end.

    the connection sees another method than CONNECT
      -> serve            reads the head (the strict reader), and converts it for the target (tunnelctl.proto.http1.forward_request)
      -> serve_tunnel     decides as about a tunnel to that host and port: users, caps, rules, addresses, dial, records
      -> Exchange         in place of the relay: passes on the request and the response, framed anew (tunnelctl.stream.exchange)
      -> _finish          tells the client of a failure, if its response has not begun, and closes the connection

One request a connection. A client that pipelines (apt) sends the others again, on further connections: what has been read of them
is dropped. So no client's framing can decide where a second request begins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import h11

from tunnelctl.engine.kernel import CancelScope, move_on_after
from tunnelctl.proto import refusal
from tunnelctl.proto.http1.forward_request import NotForUs, authorization, fields, to_origin
from tunnelctl.proto.http1.messages import Incomplete, MessageError, Messages
from tunnelctl.proto.refusal import Refusal
from tunnelctl.server.http1 import HEAD_CHUNK, Http1Responder
from tunnelctl.server.observe.record import TunnelRecord
from tunnelctl.server.request import Client, RefusedError, TunnelRequest
from tunnelctl.server.service import Service
from tunnelctl.server.tunnel import serve_tunnel
from tunnelctl.stream.base import Stream
from tunnelctl.stream.exchange import Exchange
from tunnelctl.stream.linger import LINGER_SECONDS, linger
from tunnelctl.stream.relay import Outcome, TimeLimits


async def serve(service: Service, client: Client, stream: Stream, data: bytes, record: TunnelRecord, deadline: float) -> None:
    """Serves a connection whose first bytes are `data`, and whose request is no CONNECT. Parameters as of `http1.serve`"""
    messages = Messages(h11.SERVER)
    messages.receive(data)
    to_head = False
    try:
        request = await _read_request(messages, stream, deadline)
        if request is None:
            return
        to_head, record.method = request.method == b"HEAD", request.method.decode("ascii")
        target, forwarded = to_origin(request, service.name)
    except MessageError as error:
        await _refuse(service, stream, record, refusal.bad_request(error.cause, error.status), error.to_head)
    except NotForUs as no:
        await _refuse(service, stream, record, no.answer, to_head)
    else:
        served = _Served(messages, forwarded, service.name, stream, to_head)
        uris = request.target.decode("ascii"), forwarded.target.decode("ascii")
        login, responder, method = authorization(request), served.responder, record.method
        asked = TunnelRequest(target, fields(request), login, deadline, record, responder, method, uris, served.carry)
        await serve_tunnel(service, client, asked)
        await served.finish()


async def _read_request(messages: Messages, stream: Stream, deadline: float) -> h11.Request | None:
    """Returns the request; None if the client left without one. Raises MessageError, and NotForUs if it takes too long."""
    with CancelScope(deadline):
        while (event := messages.next_event()) is h11.NEED_DATA:
            messages.receive(await stream.receive_some(HEAD_CHUNK))
        return event if isinstance(event, h11.Request) else None
    raise NotForUs(refusal.head_timeout())


async def _refuse(service: Service, stream: Stream, record: TunnelRecord, answer: Refusal, to_head: bool) -> None:
    await service.refuse(record, Http1Responder(stream, to_head=to_head), RefusedError(answer))


class _Responder(Http1Responder):
    """The response is the target's, so nothing precedes it."""

    __slots__ = ()

    async def grant(self) -> tuple[Stream, bytes]:
        self._stream.unwatch()
        return self._stream, b""


class _Served:
    """The carrier of a request that is granted; and the end of its connection."""

    __slots__ = ("_exchange", "_forwarded", "_messages", "_name", "_outcome", "_stream", "responder")

    def __init__(self, messages: Messages, forwarded: h11.Request, name: str, stream: Stream, to_head: bool) -> None:
        """messages: have read the request's head; forwarded: the request as the target is to receive it"""
        self._messages, self._forwarded, self._name, self._stream = messages, forwarded, name, stream
        self._exchange: Exchange | None = None
        self._outcome: Outcome | None = None
        self.responder = _Responder(stream, to_head=to_head)

    def carry(self, client: Stream, target: Stream, _: bytes, early: bytes, limits: TimeLimits) -> _Served:
        self._exchange = Exchange(self._messages, client, target, early, limits)
        return self

    @property
    def _running(self) -> Exchange:
        assert self._exchange is not None
        return self._exchange

    @property
    def moved(self) -> Sequence[int]:
        return self._running.moved

    @property
    def idle(self) -> float | None:
        return self._running.idle

    async def run(self) -> Outcome:
        try:
            self._outcome = await self._running.run(self._forwarded, self._name, self._watch, last=True)
        finally:
            if self._outcome is None:  # stopped from outside: a closed connection could look like the end of the response
                self._stream.abort()
        return self._outcome

    def _watch(self, ended: Callable[[], None], gone: Callable[[], None]) -> None:
        self.responder.watch(gone, ended)

    async def finish(self) -> None:
        """Ends the connection of a request that was granted: with the response that is due, or in order, or with a reset."""
        if self._exchange is None or self._outcome is None:
            return
        if self._outcome.cause == "eof":
            with move_on_after(LINGER_SECONDS):
                await linger(self._stream)
        elif self._exchange.may_answer and (answer := _answer_to(self._exchange)) is not None:
            await self.responder.refuse(answer)
        else:
            self._stream.abort()


def _answer_to(exchange: Exchange) -> Refusal | None:
    """Returns the response to a request that failed after the target was connected; None if there is nobody to tell."""
    failure = exchange.failure
    if exchange.client_failed:
        return refusal.bad_request(failure.cause, failure.status) if isinstance(failure, MessageError) else None
    if isinstance(failure, Incomplete):
        return refusal.answer_failed("http_response_incomplete", "the target ended the connection before its response")
    if isinstance(failure, MessageError):
        return refusal.answer_failed("http_protocol_error", "the response of the target is malformed")
    if isinstance(failure, TimeoutError):
        return refusal.answer_failed("connection_read_timeout", "the target did not answer in time", 504)
    return refusal.connection_failed()
