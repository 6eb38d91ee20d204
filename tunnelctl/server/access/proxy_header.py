"""PROXY headers: behind a load balancer, such a header names the client, and only trusted peers may send one.

Trusted peers must send it, so that a misconfigured balancer is noticed at once. From anyone else it is a malformed request.
"""

import socket
from math import inf

from tunnelctl import events
from tunnelctl.engine.kernel import current_time, move_on_after
from tunnelctl.engine.resolver import with_port
from tunnelctl.errors import UsageProblem, reason
from tunnelctl.events import Trace
from tunnelctl.proto.network import Network, parse_network, unwrap
from tunnelctl.proto.proxy_protocol import MOST, HeaderError, Source, parse_header
from tunnelctl.stream.accept import WARN_INTERVAL
from tunnelctl.stream.socket_stream import SocketStream


def parse_trusted(text: str) -> Network:
    """Parses a value of --proxy-protocol. Raises UsageProblem."""
    try:
        return parse_network(text)
    except ValueError:
        raise UsageProblem("", f"`{text}` is not an address or a network", "network", option="proxy_protocol") from None


class TrustedProxies:
    """The trusted load balancers."""

    def __init__(self, networks: tuple[Network, ...], seconds: float, trace: Trace) -> None:
        """seconds: the time limit for a header, from accept on"""
        self._networks, self._seconds, self._trace = networks, seconds, trace
        self._said = -inf  # when the last warning was issued

    def contains(self, host: str) -> bool:
        """Whether this is the address of a trusted load balancer."""
        if not self._networks or host == "unix":
            return False
        _, address = unwrap(host)
        return any(network.covers(address) for network in self._networks)

    async def read_source(self, stream: SocketStream, host: str, name: str) -> tuple[str, str] | None:
        """Returns the client's address, without and with port, or the peer's if the header names no client.

        Without a valid header, aborts the connection and returns None.

        Takes exactly the header from the socket, because TLS may follow it.
        """
        why = "it took too long"
        try:
            with move_on_after(self._seconds):
                source = await _peek(stream)
                stream.socket.recv(source.size)
                return _named(source) if source.host else (host, name)
        except HeaderError as error:
            why = str(error)
        except OSError as error:
            why = reason(error)
        stream.abort()
        if current_time() - self._said > WARN_INTERVAL:  # otherwise a misconfigured balancer would fill the disk
            self._said = current_time()
            self._trace(events.Warning(f"no PROXY header from {name}: {why}"))
        return None


def _named(source: Source) -> tuple[str, str]:
    return source.host, with_port(source.host, source.port)


async def _peek(stream: SocketStream) -> Source:
    """Returns the header, and leaves it in the socket. Raises HeaderError and OSError."""
    while True:
        await stream.wait_readable()
        try:
            data = stream.socket.recv(MOST, socket.MSG_PEEK)
        except BlockingIOError:
            data = None
        if data is not None:
            source = parse_header(data)
            if source is not None:
                return source
            if stream.descriptor.ended:
                raise HeaderError("it was not complete" if data else "the peer left without one")
        stream.descriptor.readable = False
