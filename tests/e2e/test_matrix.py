"""The conformance matrix: the criteria by which seven known stdio clients were measured, each row a test of `tunnelctl connect`.

No row is left to a unit test: a process with pipes talks to a scripted proxy on loopback. The rows "TLS to the proxy" and
"Digest" are in interop/test_tls_proxies.py and interop/test_digest.py. Throughput and start-up time are benchmarks (tests/bench),
not tests.
"""

import socket
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.peers.process import end, peer_has_keepalive_timer, wait_until
from tests.peers.program import MODULE, SOON, at_end_soon, connect, environment, read_soon, run, started
from tests.peers.scripted import ESTABLISHED, Conversation, ScriptedServer, sample
from tests.portable.removal import of_linux

TARGET = "target.test 22"
AUTHORITY = b"target.test:22"
BANNER = b"SSH-2.0-Banner_1.0\r\n"
MIB = 1 << 20


def then_leave(answer: bytes):
    """A proxy that responds with `answer`, sends a few bytes in the tunnel and ends it."""

    def script(peer: Conversation) -> None:
        peer.accept_tunnel(answer)
        peer.send(b"through")
        peer.end_output()
        peer.wait_gone()

    return script


def refuse(answer: bytes):
    """A proxy that responds with `answer` and closes."""

    def script(peer: Conversation) -> None:
        peer.accept_tunnel(answer)

    return script


def passes(answer: bytes, target: str = TARGET) -> bytes:
    """Asserts that a tunnel after `answer` works and that stderr is empty. Returns the request head."""
    with ScriptedServer(then_leave(answer)) as proxy:
        done = connect(proxy.url, target)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"through", b"")
    return proxy.heads[0]


def fails(answer: bytes, status: int) -> str:
    """Asserts that `answer` ends connect with `status`, an empty stdout and one plain line on stderr. Returns stderr."""
    with ScriptedServer(refuse(answer)) as proxy:
        done = connect(proxy.url, TARGET)
    assert (done.returncode, done.stdout) == (status, b""), done.stderr
    return one_error(done.stderr, proxy)


def one_error(stderr: bytes, proxy: ScriptedServer) -> str:
    """Asserts the shape of an error: one line that names proxy and target, then at most a hint, all of it printable."""
    text = stderr.decode()
    lines = text.splitlines()
    assert lines[0].startswith("tunnelctl: ")
    assert proxy.authority in text
    assert "target.test" in text
    assert all(line.startswith("hint: ") for line in lines[1:])
    assert all(line.isprintable() for line in lines), text
    return text


# --- request sent


def test_request_is_http_1_1_in_authority_form_with_one_equal_host() -> None:
    lines = passes(ESTABLISHED).split(b"\r\n")
    assert lines[0] == b"CONNECT target.test:22 HTTP/1.1"
    assert [line for line in lines if line.lower().startswith(b"host:")] == [b"Host: target.test:22"]
    assert lines[-2:] == [b"", b""]


# --- bytes around the head


def test_target_bytes_in_the_segment_of_the_head_are_kept() -> None:
    def script(peer: Conversation) -> None:
        peer.accept_tunnel(ESTABLISHED + BANNER)
        peer.end_output()
        peer.wait_gone()

    with ScriptedServer(script) as proxy:
        assert connect(proxy.url, TARGET).stdout == BANNER


def test_a_banner_in_the_segment_of_the_head_is_written_at_once() -> None:
    """Not only when the tunnel ends: ssh waits for it before it sends anything."""

    def script(peer: Conversation) -> None:
        peer.accept_tunnel(ESTABLISHED + BANNER)
        peer.wait_gone()

    with ScriptedServer(script) as proxy, started("connect", "-x", proxy.url, *TARGET.split()) as process:
        assert read_soon(process.stdout, len(BANNER)) == BANNER
        process.stdin.close()
        assert process.wait(SOON) == 0


def test_8_mib_right_after_the_response_head() -> None:
    data = sample(8 * MIB)

    def script(peer: Conversation) -> None:
        peer.accept_tunnel(ESTABLISHED + data)
        peer.end_output()
        peer.wait_gone()

    with ScriptedServer(script) as proxy:
        assert connect(proxy.url, TARGET).stdout == data


