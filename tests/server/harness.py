"""The bundled proxy inside this process, for tests that talk to it over real sockets; and their clients, targets and traps.

Starting Python costs a tenth of a second, and a test can script the name service only in its own process. Tests that need
signals, process limits or several processes start the real program (tests.peers.program).
"""

import _socket
import itertools
import json
import os
import queue
import select
import socket
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest

from tests.options import serve_options
from tests.peers.events import check_record, check_told
from tests.peers.http2 import Stream
from tests.peers.http2_client import Http2Client
from tests.peers.process import tcp_rows, wait_until
from tests.peers.proxies import Proxy as At
from tests.peers.scripted import RESET, Conversation, ScriptedServer
from tunnelctl.cli.render.hints import in_words
from tunnelctl.client.forward import forwarder as forward
from tunnelctl.engine.wakeup import to_thread
from tunnelctl.events import Event
from tunnelctl.proto.auth.basic import encode_basic
from tunnelctl.rare_events import OfConnection
from tunnelctl.server import serve, server
from tunnelctl.status import ExitStatus
from tunnelctl.stream import accept

LOOPBACK = "127.0.0.1:*"
SECONDS = 20.0  # the longest that a test waits for anything
TERM = 15


class Answer(NamedTuple):
    """A complete response: everything up to the end of the connection."""

    raw: bytes
    status: int
    fields: dict[str, str]
    body: bytes

    @property
    def error(self) -> str:
        """The RFC 9209 error type; empty if there is none."""
        return self.fields.get("proxy-status", "").partition("error=")[2].partition(";")[0]


def parse(raw: bytes) -> Answer:
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = head.decode("ascii").split("\r\n")
    fields: dict[str, str] = {}
    for name, _, value in (line.partition(":") for line in lines[1:]):
        name, value = name.lower(), value.strip()
        assert name not in fields or name == "proxy-authenticate", f"duplicate field: {lines}"
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    assert len(body) == int(fields["content-length"]), f"not exactly one response: {raw!r}"
    return Answer(raw, int(lines[0].split(" ")[1]), fields, body)


def connect_request(target: str, *fields: str, version: str = "HTTP/1.1") -> bytes:
    """Returns the head of a CONNECT request."""
    return "\r\n".join((f"CONNECT {target} {version}", f"Host: {target}", *fields, "", "")).encode("latin-1")


def basic(user: str, password: str) -> str:
    """Returns a Proxy-Authorization field with Basic credentials."""
    return f"Proxy-Authorization: {encode_basic(user, password)}"


