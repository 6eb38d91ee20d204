"""Changes of the network: links, addresses and routes that come and go, as the kernel reports them; and what they mean for a
connection.

Linux reports them on a netlink socket (rtnetlink(7)). Where there is none, as on other systems and in a sandbox that allows no such
socket, `open_changes` returns None, and connections show by failing that something has changed.

The kernel repeats itself: each router advertisement reports its address and routes again, and a wireless link reports its quality.
So what is known already is remembered, and only what differs counts.
"""

from __future__ import annotations

import socket
import sys
from errno import ENOBUFS

from tunnelctl.engine.descriptor import Descriptor
from tunnelctl.engine.kernel import sleep
from tunnelctl.namedtuple import NamedTuple
from tunnelctl.stream.base import Stream

# Seconds after the first message of a change until it is acted upon: a VPN sets its link, its addresses and its routes in turn.
SETTLE_SECONDS = 0.3

MOST_KNOWN = 4096  # links, addresses and routes that are remembered; a router with more gets more changes reported

# linux/rtnetlink.h: RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE. Links, because the
# kernel does not report the IPv4 routes that vanish with one.
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
_ROUTE_PROTOCOL = 0  # NETLINK_ROUTE
_READ = 1 << 16  # bytes; a message has some hundred

_HEADER = 16  # struct nlmsghdr: length, type (2 octets), flags (2), sequence number, port
_NEW_LINK, _DEL_LINK, _NEW_ADDRESS, _DEL_ADDRESS, _NEW_ROUTE, _DEL_ROUTE = 16, 17, 20, 21, 24, 25
_UP, _RUNNING = 0x1, 0x40  # linux/if.h
_CLONED = 0x200  # rtnetlink(7), RTM_F_CLONED: a cache entry, and no route
_TENTATIVE, _DEPRECATED = 0x40, 0x20  # linux/if_addr.h: an address that cannot be used yet, or should not be used any more
_OF_ADDRESS = (1, 2)  # IFA_ADDRESS, IFA_LOCAL
_CACHE_INFO = 12  # RTA_CACHEINFO: the age of a route


class Change(NamedTuple):
    """The content of a message: of a link, an address or a route, its state; None: it is gone."""

    key: bytes
    state: int | None


class NetworkChanges:
    """The reports of the kernel."""

    def __init__(self, opened: socket.socket) -> None:
        self._socket, self._descriptor = opened, Descriptor(opened.fileno())
        self._known: dict[bytes, int] = {}

    async def wait(self) -> None:
        """Waits until something has changed, and then until the change has settled."""
        while not self._read():
            await self._descriptor.wait_readable()
        await sleep(SETTLE_SECONDS)
        self._read()

    def _read(self) -> bool:
        """Reads all that has been reported. Whether it has changed anything."""
        changed = False
        while True:
            try:
                data = self._socket.recv(_READ)
            except BlockingIOError:
                self._descriptor.readable = False
                return changed
            except OSError as error:
                if error.errno != ENOBUFS:  # else reports were lost, and any of them may have counted
                    raise
                changed = True
            else:
                for change in changes_of(data):
                    changed |= self._note(change)

    def _note(self, change: Change) -> bool:
        """Remembers a state. Whether it is a new one."""
        if change.state is None:
            self._known.pop(change.key, None)
            return True
        if self._known.get(change.key) == change.state:
            return False
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        self._known[change.key] = change.state
        return True

    def close(self) -> None:
        """Ends the reports."""
        self._descriptor.forget()
        self._socket.close()


def open_changes() -> NetworkChanges | None:
    """Asks the kernel for reports; None if it gives none."""
    family = getattr(socket, "AF_NETLINK", None)
    if family is None:
        return None
    try:
        opened = socket.socket(family, socket.SOCK_RAW, _ROUTE_PROTOCOL)
    except OSError:
        return None
    try:
        opened.setblocking(False)
        opened.bind((0, _GROUPS))
    except OSError:
        opened.close()
        return None
    return NetworkChanges(opened)


def changes_of(data: bytes) -> list[Change]:
    """Returns what the messages of one read say."""
    found = []
    while len(data) >= _HEADER:
        length = _number(data[:4])
        if not _HEADER <= length <= len(data):
            break
        change = _change(_number(data[4:6]), data[_HEADER:length])
        if change is not None:
            found.append(change)
        data = data[_aligned(length) :]
    return found


def _change(kind: int, body: bytes) -> Change | None:
    if kind in (_NEW_LINK, _DEL_LINK):  # struct ifinfomsg: family, padding, type (2), index (4), flags (4), change mask (4)
        return Change(b"link" + body[4:8], None if kind == _DEL_LINK else _number(body[8:12]) & (_UP | _RUNNING))
    if kind in (_NEW_ADDRESS, _DEL_ADDRESS):  # struct ifaddrmsg: family, prefix length, flags, scope, index (4)
        key = b"address" + body[:2] + body[4:8] + b"".join(value for kind, value in _attributes(body[8:]) if kind in _OF_ADDRESS)
        return Change(key, None if kind == _DEL_ADDRESS else body[2] & (_TENTATIVE | _DEPRECATED))
    # struct rtmsg: family, destination and source length, type of service, table, protocol, scope, type, flags (4)
    if kind in (_NEW_ROUTE, _DEL_ROUTE) and not _number(body[8:12]) & _CLONED:
        values = (bytes([kind]) + value for kind, value in _attributes(body[12:]) if kind != _CACHE_INFO)
        return Change(b"route" + body[:8] + b"".join(values), None if kind == _DEL_ROUTE else 0)
    return None


def _attributes(data: bytes) -> list[tuple[int, bytes]]:
    """Returns the attributes of a message: struct rtattr is length and type, 2 octets each."""
    found = []
    while len(data) >= 4 and 4 <= (length := _number(data[:2])) <= len(data):
        found.append((_number(data[2:4]) & 0xFF, data[4:length]))
        data = data[_aligned(length) :]
    return found


def _number(octets: bytes) -> int:
    return int.from_bytes(octets, sys.byteorder)


def _aligned(length: int) -> int:
    """Rounds up to NLMSG_ALIGNTO, which is RTA_ALIGNTO too."""
    return (length + 3) & ~3


def is_cut_off(stream: Stream) -> bool:
    """Whether the kernel would now reach the peer of a connection from another local address, or not at all.

    Packets of the connection then leave by a link where no answer to their address comes back. It may live again when the link is
    back: what has no tunnel on it is not worth the wait.
    """
    fd = stream.transport_fd()
    if fd is None:
        return False
    try:
        looked_at = socket.socket(fileno=fd)
    except OSError:
        return True
    try:
        with socket.socket(looked_at.family, socket.SOCK_DGRAM) as probe:
            probe.connect(looked_at.getpeername())  # sends nothing
            return bool(probe.getsockname()[0] != looked_at.getsockname()[0])
    except OSError:
        return True
    finally:
        looked_at.detach()  # the descriptor still belongs to its owner
