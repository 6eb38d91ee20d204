"""A connected, non-blocking stream socket that is ours alone."""

import select
import socket
import sys
from collections.abc import Awaitable, Callable
from functools import cache
from math import inf

from tunnelctl.engine.descriptor import Descriptor
from tunnelctl.engine.kernel import current_time, sleep
from tunnelctl.stream.base import Stream

# struct linger: on, zero seconds. close() then sends RST and forgets what was not sent.
ABORT = (1).to_bytes(4, sys.byteorder) + bytes(4)
SIOCOUTQ = 0x5411  # linux/sockios.h: bytes handed over that the peer has not acknowledged

# How long an abort waits for the peer to acknowledge a byte more of what was handed over before it. A slow line may take long for
# the whole of a full send queue; a peer whose program does not read acknowledges nothing, and is not waited for.
DELIVERY_SECONDS = 1.0

PROBES = 9  # after which a silent peer is given up

# Bytes that are handed over and not yet sent, at which a socket counts as full (TCP_NOTSENT_LOWAT). What is under way comes on top,
# so it costs little throughput (half as much: 5 % beside 100 bulk tunnels on loopback); without it a reader that stalls leaves what
# tcp_wmem allows in the send queue, 4 MiB.
MAX_UNSENT = 320 << 10

# For the queue of what was received and waits for the sink: see receive_queue_for. The kernel doubles the second: with MAX_UNSENT
# and what is left in a pipe (pump.PIECE), a reader that stalls holds less than 2 MiB. Beside 100 bulk tunnels on loopback the two
# bounds cost a tenth of the throughput.
BULK_RATE, MIN_QUEUE = 128 << 20, 640 << 10  # bytes a second, bytes
_RTT = 68  # the offset of tcpi_rtt in struct tcp_info (linux/tcp.h), a number of 32 bits
SO_BUF_LOCK, SOCK_RCVBUF_LOCK = 72, 2  # asm-generic/socket.h, linux/socket.h: who may change the sizes of the queues


