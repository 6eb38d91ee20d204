"""`serve` used by clients of other makers: nc, ncat, socat, corkscrew, connect-proxy, proxytunnel, cntlm, curl, httpx."""

import base64
import hashlib
import json
import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import httpx
import pexpect
import pytest

from tests.peers.https import make_certificate, web_server
from tests.peers.process import end, free_port, path_of, wait_until
from tests.peers.program import MODULE, Serve, environment, run
from tests.peers.scripted import RESET, Conversation, ScriptedServer, sample

pytestmark = pytest.mark.peer(
    "nc.openbsd", "ncat", "socat", "corkscrew", "connect-proxy", "proxytunnel", "cntlm", "curl", "openssl"
)
USER, PASSWORD = "anna", "S3cret.word"
ODD_USER = 'Jäsøn "Doe"'
DATA = sample(512 << 10)
SECONDS = 20
# The proxy's name differs from the target's, since some clients confuse the two.
PROXY, TARGET = "localhost", "127.0.0.1"


class Route(NamedTuple):
    """The input of a client: the proxy's port, the target's, and a password or None."""

    proxy: int
    target: int
    password: str | None
    directory: Path


class Client(NamedTuple):
    command: list[str]
    environment: Mapping[str, str] = MappingProxyType({})


def nc(route: Route) -> Client:
    return Client(["nc.openbsd", "-N", "-X", "connect", "-x", f"{PROXY}:{route.proxy}", TARGET, str(route.target)])


def ncat(route: Route) -> Client:
    words = ["--proxy", f"{PROXY}:{route.proxy}", "--proxy-type", "http", TARGET, str(route.target)]
    return Client(["ncat", *words], {"NCAT_PROXY_AUTH": f"{USER}:{route.password}"} if route.password else {})


def socat(route: Route) -> Client:
    password = f",proxyauth={USER}:{route.password}" if route.password else ""
    return Client(["socat", "-", f"PROXY:{PROXY}:{TARGET}:{route.target},proxyport={route.proxy}{password}"])


def corkscrew(route: Route) -> Client:
    file = route.directory / "corkscrew"
    file.write_text(f"{USER}:{route.password}\n")
    words = [PROXY, str(route.proxy), TARGET, str(route.target)]
    return Client(["corkscrew", *words, *([str(file)] if route.password else [])])


def connect_proxy(route: Route) -> Client:
    user = f"{USER}@" if route.password else ""
    words = ["-H", f"{user}{PROXY}:{route.proxy}", TARGET, str(route.target)]
    return Client(["connect-proxy", *words], {"HTTP_PROXY_PASSWORD": route.password} if route.password else {})


def proxytunnel(route: Route) -> Client:
    words = ["-q", "-p", f"{PROXY}:{route.proxy}", "-d", f"{TARGET}:{route.target}"]
    return Client(["proxytunnel", *words, *(["-P", f"{USER}:{route.password}"] if route.password else [])])


def tunnelctl(route: Route) -> Client:
    words = ["-x", f"http://{PROXY}:{route.proxy}", *(["--proxy-user", USER] if route.password else [])]
    variables = {"TUNNELCTL_PROXY_PASSWORD": route.password} if route.password else {}
    return Client([*MODULE, "connect", *words, TARGET, str(route.target)], variables)


CLIENTS = [nc, ncat, socat, corkscrew, connect_proxy, proxytunnel, tunnelctl]
clients = pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.__name__)
# OpenBSD nc prompts on the terminal, and has its own test below.
clients_with_password = pytest.mark.parametrize("client", CLIENTS[1:], ids=lambda client: client.__name__)


