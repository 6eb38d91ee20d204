"""Streams of every kind, each with its far end under the control of the test.

The far end is driven with plain system calls, never with a stream, so that a fault of one stream cannot hide in the test of
another.
"""

import atexit
import os
import pty
import random
import shutil
import socket
import ssl
import struct
import tempfile
import termios
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from fcntl import F_GETFL, fcntl
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from tests.peers import certificates
from tests.stream.background import with_background
from tests.stream.http2_peer import Pair
from tunnelctl.engine.descriptor import Descriptor
from tunnelctl.engine.kernel import Nursery, fail_after, run
from tunnelctl.proto.http2.window import WindowBudget
from tunnelctl.stream.base import Stream
from tunnelctl.stream.socket_stream import SocketStream
from tunnelctl.stream.stdio import Stdio
from tunnelctl.stream.tls.settings import TLSClient, server_context
from tunnelctl.stream.tls.stream import accept_tls, start_tls
from tunnelctl.stream.unix_stream import UnixStream

SECONDS = 30.0  # time limit for each run; no test here takes a tenth of it
RESET = struct.pack("ii", 1, 0)
T = TypeVar("T")


def go(fn: Callable[..., Awaitable[T]], *args: Any, seconds: float = SECONDS) -> T:
    """Runs `fn(*args)` in a kernel of its own, for at most `seconds`."""

    async def bounded() -> T:
        with fail_after(seconds):
            return await with_background(fn, *args)

    return run(bounded)


@cache
def lines(size: int, seed: int = 1) -> bytes:
    """Text in lines, for terminals. A lost, doubled or swapped piece of it is always noticed."""
    return random.Random(seed).randbytes(size // 2 + 40).hex("\n", 32).encode()[: size - 1] + b"\n" if size else b""


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Returns two connected sockets on loopback, both non-blocking."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname(), 5)
        other, _ = listener.accept()
    for end in (one, other):
        end.setblocking(False)
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return one, other


def unix_pair() -> tuple[socket.socket, socket.socket]:
    pair = socket.socketpair()
    for end in pair:
        end.setblocking(False)
    return pair


class Far:
    """The far end: data written to `sink` is what the stream reads; `source` yields what the stream wrote. A socket is both."""

    def __init__(self, source: int, sink: int) -> None:
        self.source, self.sink = source, sink
        for number in {source, sink}:
            os.set_blocking(number, False)
        # Two descriptors for two numbers; a number can be registered only once.
        self._reading = Descriptor(source)
        self._writing = self._reading if sink == source else Descriptor(sink)
        self.closed: set[int] = set()

    async def give(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self.sink, rest) :]
            except BlockingIOError:
                self._writing.writable = False
                await self._writing.wait_writable()

    def try_take(self, limit: int = 1 << 20) -> bytes | None:
        try:
            return os.read(self.source, limit)
        except BlockingIOError:
            self._reading.readable = False
            return None

    async def take_some(self) -> bytes:
        """Returns at least one byte, or b"" at the end."""
        while (data := self.try_take()) is None:
            await self._reading.wait_readable()
        return data

    async def take(self, size: int) -> bytes:
        """Returns `size` bytes; fewer only at the end."""
        data = bytearray()
        while len(data) < size:
            while (piece := self.try_take(size - len(data))) is None:
                await self._reading.wait_readable()
            if not piece:
                break
            data += piece
        return bytes(data)

    async def take_rest(self) -> bytes:
        data = bytearray()
        while piece := await self.take_some():
            data += piece
        return bytes(data)

    async def end_output(self) -> None:
        """Makes the stream read EOF."""
        self._close(self.sink, self._writing)

    def leave(self) -> None:
        """Closes both directions, as when a process dies."""
        self._close(self.source, self._reading)
        self._close(self.sink, self._writing)

    def _close(self, number: int, descriptor: Descriptor) -> None:
        if number not in self.closed:
            self.closed.add(number)
            descriptor.forget()
            os.close(number)


