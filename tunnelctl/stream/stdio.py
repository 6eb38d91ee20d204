"""Standard input and output as one stream.

They are borrowed: the open files behind them are shared with the shell, with ssh, with a sibling. So their flags stay unchanged,
above all O_NONBLOCK, which belongs to the open file. To avoid blocking, each call sets flags of its own (splice and sockets), or
the file is reopened (a terminal, and a pipe for long writes), or poll comes first and the write is small enough for its result to
hold.
"""

from __future__ import annotations

import _socket as socket
import os
import select
import stat
import sys
from errno import EBADF, EIO, EPIPE

from tunnelctl.engine.descriptor import Descriptor
from tunnelctl.engine.poller import IN, OUT, poll_once
from tunnelctl.stream.base import Stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

# POLLOUT on a pipe promises room for so many bytes (Linux 4096, macOS 512), no more: a longer blocking write could hang the whole
# event loop, signals included.
# A terminal promises one byte: a newline or a tab becomes several on output.
SAFE_WRITE = select.PIPE_BUF
SAFE_TTY_WRITE = 1


# Others, macOS among them, ignore this flag when they send: such a call on a socket that blocks would hang the event loop.
SENDS_WITHOUT_WAITING = sys.platform.startswith(("linux", "freebsd", "openbsd"))