@pytest.fixture(scope="module")
def users_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A users file made with `hash-password`, as an operator would do."""
    done = run("hash-password", USER, stdin=PASSWORD.encode() + b"\n")
    assert done.returncode == 0, done.stderr
    file = tmp_path_factory.mktemp("users") / "users"
    file.write_bytes(done.stdout)
    file.chmod(0o600)
    return file


@pytest.fixture(scope="module")
def guarded(users_file: Path) -> Iterator[Serve]:
    with Serve("--users", str(users_file)) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def strict() -> Iterator[Serve]:
    """A proxy that may reach nothing on loopback."""
    with Serve(allow=("example.test:443",)) as proxy:
        yield proxy


def popen(client: Client) -> "subprocess.Popen[bytes]":
    program, *words = client.command
    return subprocess.Popen(
        [path_of(program), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(client.environment),
    )


def feed(pipe) -> None:
    with suppress(BrokenPipeError):
        pipe.write(DATA)
        pipe.flush()


def exchange(client: Client) -> bytes:
    """Sends DATA to an echo, with stdin open until all of it is back: corkscrew and proxytunnel exit when stdin ends."""
    with popen(client) as process:
        watchdog = threading.Timer(SECONDS, process.kill)
        watchdog.start()
        sender = threading.Thread(target=feed, args=(process.stdin,))
        sender.start()
        back = process.stdout.read(len(DATA))
        sender.join()
        with suppress(BrokenPipeError):  # the client has exited; the missing bytes will show it
            process.stdin.close()
        process.wait()
        watchdog.cancel()
        return back


def refused(client: Client) -> bool:
    """Whether the client fails without a byte on stdout."""
    with popen(client) as process:
        try:
            output, _ = process.communicate(timeout=SECONDS)
        finally:
            end(process)
        return process.returncode != 0 and output == b""


@clients
def test_each_client_gets_a_tunnel(client, serve: Serve, echo_target: ScriptedServer, tmp_path: Path) -> None:
    assert exchange(client(Route(serve.port, echo_target.port, None, tmp_path))) == DATA


@clients
def test_each_client_fails_at_a_forbidden_target(client, strict: Serve, echo_target: ScriptedServer, tmp_path: Path) -> None:
    assert refused(client(Route(strict.port, echo_target.port, None, tmp_path)))
    assert echo_target.conversations == []


@clients_with_password
def test_each_client_logs_in(client, guarded: Serve, echo_target: ScriptedServer, tmp_path: Path) -> None:
    assert exchange(client(Route(guarded.port, echo_target.port, PASSWORD, tmp_path))) == DATA


@clients_with_password
def test_each_client_fails_with_a_wrong_password(client, guarded: Serve, echo_target: ScriptedServer, tmp_path: Path) -> None:
    assert refused(client(Route(guarded.port, echo_target.port, "wrong", tmp_path)))
    assert echo_target.conversations == []


@clients
def test_each_client_fails_without_a_required_password(client, guarded: Serve, echo_target: ScriptedServer, tmp_path: Path) -> None:
    assert refused(client(Route(guarded.port, echo_target.port, None, tmp_path)))
    assert echo_target.conversations == []


def test_nc_prompts_for_its_password_on_the_terminal(guarded: Serve) -> None:
    """nc connects a second time, sends its request line and only then prompts: the head is complete once the user has answered."""

    def greet(peer: Conversation) -> None:
        peer.send(b"welcome\n")
        peer.wait_gone()

    with ScriptedServer(greet) as target:
        words = ["-X", "connect", "-x", f"{PROXY}:{guarded.port}", "-P", USER, TARGET, str(target.port)]
        session = pexpect.spawn(path_of("nc.openbsd"), words, timeout=SECONDS, env=environment())
        try:
            session.expect("(?i)password")
            session.sendline(PASSWORD)
            session.expect("welcome")
        finally:
            session.close(force=True)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_cntlm_with_a_local_port(serve: Serve, echo_target: ScriptedServer, tmp_path: Path, version: str) -> None:
    """With -L, cntlm sends HTTP/1.1 without Host; with -l, its client's head. It logs in with NTLM only, which `serve` lacks."""
    settings = tmp_path / "cntlm.conf"
    settings.write_text("")
    ports = [free_port(), free_port()]
    words = ["-c", str(settings), "-f", "-u", USER, "-p", PASSWORD, "-l", str(ports[0])]
    words += ["-L", f"{ports[1]}:{TARGET}:{echo_target.port}", PROXY, str(serve.port)]
    silent = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([path_of("cntlm"), *words], env=environment(), **silent)
    try:
        wait_until(lambda: all(map(is_open, ports)), SECONDS, "the open ports of cntlm")
        for port, head in zip(ports, (f"CONNECT {echo_target.authority} HTTP/{version}\r\n\r\n".encode(), b""), strict=True):
            with socket.create_connection(("127.0.0.1", port), SECONDS) as sock:
                sock.sendall(head)
                if head:
                    assert read_head(sock).startswith(b"HTTP/1.1 200 ")
                sock.sendall(b"typed")
                assert read_exactly(sock, 5) == b"typed"
    finally:
        end(process)


def is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), SECONDS).close()
    except OSError:
        return False
    return True


