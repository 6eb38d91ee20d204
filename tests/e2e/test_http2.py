"""`connect`, `forward`, `run` and `serve -x` in HTTP/2 through our own server: in the clear, over TLS, and through a chain.

What one tunnel must do in every version of HTTP is in test_matrix.py, test_both_ends.py and test_state_matrix.py.
"""

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.peers import certificates, http2_server
from tests.peers.certificates import Certificates
from tests.peers.http2_server import Http2Server, Request
from tests.peers.manager import ACTIVATE
from tests.peers.process import end
from tests.peers.program import MODULE, SOON, Forward, Serve, at_end_soon, connect, environment, read_soon, run, started
from tests.peers.scripted import Conversation, ScriptedServer, echo, sample

pytestmark = pytest.mark.once

MIB = 1 << 20
WAYS = ("clear", "TLS", "chain")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates.make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module", params=WAYS)
def way(request: pytest.FixtureRequest, files: Certificates) -> Iterator[list[str]]:
    """The words for a route in HTTP/2."""
    with route(request.param, files) as words:
        yield words


@contextmanager
def route(way: str, files: Certificates) -> Iterator[list[str]]:
    tls = ("--tls-cert", str(files.chain), "--tls-key", str(files.key))
    with ExitStack() as stack:
        near = stack.enter_context(Serve(*(() if way == "clear" else tls)))
        if way == "clear":
            yield ["-x", near.url, "--http", "2"]
            return
        words = ["--proxy-cacert", str(files.authority), "--http", "2", "-x", f"https://localhost:{near.port}"]
        if way == "chain":
            far = stack.enter_context(Serve(*tls))
            words += ["-x", f"https://127.0.0.1:{far.port}"]
        yield words


def test_16_mib_up_and_an_answer_after_the_end(way: list[str]) -> None:
    data = sample(16 * MIB)
    received = []

    def script(peer: Conversation) -> None:
        received.append(peer.read_to_end())
        peer.send(b"done")

    with ScriptedServer(script) as target:
        done = run("connect", *way, target.authority, stdin=data, seconds=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"done", b"")
    assert received[0] == data


def test_16_mib_down_after_the_end_of_stdin(way: list[str]) -> None:
    data = sample(16 * MIB)

    def script(peer: Conversation) -> None:
        assert peer.read_to_end() == b"question"
        peer.send(data)

    with ScriptedServer(script) as target:
        done = run("connect", *way, target.authority, stdin=b"question", seconds=60)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == data


def test_16_mib_in_both_directions_at_once(way: list[str]) -> None:
    there, back = sample(16 * MIB, 1), sample(16 * MIB, 2)
    received = []

    def swap(peer: Conversation) -> None:
        sender = threading.Thread(target=peer.send, args=(back,))
        sender.start()
        received.append(peer.read_to_end())
        sender.join()

    with ScriptedServer(swap) as target:
        done = run("connect", *way, target.authority, stdin=there, seconds=60)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == back
    assert received == [there]


def test_100_mib_up_over_tls(files: Certificates) -> None:
    data, received = sample(100 * MIB), []
    with ScriptedServer(lambda peer: received.append(peer.read_to_end())) as target, route("TLS", files) as words:
        done = run("connect", *words, target.authority, stdin=data, seconds=60)
    assert done.returncode == 0
    assert received[0] == data


def test_what_is_queued_at_the_end_is_delivered(way: list[str]) -> None:
    """The target has ended its side, reads slowly, and stdin ends: the tunnel is over only with the last byte."""
    data, received = sample(8 * MIB), []
    begin = threading.Event()

    def script(peer: Conversation) -> None:
        peer.send(b"x")
        peer.end_output()
        assert begin.wait(SOON)
        received.append(peer.read_to_end())

    with ScriptedServer(script) as target, started("connect", *way, target.authority) as process:

        def feed() -> None:
            with process.stdin as pipe:
                view = memoryview(data)
                while view:
                    view = view[pipe.write(view) :]

        writer = threading.Thread(target=feed)
        writer.start()
        begin.set()
        assert process.wait(SOON) == 0
        writer.join()
        assert process.stderr.read() == b""
    assert received == [data]


def test_a_last_piece_is_delivered_although_both_ends_are_over_at_once(way: list[str]) -> None:
    """The data, the end of stdin and that of the target are handled in one turn, so that nothing has been sent when it is over."""
    received = []

    def script(peer: Conversation) -> None:
        peer.send(b"x")
        peer.end_output()
        received.append(peer.read_to_end())

    with ScriptedServer(script) as target, started("connect", *way, target.authority) as process:
        assert read_soon(process.stdout, 1) == b"x"
        assert at_end_soon(process.stdout)
        process.send_signal(signal.SIGSTOP)
        process.stdin.write(b"last")
        process.stdin.close()
        process.send_signal(signal.SIGCONT)
        assert process.wait(SOON) == 0
    assert received == [b"last"]


