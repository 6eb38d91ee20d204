"""A connected, non-blocking stream socket that is ours alone."""

from __future__ import annotations

import _socket as socket
import sys
from errno import EPIPE, EPROTOTYPE
from math import inf
from os import strerror

from tunnelctl.engine.descriptor import Descriptor
from tunnelctl.engine.kernel import current_time, sleep
from tunnelctl.engine.poller import IN, poll_once
from tunnelctl.stream.base import Stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from tunnelctl.engine.resolver import SocketAddress

# struct linger: on, zero seconds. close() then sends RST and discards unsent data.
ABORT = (1).to_bytes(4, sys.byteorder) + bytes(4)

# What tells how many bytes were handed over that the peer has not acknowledged: two ioctls, of linux/sockios.h and of sys/filio.h
# of the BSDs, and a socket option of macOS (sys/socket.h).
SIOCOUTQ, FIONWRITE, SO_NWRITE = 0x5411, 0x40046677, 0x1024

# Seconds that an abort waits for the peer to acknowledge one more byte of what was handed over before. A slow line may take long
# for a full send queue; a peer whose program does not read acknowledges nothing, and does not hold up the abort.
DELIVERY_SECONDS = 1.0

PROBES = 9  # unanswered ones, after which a silent peer is given up

# Options of TCP; 0 where the system has none, or only for all connections together (OpenBSD).
_TCP_INFO: int = getattr(socket, "TCP_INFO", 0)
_NOTSENT_LOWAT: int = getattr(socket, "TCP_NOTSENT_LOWAT", 0)
_KEEPIDLE: int = getattr(socket, "TCP_KEEPIDLE", 0) or getattr(socket, "TCP_KEEPALIVE", 0)  # the name on macOS
_KEEPINTVL: int = getattr(socket, "TCP_KEEPINTVL", 0)
_KEEPCNT: int = getattr(socket, "TCP_KEEPCNT", 0)
# Seconds of retransmission after which macOS gives up a connection (netinet/tcp.h). Linux: see `stream.vanished`.
RXT_CONNDROPTIME = 0x80 if sys.platform == "darwin" else 0

# Unsent bytes in the send queue at which a socket counts as full (TCP_NOTSENT_LOWAT). Bytes in flight come on top, so it costs
# little throughput (half as much costs 5 % with 100 bulk tunnels on loopback). Without it, a stalled reader leaves in the send
# queue what tcp_wmem allows, 4 MiB.
MAX_UNSENT = 304 << 10

MAX_PIECES = 64  # per sendmsg(2); the kernel takes 1,024, but a turn of the loop has to end

# For the receive queue of a bulk source: see receive_queue_for. The kernel doubles the second value: with MAX_UNSENT and what is
# left in a pipe (pump.PIECE), a stalled reader holds less than 2 MiB where the round trip is at most 3 ms. With 100 bulk tunnels on
# loopback, the two bounds cost a tenth of the throughput.
BULK_RATE, MIN_QUEUE = 192 << 20, 592 << 10  # bytes a second, bytes
_RTT = 68  # the offset of tcpi_rtt in struct tcp_info (linux/tcp.h), a 32-bit number
SO_BUF_LOCK, SOCK_RCVBUF_LOCK = 72, 2  # asm-generic/socket.h, linux/socket.h: fixes the size of a queue
TCP_RMEM_MAX = 6 << 20  # the default of Linux: systemd's ProcSubset=pid, and with it our own unit, hides /proc/sys


