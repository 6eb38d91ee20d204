"""HTTP/1.1 on a connection from a client: one request, its response, and the connection itself as the tunnel."""

from __future__ import annotations

from collections.abc import Callable

from tunnelctl.engine.kernel import CancelScope, move_on_after
from tunnelctl.proto import refusal
from tunnelctl.proto.http1.connect_server import ConnectServer, Request, known_request
from tunnelctl.proto.http1.render import ESTABLISHED, render_refusal
from tunnelctl.proto.refusal import Refusal
from tunnelctl.server.observe.record import TunnelRecord
from tunnelctl.server.request import Client, RefusedError, Responder, Step, TunnelRequest
from tunnelctl.server.service import Service
from tunnelctl.server.tunnel import serve_tunnel
from tunnelctl.stream.base import Stream
from tunnelctl.stream.linger import LINGER_SECONDS, linger

PLAIN_OFF = "plain http is off"  # in place of a rule, for the log

HEAD_CHUNK = 16384  # bytes per read of a request head, including what follows it


class Http1Responder(Responder):
    """The response to the one request of a connection. Reads no further request after a refusal (RFC 9931)."""

    __slots__ = ("_leftover", "_stream", "_to_head")

    def __init__(self, stream: Stream, leftover: bytes = b"", to_head: bool = False) -> None:
        """leftover: data read together with the request; to_head: whether the method is HEAD"""
        self._stream, self._leftover, self._to_head = stream, leftover, to_head

    async def grant(self) -> tuple[Stream, bytes]:
        stream = self._stream
        sent = stream.send_nowait(ESTABLISHED)
        if sent < len(ESTABLISHED):  # hardly ever: a coroutine less for each tunnel
            await stream.send_all(ESTABLISHED[sent:])
        stream.unwatch()
        leftover, self._leftover = self._leftover, b""  # the tunnel may last for days, and need not keep it
        return stream, leftover

    async def refuse(self, refusal: Refusal) -> None:
        """Responds, and closes in stages, so that no reset destroys the response."""
        with move_on_after(LINGER_SECONDS):
            await self._stream.send_all(render_refusal(refusal, to_head=self._to_head))
            await linger(self._stream)

    def refuse_nowait(self, refusal: Refusal) -> None:
        self._stream.send_nowait(render_refusal(refusal, to_head=self._to_head))
        self._stream.send_eof()

    def watch(self, gone: Callable[[], None], half_closed: Callable[[], None]) -> None:
        self._stream.on_broken(gone)
        self._stream.on_peer_closed(half_closed)

    def close(self) -> None:
        """Leaves the stream to the connection, which has nothing left to do."""


def serve(service: Service, client: Client, stream: Stream, data: bytes, record: TunnelRecord, deadline: float) -> Step:
    """Serves a connection whose first bytes are `data`; b"" is EOF. deadline: for the request, a time of `current_time`"""
    request = known_request(data)
    if request is not None:
        return _tunnel(service, client, stream, request, record, deadline)
    return _read(service, client, stream, data, record, deadline)


def _tunnel(service: Service, client: Client, stream: Stream, request: Request, record: TunnelRecord, deadline: float) -> Step:
    responder = Http1Responder(stream, request.leftover)
    tunnel = TunnelRequest(request.target, request.fields, request.authorization, deadline, record, responder)
    return serve_tunnel(service, client, tunnel)


async def _read(
    service: Service, client: Client, stream: Stream, data: bytes, record: TunnelRecord, deadline: float
) -> Step | None:
    """Reads a request that is not known. Returns the step that serves it; None if it was refused."""
    machine = ConnectServer()
    request = machine.feed(data) if data else machine.eof()
    if request is None and data:
        with CancelScope(deadline) as scope:
            request = await _read_rest(machine, stream)
        if scope.cancelled_caught:
            request = refusal.head_timeout()
    if isinstance(request, Request):
        return _tunnel(service, client, stream, request, record, deadline)
    if request is not None:
        record.method = machine.method
        rule = PLAIN_OFF if machine.for_url and not service.plain_http else ""
        await service.refuse(record, Http1Responder(stream, to_head=machine.to_head), RefusedError(request, rule))
    return None


async def _read_rest(machine: ConnectServer, stream: Stream) -> Request | Refusal | None:
    """Returns the request whose head did not arrive in one piece, or the refusal of it. None if the client left without one."""
    while True:
        data = await stream.receive_some(HEAD_CHUNK)
        request = machine.feed(data) if data else machine.eof()
        if request is not None or not data:
            return request
