"""Every kind of route to a target, from the command line: PAC files, lists of proxies, mixed chains, TLS to proxy or target."""

import hashlib
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.peers import certificates, socks_proxies
from tests.peers.certificates import Certificates
from tests.peers.process import end, path_of, started_on_a_port, wait_until
from tests.peers.program import MODULE, SOON, Bytes, Forward, Serve, at_end_soon, echoed, handed_over, read_soon, run, started
from tests.peers.proxies import PASSWORD, USER, Rules
from tests.peers.scripted import ESTABLISHED, Conversation, ScriptedServer, echo, refusing_port, sample

MIB = 1 << 20
DATA = sample(4 * MIB)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates.make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def plain() -> Iterator[Serve]:
    with Serve() as proxy:
        yield proxy


@pytest.fixture(scope="module")
def secure(files: Certificates) -> Iterator[Serve]:
    with Serve("--tls-cert", str(files.chain), "--tls-key", str(files.key)) as proxy:
        yield proxy


@pytest.fixture
def target() -> Iterator[ScriptedServer]:
    with ScriptedServer(echo) as server:
        yield server


@pytest.fixture
def dead() -> Iterator[str]:
    held, port = refusing_port()
    with held:
        yield f"127.0.0.1:{port}"


def https(proxy: Serve) -> str:
    return proxy.url.replace("http:", "https:")


def is_whole(done: Bytes) -> bool:
    """Whether all data came back and stderr is empty."""
    return (done.returncode, done.stdout == DATA, done.stderr) == (0, True, b"")


# --- PAC


def pac(directory: Path, answer: str) -> str:
    file = directory / "proxy.pac"
    file.write_text(f'function FindProxyForURL(url, host) {{ return "{answer}"; }}')
    return str(file)


def test_a_pac_file_with_a_dead_proxy_and_a_good_one(plain: Serve, target: ScriptedServer, dead: str, tmp_path: Path) -> None:
    file = pac(tmp_path, f"PROXY {dead}; PROXY 127.0.0.1:{plain.port}; DIRECT")
    assert is_whole(echoed(DATA, "--pac", file, target.authority))
    told = echoed(b"x", "-v", "--pac", f"file://{file}", target.authority).stderr.decode()
    assert f"not reached: cannot connect to proxy {dead}: connection refused; next: 127.0.0.1:{plain.port}\n" in told
    assert f"tunnel to {target.authority} open, via 127.0.0.1:{plain.port}\n" in told


@pytest.mark.parametrize("answer", ["DIRECT", "", "PROXY {dead}; DIRECT"], ids=["direct", "nothing", "after a dead one"])
def test_a_pac_file_that_results_in_a_direct_connection(target: ScriptedServer, dead: str, tmp_path: Path, answer: str) -> None:
    assert is_whole(echoed(DATA, "--pac", pac(tmp_path, answer.format(dead=dead)), target.authority))


def test_pac_takes_precedence_over_the_environment_but_not_over_x(target: ScriptedServer, dead: str, tmp_path: Path) -> None:
    file, elsewhere = pac(tmp_path, "DIRECT"), {"https_proxy": f"http://{dead}"}
    assert is_whole(echoed(DATA, "--pac", file, target.authority, env=elsewhere))
    done = run("connect", "--pac", file, "-x", f"http://{dead}", target.authority)
    assert (done.returncode, f"cannot connect to proxy {dead}" in done.stderr.decode()) == (75, True)


# --- several proxies


def test_the_next_proxy_is_used_if_one_is_down_unknown_or_silent(plain: Serve, target: ScriptedServer, dead: str) -> None:
    with ScriptedServer(lambda peer: peer.wait_gone() and None) as silent:
        proxies = f"http://{dead},http://proxy.invalid:3128,{silent.url},{plain.url}"
        assert is_whole(echoed(DATA, "-x", proxies, "--timeout", "3", target.authority))


def test_every_proxy_of_the_list_is_down(dead: str) -> None:
    done = run("connect", "-x", f"http://{dead},http://{dead}", "host.test", "22")
    assert done.returncode == 75
    assert done.stderr.decode() == (
        f"tunnelctl: cannot connect to proxy {dead}: connection refused\nhint: nothing listens there; is the port right?\n"
    )


