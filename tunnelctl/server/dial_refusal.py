"""The refusal for a failed dial: either the target is at fault, or this machine is at a limit."""

import socket
from errno import EADDRNOTAVAIL, ECONNREFUSED, EHOSTUNREACH, EMFILE, ENETUNREACH, ENFILE, ENOBUFS, ENOMEM, ETIMEDOUT

from tunnelctl.engine.resolver import SocketAddress
from tunnelctl.proto import refusal
from tunnelctl.proto.refusal import Refusal
from tunnelctl.stream.dial import DialError

_OUT_OF_RESOURCES = frozenset({EMFILE, ENFILE, ENOBUFS, ENOMEM})


def dial_refusal(error: DialError) -> Refusal:
    """Returns the refusal for a series of failed attempts: the last one decides, unless this machine was at a limit."""
    if is_our_limit(error):
        return refusal.limit_reached()
    last = error.attempts[-1][1].errno
    if last == ECONNREFUSED:
        return refusal.connection_refused()
    if last == ETIMEDOUT:
        return refusal.connection_timeout()
    if last in (ENETUNREACH, EHOSTUNREACH, EADDRNOTAVAIL):
        return refusal.ip_unroutable()
    return refusal.connection_failed()


def is_our_limit(error: BaseException | None) -> bool:
    """Whether this machine has run out of descriptors, memory or local ports, so that no target or name is at fault."""
    if isinstance(error, DialError):
        return any(is_our_limit(cause) or _is_out_of_ports(address, cause) for address, cause in error.attempts)
    return isinstance(error, OSError) and error.errno in _OUT_OF_RESOURCES


def _is_out_of_ports(address: SocketAddress, error: OSError) -> bool:
    """Whether no local port is left towards that address and port. EADDRNOTAVAIL may also mean no source address (IPv6).

    UDP has ports of its own, so connecting a datagram socket, which sends nothing, tells the two cases apart.
    """
    if error.errno != EADDRNOTAVAIL:
        return False
    try:
        with socket.socket(address.family, socket.SOCK_DGRAM) as probe:
            probe.connect((address.host, address.port))
    except OSError as failure:
        return failure.errno != EADDRNOTAVAIL
    return True