def test_the_last_bytes_of_a_target_that_closes_are_delivered(way: list[str]) -> None:
    data = sample(8 * MIB)
    with ScriptedServer(lambda peer: peer.send(data)) as target, started("connect", *way, target.authority) as process:
        assert process.stdout.read() == data
        process.stdin.close()
        assert process.wait(SOON) == 0


def test_a_vanished_reader_ends_connect(way: list[str]) -> None:
    def script(peer: Conversation) -> None:
        peer.send(b"hello")
        peer.wait_gone()

    with ScriptedServer(script) as target, started("connect", *way, target.authority) as process:
        assert read_soon(process.stdout, 5) == b"hello"
        process.stdout.close()
        assert process.wait(SOON) == 0


@pytest.mark.parametrize("hops", ["HTTP/1.1 first", "HTTP/1.1 last", "SOCKS first", "HTTP/2 twice"])
def test_a_burst_through_a_chain_shares_the_connection_to_the_last_proxy(hops: str, files: Certificates) -> None:
    """An http:// proxy is spoken to in HTTP/1.1, an https:// proxy in HTTP/2, which is in TLS inside the tunnel before it."""
    tls = ("--tls-cert", str(files.chain), "--tls-key", str(files.key))
    with ExitStack() as stack:
        plain, first, last = (stack.enter_context(Serve(*words)) for words in ((), tls, tls))
        socks = stack.enter_context(Forward("-x", "direct", "-D", "0"))
        near, far = {
            "HTTP/1.1 first": (plain.url, f"https://localhost:{last.port}"),
            "HTTP/1.1 last": (f"https://localhost:{first.port}", plain.url),
            "SOCKS first": (f"socks5://127.0.0.1:{socks.port}", f"https://127.0.0.1:{last.port}"),
            "HTTP/2 twice": (f"https://localhost:{first.port}", f"https://127.0.0.1:{last.port}"),
        }[hops]
        target = stack.enter_context(ScriptedServer(echo))
        words = ("--proxy-cacert", str(files.authority), "-x", near, "-x", far.replace("localhost", "127.0.0.1"))
        forward = stack.enter_context(Forward(*words, "-L", f"0:{target.authority}"))
        exchange(forward.port, 30)
        port = first.port if hops == "HTTP/1.1 last" else last.port
        assert len(connections_to(port)) == 1


def test_1000_tunnels_of_forward(files: Certificates) -> None:
    """`serve` lets 100 tunnels share a connection."""
    with Serve("--max-per-client", "0") as proxy, ScriptedServer(echo) as target:
        with Forward("-x", proxy.url, "--http", "2", "-L", f"0:{target.authority}") as forward:
            exchange(forward.port, 1000)
            assert 10 <= len(connections_to(proxy.port)) <= 12


def exchange(port: int, count: int) -> None:
    """Opens this number of connections to an echo, and compares what each of them gets."""
    data = [sample(3000, number) for number in range(count)]
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", port), SOON)) for _ in data]
        for client, piece in zip(clients, data, strict=True):
            client.sendall(piece)
        for client, piece in zip(clients, data, strict=True):
            client.settimeout(SOON)
            back = b""
            while len(back) < len(piece) and (more := client.recv(1 << 16)):
                back += more
            assert back == piece


def connections_to(port: int) -> list[str]:
    """The local ends of the established connections to a port on loopback."""
    rows = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
    return [row[1] for row in rows if row[2] == f"0100007F:{port:04X}" and row[3] == "01"]


def test_run_and_serve_share_a_connection(files: Certificates) -> None:
    """The 20 tunnels of a program, through a `serve` that chains, arrive at the last proxy on one connection."""
    tls = ("--tls-cert", str(files.chain), "--tls-key", str(files.key))
    program = (
        "import base64, os, socket, urllib.parse as u\n"
        "p = u.urlsplit(os.environ['https_proxy'])\n"
        "ends = [socket.create_connection((p.hostname, p.port)) for _ in range(20)]\n"
        "login = base64.b64encode(f'{p.username}:{p.password}'.encode()).decode()\n"
        "head = f'CONNECT TARGET HTTP/1.1\\r\\nHost: TARGET\\r\\nProxy-Authorization: Basic {login}\\r\\n\\r\\n'\n"
        "[e.sendall(head.encode()) for e in ends]\n"
        "heads = [e.recv(4096) for e in ends]\n"
        "assert all(head.startswith(b'HTTP/1.1 200') for head in heads), heads\n"
        "[e.sendall(b'hello') for e in ends]\n"
        "assert all(e.recv(5) == b'hello' for e in ends)\n"
        "[e.close() for e in ends]\n"
    )
    with Http2Server(http2_server.relay, files) as last, ScriptedServer(echo) as target:
        upstream = ("-x", f"https://localhost:{last.port}", "--proxy-cacert", str(files.authority))
        with Serve(*tls, *upstream) as proxy:
            words = ("run", "-x", f"https://localhost:{proxy.port}", "--proxy-cacert", str(files.authority), "--")
            command = [*MODULE, *words, MODULE[0], "-c", program.replace("TARGET", target.authority)]
            done = subprocess.run(command, capture_output=True, env=environment(), timeout=SOON * 2)
            assert done.returncode == 0, done.stderr.decode()
            assert len([request for request in last.requests if request.target == target.authority]) == 20
            assert len(last.connections) == 1


