"""Where a tunnel leads, and through whom: the records that the asking end passes around."""

from __future__ import annotations

from math import inf

from tunnelctl.namedtuple import NamedTuple
from tunnelctl.proto.address import Address
from tunnelctl.proto.headers import Fields
from tunnelctl.proto.proxy_url import ProxyURL
from tunnelctl.stream.base import Stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tunnelctl.client.auth.exchange import Login
    from tunnelctl.stream.tls.settings import TLSClient


class Hop(NamedTuple):
    """One proxy of the chain."""

    address: Address
    fields: Fields = ()  # the user's, for its CONNECT request
    protocol: str = "http"  # or "socks5", "socks4a"
    tls: TLSClient | None = None  # None: in the clear
    login: Login | None = None

    def __repr__(self) -> str:
        return f"Hop({self.address})"


class Way(NamedTuple):
    """How to get there."""

    target: Address
    hops: tuple[Hop, ...]  # nearest first; none goes straight to the target
    family: int = 0  # 4, 6 or 0, for the first connection; the others are the proxies' business
    timeout: float = inf  # seconds for the whole way
    attempt_timeout: float = inf  # seconds for each address that is tried
    keepalive: float = 0.0
    exact: bool = False  # read no byte beyond the last head: the socket itself is to be handed on
    tls: TLSClient | None = None  # what the target itself is spoken to with; None: the bytes as they are

    chain: tuple[ProxyURL, ...] = ()  # the URLs that the hops were made from
    fields: Fields = ()  # of a request that is led on, for each HTTP proxy: Via
    origin: str = "-x"  # what named them, or why there are none, for people
    unused: str = ""  # a variable that names a proxy, and is not looked at

    @property
    def via(self) -> list[str]:
        """The proxies, for people and scripts."""
        return [str(hop.address) for hop in self.hops]

    def request(self, place: int) -> str:
        """What the proxy at that place is asked for, in the words of an error."""
        stops = [*(hop.address for hop in self.hops), self.target]
        return f"proxy {stops[place]}, asked for {stops[place + 1]}"


class Tunnel(NamedTuple):
    """An established tunnel: its stream, and the bytes of it that came together with the last head."""

    stream: Stream
    early: bytes
