"""Name resolution, off the event loop. The caller's scope sets the deadline; a lookup that exceeds it is abandoned.

The C library looks names up, in a thread, and nothing can end a lookup that waits for a name server that never responds. So a
program with many clients names the owner of each lookup: a client's dead names then take only that client's share of the threads.
"""

from __future__ import annotations

import _socket as socket
import os
from errno import ENODEV

from tunnelctl.engine.kernel import current_kernel
from tunnelctl.engine.wakeup import to_thread
from tunnelctl.namedtuple import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from tunnelctl.engine.limiter import FairLimiter, Owner

# Limits on simultaneous lookups: in total (with or without owners), of one group of owners, and of one owner; and on one owner's
# waiting lookups. A quarter of MAX_THREADS stays free for other work in threads: logins, the access log. A lookup that hangs
# takes 10 s and more (resolv.conf(5): timeout, attempts).
MAX_LOOKUPS, LOOKUPS_OF_A_GROUP, LOOKUPS_OF_ONE, WAITING_OF_ONE = 192, 48, 16, 256


_SEARCH_LIST = "LOCALDOMAIN"  # resolv.conf(5): this variable replaces the search list of the file
HOSTS = "/etc/hosts"
MAX_ADDRESSES = 64  # per name; a DNS response has room for thousands, and each is checked and may be dialled


class SocketAddress(NamedTuple):
    """The address of a TCP endpoint: AF_INET or AF_INET6, the IP address as text, and the port.

    scope: the index of the interface that a link-local IPv6 address is on, else 0
    """

    family: int
    host: str
    port: int
    scope: int = 0

    def __str__(self) -> str:
        return with_port(self.host, self.port)


def with_port(host: str, port: int) -> str:
    """Formats an IP address and a port for people."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def resolve(
    host: str,
    port: int,
    family: int = socket.AF_UNSPEC,
    owner: Owner | None = None,
    begun: Callable[[], None] = lambda: None,
) -> list[SocketAddress]:
    """Returns the addresses of a host in the system's order of preference (RFC 6724), without repetition.

    host: an address, which may have a scope id (`fe80::1%eth0`), or a name in ASCII (A-labels)
    owner: the client that the lookup is for, and whose share it uses; None where there are no clients
    begun: called when an owner's lookup starts; if the owner's share is used up, it has to wait before that

    Raises socket.gaierror; OSError where the machine, not the name, is at fault, and for a scope id that names no interface;
    BusyResourceError when too many threads hang, and QueueFullError when the owner's share is used up and too many of its lookups
    wait. Without an owner, waits until fewer than MAX_LOOKUPS threads are running.
    """
    address, _, scope = host.partition("%")
    literal = literal_family(address)
    if literal is not None:
        if family not in (socket.AF_UNSPEC, literal):
            raise socket.gaierror(socket.EAI_ADDRFAMILY, "address family for hostname not supported")
        return [SocketAddress(literal, address, port, interface_index(scope) if scope else 0)]
    # As bytes: for a str, Python encodes to A-labels itself, and importing that codec takes 3 ms where a lookup may take 0.2 ms.
    question = host.encode("ascii"), port, family, socket.SOCK_STREAM
    look_up = _look_up_complete if os.environ.get(_SEARCH_LIST) == "" else _look_up
    if owner is None:
        found = await to_thread(look_up, *question, most=MAX_LOOKUPS)
    else:
        found = await to_thread(look_up, *question, limiter=_limiter(), owner=owner, begun=begun)
    return list(dict.fromkeys(SocketAddress(kind, str(at[0]), port, *map(int, at[3:])) for kind, *_, at in found))[:MAX_ADDRESSES]


def complete_names_only() -> None:
    """Makes this process look up names as given, without the search list of resolv.conf(5), from now on.

    A server treats a name as complete, as its rules do: with `search corp.example`, `db` would reach db.corp.example, past a
    rule on that name. The C library reads this variable in place of the list. A trailing dot would do the same for DNS, but
    would hide the entries of /etc/hosts.
    """
    os.environ[_SEARCH_LIST] = ""


def _look_up_complete(host: bytes, port: int, family: int, kind: int) -> list[Any]:
    """Likewise, in a thread. systemd-resolved has its own search list, for single-label names; a trailing dot disables it."""
    return _look_up(host if b"." in host or _is_in_hosts_file(host) else host + b".", port, family, kind)


def _is_in_hosts_file(name: bytes) -> bool:
    try:
        with open(HOSTS, "rb") as file:
            return any(name in line.partition(b"#")[0].lower().split()[1:] for line in file)
    except OSError:
        return False


def has_its_share(owner: Owner) -> bool:
    """Whether the owner, or its group, already has as many lookups running as it may."""
    return _limiter().has_its_share(owner)


def _limiter() -> FairLimiter:
    """The limiter of this run."""
    from tunnelctl.engine.limiter import FairLimiter

    kernel = current_kernel()
    if kernel.lookups is None:
        kernel.lookups = FairLimiter(MAX_LOOKUPS, LOOKUPS_OF_ONE, WAITING_OF_ONE, LOOKUPS_OF_A_GROUP)
    assert isinstance(kernel.lookups, FairLimiter)
    return kernel.lookups


def _look_up(host: bytes, port: int, family: int, kind: int) -> list[Any]:
    """Looks up a name, in a thread. Raises OSError if no descriptor is left: getaddrinfo would report an unknown name."""
    _need_descriptor()
    try:
        return socket.getaddrinfo(host, port, family, kind)
    except socket.gaierror:
        _need_descriptor()
        raise


def _need_descriptor() -> None:
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).close()


def interface_index(scope: str) -> int:
    """Returns the index of a network interface, from its name or the index in text. Raises OSError for an unknown name."""
    try:
        return int(scope) if scope.isdigit() else socket.if_nametoindex(scope)
    except OSError:
        raise OSError(ENODEV, "there is no such network interface") from None


def literal_family(host: str) -> int | None:
    """Returns the family of an IP address in text; None for a name. Strict: `inet_pton` accepts no octal, hex or shortened form."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return family
    return None