class FarSocket(Far):
    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        super().__init__(sock.fileno(), sock.fileno())

    async def end_output(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Aborts the connection: with SO_LINGER on TCP. Unix sockets lack that option, but leaving with unread data resets them."""
        if self.sock.family != socket.AF_UNIX:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.leave()

    def leave(self) -> None:
        if self.sock.fileno() >= 0:
            self._reading.forget()
            self.sock.close()


class FarMarked(FarSocket):
    """The far end of a UnixStream. An octet on `marks` precedes each end in order, and each end without one is a reset."""

    def __init__(self, sock: socket.socket, marks: socket.socket) -> None:
        super().__init__(sock)
        self._marks, self._heard = marks, b""
        marks.setblocking(False)
        marks.send(b"+")

    async def end_output(self) -> None:
        self._marks.send(b".")
        await super().end_output()

    def leave(self) -> None:
        self._marks.close()
        super().leave()

    def try_take(self, limit: int = 1 << 20) -> bytes | None:
        data = super().try_take(limit)
        if data == b"":
            with suppress(BlockingIOError):
                self._heard += self._marks.recv(2)
            if b"." not in self._heard:
                raise ConnectionResetError
        return data


class FarTLS(FarSocket):
    """The far end of TLS, driven by hand."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, server: bool) -> None:
        super().__init__(sock)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.session = context.wrap_bio(self._in, self._out, server, None if server else certificates.HOST)
        self._ahead = b""
        self._inner_ended = False

    async def handshake(self) -> None:
        while True:
            try:
                self.session.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self._flush()
                await self._more()
        await self._flush()

    async def give(self, data: bytes) -> None:
        if data:
            self.session.write(data)
        await self._flush()

    async def _flush(self) -> None:
        await super().give(self._out.read())

    async def give_raw(self, data: bytes) -> None:
        """Sends bytes that bypass TLS."""
        await super().give(data)

    async def _more(self) -> None:
        while not self._fill():
            await self._reading.wait_readable()

    def _fill(self) -> bool:
        """Returns whether data or the end has arrived."""
        data = super().try_take()
        if data:
            self._in.write(data)
        elif data is not None:
            self._inner_ended = True
        return data is not None

    def try_take(self, limit: int = 1 << 20) -> bytes | None:
        if self._ahead:
            data, self._ahead = self._ahead[:limit], self._ahead[limit:]
            return data
        while True:
            try:
                return self.session.read(limit)
            except ssl.SSLWantReadError:
                if self._inner_ended:
                    raise ConnectionResetError("no close_notify") from None
                if not self._fill():
                    return None
            except ssl.SSLZeroReturnError:
                return b""

    async def end_output(self) -> None:
        """Sends close_notify and leaves TCP open. Takes the data that has arrived first, since OpenSSL would fail on it."""
        with suppress(ssl.SSLWantReadError):
            while data := self.session.read():
                self._ahead += data
        with suppress(ssl.SSLError):
            self.session.unwrap()
        await self._flush()

    async def cut_off(self) -> None:
        """Ends TCP without close_notify."""
        self.sock.shutdown(socket.SHUT_WR)


class FarSockets(Far):
    """Standard input and output as one socket each, as Node.js gives its children."""

    def __init__(self, reader: socket.socket, writer: socket.socket) -> None:
        self.reader, self.writer = reader, writer
        super().__init__(reader.fileno(), writer.fileno())

    async def end_output(self) -> None:
        self._close_one(self.writer, self._writing)

    def leave(self) -> None:
        self._close_one(self.reader, self._reading)
        self._close_one(self.writer, self._writing)

    def _close_one(self, sock: socket.socket, descriptor: Descriptor) -> None:
        if sock.fileno() >= 0:
            descriptor.forget()
            sock.close()


class FarTerminal(Far):
    async def end_output(self) -> None:
        await self.give(b"\x04")  # the byte that Ctrl-D sends


class FarFile:
    """Two regular files: `give` appends to one, `take` reads the content of the other."""

    def __init__(self, directory: Path) -> None:
        self._given, self._taken = directory / "given", directory / "taken"
        self._given.write_bytes(b"")
        self._at = 0

    def open(self) -> tuple[int, int]:
        return os.open(self._given, os.O_RDONLY), os.open(self._taken, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    async def give(self, data: bytes) -> None:
        with self._given.open("ab") as file:
            file.write(data)

    async def take(self, size: int) -> bytes:
        with self._taken.open("rb") as file:
            file.seek(self._at)
            data = file.read(size)
        self._at += len(data)
        return data

    async def take_rest(self) -> bytes:
        return await self.take(1 << 30)

    async def end_output(self) -> None:
        pass

    def leave(self) -> None:
        pass


class End(NamedTuple):
    """A stream, its far end, and the descriptors that it has borrowed."""

    stream: Stream
    far: Any
    borrowed: tuple[int, ...] = ()

    def flags(self) -> dict[tuple[int, int], int]:
        """Returns the flags of the open files behind the borrowed descriptors, by number and inode."""
        return {(number, os.fstat(number).st_ino): fcntl(number, F_GETFL) for number in self.borrowed}


def tcp(directory: Path) -> End:
    near, far = tcp_pair()
    return End(SocketStream(near), FarSocket(far))


def unix(directory: Path) -> End:
    near, far = unix_pair()
    return End(SocketStream(near), FarSocket(far))


async def unix_marked(directory: Path) -> End:
    near, far = unix_pair()
    stream = UnixStream(near)
    stream.offer_marks()
    await stream.send_all(b"first")
    data, (marks,), _, _ = socket.recv_fds(far, 5, 1)
    assert data == b"first"
    return End(stream, FarMarked(far, socket.socket(fileno=marks)))


def stdio(source: int, sink: int, far: object) -> End:
    return End(Stdio(source, sink), far, (source, sink))


def stdio_pipes(directory: Path) -> End:
    source, give = os.pipe()
    take, sink = os.pipe()
    return stdio(source, sink, Far(take, give))


def stdio_files(directory: Path) -> End:
    far = FarFile(directory)
    return stdio(*far.open(), far)


def stdio_terminal(directory: Path) -> End:
    master, slave = pty.openpty()
    # Canonical mode, so that Ctrl-D means EOF. Everything else that would change a byte is off.
    mode = termios.tcgetattr(slave)
    mode[0] = mode[1] = 0
    mode[3] = termios.ICANON
    mode[6] = [b"\0"] * len(mode[6])
    mode[6][termios.VEOF] = b"\x04"
    termios.tcsetattr(slave, termios.TCSANOW, mode)
    return stdio(slave, os.dup(slave), FarTerminal(master, os.dup(master)))


def stdio_socket(directory: Path) -> End:
    """Makes one socket serve as both, as inetd and ssh's ProxyUseFdpass do. It blocks, as a new socket does."""
    near, far = socket.socketpair()
    number = near.detach()
    return stdio(number, os.dup(number), FarSocket(far))


def stdio_sockets(directory: Path) -> End:
    near_source, far_sink = socket.socketpair()
    near_sink, far_source = socket.socketpair()
    return stdio(near_source.detach(), near_sink.detach(), FarSockets(far_source, far_sink))


@cache
def _certificates() -> certificates.Certificates:
    directory = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, directory)
    return certificates.make(Path(directory))


@cache
def _far_context(server: bool, newest: ssl.TLSVersion) -> ssl.SSLContext:
    files = _certificates()
    if server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files.server)
    else:
        context = ssl.create_default_context(cafile=files.authority)
    context.maximum_version = newest
    return context