class Client:
    """One connection to the proxy."""

    def __init__(self, address: tuple[str, int] | str, source: str = "") -> None:
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.sock = socket.socket(family)
        self.sock.settimeout(SECONDS)
        try:
            if source:
                self.sock.bind((source, 0))
            self.sock.connect(address)
        except BaseException:
            self.sock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def head(self) -> bytes:
        """Reads a response head up to its empty line; what follows stays in the socket."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = self.sock.recv(1)
            assert byte, f"the proxy closed inside its response: {head!r}"
            head += byte
        return head

    def tunnel(self, target: str, *fields: str) -> "Client":
        """Opens a tunnel; the proxy must grant it."""
        self.send(connect_request(target, *fields))
        head = self.head()
        assert head == b"HTTP/1.1 200 Connection established\r\n\r\n", head
        return self

    def rest(self) -> bytes:
        """Reads until the end of the connection."""
        data = bytearray()
        while piece := self.sock.recv(65536):
            data += piece
        return bytes(data)

    def exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            piece = self.sock.recv(size - len(data))
            assert piece, f"the connection ended after {bytes(data)!r}"
            data += piece
        return bytes(data)

    def answer(self) -> Answer:
        return parse(self.rest())

    def echoes(self, data: bytes = b"still alive") -> bool:
        """Whether the tunnel carries bytes to an echoing target and back."""
        self.send(data)
        return self.exactly(len(data)) == data

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.sock.close()


class Http2Tunnel(Client):
    """One stream, used as if it were a connection: a request in HTTP/1.1 becomes one in HTTP/2, and the response likewise."""

    def __init__(self, connection: Http2Client) -> None:
        self._connection = connection
        self._stream: Stream | None = None
        self._sent, self._head_read = b"", False
        self.sock: Any = _StreamSocket(self)

    @property
    def stream(self) -> Stream:
        assert self._stream is not None, "no request was sent"
        return self._stream

    def send(self, data: bytes) -> None:
        if self._stream is None:
            self._sent += data
            head, end, data = self._sent.partition(b"\r\n\r\n")
            if not end:
                return
            self._stream = self._connection.request(_fields(head.decode("latin-1")))
        if data:
            with _as_tcp():
                self._stream.send(data)

    def head(self) -> bytes:
        self._head_read = True
        with _as_tcp():
            status = self._connection.response(self.stream)
        if status == "200":
            return b"HTTP/1.1 200 Connection established\r\n\r\n"
        if not status.isdigit():
            raise ConnectionResetError(f"no response: {status}")
        lines = [f"HTTP/1.1 {status} {HTTPStatus(int(status)).phrase}"]
        lines += [f"{name}: {value}" for name, value in self.stream.fields if name != ":status"]
        return "\r\n".join((*lines, "", "")).encode("latin-1")

    def rest(self) -> bytes:
        head = b"" if self._head_read else self.head()
        with _as_tcp():
            return head + self.stream.read_to_end()

    def reset(self) -> None:
        if self._stream is not None and not self._stream.closed:
            self._stream.reset()


class _StreamSocket:
    """What tests do to the socket of a client, done to a stream."""

    def __init__(self, tunnel: Http2Tunnel) -> None:
        self._tunnel = tunnel

    def recv(self, size: int) -> bytes:
        with _as_tcp():
            return self._tunnel.stream.read(size)

    def setsockopt(self, *_: int) -> None:
        """Does nothing: the options that tests set are about segments."""

    def shutdown(self, _: int) -> None:
        with _as_tcp():
            self._tunnel.stream.end()

    def close(self) -> None:
        """Ends our direction, and reads no more."""
        stream = self._tunnel._stream
        if stream is not None and not stream.closed and not stream.connection.lost:
            with suppress(ConnectionError):
                if not stream.sent_end:
                    stream.end()
                stream.discard()


@contextmanager
def _as_tcp() -> Iterator[None]:
    """Turns a lost HTTP/2 connection into the error that a lost TCP connection has."""
    try:
        yield
    except ConnectionAbortedError as error:
        raise ConnectionResetError(*error.args) from None


def _fields(head: str) -> list[tuple[str, str]]:
    """Translates the head of a CONNECT request. A Host field is left out: :authority has its place."""
    first, *fields = head.split("\r\n")
    method, target, _ = first.split(" ", 2)
    pairs = [field.partition(":") for field in fields]
    others = [(name.lower(), value.strip()) for name, _, value in pairs if name.lower() != "host"]
    return [(":method", method), (":authority", target), *others]


_NUMBERS = itertools.count()


def _environ() -> dict[str, str]:
    return {"XDG_RUNTIME_DIR": os.environ["XDG_RUNTIME_DIR"]}


class Proxy:
    """`run_server` in a thread of this process. Only the main thread receives signals, so `signal` replaces them."""

    http = "HTTP/1.1"  # the version that its clients speak; with HTTP/2, all from one address share one connection

    def __init__(self, *allow: str, **options: Any) -> None:
        self._connections: dict[str, Http2Client] = {}  # by source address
        # A thread that reopens the log is not waited for when the server ends: it may create the file during the removal.
        self._directory = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._log = Path(self._directory.name, "access.log")
        # Of several proxies in one process, each needs a name of its own.
        chosen = {
            "name": f"proxy-{os.getpid()}-{next(_NUMBERS)}",
            "listen": ("127.0.0.1:0",),
            "allow": allow or (LOOPBACK,),
            "access_log": str(self._log),
            "drain": 0.0,
            **options,
        }
        self._options = serve_options(**chosen)
        self._expected = len(self._options.listen)
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._hangups: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._events: list[Event] = []
        self._told = False
        self._listening = threading.Event()
        self._outcome: list[int | BaseException] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __call__(self, event: Event, /) -> None:
        """The Trace of the server."""
        self._events.append(event)
        if len(self.addresses) == self._expected:
            self._listening.set()

    def _run(self) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(accept, "open_signal_receiver", self._receiver)
            patch.setattr(server, "open_signal_receiver", self._hangup_receiver)
            for module in (serve, forward):
                patch.setattr(module, "raise_descriptor_limit", lambda: None)
            try:
                self._outcome.append(self._serve())
            except BaseException as error:
                self._outcome.append(error)
            self._listening.set()

    def _serve(self) -> int:
        return serve.run_server(self._options, self, _environ())

    @contextmanager
    def _receiver(self, *_: int) -> Iterator["Proxy"]:
        yield self

    @contextmanager
    def _hangup_receiver(self, *_: int) -> Iterator[AsyncIterator[int]]:
        yield self._received(self._hangups)

    def __aiter__(self) -> AsyncIterator[int]:
        return self._received(self._signals)

    def __anext__(self) -> Awaitable[int]:
        return to_thread(self._signals.get)

    async def _received(self, queue: "queue.SimpleQueue[int]") -> AsyncIterator[int]:
        while True:
            yield await to_thread(queue.get)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._listening.wait(SECONDS)
        if self._outcome:
            self._directory.cleanup()
            assert isinstance(self._outcome[0], BaseException)
            raise self._outcome[0]
        return self

    def __exit__(self, kind: object, failure: BaseException | None, trace: object) -> None:
        for connection in self._connections.values():
            connection.close()
        if not self._told:
            self.signal()
        status = self.ended()
        self._directory.cleanup()
        if failure is None:
            assert status == ExitStatus.OK
            assert not [text for text in self.warnings if "fault" in text], self.warnings
            for event in self._events:
                check_told(event)
            for record in self.records():
                check_record(record)

    def signal(self) -> None:
        """Does what SIGTERM does."""
        self._told = True
        self._signals.put(TERM)

    def hang_up(self) -> None:
        """Does what SIGHUP does."""
        self._hangups.put(1)

    def has_heard(self) -> bool:
        """Whether the server has taken every `hang_up`, and so noted all but the last: it notes one before it takes the next."""
        return self._hangups.empty()

    def ended(self) -> int:
        """Waits for the end of the server and returns its status. Raises what the server raised."""
        self._thread.join(SECONDS)
        assert not self._thread.is_alive(), "the server did not end"
        for _ in range(3):  # releases the threads that wait for a further signal
            self._signals.put(0)
            self._hangups.put(0)
        self.records()  # read before the directory is removed
        outcome = self._outcome[0]
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    # -- what it reports -------------------------------------------------------------------------------------------------------

    @property
    def addresses(self) -> list[str]:
        return [str(fields["address"]) for fields in self.events("listening")]

    @property
    def port(self) -> int:
        return int(self.addresses[0].rpartition(":")[2])

    @property
    def authority(self) -> str:
        return self.addresses[0]

    @property
    def url(self) -> str:
        return f"http://{self.authority}"

    @property
    def admin_port(self) -> int:
        """The port of the pages of --admin. The server tells of it after its listeners, so perhaps a moment after the start."""
        wait_until(lambda: self.events("admin"), SECONDS, "the address of the pages")
        return int(str(self.events("admin")[0]["address"]).rpartition(":")[2])

    @property
    def warnings(self) -> list[str]:
        return [str(fields["text"]) for fields in self.events("warning")]

    def events(self, name: str) -> list[dict[str, object]]:
        told = [in_words(event.event if isinstance(event, OfConnection) else event) for event in self._events]
        return [facts for kind, facts in told if kind == name]

    def log(self) -> str:
        if self._log.exists():
            self._text = self._log.read_text("ascii")
        return self._text

    _text = ""

    def records(self) -> list[dict[str, Any]]:
        """Records in the access log so far."""
        return [json.loads(line) for line in self.log().rpartition("\n")[0].splitlines()]

    def wait_for_records(self, count: int) -> list[dict[str, Any]]:
        """Waits for `count` records in the access log and returns them. The server writes each a moment after the event."""
        wait_until(lambda: len(self.records()) >= count, SECONDS, f"{count} records")
        return self.records()

    # -- requests to it --------------------------------------------------------------------------------------------------------

    def client(self, source: str = "") -> Client:
        if self.http == "HTTP/2":
            return Http2Tunnel(self._connection(source))
        return Client(("127.0.0.1", self.port), source)

    def http2(self, source: str = "", **options: Any) -> Http2Client:
        """Opens an HTTP/2 connection in the clear."""
        return Http2Client(At(self.port), source=source, **options)

    def _connection(self, source: str) -> Http2Client:
        """Returns the HTTP/2 connection from that address."""
        known = self._connections.get(source)
        if known is not None:
            known.move()
            if not known.lost and not known.goaways:
                return known
            known.close()
        fresh = self._connections[source] = self.http2(source)
        return fresh

    def ask(self, data: bytes, source: str = "") -> Answer:
        """Sends bytes and returns the response that ends the connection."""
        with self.client(source) as client:
            client.send(data)
            return client.answer()

    def ask_nothing(self) -> bytes:
        """Connects, shuts down its side, and returns what the server sends."""
        with self.client() as client:
            client.sock.shutdown(socket.SHUT_WR)
            return client.rest()

    def refusal(self, target: str, *fields: str) -> Answer:
        return self.ask(connect_request(target, *fields))

    def tunnel(self, target: str, *fields: str, source: str = "") -> Client:
        client = self.client(source)
        try:
            return client.tunnel(target, *fields)
        except BaseException:
            client.sock.close()
            raise


def accepted(proxy: Proxy) -> bool:
    """Whether the server has accepted its connection: the kernel reports what is left in the queue."""
    queues = {row[4] for row in tcp_rows() if row[1:4] == [f"0100007F:{proxy.port:04X}", "00000000:0000", "0A"]}
    return queues == {"00000000:00000000"}


def admitted(proxy: Proxy, target: ScriptedServer) -> bool:
    """Whether the proxy grants a tunnel now; the tunnel is ended at once."""
    with proxy.client() as client:
        client.send(connect_request(target.authority))
        granted = client.head()[9:12] == b"200"
        if granted:
            client.sock.shutdown(socket.SHUT_WR)
            client.rest()
        return granted


def refused(address: tuple[str, int]) -> bool:
    """Whether nobody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(address) == 111


