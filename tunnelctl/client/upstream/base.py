"""A connection to a proxy, on which tunnels are opened: one with HTTP/1.1 and SOCKS, many with a multiplexed protocol.

    reserve() ── open() ─┬─▶ Tunnel ── it ends ──▶ release()
                         └─ error, cancelled ────▶ release()

A place is reserved before anything is awaited, so two tasks never take the last one. `capacity` is the number of places left. It
may change at any time, as a peer changes its limit.

A new protocol derives from ProxyConnection, or from SingleTunnelConnection, and is registered in `tunnelctl.client.upstream`.
"""

from __future__ import annotations

from tunnelctl.client.route.route import Hop, Tunnel
from tunnelctl.errors import TLSFailed, TunnelctlError, Unreachable, reason
from tunnelctl.events import Trace
from tunnelctl.proto.address import Address
from tunnelctl.proto.headers import Fields
from tunnelctl.stream.base import Stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable
    from typing import TypeVar

    from tunnelctl.client.auth.exchange import AuthExchange, ProxyAuth
    from tunnelctl.engine.sync import Deadline

    T = TypeVar("T")

FIRST_RETRY, LONGEST_RETRY = 0.5, 10.0  # seconds before a proxy is tried again: doubled each time, up to the longest


class ReconnectRequired(Exception):
    """The route is to begin again on a new connection: for a login that the proxy requires, or in place of HTTP/2."""


class TunnelRequest:
    """A tunnel to be opened on a connection. A plain class: `connect` would wait longer for a NamedTuple than for this module."""

    __slots__ = ("deadline", "exchange", "fields", "no_readahead", "stop", "trace", "what")

    def __init__(
        self,
        stop: Address,
        what: str,
        deadline: Deadline,
        trace: Trace,
        exchange: AuthExchange | None = None,
        fields: Fields = (),
        no_readahead: bool = False,
    ) -> None:
        """stop: the next proxy, or the target; what: the subject of an error, the proxy and what it is asked for

        deadline: on the whole route; exchange: the login of this tunnel, if the protocol has the schemes of HTTP
        fields: of a forwarded request, to be sent before those of the hop
        no_readahead: read no byte beyond the response, for the socket itself will be passed on
        """
        self.stop, self.what, self.deadline, self.trace = stop, what, deadline, trace
        self.exchange, self.fields, self.no_readahead = exchange, fields, no_readahead


class ProxyConnection:
    """One connection to one proxy. Owns the stream that reaches it."""

    multiplexed = False  # carries many tunnels: a pool runs it, and offers it as long as it has capacity
    limit = 1  # tunnels at once, set by the peer on a multiplexed connection; 0 if it accepts no more
    ready = True  # whether that limit is known

    def __init__(self, hops: tuple[Hop, ...], stream: Stream, early: bytes = b"") -> None:
        """hops: the proxies up to and including this one

        stream: reaches the proxy, TLS included; early: bytes that the proxy has sent already
        """
        self.hops, self.stream, self.early = hops, stream, early
        self.tunnels = 0  # open, being opened, or reserved

    @property
    def hop(self) -> Hop:
        """The proxy at the other end."""
        return self.hops[-1]

    @property
    def capacity(self) -> int:
        """The number of tunnels that may be opened now."""
        return max(0, self.limit - self.tunnels)

    def reserve(self) -> None:
        """Takes a place for one `open`. Gives it back with `release` if that is never called."""
        self.tunnels += 1

    def release(self) -> None:
        """Gives a place back: the tunnel has ended, or will not be opened."""
        self.tunnels -= 1

    async def open(self, request: TunnelRequest) -> Tunnel:
        """Opens a tunnel in a reserved place. Raises TunnelctlError or ReconnectRequired, and gives the place back."""
        try:
            return await self._open(request)
        except BaseException:
            self.release()
            raise

    async def _open(self, request: TunnelRequest) -> Tunnel:
        """Opens a tunnel. On a multiplexed connection, its stream calls `release` when it has ended."""
        raise NotImplementedError

    async def wait_until_unusable(self) -> None:
        """Waits until no tunnel can be opened any more, however many there are. A pool calls it once."""
        raise NotImplementedError

    async def wait_until_ready(self) -> None:
        """Waits until the peer's limit is known, or the connection is lost."""

    async def run(self) -> None:
        """Reads and writes for all tunnels of a multiplexed connection, until it has ended. A pool calls it once, before `open`."""

    def retire(self) -> None:
        """Opens no more tunnels on a multiplexed connection. It ends after the last of those that are open."""
        raise NotImplementedError

    async def finish(self) -> None:
        """Delivers what its tunnels have left behind, before it is closed. A pool calls it once `run` has begun."""

    def close(self) -> None:
        """Closes the connection, and ends all of its tunnels."""
        self.stream.close()

    def broken(self, request: TunnelRequest, error: OSError, heard: bool = False) -> TunnelctlError:
        """Translates a failure of the connection during an opening into an error. heard: the proxy has sent something before"""
        code, facts = "broke" if heard else "broke-mute", {}
        tls = self.hop.tls
        if tls is not None:
            from tunnelctl.stream.tls.failure import tls_error

            failure = tls_error(request.what, error, tls, self.hop.address)
            if isinstance(failure, TLSFailed):  # in TLS 1.3 a missing client certificate is reported only now
                return failure
            code, facts = "broke", {"tls_without_certificate": tls.cert is None}
        return Unreachable(f"{request.what}, broke the connection before it responded", reason(error), code, facts=facts)


class SingleTunnelConnection(ProxyConnection):
    """A connection that becomes its one tunnel, which takes over the stream. If that fails, it is of no more use."""

    def release(self) -> None:
        """Closes the connection. The place stays taken."""
        self.close()

    async def wait_until_unusable(self) -> None:
        """Waits until the proxy closes the idle connection, or sends data without a request."""
        while True:
            await self.stream.wait_readable()
            try:
                if self.stream.receive_nowait(1) is None:  # a TLS session ticket, for example
                    continue
            except OSError:
                pass
            return  # data, EOF or an error: no tunnel can begin with any of them


async def without_deadline(login: ProxyAuth | None, deadline: Deadline, work: Awaitable[T]) -> T:
    """Awaits a step of a login, and suspends the deadline meanwhile if a person may have to type a password."""
    if login is None or not login.may_prompt:
        return await work
    return await deadline.paused(work)
