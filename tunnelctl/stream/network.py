"""Changes of the network: links, addresses and routes that come and go, as the kernel reports them; and what they mean for a
connection.

Linux reports them on a netlink socket (rtnetlink(7)), macOS and FreeBSD on a routing socket (route(4)). Where there is none, as in
a sandbox that allows no such socket, `open_changes` returns None, and connections show by failing that something has changed.

The kernel repeats itself: each router advertisement reports its address and routes again, and a wireless link reports its quality.
So what is known already is remembered, and only what differs counts.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from errno import ENOBUFS

from tunnelctl.engine.descriptor import Descriptor
from tunnelctl.engine.kernel import sleep
from tunnelctl.stream.base import Stream
from tunnelctl.stream.network_messages import Change, from_netlink, from_routing_socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_linux: Any = socket  # typeshed declares AF_NETLINK for Linux only

# Seconds after the first message of a change until it is acted upon: a VPN sets its link, its addresses and its routes in turn.
SETTLE_SECONDS = 0.3

MOST_KNOWN = 4096  # links, addresses and routes that are remembered; a router with more gets more changes reported

# linux/rtnetlink.h: RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE. Links, because the
# kernel does not report the IPv4 routes that vanish with one.
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
_ROUTE_PROTOCOL = 0  # NETLINK_ROUTE
_WITH_ROUTING_SOCKET = ("darwin", "freebsd")  # those of the other BSDs have messages of another form
_READ = 1 << 16  # bytes; a message has some hundred


class NetworkChanges:
    """The reports of the kernel."""

    def __init__(self, opened: socket.socket, changes_of: Callable[[bytes], list[Change]]) -> None:
        """changes_of: reads the messages of this socket"""
        self._socket, self._descriptor, self._changes_of = opened, Descriptor(opened.fileno()), changes_of
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
                for change in self._changes_of(data):
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
    try:
        if sys.platform == "linux":
            return NetworkChanges(_netlink_socket(), from_netlink)
        if sys.platform.startswith(_WITH_ROUTING_SOCKET):
            return NetworkChanges(_routing_socket(), from_routing_socket)
    except OSError:
        pass
    return None


def _netlink_socket() -> socket.socket:
    opened = socket.socket(_linux.AF_NETLINK, socket.SOCK_RAW, _ROUTE_PROTOCOL)
    try:
        opened.setblocking(False)
        opened.bind((0, _GROUPS))
    except BaseException:
        opened.close()
        raise
    return opened


def _routing_socket() -> socket.socket:
    opened = socket.socket(socket.AF_ROUTE, socket.SOCK_RAW, 0)
    opened.setblocking(False)
    return opened


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
