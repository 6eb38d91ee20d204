"""The HTTP version for one proxy, and what has been learnt about it; shared by all tunnels through that proxy."""

from __future__ import annotations

from tunnelctl.errors import MalformedAnswer
from tunnelctl.proto.tls.suite import fits_http2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tunnelctl.stream.base import Stream


class HTTPVersion:
    """HTTP/2 where the proxy speaks it. A hop that has none of these speaks HTTP/1.1."""

    __slots__ = ("_offered_2", "_over_tls", "forbidden_suite", "keepalive", "only_1_1", "required", "worked")

    def __init__(self, required: bool, over_tls: bool, keepalive: float) -> None:
        """required: nothing but HTTP/2 will do; over_tls: the proxy speaks TLS

        keepalive: seconds of silence before a connection is probed, 0 for never
        """
        self.required, self.keepalive, self._over_tls = required, keepalive, over_tls
        self.worked = False  # a tunnel has been granted in HTTP/2
        self._offered_2 = True  # by the last connection over TLS
        self.only_1_1 = False  # the proxy has no CONNECT in HTTP/2 (web servers offer the protocol), or its login needs HTTP/1.1
        self.forbidden_suite = ""  # the cipher suite with which the proxy has chosen HTTP/2 last, if that forbids it

    @property
    def alpn(self) -> tuple[str, ...]:
        """The protocols to offer in TLS, the preferred one first."""
        return ("http/1.1",) if self.only_1_1 else ("h2", "http/1.1")

    @property
    def may_be_2(self) -> bool:
        """Whether a new connection may turn out to be one of HTTP/2."""
        return not self.only_1_1 and (self._offered_2 if self._over_tls else self.required)

    def check(self, stream: Stream, what: str) -> bool:
        """Learns what a new connection is. Returns False if it cannot be used: HTTP/2 forbids its cipher suite.

        Raises MalformedAnswer, about `what`, if HTTP/2 is required and the proxy has none.
        """
        self._offered_2 = self.is_2(stream)
        if self._offered_2 and self._over_tls:
            self.forbidden_suite = _forbidden_suite(stream)
            return not self.forbidden_suite
        if self.required and not self._offered_2:
            raise MalformedAnswer(what, "it does not offer HTTP/2 over TLS", "no-http2")
        return True

    def is_2(self, stream: Stream) -> bool:
        """Whether the proxy at the other end of a stream is spoken to in HTTP/2. In the clear, by prior knowledge alone."""
        if not self._over_tls:
            return self.required and not self.only_1_1
        from tunnelctl.stream.tls.stream import TLSStream

        assert isinstance(stream, TLSStream)
        return stream.session.selected_alpn_protocol() == "h2"


def _forbidden_suite(stream: Stream) -> str:
    """Returns the cipher suite of a connection if HTTP/2 forbids it (RFC 9113 section 9.2.2), else ""."""
    from tunnelctl.stream.tls.stream import TLSStream

    assert isinstance(stream, TLSStream)
    cipher = stream.session.cipher()
    suite = cipher[0] if cipher else ""
    return "" if fits_http2(stream.session.version() or "", suite) else suite