class Stdio(Stream):
    """Reads descriptor 0, writes descriptor 1."""

    __slots__ = ("_in", "_in_kind", "_in_socket", "_out", "_out_kind", "_out_socket", "_pipe", "_terminal", "duplex")

    def __init__(self, source: int = 0, sink: int = 1) -> None:
        self._in, self._out = Descriptor(source), Descriptor(sink)
        self._in_kind, self._out_kind = _kind(source), _kind(sink)
        self._in_socket, self._out_socket = _socket_of(source, self._in_kind), _socket_of(sink, self._out_kind)
        self._terminal = _reopened(sink) if os.isatty(sink) else None
        self._pipe: int | None = None  # opened at the first long write: data from TLS is copied, and a page at a time is slow
        # Two different sockets are as separate as two pipes; Node.js, for one, gives such to its children.
        self.duplex = self._out_socket is not None and os.path.samestat(os.fstat(source), os.fstat(sink))

    @property
    def interactive(self) -> bool:
        """Whether a person types: then the remote EOF ends the tunnel, since nobody expects to type a last line."""
        return os.isatty(self._in.fd)

    def receive_nowait(self, limit: int) -> bytes | None:
        if self._in_socket is not None:
            return self._receive_socket(limit)
        if not stat.S_ISREG(self._in_kind) and not poll_once(self._in.fd, IN):
            self._in.readable = False
            return None
        try:
            return os.read(self._in.fd, limit)
        except OSError as error:
            if error.errno == EBADF:  # started with stdin closed: something unreadable holds its number, and there is no input
                return b""
            raise

    def _receive_socket(self, limit: int) -> bytes | None:
        assert self._in_socket is not None
        try:
            return self._in_socket.recv(limit, socket.MSG_DONTWAIT)
        except BlockingIOError:
            self._in.readable = False
            return None

    def send_nowait(self, data: bytes | memoryview) -> int:
        if self._out_socket is not None:
            return self._send_socket(data)
        if stat.S_ISREG(self._out_kind):
            return os.write(self._out.fd, data)
        if self._terminal is not None:
            return self._send_terminal(self._terminal, data)
        if stat.S_ISFIFO(self._out_kind) and len(data) > SAFE_WRITE:
            return self._send_pipe(data)
        return self._send_page(data)

    def _send_page(self, data: bytes | memoryview) -> int:
        if not poll_once(self._out.fd, OUT):
            self._out.writable = False
            return 0
        return os.write(self._out.fd, data[:SAFE_WRITE])

    def _send_pipe(self, data: bytes | memoryview) -> int:
        if self._pipe is None:
            self._pipe = _reopened(self._out.fd)
        if self._pipe == self._out.fd:
            return self._send_page(data)
        try:
            return os.write(self._pipe, data)
        except BlockingIOError:
            self._out.writable = False
            return 0

    def _send_terminal(self, terminal: int, data: bytes | memoryview) -> int:
        try:
            if terminal != self._out.fd:
                return os.write(terminal, data)
            if poll_once(terminal, OUT):
                return os.write(terminal, data[:SAFE_TTY_WRITE])
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno == EIO:  # the kernel's error for a terminal whose other end has gone
                raise BrokenPipeError(EPIPE, "the terminal has gone") from error
            raise
        self._out.writable = False
        return 0

    def _send_socket(self, data: bytes | memoryview) -> int:
        assert self._out_socket is not None
        if not SENDS_WITHOUT_WAITING:
            if not poll_once(self._out.fd, OUT):
                self._out.writable = False
                return 0
            # POLLOUT promises room for that many bytes.
            data = data[: self._out_socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDLOWAT)]
        try:
            return self._out_socket.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            self._out.writable = False
            return 0

    def wait_readable(self) -> Awaitable[None]:
        return self._in.wait_readable()

    def wait_writable(self) -> Awaitable[None]:
        return self._out.wait_writable()

    def on_broken(self, callback: Callable[[], None]) -> None:
        self._out.watch(callback)

    # Pipes only. A blocking socket makes splice(2) wait in spite of SPLICE_F_NONBLOCK (TCP checks the open file's own flag), and a
    # file may be open for appending, which splice(2) refuses. Both are read and written instead.

    def source_pipe(self) -> int | None:
        return self._in.fd if stat.S_ISFIFO(self._in_kind) else None

    def sink_pipe(self) -> int | None:
        return self._out.fd if stat.S_ISFIFO(self._out_kind) else None

    def source_drained(self) -> None:
        self._in.readable = False

    def sink_filled(self) -> None:
        self._out.writable = False

    def send_eof(self) -> None:
        """Closes stdout, so that ssh and a pipeline see the end at once; a socket is half-closed instead."""
        if self._out_socket is not None:
            try:
                self._out_socket.shutdown(socket.SHUT_WR)
            except OSError:
                pass
        elif not self._out.closed:
            self._out.forget(shared=True)
            self._close_reopened()
            # Not close(): the next file opened would get the number, and with it any stray write.
            null = os.open(os.devnull, os.O_RDONLY)
            os.dup2(null, self._out.fd)
            os.close(null)

    def abort(self) -> None:
        self.close()

    def close(self) -> None:
        for descriptor, borrowed in ((self._in, self._in_socket), (self._out, self._out_socket)):
            if borrowed is not None and borrowed.fileno() >= 0:
                borrowed.detach()  # the descriptor is not ours to close
            if not descriptor.closed:
                descriptor.forget(shared=True)
        self._close_reopened()

    def _close_reopened(self) -> None:
        for descriptor in (self._terminal, self._pipe):
            if descriptor is not None and descriptor != self._out.fd:
                os.close(descriptor)
        self._terminal = self._pipe = None


def _kind(fd: int) -> int:
    return os.fstat(fd).st_mode


def _socket_of(fd: int, kind: int) -> socket.socket | None:
    if not stat.S_ISSOCK(kind):
        return None
    return socket.socket(fileno=fd)  # leaves O_NONBLOCK as it is


def _reopened(sink: int) -> int:
    """Reopens a terminal or pipe, so that O_NONBLOCK affects only us; returns `sink` where that is not allowed (after su).

    Without Linux's /proc, a terminal is opened by its name, and a pipe, which has none, not at all.
    """
    for path_of in _proc_path, os.ttyname:
        try:
            return os.open(path_of(sink), os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError:
            continue
    return sink


def _proc_path(fd: int) -> str:
    return f"/proc/self/fd/{fd}"