@cache
def _near_context() -> ssl.SSLContext:
    chain, key = _certificates().server
    return server_context(str(chain), str(key), None)


async def _tls(server: bool, newest: ssl.TLSVersion) -> End:
    near, sock = tcp_pair()
    far = FarTLS(sock, _far_context(not server, newest), not server)
    made: list[Stream] = []

    async def shake() -> None:
        inner = SocketStream(near)
        if server:
            made.append(await accept_tls(inner, _near_context()))
        else:
            made.append(await start_tls(inner, TLSClient(certificates.HOST, cacert=str(_certificates().authority))))

    async with Nursery() as nursery:
        nursery.start_soon(shake)
        await far.handshake()
    return End(made[0], far)


async def tls(directory: Path) -> End:
    return await _tls(False, ssl.TLSVersion.TLSv1_3)


async def tls_1_2(directory: Path) -> End:
    return await _tls(False, ssl.TLSVersion.TLSv1_2)


async def tls_server(directory: Path) -> End:
    return await _tls(True, ssl.TLSVersion.TLSv1_3)


async def http2_pair(client: bool, secure: bool = False, **options: int) -> Pair:
    """Returns an HTTP/2 connection that is running. client: whether our end is the client; options: of the far end"""
    end = await _tls(not client, ssl.TLSVersion.TLSv1_3) if secure else tcp(Path())
    pair = Pair(end.stream, end.far, client, WindowBudget(), **options)
    pair.start()
    return pair