def test_response_head_that_arrives_byte_by_byte() -> None:
    def script(peer: Conversation) -> None:
        peer.read_head()
        peer.dribble(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 dribble\r\n\r\n" + BANNER)
        peer.end_output()
        peer.wait_gone()

    with ScriptedServer(script) as proxy:
        done = connect(proxy.url, TARGET)
    assert (done.returncode, done.stdout, done.stderr) == (0, BANNER, b"")


# --- end of either direction


def test_a_response_1_5_s_after_the_end_of_stdin_is_kept() -> None:
    """The delay is the subject: corkscrew and proxytunnel exit at once, socat after half a second."""

    def script(peer: Conversation) -> None:
        peer.accept_tunnel()
        question = peer.read_to_end()
        threading.Event().wait(1.5)
        peer.send(b"answer to " + question)

    with ScriptedServer(script) as proxy:
        done = connect(proxy.url, TARGET, stdin=b"question")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"answer to question", b"")


def test_target_closes_first_while_stdin_is_open() -> None:
    """The reader of stdout must see EOF at once: this is how ssh notices a dead server."""

    def script(peer: Conversation) -> None:
        peer.accept_tunnel()
        peer.send(b"bye")

    with ScriptedServer(script) as proxy, started("connect", "-x", proxy.url, *TARGET.split()) as process:
        assert read_soon(process.stdout, 3) == b"bye"
        assert at_end_soon(process.stdout)
        process.stdin.close()
        assert process.wait(SOON) == 0
        assert process.stderr.read() == b""


def test_client_can_still_send_after_the_target_half_closes() -> None:
    received = []

    def script(peer: Conversation) -> None:
        peer.accept_tunnel()
        peer.end_output()
        received.append(peer.read_to_end())

    late = sample(MIB)
    with ScriptedServer(script) as proxy, started("connect", "-x", proxy.url, *TARGET.split()) as process:
        assert at_end_soon(process.stdout)
        with process.stdin as pipe:
            for start in range(0, len(late), 65536):
                pipe.write(late[start : start + 65536])
        assert process.wait(SOON) == 0
    assert received == [late]


def test_target_sends_8_mib_before_it_reads() -> None:
    """A client that writes with a blocking call deadlocks here: each side waits for the other to read."""
    there, back = sample(8 * MIB, 1), sample(8 * MIB, 2)
    received = []

    def script(peer: Conversation) -> None:
        peer.accept_tunnel()
        peer.send(back)
        peer.end_output()
        received.append(peer.read_to_end())

    with ScriptedServer(script) as proxy:
        done = connect(proxy.url, TARGET, stdin=there)
    assert (done.returncode, done.stdout == back, received == [there]) == (0, True, True)


def test_client_sends_8_mib_before_stdout_is_read() -> None:
    """An unread stdout must not hold up the data from stdin."""
    there, back = sample(8 * MIB, 1), sample(8 * MIB, 2)
    received = []

    def script(peer: Conversation) -> None:
        peer.accept_tunnel()
        sender = threading.Thread(target=peer.send, args=(back,))
        sender.start()
        received.append(peer.read_to_end())
        sender.join()
        peer.end_output()

    with ScriptedServer(script) as proxy, started("connect", "-x", proxy.url, *TARGET.split()) as process:
        with process.stdin as pipe:
            view = memoryview(there)
            while view:  # unbuffered: a write may accept only a part
                view = view[pipe.write(view) :]
        assert process.stdout.read() == back
        assert process.wait(SOON) == 0
    assert received == [there]


# --- a proxy that does not respond


def test_a_proxy_that_never_responds_meets_the_time_limit() -> None:
    with ScriptedServer(lambda peer: peer.wait_gone() and None) as proxy:
        start = time.monotonic()
        done = connect(proxy.url, TARGET, "--timeout", "0.4")
        elapsed = time.monotonic() - start
    assert (done.returncode, done.stdout) == (75, b"")
    assert 0.4 <= elapsed < SOON
    one_error(done.stderr, proxy)


def test_a_proxy_that_stops_inside_its_head_meets_the_time_limit() -> None:
    def script(peer: Conversation) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 200 OK\r\nVia: 1.1 ")
        peer.wait_gone()

    with ScriptedServer(script) as proxy:
        done = connect(proxy.url, TARGET, "--timeout", "2")
    assert (done.returncode, done.stdout) == (75, b"")
    one_error(done.stderr, proxy)