# Heads of versions that Debian does not have, captured from the programs; each without and with a login.
LOGIN = b"Proxy-Authorization: Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode())
OTHER_VERSIONS = [
    # bryanpkc/corkscrew e351bda, which is 2.0 and later: with a login, a lone LF ends the request line.
    pytest.param(b"CONNECT %b HTTP/1.0\r\n\r\n", b"CONNECT %b HTTP/1.0\n" + LOGIN + b"\r\n\r\n", id="corkscrew"),
    # gotoh/ssh-connect 1.106, the connect-proxy of Debian
    pytest.param(b"CONNECT %b HTTP/1.0\r\n\r\n", b"CONNECT %b HTTP/1.0\r\n" + LOGIN + b"\r\n\r\n", id="connect"),
    # proxytunnel 1.9.0 and before
    pytest.param(
        b"CONNECT %b HTTP/1.0\r\nProxy-Connection: Keep-Alive\r\n\r\n",
        b"CONNECT %b HTTP/1.0\r\n" + LOGIN + b"\r\nProxy-Connection: Keep-Alive\r\n\r\n",
        id="proxytunnel 1.9",
    ),
    # proxytunnel 1.10.20200507 to 1.12.3: Host is the proxy, without its port, and IPv6 without its brackets
    pytest.param(
        b"CONNECT %b HTTP/1.1\r\nHost: ::1\r\nProxy-Connection: Keep-Alive\r\n\r\n",
        b"CONNECT %b HTTP/1.1\r\nHost: proxy.example\r\n" + LOGIN + b"\r\nProxy-Connection: Keep-Alive\r\n\r\n",
        id="proxytunnel 1.12",
    ),
    # proxytunnel 2.0
    pytest.param(
        b"CONNECT %b HTTP/1.1\r\nHost: %b\r\nProxy-Connection: Keep-Alive\r\n\r\n",
        b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n" + LOGIN + b"\r\nProxy-Connection: Keep-Alive\r\n\r\n",
        id="proxytunnel 2.0",
    ),
    # versat/cntlm 0.94.0, and 0.92 of Debian, with -L
    pytest.param(
        b"CONNECT %b HTTP/1.1\r\nProxy-Connection: keep-alive\r\n"
        b"Proxy-Authorization: NTLM TlRMTVNTUAABAAAABbIIogAAAAAiAAAAAgACACAAAABWTQ==\r\nContent-Length: 0\r\n\r\n",
        None,
        id="cntlm -L",
    ),
]


@pytest.mark.parametrize(("plain", "login"), OTHER_VERSIONS)
def test_heads_of_other_versions_are_accepted(
    plain: bytes, login: bytes | None, serve: Serve, guarded: Serve, echo_target: ScriptedServer
) -> None:
    for head, proxy in ((plain, serve), (login, guarded)):
        if head is not None:
            with socket.create_connection(("127.0.0.1", proxy.port), SECONDS) as sock:
                sock.sendall(head.replace(b"%b", echo_target.authority.encode()))
                assert read_head(sock) == b"HTTP/1.1 200 Connection established\r\n\r\n"
                sock.sendall(b"typed")
                assert read_exactly(sock, 5) == b"typed"


def read_head(sock: socket.socket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        octet = sock.recv(1)
        assert octet, head
        head += octet
    return head


def read_exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := sock.recv(size - len(data))):
        data += piece
    return data


def test_a_client_that_resets_at_its_refusal_affects_no_other(strict: Serve) -> None:
    """Several of the clients above close like this, with the answer half read."""
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", strict.port), SECONDS) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            sock.sendall(b"CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n")
            assert sock.recv(12) == b"HTTP/1.1 403"


# --- clients that speak HTTP through the tunnel


def curl(*words: str, proxy: Serve, credentials: str | None = None) -> "subprocess.CompletedProcess[bytes]":
    user = ["-U", credentials] if credentials else []
    command = [path_of("curl"), "-q", "-sS", "-p", "-x", proxy.url, *user, *words]
    return subprocess.run(command, capture_output=True, timeout=SECONDS, env=environment())


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def https_port(tmp_path_factory: pytest.TempPathFactory, certificate: tuple[Path, Path]) -> Iterator[int]:
    directory = tmp_path_factory.mktemp("web")
    (directory / "file").write_bytes(DATA)
    with web_server(directory, certificate) as port:
        yield port