class SocketStream(Stream):
    """TCP, or a unix stream socket.

    A bare `socket.SocketType` will do, and is what the proxy gives it: the `socket.socket` that Python makes of it costs twice
    the instructions to make and to close.
    """

    __slots__ = ("descriptor", "peer", "socket")

    def __init__(self, connected: socket.SocketType, peer: str = "") -> None:
        """peer: the address at the other end, for people; asking the socket for it costs more than remembering."""
        self.socket = connected
        self.peer = peer
        self.descriptor = Descriptor(connected.fileno())

    def receive_nowait(self, limit: int) -> bytes | None:
        descriptor = self.descriptor
        if not descriptor.readable:
            return None
        try:
            data = self.socket.recv(limit)
        except BlockingIOError:
            descriptor.readable = False
            return None
        # A short read has emptied the queue, so the next edge will tell; the try that would meet EAGAIN, and the exception that
        # costs more than the call, are saved. Unless FIN has been seen, for no further edge comes after it, or urgent data, in
        # front of which recv(2) stops.
        if len(data) < limit and not descriptor.ended:
            descriptor.readable = False
        return data

    def send_nowait(self, data: bytes | memoryview) -> int:
        if not self.descriptor.writable:
            return 0
        try:
            sent = self.socket.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            self.descriptor.writable = False
        return sent

    def wait_readable(self) -> Awaitable[None]:
        return self.descriptor.wait_readable()

    def wait_writable(self) -> Awaitable[None]:
        return self.descriptor.wait_writable()

    def on_broken(self, callback: Callable[[], None]) -> None:
        self.descriptor.watch(callback)

    def on_peer_closed(self, callback: Callable[[], None] | None) -> None:
        self.descriptor.watch_peer(callback)

    def socket_fd(self) -> int | None:
        return self.descriptor.fd

    def source_drained(self) -> None:
        # After FIN an empty queue makes splice(2) return 0. In front of urgent data it returns EAGAIN as well: then poll(2) knows.
        self.descriptor.readable = self.descriptor.ended and _has_input(self.descriptor.fd)

    def sink_filled(self) -> None:
        self.descriptor.writable = False

    def expect_bulk(self) -> None:
        round_trip = self._round_trip()
        if round_trip is None:
            return
        needed, size, most = int(round_trip * BULK_RATE), receive_queue_for(round_trip), _rmem_max()
        if size > most:
            if self._fix_queue(size) or needed > most:
                return
            size = most
        if size:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)

    def _fix_queue(self, size: int) -> bool:
        """Makes the receive queue so large, and ends the kernel's own growing of it: SO_RCVBUF without the limit of rmem_max.

        The kernel makes room for as much as a reader waits for. TCP_WINDOW_CLAMP would not do: it bounds what the peer may send at
        a time, and the queue goes on growing. False where there is no need (the kernel itself stops before), or no way.
        """
        if size > _tcp_rmem_max() // 2:  # SO_RCVLOWAT stops there, where the kernel's growing may still go on
            return False
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)
            self.socket.setsockopt(socket.SOL_SOCKET, SO_BUF_LOCK, SOCK_RCVBUF_LOCK)
        except OSError:  # before Linux 5.15
            return False
        finally:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
            self.descriptor.readable = True  # no edge told of what came in between
        return True

    def _round_trip(self) -> float | None:
        """Seconds, as TCP has measured it; None for what is no TCP."""
        try:
            info = self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RTT + 4)
        except OSError:
            return None
        return int.from_bytes(info[_RTT:], sys.byteorder) / 1e6

    def send_eof(self) -> None:
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:  # ENOTCONN: a reset was faster, and whoever reads learns of it
            pass

    def abort(self) -> None:
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
        except OSError:
            pass
        self.close()

    def close(self) -> None:
        if not self.descriptor.closed:
            self.descriptor.forget()
            self.socket.close()

    def detach(self) -> socket.SocketType:
        """The socket, which is no longer the stream's: for handing it to another process."""
        self.descriptor.forget(shared=True)
        return self.socket

    async def delivered(self) -> None:
        """Waits until the peer has acknowledged all that was handed over; gives up when DELIVERY_SECONDS bring no progress.

        An abort throws away what still waits in the send queue; yet those bytes came before the failure, and are owed.
        """
        least, until, pause = inf, 0.0, 0.001
        while (rest := self._unacknowledged()) and not self.descriptor.broken:
            if rest < least:
                least, until = rest, current_time() + DELIVERY_SECONDS
            elif current_time() >= until:
                return
            await sleep(pause)  # the kernel has no event for an empty send queue
            pause = min(pause * 2, 0.05)

    def _unacknowledged(self) -> int:
        from fcntl import ioctl

        try:
            return int.from_bytes(ioctl(self.socket, SIOCOUTQ, bytes(4)), sys.byteorder)
        except OSError:
            return 0


def receive_queue_for(round_trip: float) -> int:
    """Bytes for the queue of a bulk source on a path of so many seconds.

    The kernel lets it grow to tcp_rmem's 6 or 32 MiB while data flows, whether or not the path needs so much; when the reader then
    stalls, all of it is filled. 1 Gbit/s is what a path is given.

    """
    return max(int(round_trip * BULK_RATE), MIN_QUEUE)


@cache
def _rmem_max() -> int:
    """What SO_RCVBUF takes; 0 if it is not known."""
    return _last_number("/proc/sys/net/core/rmem_max")


@cache
def _tcp_rmem_max() -> int:
    """How far the kernel itself lets a receive queue grow; 0 if it is not known."""
    return _last_number("/proc/sys/net/ipv4/tcp_rmem")


def _last_number(path: str) -> int:
    try:
        with open(path, "rb") as file:
            return int(file.read().split()[-1])
    except (OSError, ValueError, IndexError):
        return 0


def _has_input(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


def tune(new: socket.SocketType, keepalive: float) -> None:
    """Sets what both legs of a tunnel want. Set on a listener, it holds for what that accepts (Linux hands the options down).

    keepalive: seconds of silence before the first probe; 0 leaves probes off.
    """
    new.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a keystroke must not wait for the last one's acknowledgement
    new.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, MAX_UNSENT)
    # RFC 6093 section 6: what is sent as urgent is a part of the stream, and would otherwise be missing from it.
    new.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    if keepalive:
        idle, interval = _probing(keepalive)
        new.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        new.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle)
        new.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, interval)
        new.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)


def patience(keepalive: float) -> int:
    """Seconds after which a peer that answers nothing is given up."""
    idle, interval = _probing(keepalive)
    return idle + PROBES * interval


def _probing(keepalive: float) -> tuple[int, int]:
    """Seconds until the first probe, and between two of them."""
    idle = max(1, min(32767, round(keepalive)))
    return idle, max(1, idle // 4)
