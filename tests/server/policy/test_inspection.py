"""Rules on the content of tunnels: the inspecting stream, alone and in a proxy, with and without TLS.

tests/security/test_v29_domain_fronting has the tests of which tunnels a rule allows.
"""

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.engine.tools import bounded
from tests.peers import browser, certificates
from tests.peers.https import make_certificate, web_server
from tests.peers.openssh import sshd
from tests.peers.process import end, path_of, started_on_a_port, wait_until
from tests.peers.program import Serve, proxy_command
from tests.peers.scripted import Conversation, ScriptedServer, echo, sample
from tests.proto.client_hellos import (
    CHANGE_CIPHER_SPEC,
    CHROMIUM,
    RETRY_RANDOM,
    application_data,
    body,
    extension,
    hello,
    message,
    named,
    of_openssl,
    records,
    server_hello,
)
from tests.server.harness import SECONDS, Client, Proxy, connect_request
from tests.server.inspecting import NAME, end_of, is_cut, proxy_with, rules, silent
from tunnelctl.engine.kernel import Nursery, checkpoint
from tunnelctl.proto.tls.client_hello import ENDED, MALFORMED, MAX_HELLO, TOO_LONG
from tunnelctl.proto.tls.hello_watch import TOO_MANY
from tunnelctl.server.policy import inspection
from tunnelctl.server.policy.rules import TLSRequirement
from tunnelctl.stream.base import Stream

pytestmark = pytest.mark.usefixtures("loopback_names")

# --- tunnels that are allowed


def test_a_client_hello_in_segments_of_every_size(tmp_path: Path) -> None:
    data = named(NAME)
    with ScriptedServer(echo) as target, proxy_with(tmp_path, "sni") as proxy:
        for size in (1, 2, 5, 6, 50, len(data)):
            with proxy.tunnel(f"{NAME}:{target.port}") as client:
                client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for at in range(0, len(data), size):
                    client.send(data[at : at + size])
                assert client.exactly(len(data)) == data


def test_a_client_hello_partly_sent_with_the_request(tmp_path: Path) -> None:
    data = named(NAME)
    with ScriptedServer(echo) as target, proxy_with(tmp_path, "sni") as proxy:
        for at in (0, 1, 7, len(data)):
            with proxy.client() as client:
                client.send(connect_request(f"{NAME}:{target.port}") + data[:at])
                assert client.head().startswith(b"HTTP/1.1 200")
                client.send(data[at:] + b"x")
                assert client.exactly(len(data) + 1) == data + b"x"


def test_bulk_data_after_a_client_hello_arrives_whole(tmp_path: Path) -> None:
    data = CHROMIUM + sample(20 << 20)
    with ScriptedServer(echo) as target, proxy_with(tmp_path, "sni") as proxy, proxy.tunnel(f"{NAME}:{target.port}") as client:
        sender = threading.Thread(target=client.send, args=(data,))
        sender.start()
        assert client.exactly(len(data)) == data
        sender.join(SECONDS)


@pytest.mark.parametrize("sni", ["", "127.0.0.1"])
def test_a_target_that_is_an_address_needs_no_server_name(tmp_path: Path, sni: str) -> None:
    data = named(sni) if sni else hello()
    with ScriptedServer(echo) as target, proxy_with(tmp_path, "sni") as proxy, proxy.tunnel(target.authority) as client:
        assert client.echoes(data)


def test_without_a_rule_the_tunnel_is_not_inspected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection.InspectedStream, "__init__", None)
    with ScriptedServer(echo) as target, Proxy() as proxy:
        with proxy.tunnel(target.authority) as client:
            assert client.echoes(b"SSH-2.0-x\r\n")
        assert "seen" not in end_of(proxy)


# --- tunnels that are cut


def test_a_client_hello_that_is_too_long_is_cut(tmp_path: Path) -> None:
    data = records(message(bytes(MAX_HELLO)))
    with ScriptedServer(silent) as target, proxy_with(tmp_path, "tls") as proxy:
        with proxy.tunnel(f"{NAME}:{target.port}") as client, pytest.raises(ConnectionResetError):
            client.send(data)
            client.rest()
        assert end_of(proxy)["seen"] == TOO_LONG


