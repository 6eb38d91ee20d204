"""Peers that vanish with data in flight.

Keepalive probes only connections with no data in flight. On others the kernel retransmits, or probes a peer whose window is zero,
for some 15 minutes. TCP_USER_TIMEOUT shortens that (RFC 5482), but it affects a live peer as well: one that reads nothing for that
long is cut off although it responds to every probe. So it is set only while a peer does not respond.

Linux alone has these options. On macOS, `set_socket_options` sets one that does not affect a live peer; the BSDs have none.

In `serve`, the same look also turns keepalive on where it is off, which is on the connections to targets. Most of them end before
it, and are spared four system calls, 1.4 µs. The kernel counts silence from the last segment that it received, so the first probe
is late only where keepalive is shorter than the time between two looks.
"""

import socket
import sys

from tunnelctl.engine.kernel import checkpoint, current_kernel, sleep
from tunnelctl.stream.socket_stream import patience, set_keepalive

LOOKS = 8  # checks of each connection, within the time that a peer is given
_TCP_INFO: int = getattr(socket, "TCP_INFO", 0)
_TCP_USER_TIMEOUT: int = getattr(socket, "TCP_USER_TIMEOUT", 0)

WATCHES = bool(_TCP_USER_TIMEOUT)  # whether `watch_for_vanished_peers` can do anything here

PORTION = 100  # descriptors checked per turn, at some 5 µs each

# struct tcp_info (linux/tcp.h) begins with an octet each for state, ca_state, retransmits and probes. Two 32-bit numbers are the
# milliseconds since data was last sent, and since anything was last acknowledged.
_SENT, _ACKNOWLEDGED = 44, 56
_SYN_SENT = 2  # a connection that is being opened has limits of its own


async def watch_for_vanished_peers(keepalive: float, turn_on: bool = False) -> None:
    """Makes the kernel give up peers that do not respond for as long as keepalive would wait. Returns only if it cannot do that.

    keepalive: as for `set_socket_options`, and not 0
    turn_on: turns keepalive on where it is off; only in a process that shares no socket with another one, since it outlasts us
    """
    if not WATCHES:
        return
    hurried = set[int]()
    while True:
        await sleep(patience(keepalive) / LOOKS)
        await _look_at_all(keepalive, hurried, turn_on)


async def _look_at_all(keepalive: float, hurried: set[int], turn_on: bool = False) -> None:
    """Checks every connection. hurried: the descriptors on which TCP_USER_TIMEOUT was set"""
    descriptors = current_kernel().descriptors
    numbers = tuple(descriptors)
    for begin in range(0, len(numbers), PORTION):
        for number in numbers[begin : begin + PORTION]:
            if number in descriptors:  # else closed meanwhile; a new connection under the same number may be checked too
                _look_at(number, keepalive, hurried, turn_on)
        await checkpoint()
    hurried.intersection_update(descriptors)


def _look_at(number: int, keepalive: float, hurried: set[int], turn_on: bool) -> None:
    try:
        looked_at = socket.SocketType(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, number)
    except OSError:  # not a socket
        return
    limit = patience(keepalive) * 1000
    try:
        info = looked_at.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _ACKNOWLEDGED + 4)
        if turn_on and not looked_at.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE):
            set_keepalive(looked_at, keepalive)
        if _silent(info, limit):
            looked_at.setsockopt(socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, limit)
            hurried.add(number)
        elif number in hurried:
            looked_at.setsockopt(socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, 0)
            hurried.discard(number)
    except OSError:  # not TCP
        pass
    finally:
        looked_at.detach()  # the descriptor still belongs to its owner


def _silent(info: bytes, limit: int) -> bool:
    """Whether the peer has stopped responding. limit: milliseconds

    On retransmission, the kernel counts from the first of the data sent again, so the limit can be set at once. While it probes a
    zero window, it counts from the beginning of that, and would end the connection at the next probe. So the limit must have passed
    already, and a second probe must be lost as well.
    """
    state, _, retransmits, probes = info[:4]
    acknowledged = _milliseconds(info, _ACKNOWLEDGED)
    if state == _SYN_SENT:
        return False
    return (retransmits > 0 and _milliseconds(info, _SENT) < acknowledged) or (probes > 1 and acknowledged >= limit)


def _milliseconds(info: bytes, at: int) -> int:
    return int.from_bytes(info[at : at + 4], sys.byteorder)
