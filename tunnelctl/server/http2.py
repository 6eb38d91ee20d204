"""HTTP/2 on a connection from a client: many requests, each with a decision, a record and a tunnel of its own.

    serve -> Http2Connection.run -> RequestReceived -> serve_tunnel(service, client, TunnelRequest(..., responder)) in a nursery

A refusal ends its stream, not the connection: a client may log in on another stream. What ends the connection is recorded as a
refusal without a target, once: a mistake or an abuse of the protocol, or no request in time. Its tunnel id is CONNECTION.0, since
stream 0 is the connection itself.

The head timeout limits the first request from accept on, and each later one from the first octet of its header block: as long as
one is incomplete, no frame of another stream may come (RFC 9113 section 6.10).

A connection without a tunnel is kept for a while, and a client network may have only so many of those: the one that has been idle
for longest goes first.

While the process drains, the client is told at once (GOAWAY) that it should open its next tunnels elsewhere, and a round trip later
which of its requests were accepted (RFC 9113 section 6.8). The connection is closed after the last tunnel.
"""

from __future__ import annotations

from collections.abc import Callable
from errno import ECONNRESET
from math import inf

from tunnelctl.engine.kernel import Nursery, current_time, sleep
from tunnelctl.engine.limiter import Owner
from tunnelctl.proto import refusal
from tunnelctl.proto.http2 import events
from tunnelctl.proto.http2.fields import Rejected
from tunnelctl.proto.http2.frame import ErrorCode, name_of
from tunnelctl.proto.http2.machine import Machine
from tunnelctl.proto.refusal import Refusal
from tunnelctl.server.observe.record import TunnelRecord
from tunnelctl.server.request import Client, RefusedError, Responder, Step, TunnelRequest
from tunnelctl.server.service import Service
from tunnelctl.server.tunnel import serve_tunnel
from tunnelctl.stream.base import Stream
from tunnelctl.stream.http2.connection import WINDOWS, Http2Connection
from tunnelctl.stream.http2.stream import Http2Stream

# Streams at once. Their cost is in what they reach, and the caps count that (--max-tunnels-per-client). This bounds what one
# connection can begin before any cap has judged it.
MAX_STREAMS = 100

# Seconds that a connection without a tunnel is kept: a client that opens one now and then saves a handshake, and the next
# connection that needs the descriptor is not far.
IDLE_SECONDS = 120.0
MAX_IDLE = 100  # such connections of one client network: each holds a descriptor, and no cap on tunnels counts it

# Octets of control frames, responses included, that a client has not read when it makes a further request. Responses to all the
# streams that it may have open are some 20 KiB at most.
MAX_UNREAD = 64 << 10

SHUTDOWN_SECONDS = 1.0  # for the round trip between the two GOAWAYs, if the client does not answer the PING
_SHUTDOWN = b"shutdown"  # the payload of that PING
_UNREAD = "the responses are not read"


def _refusal_for(failure: events.StreamFailed | events.ConnectionFailed) -> Refusal:
    """Returns the refusal to record for a mistake of the client, or for its abuse of the protocol."""
    what = f"HTTP/2: {name_of(failure.code)}: {failure.reason}"
    return refusal.client_busy(what) if failure.code == ErrorCode.ENHANCE_YOUR_CALM else refusal.bad_request(what)


class Http2Responder(Responder):
    """The response on one stream."""

    __slots__ = ("_answered", "_connection", "_session", "_stream", "_to_head")

    def __init__(self, session: _Session, connection: Http2Connection, stream: Http2Stream, to_head: bool = False) -> None:
        """session: is told when the request, or its tunnel, ends; to_head: whether the method is HEAD"""
        self._session, self._connection, self._stream, self._to_head = session, connection, stream, to_head
        self._answered = False

    async def grant(self) -> tuple[Stream, bytes]:
        self._respond(200)
        self._stream.unwatch()
        return self._stream, b""

    async def refuse(self, refusal: Refusal) -> None:
        self.refuse_nowait(refusal)

    def refuse_nowait(self, answer: Refusal) -> None:
        """Sends the body only if there is room for it: a refusal waits for nobody, and may be the last thing that is sent."""
        fields, body = refusal.response(answer)
        if self._to_head:
            self._respond(answer.status, fields, ended=True)
        elif self._stream.failed or self._connection.room(self._stream, len(body)) < len(body):
            self._respond(answer.status, tuple(field for field in fields if not field[0].startswith("Content-")), ended=True)
        else:
            self._respond(answer.status, fields)
            self._stream.send_nowait(body)
            self._stream.send_eof()

    def _respond(self, status: int, fields: tuple[tuple[str, str], ...] = (), ended: bool = False) -> None:
        if not self._connection.machine.is_open(self._stream.number):
            raise ConnectionResetError(ECONNRESET, "the client has reset the stream")
        self._answered = True
        self._connection.machine.respond(self._stream.number, status, fields, ended)
        self._connection.flush()

    def watch(self, gone: Callable[[], None], half_closed: Callable[[], None]) -> None:
        self._stream.on_broken(gone)
        self._stream.on_peer_closed(half_closed)

    def close(self) -> None:
        if self._answered:
            self._stream.close()
        else:
            self._stream.abort()
        self._session.request_ended()


class _IdleConnections:
    """Connections of this process without a tunnel, by client network. The one that has been idle for longest comes first."""

    def __init__(self) -> None:
        self._of: dict[Owner, dict[_Session, None]] = {}

    def add(self, owner: Owner, session: _Session) -> None:
        """Adds a connection. If there are too many, the first one ends."""
        sessions = self._of.setdefault(owner, {})
        sessions[session] = None
        if len(sessions) > MAX_IDLE:
            next(iter(sessions)).end()
            del sessions[next(iter(sessions))]

    def remove(self, owner: Owner, session: _Session) -> None:
        """Removes a connection, if it is here."""
        sessions = self._of.get(owner, {})
        sessions.pop(session, None)
        if not sessions:
            self._of.pop(owner, None)