def test_a_client_that_sends_no_whole_hello_is_cut_after_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "HELLO_SECONDS", 0.2)
    with ScriptedServer(silent) as target, proxy_with(tmp_path, "tls") as proxy:
        with proxy.tunnel(f"{NAME}:{target.port}") as client:
            assert is_cut(client, named(NAME)[:50])
        end = end_of(proxy)
    assert (end["seen"], end["cause"]) == ("no ClientHello in time", "cut")


def test_a_client_that_ends_inside_its_hello_is_cut(tmp_path: Path) -> None:
    with ScriptedServer(silent) as target, proxy_with(tmp_path, "tls") as proxy:
        with proxy.tunnel(f"{NAME}:{target.port}") as client:
            client.send(named(NAME)[:50])
            client.sock.shutdown(socket.SHUT_WR)
            with pytest.raises(ConnectionResetError):
                client.rest()
        assert end_of(proxy)["seen"] == ENDED


def test_a_client_that_resets_before_its_hello_is_logged_without_a_rule(tmp_path: Path) -> None:
    with ScriptedServer(silent) as target, proxy_with(tmp_path, "tls") as proxy:
        proxy.tunnel(f"{NAME}:{target.port}").reset()
        end = end_of(proxy)
    assert (end["cause"], end["closed_by"]) == ("reset", "client")
    assert "seen" not in end


def test_an_incomplete_second_hello_is_cut_after_a_time_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "HELLO_SECONDS", 1.0)
    first = named(NAME)

    def first_only(peer: Conversation) -> None:
        assert peer.wait_gone() == first

    with ScriptedServer(first_only) as target, proxy_with(tmp_path, "sni") as proxy:
        with proxy.tunnel(f"{NAME}:{target.port}") as client:
            assert is_cut(client, first + named(NAME)[:50])
        end = end_of(proxy)
    assert (end["seen"], end["cause"]) == ("no ClientHello in time", "cut")


def test_a_client_that_ends_inside_a_second_hello_is_cut(tmp_path: Path) -> None:
    with ScriptedServer(lambda peer: peer.wait_gone()) as target, proxy_with(tmp_path, "sni") as proxy:
        with proxy.tunnel(f"{NAME}:{target.port}") as client:
            client.send(named(NAME) + named(NAME)[:50])
            client.sock.shutdown(socket.SHUT_WR)
            with pytest.raises(ConnectionResetError):
                client.rest()
        assert end_of(proxy)["seen"] == ENDED


@pytest.mark.parametrize("kind", ["sni", "report"])
def test_a_client_that_ends_after_the_first_hello_ends_cleanly(tmp_path: Path, kind: str) -> None:
    def take_all(peer: Conversation) -> None:
        assert peer.read_to_end() == named(NAME) + CHANGE_CIPHER_SPEC
        peer.send(b"bye")

    with ScriptedServer(take_all) as target, proxy_with(tmp_path, kind) as proxy:
        with proxy.tunnel(f"{NAME}:{target.port}") as client:
            client.send(named(NAME) + CHANGE_CIPHER_SPEC)
            client.sock.shutdown(socket.SHUT_WR)
            assert client.rest() == b"bye"
        end = end_of(proxy)
    assert (end["cause"], end["cut_by"], end["reports"]) == ("eof", "", [])


@pytest.mark.parametrize(
    ("flood", "seen"),
    [
        (b"\x16\x03\x03\0\1\1" + b"\x16\x03\x03\0\0" * 100_000, MALFORMED),
        (records(message(body(extension(21, bytes(60_000)))), size=1), TOO_LONG),
        (b"\x17\x03\x03\0\0" * 100_000, TOO_MANY),
    ],
    ids=["empty", "small", "data"],
)
def test_a_flood_of_records_after_the_first_hello_is_cut(tmp_path: Path, flood: bytes, seen: str) -> None:
    with ScriptedServer(lambda peer: peer.wait_gone()) as target, proxy_with(tmp_path, "sni") as proxy:
        with proxy.tunnel(f"{NAME}:{target.port}") as client, pytest.raises(ConnectionError):
            client.send(named(NAME) + flood)
            client.rest()
        assert end_of(proxy)["seen"] == seen