class SocketStream(Stream):
    """A TCP or unix stream socket.

    A bare `socket.SocketType` suffices, and the proxy passes one: Python's `socket.socket` on top of it takes twice the
    instructions to make and to close.
    """

    __slots__ = ("descriptor", "peer", "socket")
    descriptor: Descriptor

    def __init__(self, connected: socket.SocketType, peer: SocketAddress | str = "") -> None:
        """peer: the other end, for people, who read it as a str; querying the socket costs more than storing it"""
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
        # A short read has emptied the queue, so the next edge will report more. That saves a call that would meet EAGAIN, and the
        # exception, which costs more than the call. It does not hold after FIN, which no further edge follows, nor after urgent
        # data, in front of which recv(2) stops.
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
        except OSError as error:
            _check_closing(error)
            raise
        if sent < len(data):
            self.descriptor.writable = False
        return sent

    def receive_into(self, room: list[memoryview]) -> int | None:
        """Reads into several buffers; 0 is EOF, None means that nothing has arrived yet.

        A read that was cut short by the size of the room says nothing about the queue: more may be there, and no edge reports it.
        """
        descriptor = self.descriptor
        if not descriptor.readable:
            return None
        try:
            count = self.socket.recvmsg_into(room)[0]
        except BlockingIOError:
            descriptor.readable = False
            return None
        if count < sum(map(len, room)) and not descriptor.ended:
            descriptor.readable = False
        return count

    def send_pieces(self, pieces: Sequence[bytearray | memoryview]) -> int:
        """Takes a prefix of several pieces, as `send_nowait` does of one."""
        if not self.descriptor.writable:
            return 0
        pieces = pieces[:MAX_PIECES]
        try:
            sent = self.socket.sendmsg(pieces)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            _check_closing(error)
            raise
        if sent < sum(map(len, pieces)):
            self.descriptor.writable = False
        return sent

    def wait_readable(self) -> Awaitable[None]:
        return self.descriptor.wait_readable()

    def wait_writable(self) -> Awaitable[None]:
        return self.descriptor.wait_writable()

    def on_broken(self, callback: Callable[[], None]) -> None:
        self.descriptor.watch(callback)

    def on_peer_closed(self, callback: Callable[[], None]) -> None:
        self.descriptor.watch_peer(callback)

    def unwatch(self) -> None:
        self.descriptor.unwatch()

    def socket_fd(self) -> int | None:
        return self.descriptor.fd

    def transport_fd(self) -> int | None:
        return self.descriptor.fd

    def push(self) -> None:
        # Setting this option, even anew, also sends what is pending.
        try:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:  # a unix socket has none, and holds nothing back
            pass

    def source_drained(self) -> None:
        # After FIN, splice(2) returns 0 for an empty queue. In front of urgent data it returns EAGAIN too: then poll(2) decides.
        self.descriptor.readable = self.descriptor.ended and poll_once(self.descriptor.fd, IN)

    def sink_filled(self) -> None:
        self.descriptor.writable = False

    def expect_bulk(self) -> None:
        round_trip = self._round_trip()
        if round_trip is None:
            return
        size = receive_queue_for(round_trip)
        if size <= (_tcp_rmem_max() or TCP_RMEM_MAX) // 2:  # else autotuning stops earlier
            try:
                self._fix_queue(size, int(round_trip * BULK_RATE))
            except OSError:  # no such option: the kernel sizes the queue
                pass

    def bound_unsent(self, size: int) -> None:
        if not _NOTSENT_LOWAT:
            return
        try:
            self.socket.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, size)
        except OSError:  # a unix socket has none
            pass

    def _fix_queue(self, size: int, needed: int) -> None:
        """Sets the receive queue to `size` and stops the kernel's autotuning. needed: bytes of it that BULK_RATE takes on this path

        By SO_RCVLOWAT, the kernel makes room for as much as a reader waits for, and lets the peer send as much. SO_RCVBUF alone
        would leave the window where it is (tcp(7): it has to be set before connect): at 20 ms, downloads came to 7 MiB/s.
        TCP_WINDOW_CLAMP would not do: it bounds what the peer may send at a time, but the queue goes on growing.
        """
        most = _rmem_max()
        try:
            if size > most and self._lock_queue(False):
                self._set(socket.SO_RCVBUF, min(size, most or size))  # undoes what autotuning has reached, which may be more
                self._lock_queue(False)
                self._set(socket.SO_RCVLOWAT, size)
                self._lock_queue(True)
            elif most and needed <= most:
                self._set(socket.SO_RCVLOWAT, size)
                self._set(socket.SO_RCVBUF, min(size, most))
        finally:
            self._set(socket.SO_RCVLOWAT, 1)
            self.descriptor.readable = True  # before Linux 4.18, no edge reports what arrived in between

    def _set(self, option: int, value: int) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, option, value)

    def _lock_queue(self, locked: bool) -> bool:
        """Locks the size of the receive queue, which SO_RCVBUF does as well, or unlocks it. False before Linux 5.15."""
        try:
            self._set(SO_BUF_LOCK, SOCK_RCVBUF_LOCK if locked else 0)
        except OSError:
            return False
        return True

    def _round_trip(self) -> float | None:
        """Round-trip time in seconds, as measured by TCP; None if the socket is not TCP, or the system does not tell (macOS)."""
        if not _TCP_INFO:
            return None
        try:
            info = self.socket.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _RTT + 4)
        except OSError:
            return None
        return int.from_bytes(info[_RTT:], sys.byteorder) / 1e6

    def send_eof(self) -> None:
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:  # ENOTCONN: a reset came first, and the next read reports it
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
        """Releases the socket from the stream and returns it, for handing it to another process."""
        self.descriptor.forget(shared=True)
        return self.socket

    async def wait_acknowledged(self) -> None:
        """Waits until the peer has acknowledged all that was handed over; gives up after DELIVERY_SECONDS without progress.

        An abort discards what is still in the send queue; yet those bytes came before the failure, and must be delivered.
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
            if sys.platform == "darwin":
                return self.socket.getsockopt(socket.SOL_SOCKET, SO_NWRITE)
            request = SIOCOUTQ if sys.platform == "linux" else FIONWRITE
            return int.from_bytes(ioctl(self.socket, request, bytes(4)), sys.byteorder)
        except OSError:
            return 0


def _check_closing(error: OSError) -> None:
    """Raises the usual error in place of the one that macOS has for a connection that is just being closed."""
    if error.errno == EPROTOTYPE:
        raise BrokenPipeError(EPIPE, strerror(EPIPE)) from error


def receive_queue_for(round_trip: float) -> int:
    """Returns the size of a bulk source's receive queue in bytes, for a round-trip time in seconds.

    Allows for 1 Gbit/s, and for round trips that become longer under load: with two thirds of it, one stream came to 103 MiB/s on a
    line of 20 ms that carries 140.

    The kernel lets the queue grow to tcp_rmem's 6 or 32 MiB while data flows, whether or not the path needs that much; when the
    reader then stalls, all of it fills up.
    """
    return max(int(round_trip * BULK_RATE), MIN_QUEUE)


def _rmem_max() -> int:
    """The largest value that SO_RCVBUF takes; 0 if unknown."""
    return _last_number("/proc/sys/net/core/rmem_max")


def _tcp_rmem_max() -> int:
    """The limit of the kernel's autotuning of a receive queue; 0 if unknown."""
    return _last_number("/proc/sys/net/ipv4/tcp_rmem")


