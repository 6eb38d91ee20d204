"""A threaded server that runs a script: the fake proxy of the conformance matrix, and plain targets."""

import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from errno import ENOTCONN
from typing import Self

from tests.peers.process import free_port, wait_until

STEP_SECONDS = 15.0  # time limit of a script for one step of its peer
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
HEAD_END = b"\r\n\r\n"
CLIENT_HELLO = b"\x16"  # the first byte of a ClientHello; no request begins with it
RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, zero seconds: close sends RST

Script = Callable[["Conversation"], object]  # its return value is ignored


def sample(size: int, seed: int = 1) -> bytes:
    """Random bytes, in which a lost, doubled or swapped piece is detected."""
    return random.Random(seed).randbytes(size)


class HeardTLS(Exception):
    """A ClientHello in place of a head, from a client that was disconnected and now probes for TLS; it ends the script."""


class Conversation:
    """One accepted connection, as passed to a script."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(STEP_SECONDS)
        self.head = b""

    def read_head(self) -> bytes:
        """Reads the request up to and including its empty line; leaves the bytes after it in the socket."""
        while not self.head.endswith(HEAD_END):
            byte = self.sock.recv(1)
            if not byte:
                raise AssertionError(f"the client left inside its request: {self.head!r}")
            self.head += byte
            if self.head == CLIENT_HELLO:
                raise HeardTLS
        return self.head

    def hears_tls(self) -> bool:
        """Whether the client, which was disconnected before, now probes for TLS with a ClientHello; leaves it in the socket."""
        return self.sock.recv(1, socket.MSG_PEEK) == CLIENT_HELLO

    def send(self, data: bytes | memoryview) -> None:
        self.sock.sendall(data)

    def accept_tunnel(self, answer: bytes = ESTABLISHED) -> None:
        self.read_head()
        self.send(answer)

    def dribble(self, data: bytes) -> None:
        """Sends each byte in a segment of its own."""
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in data:
            self.sock.send(bytes([byte]))

    def read(self, size: int = 65536) -> bytes:
        return self.sock.recv(size)

    def read_exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            piece = self.sock.recv(min(size - len(data), 1 << 18))
            if not piece:
                raise AssertionError(f"end after {len(data)} of {size} bytes")
            data += piece
        return bytes(data)

    def read_to_end(self) -> bytes:
        data = bytearray()
        while piece := self.sock.recv(1 << 18):
            data += piece
        return bytes(data)

    def end_output(self) -> None:
        """Half-closes. If the peer has already reset the connection, there is no output left to end."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            if error.errno != ENOTCONN:
                raise

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.sock.close()

    def wait_gone(self) -> bytes:
        """Waits until the peer closes or resets; returns the bytes that it sent before."""
        data = bytearray()
        with suppress(ConnectionError):
            while piece := self.sock.recv(1 << 18):
                data += piece
        return bytes(data)


class ScriptedServer:
    """Listens on loopback and runs `script` for each connection in a thread of its own. An exception in a script fails the test."""

    def __init__(self, script: Script, host: str = "127.0.0.1") -> None:
        self._script = script
        self._threads: list[threading.Thread] = []
        self._failures: list[BaseException] = []
        self.conversations: list[Conversation] = []
        self.host = host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family, backlog=4096)
        self.port: int = self._listener.getsockname()[1]
        self.authority = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        self.url = f"http://{self.authority}"

    @property
    def heads(self) -> list[bytes]:
        """The request heads received so far, in the order of their connections."""
        return [conversation.head for conversation in self.conversations]

    def wait_for_heads(self, count: int = 1) -> None:
        """Waits until `count` heads are complete: `heads` has one as soon as its connection was accepted, and still empty."""
        wait_until(lambda: sum(head.endswith(HEAD_END) for head in self.heads) >= count, what=f"{count} heads at {self.url}")

    def __enter__(self) -> Self:
        self._spawn(self._accept)
        return self

    def _spawn(self, function: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=function, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:  # shut down by __exit__
                return
            conversation = Conversation(sock)
            self.conversations.append(conversation)
            self._spawn(self._converse, conversation)

    def _converse(self, conversation: Conversation) -> None:
        try:
            self._script(conversation)
        except HeardTLS:
            pass
        except BaseException as failure:
            self._failures.append(failure)
        finally:
            conversation.sock.close()

    def __exit__(self, kind: object, failure: BaseException | None, trace: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # close alone would leave accept() waiting
        self._threads[0].join(STEP_SECONDS)
        self._listener.close()
        if failure is not None:
            self._hang_up()
        for thread in self._threads[1:]:
            thread.join(STEP_SECONDS * 2)
        if failure is None and self._failures:
            raise self._failures[0]
        if failure is not None and self._failures:
            failure.add_note(f"the script of {self.url}: {self._failures[0]!r}")
        assert not any(thread.is_alive() for thread in self._threads), "a script did not end"

    def _hang_up(self) -> None:
        for conversation in self.conversations:
            with suppress(OSError):
                conversation.sock.shutdown(socket.SHUT_RDWR)


def echo(conversation: Conversation) -> None:
    """Sends back all received bytes until EOF."""
    with suppress(ConnectionError):
        while piece := conversation.sock.recv(1 << 18):
            conversation.send(piece)


def refusing_port() -> tuple[socket.socket, int]:
    """A port that refuses connections while the socket is open, because it is bound but not listening.

    Nor can an outgoing connection take the port meanwhile, so that a test may listen on it afterwards.
    """
    sock = socket.socket()
    sock.bind(("127.0.0.1", free_port()))
    return sock, sock.getsockname()[1]


@contextmanager
def black_hole_port() -> Iterator[int]:
    """A port that does not even answer a SYN, as if a filter dropped packets: the queue of its listener is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, ExitStack() as waiting:
        for _ in range(3):
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