def test_a_proxy_that_closes_without_a_response() -> None:
    with ScriptedServer(lambda peer: peer.read_head() and None) as proxy:
        done = connect(proxy.url, TARGET)
    assert (done.returncode, done.stdout) == (76, b"")
    assert "closed" in one_error(done.stderr, proxy)


# --- refusals

BODY = b"Blocked by the policy of Example Corp: port 22. Ask extension 4711."


def with_body(status: bytes, body: bytes = BODY, fields: bytes = b"") -> bytes:
    return b"HTTP/1.1 %b\r\n%bContent-Length: %d\r\n\r\n%b" % (status, fields, len(body), body)


def test_407_without_credentials_ends_with_status_77_and_a_hint() -> None:
    challenge = b'Proxy-Authenticate: Basic realm="corp"\r\n'
    text = fails(with_body(b"407 Proxy Authentication Required", fields=challenge), 77)
    assert "407" in text
    assert "hint: " in text


@pytest.mark.parametrize("status", [b"403 Forbidden", b"502 Bad Gateway", b"503 Service Unavailable", b"302 Found"])
def test_error_body_is_shown(status: bytes) -> None:
    text = fails(with_body(status), 69)
    assert status[:3].decode() in text
    assert "Ask extension 4711" in text


CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n8\r\nAsk exte\r\ne\r\nnsion 4711 now\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"HTTP/1.1 403 No\r\n" + CHUNKED, id="chunked"),
        pytest.param(b"HTTP/1.0 403 No\r\n\r\nAsk extension 4711", id="until close"),
    ],
)
def test_error_body_in_any_framing(answer: bytes) -> None:
    assert "Ask extension 4711" in fails(answer, 69)


def test_error_body_reaches_the_terminal_escaped() -> None:
    """An escape sequence in it could retitle the window, hide text, or type input in the user's name."""
    fails(with_body(b"403 Forbidden", b"\x1b]0;owned\x07\x1b[2Jgone\x9b31m\r\n\x00end"), 69)


# --- response heads that other clients fail on


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"HTTP/1.1 200 OK\nVia: 1.1 lf\n\n", id="LF only"),
        pytest.param(b"HTTP/1.1 200\r\n\r\n", id="no reason phrase"),
        pytest.param(b"HTTP/1.1 200 \r\n\r\n", id="empty reason phrase"),
        pytest.param(b"HTTP/1.0 200 Connection established\r\n\r\n", id="HTTP/1.0"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", id="204"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" + ESTABLISHED, id="100 then 200"),
        pytest.param(b"HTTP/1.1 102 Processing\r\nA: b\r\n\r\nHTTP/1.1 103 Hints\r\n\r\n" + ESTABLISHED, id="102, 103 then 200"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", id="200 with Content-Length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", id="200 with chunked"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + b"X-Long: " + b"a" * 980 + b"\r\n" + b"X: y\r\n" * 9 + b"\r\n", id="1 KB"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + (b"X-Filler: " + b"a" * 988 + b"\r\n") * 20 + b"\r\n", id="20 KB of fields"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX-Filler: " + b"a" * 20_000 + b"\r\n\r\n", id="one field of 20 KB"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + b"X-Field: 1\r\n" * 100 + b"\r\n", id="100 fields"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + b"X-Field: 1\r\n" * 500 + b"\r\n", id="500 fields"),
    ],
)
def test_unusual_heads_are_accepted_and_none_of_their_bytes_leak(answer: bytes) -> None:
    passes(answer)


def test_a_peer_that_is_not_http_fails_at_once_and_its_line_is_shown() -> None:
    """At once: the peer keeps the connection open, which an SSH server does for minutes."""

    def script(peer: Conversation) -> None:
        peer.send(BANNER)
        peer.wait_gone()

    with ScriptedServer(script) as proxy:
        start = time.monotonic()
        done = connect(proxy.url, TARGET)
        assert time.monotonic() - start < SOON
    assert (done.returncode, done.stdout) == (76, b"")
    assert "SSH-2.0-Banner_1.0" in one_error(done.stderr, proxy)


def test_bytes_of_a_peer_that_is_not_http_are_escaped() -> None:
    text = fails(b"\x17\x03\x01\x00\xc8\x1b[2J\r\n", 76)
    assert r"\x17" in text