_numbers: dict[str, int] = {}  # those that have been read, by path


def _last_number(path: str) -> int:
    """The last number in a file; 0 if it cannot be read now. A shortage of descriptors passes, so that is not remembered."""
    if path not in _numbers:
        try:
            with open(path, "rb") as file:
                _numbers[path] = int(file.read().split()[-1])
        except (OSError, ValueError, IndexError):
            return 0
    return _numbers[path]


def set_socket_options(new: socket.SocketType, keepalive: float) -> None:
    """Sets the options that both legs of a tunnel need. On a listener, accepted sockets inherit them, but see `not_inherited`.

    keepalive: seconds of silence before the first probe; 0 leaves probes off.
    """
    new.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a keystroke must not wait for the last one's acknowledgement
    if _NOTSENT_LOWAT:
        new.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, MAX_UNSENT)
    # RFC 6093 section 6: urgent data is part of the stream, and would otherwise be missing from it.
    new.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    if keepalive:
        set_keepalive(new, keepalive)


def set_keepalive(new: socket.SocketType, keepalive: float) -> None:
    """Turns probes on. keepalive: seconds of silence before the first one, not 0."""
    idle, interval = _probing(keepalive)
    new.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if _KEEPIDLE:
        new.setsockopt(socket.IPPROTO_TCP, _KEEPIDLE, idle)
    if _KEEPINTVL:
        new.setsockopt(socket.IPPROTO_TCP, _KEEPINTVL, interval)
    if _KEEPCNT:
        new.setsockopt(socket.IPPROTO_TCP, _KEEPCNT, PROBES)
    if RXT_CONNDROPTIME:
        new.setsockopt(socket.IPPROTO_TCP, RXT_CONNDROPTIME, patience(keepalive))


def not_inherited(listener: socket.SocketType) -> list[tuple[int, int]]:
    """Returns the options of a listener for TCP, with their values, that macOS does not pass on to accepted sockets."""
    if not RXT_CONNDROPTIME or listener.family == socket.AF_UNIX:
        return []
    return [(option, listener.getsockopt(socket.IPPROTO_TCP, option)) for option in (_KEEPIDLE, RXT_CONNDROPTIME)]


def pass_on(options: list[tuple[int, int]], accepted: socket.SocketType) -> None:
    """Sets these options. A client that has left already is no error: the first read shows it."""
    try:
        for option, value in options:
            accepted.setsockopt(socket.IPPROTO_TCP, option, value)
    except OSError:
        pass


def patience(keepalive: float) -> int:
    """Seconds after which a peer that does not respond is given up."""
    idle, interval = _probing(keepalive)
    return idle + PROBES * interval


def _probing(keepalive: float) -> tuple[int, int]:
    """Seconds until the first probe, and between two probes."""
    idle = max(1, min(32767, round(keepalive)))
    return idle, max(1, idle // 4)
