"""The ports that this program listens on. None may be a target or a next proxy: a tunnel to itself is a loop, and bypasses the
rules for clients."""

import socket

from tunnelctl.engine.resolver import literal_family
from tunnelctl.stream.listen import ListenAddress, plain


class OwnAddresses:
    """The addresses that this proxy listens on."""

    def __init__(self, listeners: list[ListenAddress]) -> None:
        self._hosts: dict[int, set[str]] = {}
        for address in listeners:
            if not address.path:
                self._hosts.setdefault(address.port, set()).update((address.host, "0.0.0.0") if address.dual else (address.host,))

    def contains(self, host: str, port: int) -> bool:
        """Whether a connection to this IP address and port would reach one of the listeners.

        Raises ValueError for a name if the port is one of theirs; otherwise the host is not examined.
        """
        hosts = self._hosts.get(port)
        if hosts is None:  # nearly always: ordinary targets do not pay for the checks below
            return False
        if literal_family(host) is None:  # bind() below would resolve a name, and block the event loop
            raise ValueError(f"no IP address: {host!a}")
        host = plain(host)
        if host in hosts or host in ("0.0.0.0", "::"):  # the unspecified address connects to this machine
            return True
        wild = "::" if ":" in host else "0.0.0.0"
        return wild in hosts and _is_local(host)


def _is_local(host: str) -> bool:
    """Whether a socket can be bound to the address. Covers all of 127.0.0.0/8, unlike a list of interfaces."""
    try:
        probe = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    except OSError:  # no descriptor is left: better to refuse a target than to skip the check
        return True
    try:
        probe.bind((host, 0))
    except OSError:
        return False
    else:
        return True
    finally:
        probe.close()
