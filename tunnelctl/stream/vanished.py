"""Peers that vanish with data under way.

Keepalive probes only connections on which nothing is under way. On others the kernel sends the data again, or asks a peer that took
no more whether it has room, for some 15 minutes. TCP_USER_TIMEOUT shortens that (RFC 5482), but it counts against a live peer as
well: one that reads nothing for so long is cut off although it answers every question. So it is set only while a peer does not
answer.
"""

import socket
import sys

from tunnelctl.engine.kernel import checkpoint, current_kernel, sleep
from tunnelctl.stream.socket_stream import patience

LOOKS = 8  # at each connection, within the time that a peer is given
PORTION = 100  # descriptors that are looked at in one turn, at some 5 µs each

# struct tcp_info (linux/tcp.h) begins with an octet each for state, ca_state, retransmits and probes. Numbers of 32 bits tell how
# many milliseconds ago data was sent last, and anything was acknowledged.
_SENT, _ACKNOWLEDGED = 44, 56
_SYN_SENT = 2  # a connection that is being opened has limits of its own


async def watch_for_vanished_peers(keepalive: float) -> None:
    """Has the kernel give up those that answer nothing for as long as keepalive would wait. It never ends by itself.

    keepalive: as for `tune`, and not 0
    """
    limit, hurried = patience(keepalive), set[int]()
    while True:
        await sleep(limit / LOOKS)
        await _look_at_all(limit * 1000, hurried)


async def _look_at_all(limit: int, hurried: set[int]) -> None:
    """limit: milliseconds; hurried: the descriptors on which TCP_USER_TIMEOUT was set"""
    descriptors = current_kernel().descriptors
    numbers = tuple(descriptors)
    for begin in range(0, len(numbers), PORTION):
        for number in numbers[begin : begin + PORTION]:
            if number in descriptors:  # closed meanwhile, it may be anybody's; another connection under the number is as good
                _look_at(number, limit, hurried)
        await checkpoint()
    hurried.intersection_update(descriptors)


def _look_at(number: int, limit: int, hurried: set[int]) -> None:
    try:
        looked_at = socket.SocketType(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, number)
    except OSError:  # it is no socket
        return
    try:
        if _silent(looked_at.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKNOWLEDGED + 4), limit):
            looked_at.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, limit)
            hurried.add(number)
        elif number in hurried:
            looked_at.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 0)
            hurried.discard(number)
    except OSError:  # it is none of TCP
        pass
    finally:
        looked_at.detach()  # the descriptor stays its owner's


def _silent(info: bytes, limit: int) -> bool:
    """Whether the peer leaves questions unanswered.

    Data that is sent again: there the kernel counts from the first of it, so the limit can be set at once. A peer that took no more
    and is asked whether it has room: there it counts from when that began, and would end it with the next question. So what the
    peer is given has to be over, and a second question to be lost as well.
    """
    state, _, retransmits, probes = info[:4]
    acknowledged = _milliseconds(info, _ACKNOWLEDGED)
    if state == _SYN_SENT:
        return False
    return (retransmits > 0 and _milliseconds(info, _SENT) < acknowledged) or (probes > 1 and acknowledged >= limit)


def _milliseconds(info: bytes, at: int) -> int:
    return int.from_bytes(info[at : at + 4], sys.byteorder)