def until_reset(peer: Conversation) -> None:
    """A target that reads everything, sends nothing and stays until the connection is reset."""
    peer.wait_gone()
    watch = select.poll()
    watch.register(peer.sock, 0)  # POLLERR and POLLHUP are always reported
    assert watch.poll(SECONDS * 1000)


class Trap:
    """A listener that nothing may reach."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> "Trap":
        return self

    def __exit__(self, kind: object, failure: BaseException | None, trace: object) -> None:
        reached = self.reached()
        self._listener.close()
        if failure is None:
            assert not reached, "the trap was reached"

    def reached(self) -> bool:
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            return False
        sock.close()
        return True


class Names:
    """A scripted name service that replaces getaddrinfo. Each name has a list of answers; the last one repeats."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **answers: list[list[str] | BaseException]) -> None:
        self.asked: list[str] = []
        self._answers = {name.replace("_", "."): list(several) for name, several in answers.items()}
        monkeypatch.setattr(_socket, "getaddrinfo", self)

    def __call__(self, host: str | bytes, port: int, *_: object) -> list[tuple[object, ...]]:
        name = (host.decode() if isinstance(host, bytes) else host).removesuffix(".")  # without the root dot
        self.asked.append(name)
        answers = self._answers[name]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return [(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in answer]


def dialled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Records the addresses that the server dials, and lets every dial fail."""
    from tunnelctl.server import tunnel
    from tunnelctl.stream.dial import DialError

    noted: list[str] = []

    async def dial(addresses: list[Any], *_: object) -> None:
        noted.extend(address.host for address in addresses)
        raise DialError([(address, ConnectionRefusedError(111, "refused")) for address in addresses])

    monkeypatch.setattr(tunnel, "dial", dial)
    return noted


def users_file(directory: Path, **users: str) -> str:
    from tunnelctl.server.access.users import hash_password

    path = directory / "users"
    path.write_text("".join(hash_password(user, password) + "\n" for user, password in users.items()))
    return str(path)


def digest_users_file(directory: Path, **users: str) -> str:
    from tunnelctl.server.access.users import digest_line

    path = directory / "users"
    path.write_text("".join(digest_line(user, "tunnelctl", password) + "\n" for user, password in users.items()))
    return str(path)


@pytest.fixture(params=["HTTP/1.1", "HTTP/2"])
def http_version(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs a test with clients of each version. All that it asserts must hold in both."""
    version: str = request.param
    monkeypatch.setattr(Proxy, "http", version)
    return version


class Leading(Proxy):
    """A proxy that forwards through another proxy."""

    def __init__(self, *proxy: str, **options: object) -> None:
        super().__init__("*:1-65535", "127.0.0.0/8:*", proxy=proxy, **options)

    def _serve(self) -> int:
        from tunnelctl.cli.commands.upstream import upstream

        return serve.run_server(self._options, self, _environ(), upstream(self._options, self))