# --- a broken tunnel


def test_a_reset_in_mid_stream_is_a_failure() -> None:
    # The proxy resets only after the bytes before it have been written: a reset discards what is still in a buffer.
    arrived = threading.Event()

    def script(peer: Conversation) -> None:
        peer.accept_tunnel()
        peer.send(b"half a mess")
        assert arrived.wait(SOON)
        peer.reset()

    with ScriptedServer(script) as proxy, started("connect", "-x", proxy.url, *TARGET.split()) as process:
        assert read_soon(process.stdout, 11) == b"half a mess"
        arrived.set()
        assert process.wait(SOON) == 74
        error = process.stderr.read().decode()
    assert error.startswith("tunnelctl: ")
    assert "reset" in error
    assert "Traceback" not in error


def test_a_vanished_reader_of_stdout_ends_connect_at_once() -> None:
    """Even while nothing is being written: OpenBSD nc hangs here, since stdin and the target are both still open."""

    def script(peer: Conversation) -> None:
        peer.accept_tunnel()
        peer.send(b"hello")
        peer.wait_gone()

    with ScriptedServer(script) as proxy, started("connect", "-x", proxy.url, *TARGET.split()) as process:
        assert read_soon(process.stdout, 5) == b"hello"
        process.stdout.close()
        assert process.wait(SOON) == 0
        assert process.stderr.read() == b""


def test_a_vanished_reader_of_stdout_during_a_flood() -> None:
    def script(peer: Conversation) -> None:
        peer.accept_tunnel()
        with suppress(ConnectionError):
            while True:
                peer.send(bytes(65536))

    with ScriptedServer(script) as proxy, started("connect", "-x", proxy.url, *TARGET.split()) as process:
        assert len(read_soon(process.stdout, MIB)) == MIB
        process.stdout.close()
        assert process.wait(SOON) == 0
        assert process.stderr.read() == b""


# --- targets and addresses


@pytest.mark.parametrize(
    "host",
    [
        "evil.test\r\nX: 1",
        "evil.test\nX: 1",
        "evil.test:22 HTTP/1.1\r\nX: 1\r\n\r\n",
        "[::1\r\nX: 1]",
        "evil\t.test",
        "evil\x1b.test",
    ],
)
def test_control_characters_in_the_target_are_refused_before_a_request(host: str) -> None:
    with ScriptedServer(refuse(ESTABLISHED)) as proxy:
        done = run("connect", "-x", proxy.url, host, "22")
    assert (done.returncode, done.stdout, proxy.heads) == (2, b"", [])
    assert done.stderr.startswith(b"tunnelctl: ")
    assert b"\r" not in done.stderr


@pytest.mark.parametrize("target", ["2001:db8::1 22", "[2001:db8::1] 22", "[2001:DB8:0::1]:22"])
def test_ipv6_target_is_bracketed(target: str) -> None:
    lines = passes(ESTABLISHED, target).split(b"\r\n")
    assert lines[0] == b"CONNECT [2001:db8::1]:22 HTTP/1.1"
    assert b"Host: [2001:db8::1]:22" in lines


def has_ipv6_loopback() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.skipif(not has_ipv6_loopback(), reason="this machine has no ::1")
def test_ipv6_address_of_the_proxy() -> None:
    with ScriptedServer(then_leave(ESTABLISHED), host="::1") as proxy:
        done = connect(proxy.url, TARGET)
    assert (done.returncode, done.stdout) == (0, b"through")


# --- secrets

SECRET = "Tr0ub4dor-and-3"
SECRET_IN_BASIC = "YW5uYTpUcjB1YjRkb3ItYW5kLTM="  # base64 of anna:SECRET


def way_of_the_secret(way: str, directory: Path) -> tuple[list[str], dict[str, str]]:
    """Returns the options and environment that give user and password by one of the means other than the command line."""
    password, both = directory / "password", directory / "both"
    for file, text in ((password, SECRET), (both, f"anna:{SECRET}")):
        file.write_text(text + "\n")
        file.chmod(0o600)
    return {
        "password file": (["--auth", "basic", "--proxy-user", "anna", "--proxy-password-file", str(password)], {}),
        "corkscrew file": (["--auth", "basic", "--proxy-auth-file", str(both)], {}),
        "password variable": (["--auth", "basic", "--proxy-user", "anna"], {"TUNNELCTL_PROXY_PASSWORD": SECRET}),
    }[way]