def test_curl_downloads_over_plain_http(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    with web_server(tmp_path) as port:
        done = curl(f"http://127.0.0.1:{port}/file", proxy=serve)
    assert (done.returncode, done.stdout == DATA, done.stderr) == (0, True, b"")


def test_curl_uploads_and_downloads_over_tls(serve: Serve, https_port: int, certificate: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "up").write_bytes(DATA)
    words = ["--cacert", str(certificate[0]), "--data-binary", f"@{tmp_path / 'up'}"]
    done = curl(*words, f"https://127.0.0.1:{https_port}/", proxy=serve)
    assert (done.returncode, done.stdout == DATA, done.stderr) == (0, True, b"")


def test_curl_reports_our_refusal(strict: Serve, https_port: int) -> None:
    done = curl(f"https://127.0.0.1:{https_port}/", proxy=strict)
    assert (done.returncode, done.stdout) == (56, b"")
    assert b"403" in done.stderr


@pytest.mark.parametrize("scheme", ["--proxy-basic", "--proxy-anyauth"])
def test_curl_logs_in_with_basic(guarded: Serve, https_port: int, certificate: tuple[Path, Path], scheme: str) -> None:
    """With --proxy-anyauth, curl sends a request without credentials, gets 407 and a closed connection, and retries."""
    words = [scheme, "--cacert", str(certificate[0]), f"https://127.0.0.1:{https_port}/file"]
    done = curl(*words, proxy=guarded, credentials=f"{USER}:{PASSWORD}")
    assert (done.returncode, done.stdout == DATA, done.stderr) == (0, True, b"")


@pytest.fixture(scope="module")
def digesting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """A proxy in two processes that accepts Digest, with lines made by `hash-password`. Finally checks the users in its log."""
    lines = b""
    for user in (USER, ODD_USER):
        done = run("hash-password", "--digest", "--realm", "the proxy", user, stdin=PASSWORD.encode() + b"\n")
        assert done.returncode == 0, done.stderr
        lines += done.stdout
    directory = tmp_path_factory.mktemp("digest")
    (directory / "users").write_bytes(lines)
    log = directory / "log"
    with Serve("--users", str(directory / "users"), "--workers", "2", "--access-log", str(log)) as proxy:
        yield proxy
    users = {record["user"] for record in map(json.loads, log.read_text().splitlines()) if record.get("status") == 200}
    assert users == {USER, ODD_USER}


@pytest.mark.parametrize("scheme", ["--proxy-digest", "--proxy-anyauth", "--proxy-basic"])
@pytest.mark.parametrize("user", [USER, ODD_USER], ids=["plain", "odd"])
def test_curl_logs_in_to_a_proxy_with_digest(
    digesting: Serve, https_port: int, certificate: tuple[Path, Path], scheme: str, user: str
) -> None:
    words = [scheme, "--cacert", str(certificate[0]), f"https://127.0.0.1:{https_port}/file"]
    done = curl(*words, proxy=digesting, credentials=f"{user}:{PASSWORD}")
    assert (done.returncode, done.stdout == DATA, done.stderr) == (0, True, b"")


def test_curl_reports_a_wrong_password_with_digest(digesting: Serve, https_port: int) -> None:
    done = curl("--proxy-digest", f"https://127.0.0.1:{https_port}/file", proxy=digesting, credentials=f"{USER}:wrong")
    assert (done.returncode, done.stdout) == (56, b"")
    assert b"407" in done.stderr


def test_curl_reports_a_wrong_password_with_basic(guarded: Serve, https_port: int) -> None:
    done = curl(f"https://127.0.0.1:{https_port}/file", proxy=guarded, credentials=f"{USER}:wrong")
    assert (done.returncode, done.stdout) == (56, b"")
    assert b"407" in done.stderr


def browse(proxy: Serve, certificate: tuple[Path, Path], credentials: str = "") -> httpx.Client:
    trust = ssl.create_default_context(cafile=os.fspath(certificate[0]))
    return httpx.Client(proxy=f"http://{credentials}127.0.0.1:{proxy.port}", verify=trust, timeout=SECONDS)


def test_httpx_uploads_and_downloads(serve: Serve, https_port: int, certificate: tuple[Path, Path]) -> None:
    with browse(serve, certificate) as client:
        for _ in range(2):  # the second time on the same tunnel
            answer = client.post(f"https://127.0.0.1:{https_port}/", content=DATA)
            assert (answer.status_code, answer.content == DATA) == (200, True)
            assert answer.headers["X-Seen"] == hashlib.sha256(DATA).hexdigest()


def test_httpx_logs_in(guarded: Serve, https_port: int, certificate: tuple[Path, Path]) -> None:
    with browse(guarded, certificate, f"{USER}:{PASSWORD}@") as client:
        assert client.get(f"https://127.0.0.1:{https_port}/file").content == DATA


@pytest.mark.parametrize(("credentials", "code"), [("", "407"), (f"{USER}:wrong@", "407")])
def test_httpx_reports_407(guarded: Serve, https_port: int, certificate: tuple[Path, Path], credentials: str, code: str) -> None:
    with browse(guarded, certificate, credentials) as client, pytest.raises(httpx.ProxyError, match=code):
        client.get(f"https://127.0.0.1:{https_port}/file")


def test_httpx_reports_our_refusal(strict: Serve, https_port: int, certificate: tuple[Path, Path]) -> None:
    with browse(strict, certificate) as client, pytest.raises(httpx.ProxyError, match="403"):
        client.get(f"https://127.0.0.1:{https_port}/file")
