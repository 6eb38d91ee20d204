"""The protocols that proxies speak: the properties of each, and the class of its connections.

An entry in PROTOCOLS registers a protocol under the name that `Hop.protocol` has; no other module compares these names. An entry
can be read without loading the protocol's own module, which the start of `connect` does not wait for.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tunnelctl.client.route.route import Hop
    from tunnelctl.client.upstream.base import ProxyConnection
    from tunnelctl.stream.base import Stream


class Protocol:
    """A protocol in which a proxy is asked for tunnels. Its entry in PROTOCOLS is a class, of which there are no instances."""

    name = ""  # for people
    has_fields = False  # its requests have header fields, and the head of each response is traced
    has_schemes = False  # a login follows the schemes of HTTP authentication, and is no fixed user and password
    on_web_ports = False  # a URL without a port means a port of web servers
    other = ""  # the protocol that such a proxy may speak instead
    mute = "proxy-mute"  # the code for a proxy without TLS that has sent no response: it may speak something else

    @staticmethod
    def connect(hops: tuple[Hop, ...], stream: Stream, early: bytes) -> ProxyConnection:
        """Makes a connection to the last of `hops` over a stream that reaches it: see `ProxyConnection`."""
        raise NotImplementedError


class _HTTP(Protocol):
    name, has_fields, has_schemes, on_web_ports, other = "HTTP", True, True, True, "socks5"
    mute = "http-mute"

    @staticmethod
    def connect(hops: tuple[Hop, ...], stream: Stream, early: bytes) -> ProxyConnection:
        version = hops[-1].http
        if version is not None and version.is_2(stream):
            from tunnelctl.client.upstream.http2 import HTTP2Connection

            return HTTP2Connection(hops, stream, early, version)
        from tunnelctl.client.upstream.http1 import HTTP1Connection

        return HTTP1Connection(hops, stream, early)


class _SOCKS(Protocol):
    name, other = "SOCKS", "http"
    mute = "socks-mute"

    @staticmethod
    def connect(hops: tuple[Hop, ...], stream: Stream, early: bytes) -> ProxyConnection:
        from tunnelctl.client.upstream.socks import SOCKSConnection

        return SOCKSConnection(hops, stream, early)


PROTOCOLS: dict[str, type[Protocol]] = {"http": _HTTP, "socks5": _SOCKS, "socks4a": _SOCKS}

# The protocol by the scheme of a URL, where it has another name: TLS lies below it.
_BY_SCHEME = {"https": "http"}


def protocol_of(scheme: str) -> str:
    """The name of the protocol that a proxy with this URL scheme speaks."""
    return _BY_SCHEME.get(scheme, scheme)
