"""A scripted HTTP/2 proxy: runs a script for each request, and records all that its clients send."""

import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from tests.peers import certificates, scripted
from tests.peers.certificates import Certificates
from tests.peers.http2 import PREFACE, STEP_SECONDS, Endpoint, Field, Stream
from tests.peers.proxies import Proxy
from tests.peers.scripted import CLIENT_HELLO, RESET, Conversation

_LINGER_SECONDS = 1.0


class Request(Stream):
    """A request and its stream, as passed to a script."""

    @property
    def method(self) -> str | None:
        return self.field(":method")

    @property
    def target(self) -> str | None:
        return self.field(":authority")

    def respond(self, status: int, *fields: Field, body: bytes = b"", end: bool = True) -> None:
        """Sends a response. The stream stays open without `end`."""
        self._send_headers(status, fields, end and not body)
        if body:
            self.send(body, end)

    def accept(self, *fields: Field) -> None:
        """Grants the tunnel."""
        self._send_headers(200, fields, False)

    def inform(self, status: int, *fields: Field) -> None:
        """Sends an interim response."""
        self._send_headers(status, fields, False)

    def _send_headers(self, status: int, fields: tuple[Field, ...], end: bool) -> None:
        with self.connection.changed:
            if self._stopped():
                raise self._failure()
            self.sent_end = end
            self.connection.h2.send_headers(self.number, [(":status", str(status)), *fields], end_stream=end)
            self.connection.flush()


Script = Callable[[Request], object]  # its return value is ignored


class Http2Connection(Endpoint):
    """An accepted connection. Its thread moves the bytes; each request has a thread that runs the script."""

    def __init__(self, sock: socket.socket, server: "Http2Server", **options: Any) -> None:
        self.requests: list[Request] = []  # those passed to the script, in order
        self.refused: list[Request] = []  # those above MAX_CONCURRENT_STREAMS, refused with REFUSED_STREAM
        self.alpn = sock.selected_alpn_protocol() if isinstance(sock, ssl.SSLSocket) else None
        self._server = server
        self._awake, self._waker = socket.socketpair()
        self._waker.setblocking(False)
        super().__init__(sock, False, **options)

    def new_stream(self, number: int) -> Request:
        return Request(self, number)

    def on_request(self, stream: Stream) -> None:
        assert isinstance(stream, Request)
        limit = self.h2.local_settings.get(SettingCodes.MAX_CONCURRENT_STREAMS, 100)
        if sum(not request.closed for request in self.requests) >= limit:
            self.refused.append(stream)
            stream.reset(ErrorCodes.REFUSED_STREAM)
            return
        self.requests.append(stream)
        self._server.run_script(stream)

    def flush(self) -> None:
        super().flush()
        with suppress(BlockingIOError, OSError):  # the rest is left to the thread of the connection
            self._waker.send(b"\0")

    def _wait(self, seconds: float) -> None:
        self.changed.wait(seconds)

    def serve(self) -> None:
        """Moves bytes until the connection is lost or closed."""
        try:
            while not self.lost:
                if not self.move() and not self.lost:
                    self.poll(STEP_SECONDS, self._awake.fileno())
                    self._drain_wakeups()
        except AssertionError as breach:
            self._server.failures.append(breach)  # before the scripts fail because of it
        finally:
            self.close()
            self._linger()
            self._awake.close()
            self._waker.close()

    def _linger(self) -> None:
        """Closes the socket when the client has closed too: what comes on a closed socket makes the kernel send a reset."""
        with suppress(OSError, ValueError), self.sock:
            self.sock.settimeout(_LINGER_SECONDS)
            while self.sock.recv(1 << 18):
                pass

    def _drain_wakeups(self) -> None:
        with suppress(BlockingIOError):
            while self._awake.recv(4096, socket.MSG_DONTWAIT):
                pass

    def _release(self) -> None:
        self.changed.notify_all()
        with suppress(OSError):  # poll does not notice that its descriptor is closed
            self._waker.send(b"\0")