def test_a_refusal_does_not_fall_back_to_the_next_proxy(plain: Serve, target: ScriptedServer) -> None:
    with ScriptedServer(lambda peer: peer.accept_tunnel(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")) as refusing:
        done = run("connect", "-x", f"{refusing.url},{plain.url}", target.authority)
    assert (done.returncode, target.conversations) == (69, [])


# --- SOCKS


@pytest.mark.peer("microsocks")
@pytest.mark.parametrize("password", [False, True])
def test_through_microsocks(target: ScriptedServer, password: bool) -> None:
    with socks_proxies.microsocks(Rules(password=password)) as proxy:
        url = proxy.url_with(USER, PASSWORD) if password else proxy.url
        assert is_whole(echoed(DATA, "-x", url, target.authority))
        assert is_whole(echoed(DATA, target.authority, env={"all_proxy": url.replace("socks5:", "socks5h:")}))


BANNER = b"banner "


def speaks_first(peer: Conversation) -> None:
    peer.send(BANNER)
    echo(peer)


def is_handed_over(*words: str) -> bool:
    """Whether connect --fdpass hands over the tunnel from its first byte on; the target must be `speaks_first`."""
    with handed_over(*words) as tunnel:
        tunnel.sendall(b"over")
        said = b""
        while len(said) < len(BANNER) + 4 and (piece := tunnel.recv(65536)):
            said += piece
        return said == BANNER + b"over"


@pytest.mark.peer("microsocks")
def test_the_socket_behind_microsocks_is_handed_over_whole() -> None:
    with ScriptedServer(speaks_first) as target, socks_proxies.microsocks(Rules(password=True)) as proxy:
        assert is_handed_over("-x", proxy.url_with(USER, PASSWORD), target.authority)


def test_the_socket_behind_a_login_is_handed_over_whole() -> None:
    """The refusal has a body; the banner of the target arrives with the 2xx head."""

    def script(peer: Conversation) -> None:
        if b"Proxy-Authorization: Basic dTpw\r\n" not in peer.read_head():
            peer.send(b"HTTP/1.1 407 Login\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 4\r\n\r\nmore")
            return
        peer.send(ESTABLISHED + BANNER)
        echo(peer)

    with ScriptedServer(script) as proxy:
        assert is_handed_over("-x", proxy.url.replace("//", "//u:p@"), "host.test:22")


def test_no_socket_is_handed_over_from_inside_tls(secure: Serve) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, started("connect", "--fdpass", "-x", https(secure), "host.test:22", stdout=theirs.fileno()) as process:
        assert process.wait(SOON) == 2
        assert b"the route includes TLS" in process.stderr.read()


# --- chains


@contextmanager
def socks_port() -> Iterator[str]:
    with Forward("-D", "0", "-x", "direct") as forward:
        yield f"socks5://127.0.0.1:{forward.port}"


def answers_at_the_end(peer: Conversation) -> None:
    """Sends the checksum of the data received, once it has ended, and then as much again."""
    data = peer.read_to_end()
    peer.send(hashlib.sha256(data).digest())
    peer.send(data[::-1])


@pytest.mark.parametrize("order", ["http https socks", "https socks http", "socks http https"])
def test_a_chain_of_all_kinds_in_both_directions_with_a_half_close(
    plain: Serve, secure: Serve, files: Certificates, order: str
) -> None:
    """Each of these hops passes on the end of one direction by itself, so the response can wait for the whole request."""
    with socks_port() as socks, ScriptedServer(answers_at_the_end) as server:
        urls = {"http": plain.url, "https": https(secure), "socks": socks}
        words = [word for name in order.split() for word in ("-x", urls[name])]
        done = run("connect", *words, "--proxy-cacert", str(files.authority), server.authority, stdin=DATA)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == hashlib.sha256(DATA).digest() + DATA[::-1]


def test_serve_chains_through_a_tls_proxy(plain: Serve, secure: Serve, files: Certificates) -> None:
    flags = ("-x", plain.url, "-x", https(secure), "--proxy-cacert", str(files.authority))
    with Serve(*flags) as front, ScriptedServer(answers_at_the_end) as server:
        done = run("connect", "-x", front.url, server.authority, stdin=DATA)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == hashlib.sha256(DATA).digest() + DATA[::-1]


@pytest.mark.parametrize("warm", ["0", "2"])
def test_a_dynamic_port_through_a_tls_proxy(secure: Serve, files: Certificates, target: ScriptedServer, warm: str) -> None:
    way = ("-x", https(secure), "--proxy-cacert", str(files.authority))
    with Forward("-D", "0", *way, "--warm", warm) as forward:
        for _ in range(3):  # more than are kept ready
            assert is_whole(echoed(DATA, "-x", f"socks5://127.0.0.1:{forward.port}", target.authority))


@pytest.mark.parametrize("kind", ["pac", "socks", "https"])
def test_a_program_started_by_run(plain: Serve, secure: Serve, files: Certificates, tmp_path: Path, kind: str) -> None:
    """The program is another tunnelctl, which reads its environment."""
    with socks_port() as socks, ScriptedServer(answers_at_the_end) as server:
        ways = {
            "pac": ("--pac", pac(tmp_path, f"PROXY 127.0.0.1:{plain.port}")),
            "socks": ("-x", socks),
            "https": ("-x", https(secure), "--proxy-cacert", str(files.authority)),
        }
        done = run("run", *ways[kind], "--", *MODULE, "connect", server.authority, stdin=DATA)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == hashlib.sha256(DATA).digest() + DATA[::-1]


# --- http:// where https:// is meant


SPEAKS_TLS = "it speaks TLS, not plain HTTP\n"


@pytest.mark.parametrize("before", [False, True], ids=["the nearest", "a later one"])
def test_a_tls_proxy_with_an_http_url_is_explained(plain: Serve, secure: Serve, before: bool) -> None:
    """It responds with 400 in plain text, and in TLS to a ClientHello."""
    done = run("connect", *(("-x", plain.url) if before else ()), "-x", secure.url, "target.test", "22")
    what = f"proxy 127.0.0.1:{secure.port}, asked for a tunnel to target.test:22"
    text = f"tunnelctl: {what}: {SPEAKS_TLS}hint: its URL is https://127.0.0.1:{secure.port}\n"
    assert (done.returncode, done.stderr.decode()) == (77, text)


def test_a_local_port_warns_of_a_tls_proxy_with_an_http_url(secure: Serve) -> None:
    with (
        Forward("-L", "0:target.test:22", "-x", secure.url) as forward,
        socket.create_connection(("127.0.0.1", forward.port), SOON),
    ):
        text = f"warning: proxy 127.0.0.1:{secure.port} speaks TLS, not plain HTTP: its URL is https://127.0.0.1:{secure.port}\n"
        wait_until(lambda: text in forward.log(), SOON, "the reason")


# --- TLS to the target


@contextmanager
def s_server(files: Certificates) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """Starts openssl s_server as one end of a conversation: it sends its stdin and writes what it receives to its stdout."""
    shown = ["-cert", str(files.chain), "-cert_chain", str(files.chain), "-key", str(files.key), "-alpn", "imap"]

    def start(port: int) -> "subprocess.Popen[bytes]":
        command = [path_of("openssl"), "s_server", "-quiet", "-accept", f"127.0.0.1:{port}", *shown]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)

    process, port = started_on_a_port(start)
    try:
        yield process, port
    finally:
        end(process)
        for pipe in (process.stdin, process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()


@pytest.mark.peer("openssl")
@pytest.mark.parametrize("through", ["nothing", "http", "https"])
def test_a_conversation_with_openssl_s_server(plain: Serve, secure: Serve, files: Certificates, through: str) -> None:
    proxy = {"nothing": "direct", "http": plain.url, "https": https(secure)}[through]
    trusted = ("--tls-cacert", str(files.authority), "--proxy-cacert", str(files.authority))
    with ExitStack() as stack:
        server, port = stack.enter_context(s_server(files))
        words = ("connect", "-x", proxy, "--tls", "--tls-name", "localhost", "--tls-alpn", "imap", *trusted)
        process = stack.enter_context(started(*words, "127.0.0.1", str(port)))
        process.stdin.write(b"a question\n")
        assert read_soon(server.stdout, 11) == b"a question\n"
        server.stdin.write(b"an answer\n")
        assert read_soon(process.stdout, 10) == b"an answer\n"
        process.stdin.close()
        assert at_end_soon(process.stdout)
        assert (process.wait(SOON), process.stderr.read()) == (0, b"")


@pytest.mark.peer("openssl")
def test_a_target_certificate_for_another_name(files: Certificates) -> None:
    with s_server(files) as (_, port):
        words = ("--tls", "--tls-name", "other.test", "--tls-cacert", str(files.authority))
        done = run("connect", "-x", "direct", *words, f"127.0.0.1:{port}")
    assert done.returncode == 77
    assert f"TLS with target 127.0.0.1:{port}: its certificate is for another name" in done.stderr.decode()