def test_a_server_may_speak_first_and_the_client_is_cut_by_its_reply(tmp_path: Path) -> None:
    def banner(peer: Conversation) -> None:
        peer.send(b"220 mail.example.com\r\n")
        assert peer.wait_gone() == b""

    with ScriptedServer(banner) as target, proxy_with(tmp_path, "tls") as proxy, proxy.tunnel(f"{NAME}:{target.port}") as client:
        assert client.exactly(22) == b"220 mail.example.com\r\n"
        assert is_cut(client, b"EHLO x\r\n")


def test_a_server_may_delay_its_request_for_a_second_hello(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy holds no bytes meanwhile, so no time limit applies."""
    monkeypatch.setattr(inspection, "HELLO_SECONDS", 0.5)

    def slow(peer: Conversation) -> None:
        peer.read_exactly(len(named(NAME)))
        time.sleep(0.6)
        peer.send(server_hello(RETRY_RANDOM))
        peer.read_exactly(len(named(NAME)))
        peer.send(b"done")

    with ScriptedServer(slow) as target, proxy_with(tmp_path, "sni") as proxy:
        with proxy.tunnel(f"{NAME}:{target.port}") as client:
            client.send(named(NAME))
            assert client.exactly(len(server_hello(RETRY_RANDOM))) == server_hello(RETRY_RANDOM)
            time.sleep(0.6)
            client.send(named(NAME))
            assert client.rest() == b"done"
        assert end_of(proxy)["cut_by"] == ""


class Wire(Stream):
    """A scripted client: `sent` is what it has sent, `told` what it has received."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.told = b""
        self.most = 0  # largest read limit

    async def wait_readable(self) -> None:
        pass

    def receive_nowait(self, limit: int) -> bytes | None:
        self.most = max(self.most, limit)
        return self.sent.pop(0) if self.sent else None

    def send_nowait(self, data: bytes | memoryview) -> int:
        taken = bytes(data[:7])  # a sink that accepts a few octets at a time
        self.told += taken
        return len(taken)

    def socket_fd(self) -> int | None:
        return 99


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a stream that is used without a kernel: the stream reads the time and waits for nothing."""
    monkeypatch.setattr(inspection, "current_time", time.monotonic)


def inspected(*demands: TLSRequirement) -> tuple[Wire, inspection.InspectedStream]:
    wire = Wire()
    return wire, inspection.InspectedStream(wire, b"", demands, f"{NAME}:443")


CUT, REPORT = TLSRequirement("allow web", True, True), TLSRequirement("report soon", True, False)


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("demand", [CUT, REPORT])
def test_inspection_ends_with_the_response_of_the_server(demand: TLSRequirement) -> None:
    """From then on the kernel can splice the bytes."""
    wire, client = inspected(demand)
    first, early, answer = named(NAME), CHANGE_CIPHER_SPEC + application_data(100), server_hello()
    wire.sent = [first + early[:50], early[50:]]
    assert client.receive_nowait(65536) == first + early[:50]
    assert client.receive_nowait(65536) == early[50:]
    assert client.receive_nowait(65536) is None
    assert client.socket_fd() is None
    while wire.told != answer:
        assert client.send_nowait(answer[len(wire.told) :])
    assert client.socket_fd() == 99
    assert client.seen == inspection.FirstBytes("TLS", NAME, "", ())


@pytest.mark.usefixtures("clock")
def test_only_bytes_of_a_hello_are_held_back() -> None:
    wire, client = inspected(CUT)
    first, second = named(NAME), named(NAME)
    wire.sent = [first + application_data() + second[:20], second[20:] + b"tunnel"]
    assert client.receive_nowait(40) == first[:40]
    assert client.receive_nowait(65536) == (first + application_data())[40:]
    assert client.receive_nowait(65536) == second + b"tunnel"
    assert client.socket_fd() == 99


def test_a_hello_in_many_pieces_does_not_starve_other_tasks() -> None:
    """Every piece is available at once, so the stream never has to wait."""

    async def main() -> int:
        wire, client = inspected(CUT)
        data, turns = named(NAME), 0
        wire.sent = [data[at : at + 1] for at in range(len(data))]

        async def other() -> None:
            nonlocal turns
            while wire.sent:
                turns += 1
                await checkpoint()

        async with Nursery() as nursery:
            nursery.start_soon(other)
            assert await client.receive_some() == data
        return turns

    assert bounded(main) >= len(named(NAME)) - 2


@pytest.mark.usefixtures("clock")
def test_reads_are_small_while_inspection_lasts() -> None:
    wire, client = inspected(CUT)
    wire.sent = [named(NAME), server_hello(), b"x"]
    assert client.receive_nowait(65536) == named(NAME)
    assert wire.most == inspection.PIECE
    assert client.receive_nowait(65536) == server_hello()  # no client sends that: inspection ends
    assert client.receive_nowait(65536) == b"x"
    assert wire.most == 65536


@pytest.mark.usefixtures("clock")
def test_a_report_rule_holds_back_nothing_of_a_second_hello() -> None:
    wire, client = inspected(REPORT)
    wire.sent = [named(NAME) + named("bad.example.org")[:20], named("bad.example.org")[20:]]
    assert client.receive_nowait(65536) == named(NAME) + named("bad.example.org")[:20]
    assert client.receive_nowait(65536) == named("bad.example.org")[20:]
    assert client.seen == inspection.FirstBytes("TLS", "bad.example.org", "", ("report soon",))


# --- tunnels that are only reported


@pytest.mark.parametrize("data", [b"SSH-2.0-x\r\n", named("bad.example.org"), hello(), named("bad.test", size=2), b"\x16\x03\1"])
def test_a_report_rule_changes_nothing_and_is_logged(tmp_path: Path, data: bytes) -> None:
    with ScriptedServer(echo) as target, proxy_with(tmp_path, "report") as proxy:
        with proxy.tunnel(f"{NAME}:{target.port}") as client:
            for at in range(len(data)):  # nothing is held back
                assert client.echoes(data[at : at + 1])
            client.sock.shutdown(socket.SHUT_WR)
            assert client.rest() == b""
        end = end_of(proxy)
    assert (end["reports"], end["cut_by"], end["cause"]) == (["report *:* (soon)"], "", "eof")


def test_a_report_rule_does_not_end_a_tunnel_without_a_hello(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "HELLO_SECONDS", 0.05)

    def first(peer: Conversation) -> None:
        peer.send(b"220 hello\r\n")
        peer.read_exactly(4)
        peer.send(b"bye")

    with ScriptedServer(first) as target, proxy_with(tmp_path, "report") as proxy:
        with proxy.tunnel(f"{NAME}:{target.port}") as client:
            assert client.exactly(11) == b"220 hello\r\n"
            with pytest.raises(TimeoutError):
                client.sock.settimeout(0.2)
                client.sock.recv(1)
            client.sock.settimeout(SECONDS)
            client.send(b"QUIT")
            assert client.rest() == b"bye"
        assert end_of(proxy)["seen"] == "no ClientHello in time"


def test_v_reports_what_the_tunnel_carried(tmp_path: Path) -> None:
    with ScriptedServer(silent) as target, Proxy(allow=(), policy=rules(tmp_path, "sni"), verbose=1) as proxy:
        with proxy.tunnel(f"{NAME}:{target.port}") as client:
            assert is_cut(client, named("bad.example.org"))
        end_of(proxy)
        (seen,) = proxy.events("closed")
    assert (seen["seen"], seen["sni"], seen["cut_by"]) == ("TLS", "bad.example.org", "allow www.example.com:* (web)")


# --- real programs


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """Yields the URL of a program with rules on TLS."""
    path = tmp_path / "policy.toml"
    path.write_text('[[allow]]\nname = "web"\ntargets = ["127.0.0.1:*", "localhost:*"]\nsni = "match"\n')
    with Serve("--policy", str(path), allow=()) as serve:
        yield serve.url


def curl(*words: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run([path_of("curl"), "-sS", "-k", "--max-time", "20", *words], capture_output=True, timeout=30)


@pytest.mark.peer("curl", "openssl")
def test_curl_with_a_matching_and_a_different_server_name(certificate: tuple[Path, Path], served: str, tmp_path: Path) -> None:
    (tmp_path / "page").write_text("through")
    with web_server(tmp_path, certificate) as port:
        for host in ("localhost", "127.0.0.1"):
            done = curl("-x", served, f"https://{host}:{port}/page")
            assert (done.returncode, done.stdout) == (0, b"through"), done.stderr
        # curl names one host to the proxy and another to the server: domain fronting.
        done = curl("-x", served, "--connect-to", f"allowed.example.com:443:localhost:{port}", "https://allowed.example.com/page")
        assert done.returncode == 35, done.stderr
        done = curl("-x", served, "-p", f"http://localhost:{port}/page")
        assert done.returncode in (52, 56), done.stderr


@pytest.mark.peer("openssl")
@pytest.mark.parametrize(
    ("words", "passes"),
    [
        (["-servername", "localhost"], True),
        (["-servername", "LOCALHOST"], True),
        (["-servername", "other.example.com"], False),
        (["-noservername"], False),
        (["-servername", "localhost", "-tls1_2"], True),
        (["-servername", "localhost", "-groups", "P-521:X25519:P-384"], True),
        (["-servername", "localhost", "-groups", "X448:P-256"], True),  # the server requests a second hello
    ],
)
def test_openssl_with_several_server_names(
    certificate: tuple[Path, Path], served: str, tmp_path: Path, words: list[str], passes: bool
) -> None:
    with web_server(tmp_path, certificate) as port:
        command = [path_of("openssl"), "s_client", "-proxy", served.removeprefix("http://"), "-connect", f"localhost:{port}"]
        done = subprocess.run([*command, *words], input=b"", capture_output=True, timeout=30)
    assert (b"Verify return code" in done.stdout and b"Cipher is (NONE)" not in done.stdout) is passes, done.stdout


def s_client(port: int, proxy: str, done: Callable[[Path], bool], output: Path, *words: str) -> bytes:
    """Returns what `openssl s_client` prints until `done` is true or it ends; then sends it the quit command."""
    command = [path_of("openssl"), "s_client", "-proxy", proxy.removeprefix("http://"), "-connect", f"localhost:{port}", *words]
    with output.open("wb") as file:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=file, stderr=file)
    try:
        wait_until(lambda: done(output) or process.poll() is not None, SECONDS, "s_client")
        with suppress(BrokenPipeError):  # s_client may have failed
            process.communicate(b"Q\n", SECONDS)  # a clean end: after any other the server forgets the session
    finally:
        end(process)
    return output.read_bytes()


@contextmanager
def s_server(certificate: tuple[Path, Path], log: Path, *words: str) -> Iterator[int]:
    """Runs `openssl s_server`, which writes to `log`."""

    def start(port: int) -> "subprocess.Popen[bytes]":
        command = [path_of("openssl"), "s_server", "-accept", f"127.0.0.1:{port}", "-cert", str(certificate[0])]
        with log.open("wb") as output:
            return subprocess.Popen(
                [*command, "-key", str(certificate[1]), *words], stdin=subprocess.PIPE, stdout=output, stderr=output
            )

    process, port = started_on_a_port(start)
    try:
        yield port
    finally:
        end(process)
        assert process.stdin is not None
        process.stdin.close()


@pytest.mark.peer("openssl")
def test_openssl_early_data_passes_inspection(certificate: tuple[Path, Path], served: str, tmp_path: Path) -> None:
    """TLS 1.3 sends data right after the first hello (0-RTT), whether a second one follows or not."""
    (tmp_path / "early").write_bytes(b"EARLY-BYTES\n")
    name, session = ["-servername", "localhost"], tmp_path / "session"
    early = [*name, "-sess_in", str(session), "-early_data", str(tmp_path / "early")]
    output, log = tmp_path / "output", tmp_path / "log"

    def told(file: Path) -> bool:
        return b"Early data was" in file.read_bytes()

    with s_server(certificate, log, "-early_data") as port:
        s_client(port, served, lambda _: session.exists(), output, *name, "-sess_out", str(session))
        assert b"Early data was accepted" in s_client(port, served, told, output, *early)
        wait_until(lambda: b"EARLY-BYTES" in log.read_bytes(), SECONDS, "the early data")
    with s_server(certificate, log, "-early_data", "-groups", "P-384", "-msg") as port:
        done = s_client(port, served, told, output, *early, "-groups", "X25519:P-384")
        assert b"Early data was rejected" in done
        assert b"Cipher is TLS" in done
        wait_until(lambda: log.read_bytes().count(b"ClientHello") == 2, SECONDS, "two hellos")


@pytest.mark.peer("ssh", "sshd", "ssh-keygen")
def test_ssh_is_cut(served: str) -> None:
    with sshd() as server:
        command = [path_of("ssh"), "-F", str(server.settings), "-o", f"ProxyCommand {proxy_command(served)}"]
        words = ["-p", str(server.port), "127.0.0.1", "echo", "through"]
        done = subprocess.run([*command, *words], stdin=subprocess.DEVNULL, capture_output=True, timeout=30)
    assert done.returncode == 255
    assert done.stdout == b""


@pytest.mark.peer("chromium", "openssl")
def test_chromium_with_its_large_hello(certificate: tuple[Path, Path], served: str, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "page.html").write_text("<p>a page</p>")
    with web_server(site, certificate) as port:
        assert "a page" in browser.page(f"https://localhost:{port}/page.html", served, tmp_path / "profile")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_hello_of_the_openssl_of_this_python(tmp_path: Path, version: ssl.TLSVersion) -> None:
    with ScriptedServer(echo) as target, proxy_with(tmp_path, "sni") as proxy, proxy.tunnel(f"{NAME}:{target.port}") as client:
        assert client.echoes(of_openssl(NAME, version))


def test_inspection_with_a_next_proxy(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text('[[allow]]\ntargets = ["localhost:*"]\nsni = "match"\n')
    with (
        ScriptedServer(echo) as target,
        Serve(allow=("127.0.0.1:*",)) as upstream,
        Serve("-x", upstream.url, "--policy", str(path), allow=()) as proxy,
    ):
        with Client(("127.0.0.1", proxy.port)) as client:
            assert client.tunnel(f"localhost:{target.port}").echoes(named("localhost"))
        with Client(("127.0.0.1", proxy.port)) as client:
            assert is_cut(client.tunnel(f"localhost:{target.port}"), named("bad.example.org"))


def test_inspected_stream_overrides_every_method_of_stream() -> None:
    """A method that it did not forward would have no effect. The others listed here build on those, or are for pipes."""
    whole = {name for name in vars(Stream) if not name.startswith("_")} - {"duplex"}
    assert whole - set(vars(inspection.InspectedStream)) == {
        "receive_some",
        "send_all",
        "source_pipe",
        "sink_pipe",
        "on_peer_closed",  # this and the next are used while the tunnel is set up, before there is anything to inspect
        "unwatch",
        "bound_unsent",  # of a connection that carries many tunnels
        "transport_fd",  # of a connection to a proxy
        "confirm_eof",  # of a unix socket that is spliced
        "push",  # after splicing from a pipe of stdin
        "descriptor",  # without it, the relay uses pumps; and without the following, they copy
        "gathers",
        "scatters",
        "pieces",
        "took",
        "slots",
        "filled",
    }


@pytest.mark.parametrize("passes", [True, False])
def test_inspection_in_a_proxy_that_speaks_tls(passes: bool, tmp_path: Path) -> None:
    """A clean end of the client passes through both layers; a cut is not a clean end of the outer TLS."""
    files = certificates.make(tmp_path)
    own = {"tls_cert": str(files.chain), "tls_key": str(files.key)}
    with ScriptedServer(echo) as target, Proxy(policy=rules(tmp_path, "sni"), allow=(), **own) as proxy:
        context = ssl.create_default_context(cafile=files.authority)
        with Client(("127.0.0.1", proxy.port)) as client:
            client.sock = context.wrap_socket(client.sock, server_hostname=certificates.HOST, suppress_ragged_eofs=False)
            client.tunnel(f"{NAME}:{target.port}")
            if passes:
                assert client.echoes(named(NAME))
                assert client.echoes(sample(300_000))
            else:
                client.send(named("bad.example.org"))
                with pytest.raises((ConnectionResetError, ssl.SSLEOFError)):
                    client.rest()
