"""Control sockets whose answers a test chooses: hostile names, thousands of tunnels, a program that hangs."""

import json
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from tests.peers.program import patched
from tunnelctl.control.instances import Instance
from tunnelctl.control.snapshot import (
    EndedFacts,
    ListenerFacts,
    Recent,
    RefusedFacts,
    Status,
    TunnelFacts,
    Tunnels,
    to_json,
)

# tunnelctl, with more time for the answers of other processes than a busy machine takes: `top`, `status`, `stop`, and `serve`
# with several workers.
PATIENCE = 5  # seconds
PATIENT = patched(
    f"from tunnelctl.cli.top import poll; poll.DEADLINE = {PATIENCE}.0\n"
    f"from tunnelctl.control.instances import Instance; Instance.status.__defaults__ = ({PATIENCE}.0,)\n"
    f"from tunnelctl.server.process import worker_ipc; worker_ipc.ANSWER_SECONDS = {PATIENCE}.0"
)


class Patient(Instance):
    """A running program that a test asks itself, with as much time."""

    def status(self, seconds: float = PATIENCE) -> Status:
        return super().status(seconds)

    def tunnels(self, seconds: float = PATIENCE) -> Tunnels:
        return super().tunnels(seconds)

    def recent(self, seconds: float = PATIENCE) -> Recent:
        return super().recent(seconds)


STARTED, NOW = 1_000_000.0, 1_007_530.0  # two hours and five minutes apart

STATUS = Status(
    "forward", "db", 4711, "0.1.0", STARTED, NOW, [ListenerFacts("127.0.0.1:5432", "db.test:5432")], ["http://proxy.test:3128"],
    False, 0, 0, 1 << 20, 1 << 30, [], None, [], [],
)  # fmt: skip
TUNNEL = TunnelFacts(
    "a-1", "a-1.1", "127.0.0.1:50001", "", "db.test:5432", "192.0.2.1:5432", "tunnel", 75.0, 1536, 3 << 20, 4.0, 512.0, 1024.0
)
ENDED = EndedFacts(NOW - 30, "127.0.0.1:50002", "", "old.test:443", 3.5, 10, 20, "target", "closed", "")
REFUSED = RefusedFacts(
    NOW - 5, "127.0.0.1:50003", "eve", "10.0.0.1:22", 403, "destination_ip_prohibited", "*:443", "it is internal"
)


class Facts:
    """The answers of a program: its status counts the tunnels. A test may replace them at any time."""

    def __init__(self, *tunnels: TunnelFacts, status: Status = STATUS, recent: Recent | None = None) -> None:
        self.status = status._replace(tunnels=len(tunnels), connections=len(tunnels))
        self.tunnels = Tunnels(list(tunnels), 0)
        self.recent = recent or Recent([ENDED], [REFUSED], [], [], 0, 0)


def many(count: int) -> list[TunnelFacts]:
    """Returns tunnels with names and figures of their own; the last one is the fastest."""
    return [
        TUNNEL._replace(
            tunnel=f"a-{n}", client=f"192.0.2.{n % 256}:{n + 1024}", target=f"host-{n}.test:443", received_rate=float(n)
        )
        for n in range(count)
    ]


def _handler(facts: Facts) -> Callable[..., BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            body = json.dumps(to_json(getattr(facts, self.path[1:]))).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    block_on_close = True


@contextmanager
def published(directory: Path, name: str, facts: Facts) -> Iterator[Facts]:
    """Answers at the control socket of that name, below a directory for XDG_RUNTIME_DIR."""
    path = _path(directory, name)
    with _Server(str(path), _handler(facts)) as server:  # type: ignore[arg-type]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield facts
        finally:
            server.shutdown()
            thread.join()
            path.unlink()


@contextmanager
def mute(directory: Path, name: str) -> Iterator[None]:
    """A control socket that accepts connections, and never answers."""
    path = _path(directory, name)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(64)
        try:
            yield
        finally:
            path.unlink()


@contextmanager
def trickling(directory: Path, name: str) -> Iterator[None]:
    """A control socket that sends an answer without end, so slowly and yet so often that its reader never gives up."""
    path, ended = _path(directory, name), threading.Event()

    def answer() -> None:
        with suppress(OSError):  # the client has gone, or nothing is to be accepted any more
            client, _ = listener.accept()
            with client:
                client.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                while not ended.wait(0.1):
                    client.sendall(b"x")

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(64)
        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            path.unlink()


def _path(directory: Path, name: str) -> Path:
    sockets = directory / "tunnelctl"
    sockets.mkdir(mode=0o700, exist_ok=True)
    return sockets / f"{name}.sock"
