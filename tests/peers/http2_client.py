"""A scripted client of HTTP/2 proxies: many tunnels on one connection, and anything malformed."""

import socket
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from tests.peers.http2 import STEP_SECONDS, Endpoint, Field, Stream
from tests.peers.proxies import Proxy

ALPN = ("h2",)


def tls_context(authority: Path, alpn: Iterable[str] = ALPN, certificate: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    """A client's context that trusts one authority. `certificate`: the client's chain and key."""
    context = ssl.create_default_context(cafile=authority)
    context.set_alpn_protocols(list(alpn))
    if certificate is not None:
        context.load_cert_chain(*certificate)
    return context


def _connect(proxy: Proxy, tls: ssl.SSLContext | None, source: str) -> socket.socket:
    sock = socket.socket()  # create_connection would look the address up, at the name service of a test perhaps
    try:
        sock.settimeout(STEP_SECONDS)
        if source:
            sock.bind((source, 0))
        sock.connect((proxy.host, proxy.port))
        if tls is not None:
            sock = tls.wrap_socket(sock, server_hostname=proxy.host)
            assert sock.selected_alpn_protocol() == "h2", f"the proxy has chosen {sock.selected_alpn_protocol()}"
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


class Http2Client(Endpoint):
    """One connection to a proxy: with TLS and ALPN if there is a context, else in the clear with prior knowledge.

    It has no thread: it sends and receives only inside its methods and those of its streams. So nothing is answered and no
    credit is given while a test does something else. For the options see Endpoint.
    """

    def __init__(self, proxy: Proxy, tls: ssl.SSLContext | None = None, *, source: str = "", **options: Any) -> None:
        super().__init__(_connect(proxy, tls, source), True, **options)
        self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, failure: BaseException | None, trace: object) -> None:
        if failure is not None:
            failure.add_note(f"the HTTP/2 client: {self._state()}")
        self.close()

    def request(self, fields: Iterable[Field], end: bool = False) -> Stream:
        """Sends a request with exactly these fields, pseudo-fields included, on a new stream."""
        number = self.h2.get_next_available_stream_id()
        self.streams[number] = stream = Stream(self, number)
        stream.sent_end = end
        self.h2.send_headers(number, list(fields), end_stream=end)
        self.flush()
        return stream

    def connect(self, target: str, *fields: Field, end: bool = False) -> Stream:
        """Sends a CONNECT request; does not wait for the response."""
        return self.request([(":method", "CONNECT"), (":authority", target), *fields], end)

    def response(self, stream: Stream) -> str:
        """Waits for the final response or the end of the stream; returns the status, or how the stream ended without one."""
        self.wait_for(lambda: stream.fields or stream.ending, f"a response on {stream}")
        return stream.field(":status") or stream.ending

    def tunnel(self, target: str, *fields: Field) -> Stream:
        """Opens a tunnel; the proxy must grant it."""
        stream = self.connect(target, *fields)
        status = self.response(stream)
        assert status == "200", f"{status}: {stream}"
        return stream

    def wait_lost(self) -> str:
        """Waits until the proxy has closed or reset the connection; returns which of both."""
        self.wait_for(lambda: self.lost, "the end of the connection")
        return self.lost
