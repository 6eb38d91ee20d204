"""What a kernel reports about links, addresses and routes: messages of a netlink socket, or of a routing socket."""

from __future__ import annotations

import sys

from tunnelctl.namedtuple import NamedTuple

_HEADER = 16  # struct nlmsghdr: length, type (2 octets), flags (2), sequence number, port
_NEW_LINK, _DEL_LINK, _NEW_ADDRESS, _DEL_ADDRESS, _NEW_ROUTE, _DEL_ROUTE = 16, 17, 20, 21, 24, 25
_UP, _RUNNING = 0x1, 0x40  # linux/if.h
_CLONED = 0x200  # rtnetlink(7), RTM_F_CLONED: a cache entry, and no route
_TENTATIVE, _DEPRECATED = 0x40, 0x20  # linux/if_addr.h: an address that cannot be used yet, or should not be used any more
_OF_ADDRESS = (1, 2)  # IFA_ADDRESS, IFA_LOCAL
_CACHE_INFO = 12  # RTA_CACHEINFO: the age of a route

_BSD_HEADER = 14
_RTM_ADD, _RTM_DELETE, _RTM_NEWADDR, _RTM_DELADDR, _RTM_IFINFO = 0x1, 0x2, 0xC, 0xD, 0xE
_RTF_LLINFO, _RTF_WASCLONED = 0x400, 0x20000  # entries for single neighbours, and no routes


class Change(NamedTuple):
    """What a message says: of a link, an address or a route, its state; None: it is gone."""

    key: bytes
    state: int | None


def from_netlink(data: bytes) -> list[Change]:
    """Returns what the messages of one read from a netlink socket say."""
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


def from_routing_socket(data: bytes) -> list[Change]:
    """Returns what the message of one read from a routing socket says (route(4), net/route.h and net/if.h of macOS and FreeBSD).

    Each begins with its length (2 octets), a version and its type. Links have a state; a route that comes or goes counts, and so
    does an address.
    """
    if len(data) < _BSD_HEADER:
        return []
    kind, flags, index = data[3], _number(data[8:12]), data[12:14]
    if kind == _RTM_IFINFO:  # struct if_msghdr: the same, then which addresses follow (4), flags (4), index (2)
        return [Change(b"link" + index, flags & (_UP | _RUNNING))]
    if kind in (_RTM_NEWADDR, _RTM_DELADDR):
        return [Change(b"address" + data, None)]
    # struct rt_msghdr: the same, then the index of the link (2), padding (2), flags (4)
    if kind in (_RTM_ADD, _RTM_DELETE) and not flags & (_RTF_LLINFO | _RTF_WASCLONED):
        return [Change(b"route" + data, None)]
    return []


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
