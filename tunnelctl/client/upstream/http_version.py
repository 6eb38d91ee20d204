"""The version of HTTP that one proxy is spoken to in, and what has been learnt about it; shared by all tunnels through it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tunnelctl.client.route.route import Hop
    from tunnelctl.stream.base import Stream


class HTTPVersion:
    """HTTP/2 where the proxy speaks it. A hop that has none of these speaks HTTP/1.1."""

    __slots__ = ("keepalive", "only_1_1", "required")

    def __init__(self, required: bool, keepalive: float) -> None:
        """required: nothing but HTTP/2 will do; keepalive: seconds of silence before a connection is probed, 0 for never"""
        self.required, self.keepalive = required, keepalive
        self.only_1_1 = False  # the proxy has no CONNECT in HTTP/2 (web servers offer the protocol), or its login needs HTTP/1.1

    @property
    def alpn(self) -> tuple[str, ...]:
        """The protocols to offer in TLS, the preferred one first."""
        return ("http/1.1",) if self.only_1_1 else ("h2", "http/1.1")

    def may_be_2(self, hop: Hop) -> bool:
        """Whether a new connection may turn out to be one of HTTP/2."""
        return not self.only_1_1 and (self.required or hop.tls is not None)

    def is_2(self, hop: Hop, stream: Stream) -> bool:
        """Whether the proxy at the other end of a stream is spoken to in HTTP/2. In the clear, by prior knowledge alone."""
        if hop.tls is None:
            return self.required and not self.only_1_1
        from tunnelctl.stream.tls.stream import TLSStream

        assert isinstance(stream, TLSStream)
        return stream.session.selected_alpn_protocol() == "h2"