def test_check_in_http_2(way: list[str]) -> None:
    with ScriptedServer(echo) as target:
        done = run("check", *way, target.authority)
    assert done.returncode == 0, done.stdout + done.stderr
    assert b"HTTP/2 200" in done.stdout


def test_a_refusal_is_reported(way: list[str]) -> None:
    done = run("connect", *way, "127.0.0.2:22")
    assert (done.returncode, done.stdout) == (69, b"")
    assert done.stderr.startswith(b"tunnelctl: proxy ")
    assert b"403" in done.stderr


def test_fdpass_is_refused(way: list[str]) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [*MODULE, "connect", *way, "--fdpass", "target.test", "22"]
        done = subprocess.run(command, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, env=environment(), timeout=SOON)
    assert done.returncode == 2
    assert b"--fdpass: the route includes " in done.stderr


def test_a_proxy_that_stops_answering_meets_the_time_limit() -> None:
    def script(request: Request) -> None:
        http2_server.never_answer(request)

    with Http2Server(script) as server:
        done = connect(server.url, "target.test 22", "--http", "2", "--timeout", "0.5")
    assert done.returncode == 75


Instance = Callable[..., AbstractContextManager["subprocess.Popen[bytes]"]]  # runs `serve` at the port, with these words


@pytest.mark.parametrize("how", ["one listener", "SO_REUSEPORT", "SO_REUSEPORT of --workers"])
def test_50_tunnels_survive_a_restart_of_the_proxy_and_new_ones_are_not_lost(how: str) -> None:
    """The second instance accepts at the same port; the first ends its connections after their last tunnel."""
    with ScriptedServer(echo) as target, ExitStack() as stack:
        port, instance = stack.enter_context(restartable(how))
        old = stack.enter_context(instance("--drain", "20"))
        forward = stack.enter_context(Forward("-x", f"http://127.0.0.1:{port}", "--http", "2", "-L", f"0:{target.authority}"))
        clients = [stack.enter_context(talk(forward.port)) for _ in range(50)]
        new = stack.enter_context(instance())
        old.terminate()
        later = [stack.enter_context(talk(forward.port)) for _ in range(60)]
        for client in (*clients, *later):
            client.sendall(b"again")
            assert client.recv(5) == b"again"
        assert old.poll() is None, "it waits for its tunnels"
        for client in (*clients, *later):  # some of the later ones may have been granted before the first instance was told
            client.close()
        assert old.wait(SOON) == 0
        with talk(forward.port):
            assert new.poll() is None
        assert "failed" not in forward.log()


@contextmanager
def restartable(how: str) -> Iterator[tuple[int, Instance]]:
    """Yields a port, and what runs an instance there: with one listener for all, with one each, or with those of its workers."""
    with socket.socket() as keeper:
        shared = how == "one listener"
        if not shared:
            keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        keeper.bind(("127.0.0.1", 0))
        where = keeper.getsockname()
        if shared:
            keeper.listen(512)
            yield where[1], lambda *words: passed_on(keeper, *words)
        elif "workers" in how:
            yield where[1], lambda *words: serving("--listen", f"127.0.0.1:{where[1]}", "--workers", "2", *words)
        else:
            yield where[1], lambda *words: at_a_listener_of_its_own(where, *words)


@contextmanager
def talk(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), SOON) as client:
        client.sendall(b"hello")
        assert client.recv(5) == b"hello"
        yield client


@contextmanager
def at_a_listener_of_its_own(where: tuple[str, int], *words: str) -> Iterator["subprocess.Popen[bytes]"]:
    """As from systemd with ReusePort=. No other process has the listener, or clients in its queue would wait for nobody."""
    with socket.create_server(where, backlog=512, reuse_port=True) as listener, passed_on(listener, *words) as process:
        listener.close()
        yield process


def passed_on(listener: socket.socket, *words: str) -> AbstractContextManager["subprocess.Popen[bytes]"]:
    """`serve` at a socket that it inherits, as from systemd."""
    start = [sys.executable, "-c", ACTIVATE, str(listener.fileno())]
    return serving("--listen", "fd:db", *words, start=start, pass_fds=(listener.fileno(),))


@contextmanager
def serving(*words: str, start: Sequence[str] = MODULE, **options: Any) -> Iterator["subprocess.Popen[bytes]"]:
    """Runs `serve`, which listens before the body begins. start: the program; options: of Popen"""
    command = [*start, "serve", "--allow", "127.0.0.1:*", *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment(), **options)
    assert process.stderr is not None
    reader = threading.Thread(target=process.stderr.read, daemon=True)
    try:
        assert b"listening" in process.stderr.readline()
        reader.start()
        yield process
    finally:
        end(process)
        reader.join(SOON)
        process.stderr.close()
