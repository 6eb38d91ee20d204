"""The route of a tunnel: the records that the client side passes around."""

from __future__ import annotations

from math import inf

from tunnelctl.namedtuple import NamedTuple
from tunnelctl.proto.address import Address
from tunnelctl.proto.headers import Fields
from tunnelctl.proto.proxy_url import ProxyURL
from tunnelctl.stream.base import Stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tunnelctl.client.auth.exchange import ProxyAuth
    from tunnelctl.client.upstream.http_version import HTTPVersion
    from tunnelctl.stream.tls.settings import TLSClient


class Hop(NamedTuple):
    """One proxy of the chain."""

    address: Address
    fields: Fields = ()  # the user's, for its CONNECT request
    protocol: str = "http"  # a name in client.upstream.PROTOCOLS
    tls: TLSClient | None = None  # None: plain text
    login: ProxyAuth | None = None
    http: HTTPVersion | None = None  # None: HTTP/1.1, if it speaks HTTP

    def __repr__(self) -> str:
        return f"Hop({self.address})"


class Route(NamedTuple):
    """The route to a target."""

    target: Address
    hops: tuple[Hop, ...]  # nearest first; empty: straight to the target
    family: int = 0  # 4, 6 or 0, for the first connection; the proxies decide about the others
    timeout: float = inf  # seconds for the whole route
    attempt_timeout: float = inf  # seconds for each address that is tried
    keepalive: float = 0.0
    no_readahead: bool = False  # read no byte beyond the last head: the socket itself will be passed on
    tls: TLSClient | None = None  # for TLS with the target itself; None: the bytes as they are

    chain: tuple[ProxyURL, ...] = ()  # the URLs that the hops were made from
    fields: Fields = ()  # of a forwarded request, for each HTTP proxy: Via
    origin: str = "-x"  # what named the proxies, or why there are none, for people
    unused: str = ""  # a variable that names a proxy, and is ignored
    fallback: bool = False  # straight to the target, as the user allows where no proxy can be reached

    @property
    def via(self) -> list[str]:
        """The proxies, for people and scripts."""
        return [str(hop.address) for hop in self.hops]

    def request(self, place: int) -> str:
        """The request to the proxy at index `place`, in the words of an error."""
        stops = [*(hop.address for hop in self.hops), self.target]
        return f"proxy {stops[place]}, asked for a tunnel to {stops[place + 1]}"


class Tunnel(NamedTuple):
    """An established tunnel: its stream, and those of its bytes that came together with the last head."""

    stream: Stream
    early: bytes