async def _http2(client: bool, secure: bool) -> End:
    return End(*await (await http2_pair(client, secure)).open())


async def http2_client(directory: Path) -> End:
    return await _http2(True, False)


async def http2_server(directory: Path) -> End:
    return await _http2(False, False)


async def http2_client_tls(directory: Path) -> End:
    return await _http2(True, True)


async def http2_server_tls(directory: Path) -> End:
    return await _http2(False, True)


Make = Callable[[Path], End | Awaitable[End]]

# The traits of a kind, by which a test selects:
WAITS = "waits"  # the source can be empty and the sink full
HALVES = "half-closes"  # the far end sees the end of the sink, while the source goes on
RESETS = "resets"  # the far end can abort
LEAVES = "leaves"  # the far end can vanish, and the sink notices
OWNED = "owned"  # the stream may abort the connection
STAYS = "stays"  # EOF is permanent; on a terminal it is a key like any other

KINDS: dict[Make, set[str]] = {
    tcp: {STAYS, WAITS, HALVES, RESETS, OWNED},
    unix: {STAYS, WAITS, HALVES, RESETS, LEAVES},
    unix_marked: {STAYS, WAITS, HALVES, RESETS, LEAVES, OWNED},
    tls: {STAYS, WAITS, HALVES, RESETS, OWNED},
    tls_1_2: {STAYS, WAITS, HALVES, RESETS, OWNED},
    tls_server: {STAYS, WAITS, HALVES, RESETS, OWNED},
    http2_client: {STAYS, WAITS, HALVES, RESETS, OWNED},
    http2_server: {STAYS, WAITS, HALVES, RESETS, OWNED},
    http2_client_tls: {STAYS, WAITS, HALVES, RESETS, OWNED},
    http2_server_tls: {STAYS, WAITS, HALVES, RESETS, OWNED},
    stdio_pipes: {STAYS, WAITS, HALVES, LEAVES},
    stdio_files: {STAYS},
    stdio_terminal: {WAITS, LEAVES},
    stdio_socket: {STAYS, WAITS, HALVES, RESETS, LEAVES},
    stdio_sockets: {STAYS, WAITS, HALVES, LEAVES},
}


def kinds(*traits: str) -> list[Make]:
    """Returns the kinds of stream that have all these traits."""
    return [make for make, own in KINDS.items() if own.issuperset(traits)]


async def make_end(make: Make, directory: Path) -> End:
    end = make(directory)
    return end if isinstance(end, End) else await end


@asynccontextmanager
async def opened(make: Make, directory: Path) -> AsyncIterator[End]:
    """Opens a stream and its far end, and closes both afterwards."""
    end = await make_end(make, directory)
    try:
        yield end
    finally:
        end.stream.close()
        for number in end.borrowed:
            with suppress(OSError):
                os.close(number)
        end.far.leave()
