"""The ports that this program listens on, which must be nobody's target and no next proxy: a tunnel to itself is a loop, and a way
round the rules for clients."""

import socket

from tunnelctl.engine.resolver import literal_family
from tunnelctl.stream.listen import ListenAddress, plain


class OwnPorts:
    """Where this proxy listens."""

    def __init__(self, listeners: list[ListenAddress]) -> None:
        self._hosts: dict[int, set[str]] = {}
        for address in listeners:
            if not address.path:
                self._hosts.setdefault(address.port, set()).update((address.host, "0.0.0.0") if address.dual else (address.host,))

    def contains(self, host: str, port: int) -> bool:
        """Whether a connection to this IP address and port would reach one of the listeners.

        Raises ValueError for a name, provided that the port is one of theirs: else the host is not looked at.
        """
        hosts = self._hosts.get(port)
        if hosts is None:  # nearly always: whatever it costs to tell is not spent on ordinary targets
            return False
        if literal_family(host) is None:  # a name would be looked up by the bind(2) below, with the loop waiting
            raise ValueError(f"no IP address: {host!a}")
        host = plain(host)
        if host in hosts or host in ("0.0.0.0", "::"):  # the unspecified address connects to this machine
            return True
        wild = "::" if ":" in host else "0.0.0.0"
        return wild in hosts and _is_local(host)


def _is_local(host: str) -> bool:
    """Only an address of this machine can be bound. That holds for all of 127.0.0.0/8, which no list of interfaces names."""
    try:
        probe = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    except OSError:  # no descriptor is left: better one target too few than a way round the check
        return True
    try:
        probe.bind((host, 0))
    except OSError:
        return False
    else:
        return True
    finally:
        probe.close()
