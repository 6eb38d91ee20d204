"""A unix socket between two processes of tunnelctl, on which a reset differs from an end.

The kernel has no reset for unix sockets: a peer that aborts, or is killed, looks like one that has ended. So the client sends one
end of a socket pair along with its first bytes. Each side sends one octet on the pair at the start, and another before it ends its
direction in order. Whoever reads EOF, and has received the first octet only, has met a reset.

A server that knows nothing of this, such as a dynamic port at a path, ignores the pair. It sends no octet, and its EOF counts.
"""

import _socket as socket
import os
import sys
from errno import ECONNRESET
from os import strerror

from tunnelctl.stream.socket_stream import SocketStream

_PRESENT, _ENDED = b"+", b"."
_INT = 4  # bytes of a C int

# sys/un.h and sys/ucred.h of macOS and the BSDs. struct xucred begins with its version and the uid; FreeBSD adds the pid.
_SOL_LOCAL, _LOCAL_PEERCRED, _LOCAL_PEERPID = 0, 1, 2
_PID_OF_XUCRED = 20


class UnixStream(SocketStream):
    """A unix stream socket. Without `offer_marks` or `expect_marks` it is a SocketStream."""

    __slots__ = ("_expected", "_heard", "_marks", "_offered")

    def __init__(self, connected: socket.SocketType, peer: str = "") -> None:
        super().__init__(connected, peer)
        self._marks: socket.SocketType | None = None  # our end of the pair
        self._offered: socket.SocketType | None = None  # the peer's end, which goes out with the first bytes
        self._expected = False  # the peer's first bytes may bring one
        self._heard = b""

    def offer_marks(self) -> None:
        """Makes the pair. To be called by the client, before it sends anything."""
        ours, self._offered = socket.socketpair()
        self._begin(ours)

    def expect_marks(self) -> None:
        """Takes the pair that comes with the first bytes, if one does. To be called by the server, before it reads anything."""
        self._expected = True

    def _begin(self, marks: socket.SocketType) -> None:
        marks.setblocking(False)
        self._marks = marks
        self._mark(_PRESENT)

    def send_nowait(self, data: bytes | memoryview) -> int:
        if self._offered is None:
            return super().send_nowait(data)
        rights = self._offered.fileno().to_bytes(_INT, sys.byteorder)
        sent = self.socket.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        self._offered.close()
        self._offered = None
        return sent

    def receive_nowait(self, limit: int) -> bytes | None:
        data = self._receive_first(limit) if self._expected else super().receive_nowait(limit)
        if data == b"":
            self.confirm_eof()
        return data

    def _receive_first(self, limit: int) -> bytes | None:
        """Reads the first bytes, and takes the descriptor that comes with them; a plain recv(2) would drop it.

        Such a read ends with the message that brought the descriptor, so a short one says nothing about the queue.
        """
        try:
            data, ancillary, _, _ = self.socket.recvmsg(limit, socket.CMSG_LEN(_INT))
        except BlockingIOError:
            self.descriptor.readable = False
            return None
        self._expected = False
        for _, kind, rights in ancillary:
            if kind == socket.SCM_RIGHTS:
                self._adopt(int.from_bytes(rights, sys.byteorder))
        return data

    def _adopt(self, fd: int) -> None:
        try:
            marks = socket.SocketType(socket.AF_UNIX, socket.SOCK_STREAM, 0, fd)
        except OSError:  # no socket
            os.close(fd)
        else:
            self._begin(marks)

    def confirm_eof(self) -> None:
        if self._marks is None:
            return
        try:
            self._heard += self._marks.recv(2)
        except OSError:  # no octet: the peer sends its own before it ends
            pass
        if self._heard == _PRESENT:
            raise ConnectionResetError(ECONNRESET, strerror(ECONNRESET))

    def send_eof(self) -> None:
        self._mark(_ENDED)
        super().send_eof()

    def abort(self) -> None:
        self._drop_marks()
        super().abort()

    def close(self) -> None:
        self._mark(_ENDED)
        self._drop_marks()
        super().close()

    def _mark(self, octet: bytes) -> None:
        if self._marks is not None:
            try:
                self._marks.send(octet)
            except OSError:  # the peer has gone
                pass

    def _drop_marks(self) -> None:
        for end in (self._marks, self._offered):
            if end is not None:
                end.close()
        self._marks = self._offered = None


def connect_unix(path: str) -> socket.SocketType:
    """Connects to a unix socket without waiting. Raises OSError: BlockingIOError if the backlog of the listener is full."""
    connected = socket.SocketType(socket.AF_UNIX, socket.SOCK_STREAM, 0)
    try:
        connected.setblocking(False)
        connected.connect(path)
    except BaseException:
        connected.close()
        raise
    return connected


def peer_uid(connected: socket.SocketType) -> int | None:
    """Returns the user at the other end, as of its connect(2) or listen(2); None where the kernel does not tell."""
    if sys.platform == "linux":
        return _number(connected, socket.SOL_SOCKET, socket.SO_PEERCRED, 1)
    return _number(connected, _SOL_LOCAL, _LOCAL_PEERCRED, 1)


def peer_pid(connected: socket.SocketType) -> int | None:
    """Returns the process that has called connect(2) or listen(2) at the other end; None where the kernel does not tell."""
    if sys.platform == "linux":
        return _number(connected, socket.SOL_SOCKET, socket.SO_PEERCRED, 0)
    if sys.platform == "darwin":
        return _number(connected, _SOL_LOCAL, _LOCAL_PEERPID, 0)
    return _number(connected, _SOL_LOCAL, _LOCAL_PEERCRED, _PID_OF_XUCRED) or None  # 0 before FreeBSD 13


def _number(connected: socket.SocketType, level: int, option: int, place: int) -> int | None:
    """Returns one of the numbers in what the kernel tells: struct ucred is pid, uid, gid; for struct xucred, see above."""
    try:
        told = connected.getsockopt(level, option, (place + 1) * _INT)
    except OSError:
        return None
    return int.from_bytes(told[place * _INT :], sys.byteorder) if len(told) == (place + 1) * _INT else None