class Http2Server:
    """Listens on loopback and runs `script` for each request in a thread of its own. An exception in a script fails the test.

    With certificates it offers `alpn` over TLS, without them it recognizes the preface. `suites`: those of TLS 1.2, which is then
    the only version. `http1`: the script of connections that turn out to be HTTP/1.1. For the options (`settings`, `window`,
    `mute`) see Endpoint.
    """

    def __init__(
        self,
        script: Script,
        tls: Certificates | None = None,
        *,
        alpn: tuple[str, ...] = ("h2", "http/1.1"),
        suites: str = "",
        http1: scripted.Script | None = None,
        **options: Any,
    ) -> None:
        self._script, self._http1, self._options = script, http1, options
        self._context: ssl.SSLContext | None = None
        if tls is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(*tls.server)
            if suites:
                self._context.maximum_version = ssl.TLSVersion.TLSv1_2
                self._context.set_ciphers(suites)
            if alpn:
                self._context.set_alpn_protocols(list(alpn))
        self._threads: list[threading.Thread] = []  # the listener's, then one for each connection
        self._scripts: list[threading.Thread] = []
        self.failures: list[BaseException] = []
        self.accepted = 0
        self.connections: list[Http2Connection] = []
        self.conversations: list[Conversation] = []  # those over HTTP/1.1
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        port = self._listener.getsockname()[1]
        self.proxy = Proxy(port) if tls is None else Proxy(port, "https", certificates.HOST)

    @property
    def url(self) -> str:
        return self.proxy.url

    @property
    def port(self) -> int:
        return self.proxy.port

    @property
    def requests(self) -> list[Request]:
        """The requests passed to the script so far, by connection."""
        return [request for connection in self.connections for request in connection.requests]

    def __enter__(self) -> Self:
        self._spawn(self._threads, self._accept)
        return self

    def _spawn(self, threads: list[threading.Thread], function: Callable[..., object], *arguments: object) -> None:
        thread = threading.Thread(target=self._guard, args=(function, *arguments), daemon=True)
        threads.append(thread)
        thread.start()

    def _guard(self, function: Callable[..., object], *arguments: object) -> None:
        try:
            function(*arguments)
        except BaseException as failure:
            self.failures.append(failure)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:  # shut down by __exit__
                return
            self.accepted += 1
            self._spawn(self._threads, self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        sock.settimeout(STEP_SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            sock = self._context.wrap_socket(sock, server_side=True) if self._context is not None else sock
            start = b"" if isinstance(sock, ssl.SSLSocket) else sock.recv(3, socket.MSG_PEEK)
        except OSError:  # it has left, or it does not trust our certificate
            sock.close()
            return
        with sock:
            if isinstance(sock, ssl.SSLSocket):
                self._talk(sock, sock.selected_alpn_protocol() == "h2")
            elif start and start[:1] != CLIENT_HELLO:  # a client that was disconnected now probes for TLS
                self._talk(sock, PREFACE.startswith(start))

    def _talk(self, sock: socket.socket, http2: bool) -> None:
        if http2:
            sock.setblocking(False)
            connection = Http2Connection(sock, self, **self._options)
            self.connections.append(connection)
            connection.serve()
        else:
            conversation = Conversation(sock)
            self.conversations.append(conversation)
            assert self._http1 is not None, "the client speaks HTTP/1.1"
            self._http1(conversation)

    def run_script(self, request: Request) -> None:
        self._spawn(self._scripts, self._run, request)

    def _run(self, request: Request) -> None:
        try:
            self._script(request)
        finally:
            request.discard()  # what the script has not read must not use up the connection's window

    def __exit__(self, kind: object, failure: BaseException | None, trace: object) -> None:
        """Waits for the scripts, unless the test has failed; then closes the connections, which a client may keep."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # close alone would leave accept() waiting
        self._threads[0].join(STEP_SECONDS)
        self._listener.close()
        if failure is None:
            self._join(self._scripts)
        self._hang_up()
        self._join([*self._scripts, *self._threads[1:]])
        if failure is None and self.failures:
            raise self.failures[0]
        if failure is not None and self.failures:
            failure.add_note(f"the script of {self.url}: {self.failures[0]!r}")
        assert not any(thread.is_alive() for thread in [*self._scripts, *self._threads]), "a script did not end"

    def _join(self, threads: list[threading.Thread]) -> None:
        deadline = time.monotonic() + STEP_SECONDS * 2
        for thread in threads:
            thread.join(max(0, deadline - time.monotonic()))

    def _hang_up(self) -> None:
        for connection in self.connections:
            connection.close()
        for conversation in self.conversations:
            with suppress(OSError):
                conversation.sock.shutdown(socket.SHUT_RDWR)


# --- scripts


def grant_echo(request: Request) -> None:
    """Grants the tunnel and sends back all data, then END_STREAM after the client's."""
    request.accept()
    echo(request)


def echo(request: Request) -> None:
    """Sends back all data until END_STREAM."""
    with suppress(ConnectionError):
        while piece := request.read():
            request.send(piece)
        request.end()


def relay(request: Request) -> None:
    """Connects to the target if it is on loopback, and passes on data, ends and resets. Refuses other targets with 403."""
    host, _, port = str(request.target).rpartition(":")
    if host not in ("127.0.0.1", "localhost"):
        request.respond(403)
        return
    try:
        sock = socket.create_connection((host, int(port)), STEP_SECONDS)
    except OSError:
        request.respond(502)
        return
    with sock:
        request.accept()
        up = threading.Thread(target=_upwards, args=(request, sock), daemon=True)
        up.start()
        _downwards(sock, request)
        up.join(STEP_SECONDS)


def _upwards(request: Request, sock: socket.socket) -> None:
    try:
        while piece := request.read():
            sock.sendall(piece)
        sock.shutdown(socket.SHUT_WR)
    except OSError:  # the target has reset its end, which _downwards sees too, or the client has reset the stream
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RD)


def _downwards(sock: socket.socket, request: Request) -> None:
    try:
        while piece := sock.recv(1 << 18):
            request.send(piece)
        request.end()
    except ConnectionResetError:
        if request.reset_code is None:
            request.reset(ErrorCodes.CONNECT_ERROR)
    except ConnectionError:  # the client has left
        pass


def never_answer(request: Request) -> None:
    """Waits until the client gives up."""
    with suppress(ConnectionError):
        request.wait_end()


def refuse(status: int, *fields: Field, body: bytes = b"") -> Script:
    """Refuses each request with a complete response. A client that knows enough may reset the stream before the body has left."""

    def script(request: Request) -> None:
        with suppress(ConnectionResetError):
            request.respond(status, *fields, body=body)

    return script


def reset(code: int) -> Script:
    """Resets each stream in place of a response, for example with REFUSED_STREAM or HTTP_1_1_REQUIRED."""
    return lambda request: request.reset(code)


def grant_then_reset(code: int, data: bytes = b"") -> Script:
    """Grants the tunnel, sends data, and resets the stream."""

    def script(request: Request) -> None:
        request.accept()
        request.send(data)
        request.reset(code)

    return script


def inform_first(*statuses: int, then: Script = grant_echo) -> Script:
    """Sends interim responses before the script."""

    def script(request: Request) -> None:
        for status in statuses:
            request.inform(status)
        then(request)

    return script


def require_login(credentials: str, *challenges: str, then: Script = grant_echo) -> Script:
    """Answers 407 with the challenges until the request has these credentials."""
    fields = [("proxy-authenticate", challenge) for challenge in challenges]

    def script(request: Request) -> None:
        if request.field("proxy-authorization") == credentials:
            then(request)
        else:
            request.respond(407, *fields)

    return script


def go_away(code: int = ErrorCodes.NO_ERROR, processed: bool = False, then: Script = never_answer) -> Script:
    """Sends GOAWAY on a request, which counts as processed or not; then goes on with the stream."""

    def script(request: Request) -> None:
        request.connection.goaway(request.number if processed else request.number - 2 if request.number > 1 else 0, code)
        then(request)

    return script


def close_connection(request: Request) -> None:
    request.connection.close()


def abort_connection(request: Request) -> None:
    """Resets the TCP connection."""
    request.connection.abort()


def in_turn(*scripts: Script) -> Script:
    """The first request gets the first script, and so on; the last script is for all further ones."""
    left, lock = list(scripts), threading.Lock()

    def script(request: Request) -> None:
        with lock:
            chosen = left.pop(0) if len(left) > 1 else left[0]
        chosen(request)

    return script
