"""One connection from a client: from accept to its protocol.

    accept -> PROXY header, if a trusted load balancer connects -> TLS, if it is on -> the first bytes -> the protocol

A connection is not a tunnel. What happens here happens once for each connection; each request on it is decided in
tunnelctl.server.tunnel. The protocol (tunnelctl.server.http1, or an entry of PROTOCOLS) reads requests and hands them over:

    ClientConnection.run: _begin -> http1.serve -> serve_tunnel(service, client, TunnelRequest(..., responder))

With --plain-http, a request with another method than CONNECT goes to tunnelctl.server.plain_http instead of http1.

HTTP/1.1 carries one request, and its tunnel is the last step of the connection. A protocol that multiplexes runs `serve_tunnel`
in a nursery, once for each request, with a record and a responder of its own.

A deadline, --head-timeout, runs from accept (or from the PROXY header) until a request has been read, over TLS and the first
bytes: a client that dribbles holds a descriptor no longer than that. A refusal before there is a request (failed TLS, no head in
time) is recorded like any other, without a target.

A fault of ours ends only the connection that it happens on.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from tunnelctl import events
from tunnelctl.engine.kernel import CancelScope, current_time, move_on_after
from tunnelctl.proto import refusal
from tunnelctl.proto.http1.request_head import is_connect
from tunnelctl.proto.http2.frame import PREFACE
from tunnelctl.proto.refusal import Refusal
from tunnelctl.server import http1
from tunnelctl.server.access.limits import owner_of_peer
from tunnelctl.server.access.proxy_header import TrustedProxies
from tunnelctl.server.http1 import HEAD_CHUNK, Http1Responder
from tunnelctl.server.observe.record import TunnelRecord
from tunnelctl.server.request import Client, RefusedError, Responder, Step
from tunnelctl.server.service import Service
from tunnelctl.stream.base import Stream
from tunnelctl.stream.linger import LINGER_SECONDS, linger
from tunnelctl.stream.socket_stream import SocketStream

if TYPE_CHECKING:
    import ssl

# Serves a connection: called with the service, the client, the stream, its first bytes (b"" is EOF), a record for a request, and
# the deadline for that. Returns the next step, or None at the end.
Protocol = Callable[[Service, Client, Stream, bytes, TunnelRecord, float], Step]


def _http2(service: Service, client: Client, stream: Stream, data: bytes, record: TunnelRecord, deadline: float) -> Step:
    from tunnelctl.server import http2  # loads hpack, which a proxy for HTTP/1.1 alone does without

    return http2.serve(service, client, stream, data, record, deadline)


def _http1(service: Service, client: Client, stream: Stream, data: bytes, record: TunnelRecord, deadline: float) -> Step:
    return (_by_method if service.plain_http else http1.serve)(service, client, stream, data, record, deadline)


async def _by_method(service: Service, client: Client, stream: Stream, data: bytes, record: TunnelRecord, deadline: float) -> Step:
    """Reads until it is known whether the request is CONNECT; returns the step that serves it."""
    connect = is_connect(data) if data else True
    with CancelScope(deadline):
        while connect is None and (more := await stream.receive_some(HEAD_CHUNK)):
            data += more
            connect = is_connect(data)
    if connect is not False:  # None: the client has ended its side, or its time is up, which is refused there
        return http1.serve(service, client, stream, data, record, deadline)
    from tunnelctl.server import plain_http  # loads h11, which a proxy for CONNECT alone does without

    return plain_http.serve(service, client, stream, data, record, deadline)


# The protocols that begin with a fixed sequence of octets, by that. All other connections speak HTTP/1.1.
PROTOCOLS: dict[bytes, Protocol] = {PREFACE: _http2}


# Those that ALPN may have chosen, and no other is tried. Where it has chosen h2, the first bytes choose nevertheless: programs in
# Go, such as kubectl and Terraform, offer h2 to a proxy and then speak HTTP/1.1 (golang/go#26479). A peer of that kind breaks
# RFC 9113 section 3.4, but what it sends is as authentic as after any other handshake.
BY_ALPN: dict[str | None, Protocol] = {"http/1.1": _http1}


def protocol_of(data: bytes) -> Protocol | None:
    """Chooses the protocol by the first bytes; b"" is EOF. Returns None if it needs more of them."""
    for preface, protocol in PROTOCOLS.items():
        if data.startswith(preface):
            return protocol
        if data and preface.startswith(data):
            return None
    return _http1


class _NoResponder(Responder):
    """For a client that could not read a response, because TLS is not established."""

    __slots__ = ("_stream",)

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    async def refuse(self, refusal: Refusal) -> None:
        with move_on_after(LINGER_SECONDS):
            await linger(self._stream)


class ClientConnection:
    """One accepted connection."""

    __slots__ = ("_can_respond", "_host", "_id", "_name", "_service", "_socket", "_stream")

    def __init__(self, service: Service, accepted: socket.SocketType, host: str, name: str, connection: str) -> None:
        """host: the peer's address; name: the same with its port; connection: the id of this connection in records"""
        self._service, self._host, self._name, self._id = service, host, name, connection
        self._socket = SocketStream(accepted)
        self._stream: Stream = self._socket  # or TLS over it
        self._can_respond = True  # whether the client could read a response; not while TLS is being established

    async def run(self) -> None:
        """Serves the client to the end.

        Each step returns the next one, so that a tunnel keeps neither the frames of the steps before it nor the head that they have
        read. With heads of 7 KiB, an idle tunnel took 21.9 KB when the steps were nested.
        """
        service = self._service
        service.counts.enter()
        try:
            step: Step | None = self._begin()
            while step is not None:
                step = await step
        except OSError:  # the client has left: it gets no response
            pass
        except Exception as fault:
            service.trace(events.Warning(f"fault in a connection: {type(fault).__name__}: {fault}"))
        finally:
            self._stream.close()
            service.counts.leave()

    async def _read_source(self, trusted: TrustedProxies) -> bool:
        """Reads the PROXY header of a trusted load balancer, which names the client. False if it sent none."""
        if not trusted.contains(self._host):
            return True
        source = await trusted.read_source(self._socket, self._host, self._name)
        if source is None:
            return False
        self._host, self._name = source
        return True

    async def _begin(self) -> Step | None:
        """Reads what precedes the request; returns the step that serves the protocol."""
        service = self._service
        if service.trusted is not None and not await self._read_source(service.trusted):
            return None
        deadline = current_time() + service.timeouts.head
        client = Client(self._host, self._name, owner_of_peer(self._socket.socket, self._host, service.prefixes))
        record = TunnelRecord(self._id, f"{self._id}.1", client.name)
        data = self._stream.receive_nowait(HEAD_CHUNK) if service.tls is None else None
        if data is not None and (chosen := protocol_of(data)) is not None:  # often the head has come along: nothing to wait for
            return chosen(service, client, self._stream, data, record, deadline)
        agreed: Protocol | None = None
        try:
            with CancelScope(deadline):
                if service.tls is not None:
                    record.user, alpn = await self._secure(service.tls.current.context, record)
                    client, agreed = client._replace(user=record.user), BY_ALPN.get(alpn)
                protocol, data = await self._choose(data or b"", agreed)
                return protocol(service, client, self._stream, data, record, deadline)
            raise RefusedError(refusal.head_timeout())
        except RefusedError as refused:
            responder = Http1Responder(self._stream) if self._can_respond else _NoResponder(self._stream)
            await service.refuse(record, responder, refused)
            return None

    async def _choose(self, data: bytes, agreed: Protocol | None) -> tuple[Protocol, bytes]:
        """Reads until the first bytes choose a protocol. Returns both. data: what has been read of them; agreed: by ALPN"""
        while more := await self._stream.receive_some(HEAD_CHUNK):
            data += more
            if (protocol := agreed or protocol_of(data)) is not None:
                return protocol, data
        return _http1, data

    async def _secure(self, context: ssl.SSLContext, record: TunnelRecord) -> tuple[str, str | None]:
        """Performs the handshake; from then on, the stream is TLS.

        Returns the name in the client's certificate, "" without one, and the protocol that ALPN has chosen.
        """
        from ssl import SSLError

        from tunnelctl.server.tls import handshake_refusal, name_of
        from tunnelctl.stream.tls.failure import cause_at_server
        from tunnelctl.stream.tls.stream import accept_tls

        record.phase, self._can_respond = "tls", False
        try:
            self._stream = stream = await accept_tls(self._stream, context)
        except SSLError as error:
            answer, self._can_respond = handshake_refusal(error)
            raise RefusedError(answer, cause_at_server(error)) from None
        self._can_respond = True
        record.enter("head")
        return name_of(stream.session.getpeercert()), stream.session.selected_alpn_protocol()
