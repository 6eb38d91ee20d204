"""Names to addresses, off the loop. The deadline is the caller's scope; a look-up that overruns it is abandoned."""

from __future__ import annotations

import socket

from tunnelctl.engine.outside import to_thread
from tunnelctl.record import NamedTuple


class SocketAddress(NamedTuple):
    """Where a TCP socket can be connected to: AF_INET or AF_INET6, the address in text, and the port."""

    family: int
    host: str
    port: int

    def __str__(self) -> str:
        return with_port(self.host, self.port)


def with_port(host: str, port: int) -> str:
    """An IP address and a port, for people."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def resolve(host: str, port: int, family: int = socket.AF_UNSPEC) -> list[SocketAddress]:
    """The addresses of a host in the order in which the system prefers them (RFC 6724), without repetition.

    host: an address, or a name in ASCII (A-labels). Raises socket.gaierror, or BusyResourceError when too many look-ups hang.
    """
    literal = literal_family(host)
    if literal is not None:
        if family not in (socket.AF_UNSPEC, literal):
            raise socket.gaierror(socket.EAI_ADDRFAMILY, "address family for hostname not supported")
        return [SocketAddress(literal, host, port)]
    # As bytes: for a str, Python encodes to A-labels itself, and importing that codec takes 3 ms where the look-up may take 0.2.
    found = await to_thread(socket.getaddrinfo, host.encode("ascii"), port, family, socket.SOCK_STREAM)
    return list(dict.fromkeys(SocketAddress(entry[0], str(entry[4][0]), port) for entry in found))


def literal_family(host: str) -> int | None:
    """The family of an address in text, None for a name. Strict: `inet_pton` takes no octal, hex or shortened form."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return family
    return None