@pytest.mark.parametrize("way", ["password file", "corkscrew file", "password variable"])
@pytest.mark.parametrize("output", [["-vv"], ["--json"]])
def test_password_is_sent_but_not_in_the_process_list_or_any_output(way: str, output: list[str], tmp_path: Path) -> None:
    options, extra = way_of_the_secret(way, tmp_path)

    def script(peer: Conversation) -> None:
        peer.accept_tunnel(ESTABLISHED + BANNER)
        peer.wait_gone()

    with (
        ScriptedServer(script) as proxy,
        started("connect", "-x", proxy.url, *options, *output, *TARGET.split(), env=extra) as process,
    ):
        assert read_soon(process.stdout, len(BANNER)) == BANNER
        command_line = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        process.stdin.close()
        assert process.wait(SOON) == 0
        said = process.stderr.read()
    assert f"Proxy-Authorization: Basic {SECRET_IN_BASIC}".encode() in proxy.heads[0]
    for secret in (SECRET.encode(), SECRET_IN_BASIC.encode()):
        assert secret not in command_line
        assert secret not in said
    assert said  # there was output to search


def test_password_in_the_url_is_not_in_any_output() -> None:
    answer = with_body(b"407 Proxy Authentication Required", fields=b'Proxy-Authenticate: Basic realm="x"\r\n')
    with ScriptedServer(refuse(answer)) as proxy:
        done = connect(proxy.url.replace("//", f"//anna:{SECRET}@"), TARGET, "-vv")
    assert SECRET_IN_BASIC.encode() in proxy.heads[1]
    assert done.returncode == 77
    assert SECRET.encode() not in done.stderr
    assert SECRET_IN_BASIC.encode() not in done.stderr


# --- socket options


def received_socket(proxy: ScriptedServer, *options: str) -> socket.socket:
    """Returns the socket of the tunnel, handed over with --fdpass, so that the test can read its options."""
    ours, theirs = socket.socketpair()
    command = [*MODULE, "connect", "-x", proxy.url, "--fdpass", *options, *TARGET.split()]
    with ours:
        with theirs:
            process = subprocess.Popen(command, stdin=theirs, stdout=theirs, env=environment())
        ours.settimeout(SOON)
        try:
            data, descriptors, _, _ = socket.recv_fds(ours, 2, 2)
            assert process.wait(SOON) == 0
        finally:
            end(process)
    assert (data, len(descriptors)) == (b"\0", 1)
    return socket.socket(fileno=descriptors[0])


def test_keepalive_and_nodelay_are_set() -> None:
    with ScriptedServer(then_leave(ESTABLISHED)) as proxy, received_socket(proxy) as tunnel:
        assert tunnel.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert tunnel.getsockopt(socket.IPPROTO_TCP, of_linux(socket, "TCP_KEEPIDLE")) == 60
        assert tunnel.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert tunnel.recv(100) == b"through"


@pytest.mark.parametrize(("seconds", "on", "idle"), [("0", 0, None), ("7", 1, 7)])
def test_keepalive_follows_its_flag(seconds: str, on: int, idle: int | None) -> None:
    with ScriptedServer(then_leave(ESTABLISHED)) as proxy, received_socket(proxy, "--keepalive", seconds) as tunnel:
        assert tunnel.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == on
        if idle is not None:
            assert tunnel.getsockopt(socket.IPPROTO_TCP, of_linux(socket, "TCP_KEEPIDLE")) == idle


def test_keepalive_runs_on_the_socket_of_a_relayed_tunnel() -> None:
    def script(peer: Conversation) -> None:
        peer.accept_tunnel(ESTABLISHED + BANNER)
        peer.wait_gone()

    with ScriptedServer(script) as proxy, started("connect", "-x", proxy.url, *TARGET.split()) as process:
        assert read_soon(process.stdout, len(BANNER)) == BANNER
        sock = proxy.conversations[0].sock
        # The row shows a retransmission timer while the last bytes are unacknowledged.
        wait_until(lambda: peer_has_keepalive_timer(sock), SOON, "a keepalive timer")
        process.stdin.close()
        assert process.wait(SOON) == 0