_idle = _IdleConnections()


class _Session:
    """One connection, and the requests on it."""

    def __init__(self, service: Service, client: Client, transport: Stream, record: TunnelRecord, deadline: float) -> None:
        """record: for what ends the connection; deadline: for the first request"""
        self._service, self._client, self._record = service, client, record
        machine = Machine(False, WINDOWS, current_time(), MAX_STREAMS)
        codes, head = (ErrorCode.CONNECT_ERROR, ErrorCode.NO_ERROR), service.timeouts.head
        self._connection = Http2Connection(transport, machine, self._on_event, *codes, head)
        self._scope = self._connection.reading
        self._scope.reschedule(deadline)  # of the first request, or of being idle
        self._requests = Nursery()
        self._requested = self._draining = False
        self._open = 0  # requests and tunnels
        self._newest = 0  # the stream of the last request, well-formed or not

    async def run(self, data: bytes) -> None:
        """Serves the connection to its end. data: its first bytes"""
        async with Nursery() as helpers:
            helpers.start_soon(self._drain)
            try:
                async with self._requests:
                    await self._connection.run(data)
                    if self._scope.cancelled_caught and not self._requested and not self._draining:
                        self._record_refusal(self._record, refusal.head_timeout())
            finally:
                _idle.remove(self._client.owner, self)
                self._connection.send_last()
            helpers.cancel_scope.cancel()

    def end(self, seconds: float = 0.0) -> None:
        """Ends the connection in that time, unless there is another request."""
        self._scope.reschedule(current_time() + seconds)

    def _on_event(self, event: events.Event | None) -> None:
        if isinstance(event, events.RequestReceived):
            self._on_request(event)
        elif isinstance(event, events.PingAcknowledged) and event.payload == _SHUTDOWN:
            self._finish_shutdown()
        elif isinstance(event, events.StreamFailed) and event.stream > self._newest:  # a malformed request, reset already
            self._newest = event.stream
            self._record_refusal(self._record_of(event.stream), _refusal_for(event))
        elif isinstance(event, events.ConnectionFailed):
            self._record_refusal(self._record, _refusal_for(event))

    def _on_request(self, event: events.RequestReceived) -> None:
        machine = self._connection.machine
        if machine.closed:  # by the limit below, with more requests in the same read
            return
        if len(machine.output) > MAX_UNREAD:
            machine.fail(ErrorCode.ENHANCE_YOUR_CALM, _UNREAD)
            self._on_event(events.ConnectionFailed(ErrorCode.ENHANCE_YOUR_CALM, _UNREAD))
            return
        if not self._open:  # it was idle, with a deadline
            _idle.remove(self._client.owner, self)
            self._requested = True
            self._scope.reschedule(inf)
        self._open += 1
        number, request = event
        self._newest = number
        stream = self._connection.open(number)
        record = self._record_of(number)
        if isinstance(request, Rejected):
            rejecting = Http2Responder(self, self._connection, stream, request.to_head)
            self._requests.start_soon(self._reject, request, rejecting, record)
            return
        target, fields, authorization = request
        responder = Http2Responder(self, self._connection, stream)
        until = current_time() + self._service.timeouts.head
        # No coroutine of ours around it: an idle tunnel would keep that, and the fields of its request.
        tunnel = TunnelRequest(target, fields, authorization, until, record, responder)
        self._requests.start_soon(serve_tunnel, self._service, self._client, tunnel)

    def _record_of(self, stream: int) -> TunnelRecord:
        record = TunnelRecord(self._record.connection, f"{self._record.connection}.{stream}", self._client.name)
        record.user = self._client.user
        return record

    async def _reject(self, rejected: Rejected, responder: Http2Responder, record: TunnelRecord) -> None:
        try:
            await self._service.refuse(record, responder, RefusedError(rejected.refusal))
        except OSError:  # the client has left
            pass
        finally:
            responder.close()

    def request_ended(self) -> None:
        """Counts a request or a tunnel that has ended."""
        self._open -= 1
        if not self._open:
            self.end(0 if self._draining else IDLE_SECONDS)
            _idle.add(self._client.owner, self)

    def _record_refusal(self, record: TunnelRecord, answer: Refusal) -> None:
        """Records what nobody is answered: a malformed request, or what has ended the connection itself."""
        self._service.recorder.on_decision(record, answer.status, answer.error, answer.details)

    async def _drain(self) -> None:
        """Once the process drains, tells the client, and closes the connection after its last tunnel."""
        await self._service.counts.draining.wait()
        machine, connection = self._connection.machine, self._connection
        machine.begin_shutdown()
        machine.ping(_SHUTDOWN)
        connection.flush()
        await sleep(SHUTDOWN_SECONDS)
        self._finish_shutdown()  # unless the answer to the PING has come

    def _finish_shutdown(self) -> None:
        if not self._draining:
            self._draining = True
            self._connection.machine.finish_shutdown()
            self._connection.flush()
            if not self._open:
                self.end()


async def serve(
    service: Service, client: Client, stream: Stream, data: bytes, record: TunnelRecord, deadline: float
) -> Step | None:
    """Serves a connection that has begun with the preface of HTTP/2. deadline: for the first request"""
    record.tunnel = f"{record.connection}.0"
    await _Session(service, client, stream, record, deadline).run(data)
    return None
