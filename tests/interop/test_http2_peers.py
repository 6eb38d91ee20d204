"""What HTTP/2 proxies of five makers do with a tunnel, with their faults; and libcurl and Chromium as their clients.

Tests of our own ends rely on http2_proxies.KNOWN, which is pinned here. nghttpx and HAProxy are in front of `serve` over HTTP/1.1.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from tests.peers import browser, certificates, curl_client, http2_proxies, http2_server
from tests.peers.certificates import Certificates
from tests.peers.http2 import END_STREAM, LOST, Stream
from tests.peers.http2_client import Http2Client, tls_context
from tests.peers.http2_proxies import KNOWN, STARTERS, Known
from tests.peers.http2_server import Http2Server
from tests.peers.https import web_server
from tests.peers.process import scratch_directory, wait_until
from tests.peers.program import Serve
from tests.peers.proxies import Proxy, Tls
from tests.peers.scripted import Conversation, Script, ScriptedServer, echo, refusing_port, sample
from tests.peers.targets import Sink, answer_after_eof, blast, one_byte_and_close, reset_after_one_byte

pytestmark = pytest.mark.once  # other makers' programs know of no poller of ours

MIB = 1 << 20
QUIET_SECONDS = 0.3  # how long nothing comes, where a proxy never sends what it should


EVERY = [
    pytest.param((name, over_tls), id=f"{name} {'TLS' if over_tls else 'clear'}", marks=pytest.mark.peer(name))
    for name in STARTERS
    for over_tls in (False, True)
]


@pytest.fixture(scope="module")
def company() -> Iterator[Certificates]:
    with scratch_directory() as directory:
        yield certificates.make(directory)


class Peer(NamedTuple):
    """A running proxy."""

    known: Known
    proxy: Proxy
    authority: Path

    def client(self, **options: Any) -> Http2Client:
        over_tls = self.proxy.scheme == "https"
        return Http2Client(self.proxy, tls_context(self.authority) if over_tls else None, **options)


@pytest.fixture(scope="module", params=EVERY)
def peer(request: pytest.FixtureRequest, serve: Serve, company: Certificates) -> Iterator[Peer]:
    name, over_tls = request.param
    with STARTERS[name](Proxy(serve.port), Tls(company) if over_tls else None) as proxy:
        yield Peer(KNOWN[name], proxy, company.authority)


@contextmanager
def tunnel(peer: Peer, script: Script, **options: Any) -> Iterator[Stream]:
    """A tunnel to a target that runs the script."""
    with ScriptedServer(script) as target, peer.client(**options) as client:
        yield client.tunnel(target.authority)


def nothing_comes(stream: Stream) -> bool:
    """Whether the stream has no further data and no end after a while."""
    held = len(stream.data)
    with pytest.raises(AssertionError, match="no end or data"):
        stream.connection.wait_for(lambda: stream.ending or len(stream.data) > held, "end or data", QUIET_SECONDS)
    return True


def test_streams_echo_side_by_side(peer: Peer) -> None:
    """nghttpx keeps the client's END_STREAM to itself, so that the target never ends."""
    with ScriptedServer(echo) as target, peer.client(window=MIB) as client:  # for all streams, while one is read
        streams = [client.tunnel(target.authority) for _ in range(5)]
        for number, stream in enumerate(streams):
            stream.send(sample(50_000, number))
        for number, stream in enumerate(streams):
            assert stream.read_exactly(50_000) == sample(50_000, number)
            stream.end()
        if peer.known.passes_end_stream:
            assert {stream.wait_end() for stream in streams} == {END_STREAM}
        else:
            assert nothing_comes(streams[0])


def test_an_answer_after_the_end_of_the_request(peer: Peer) -> None:
    with tunnel(peer, answer_after_eof) as stream:
        stream.send(b"question", end=True)
        if peer.known.passes_end_stream:
            assert stream.read_to_end() == b"noitseuq"
        else:
            assert nothing_comes(stream)


def test_a_target_that_closes_first(peer: Peer) -> None:
    """Apache keeps the target's EOF to itself until the client has ended."""
    with tunnel(peer, one_byte_and_close) as stream:
        assert stream.read_exactly(1) == b"1"
        if not peer.known.passes_eof:
            assert nothing_comes(stream)
            stream.end()
        assert stream.wait_end() == END_STREAM
        stream.connection.ping()
        assert (stream.reset_code == ErrorCodes.NO_ERROR) is peer.known.cancels_after_eof


def test_a_client_that_sends_after_the_target_has_half_closed(peer: Peer) -> None:
    """Where the proxy cancels the stream, half of a tunnel cannot outlive the other half."""
    received = []

    def half_close(target: Conversation) -> None:
        target.end_output()
        received.append(target.wait_gone())

    with tunnel(peer, half_close) as stream:
        if peer.known.passes_eof:
            assert stream.wait_end() == END_STREAM
            stream.connection.ping()
        if peer.known.cancels_after_eof:
            with pytest.raises(ConnectionResetError, match="NO_ERROR"):
                stream.send(b"late", end=True)
        else:
            stream.send(b"late", end=True)
            assert stream.wait_end() == END_STREAM
    assert received == [b"" if peer.known.cancels_after_eof else b"late"]


def test_a_target_that_resets(peer: Peer) -> None:
    """Only Envoy tells it from an end; node and HAProxy at least send the code after it."""
    with tunnel(peer, reset_after_one_byte) as stream:
        stream.send(b"x")
        assert stream.wait_end() == peer.known.reset
        stream.connection.ping()
        assert stream.reset_code in peer.known.code_after


def test_a_target_that_refuses(peer: Peer) -> None:
    """The connection lives on."""
    sock, port = refusing_port()
    with sock, ScriptedServer(echo) as target, peer.client() as client:
        stream = client.connect(f"127.0.0.1:{port}")
        assert client.response(stream) == peer.known.refused
        assert stream.wait_end() == END_STREAM
        other = client.tunnel(target.authority)
        other.send(b"hello")
        assert other.read_exactly(5) == b"hello"


def reset_stream(stream: Stream) -> None:
    stream.reset()
    stream.connection.ping()


def close_connection(stream: Stream) -> None:
    stream.connection.close()


def reset_connection(stream: Stream) -> None:
    stream.connection.abort()


LEAVE = (reset_stream, close_connection, reset_connection)


@pytest.mark.parametrize("leave", LEAVE, ids=lambda leave: leave.__name__)
def test_a_client_that_leaves(peer: Peer, leave: Callable[[Stream], None]) -> None:
    """A target must see a reset (RFC 9113, section 8.5): with an EOF it takes half a message for a whole one."""
    sink = Sink()

    def greet(target: Conversation) -> None:
        target.send(target.read_exactly(1))
        sink(target)

    with tunnel(peer, greet) as stream:
        stream.send(b"x")
        assert stream.read_exactly(1) == b"x"
        leave(stream)
        wait_until(lambda: sink.endings, what="the end at the target")
    assert sink.endings == [peer.known.left[LEAVE.index(leave)]]


def test_4_mib_up(peer: Peer) -> None:
    data, received = sample(4 * MIB), []

    def count(target: Conversation) -> None:
        received.append(target.read_exactly(len(data)))
        target.send(b"!")

    with tunnel(peer, count) as stream:
        stream.send(data)
        assert stream.read_exactly(1) == b"!"
    assert received == [data]


def test_4_mib_down_in_large_windows(peer: Peer) -> None:
    """Larger than the data, because of the fault of Envoy below."""
    data = sample(4 * MIB)
    with tunnel(peer, blast(data), settings={SettingCodes.INITIAL_WINDOW_SIZE: 8 * MIB}, window=8 * MIB) as stream:
        assert stream.read_exactly(len(data)) == data
        if peer.known.passes_eof:
            assert stream.wait_end() == END_STREAM


def test_4_mib_down_in_small_windows(peer: Peer) -> None:
    """Once the target has ended, Envoy resets the stream although the client has not had credit for the rest, which is lost."""
    data = sample(4 * MIB)
    with tunnel(peer, blast(data)) as stream:
        if peer.known.truncates:
            with pytest.raises(ConnectionResetError, match="INTERNAL_ERROR"):
                stream.read_exactly(len(data))
        else:
            assert stream.read_exactly(len(data)) == data


def test_announced_settings(peer: Peer) -> None:
    with peer.client() as client:
        client.ping()
        assert client.settings.get(SettingCodes.MAX_CONCURRENT_STREAMS) == peer.known.max_streams
        assert client.settings.get(SettingCodes.ENABLE_CONNECT_PROTOCOL, 0) == peer.known.extended


# --- clients


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, company: Certificates) -> Iterator[int]:
    directory = tmp_path_factory.mktemp("site")
    (directory / "file").write_bytes(sample(MIB))
    (directory / "page.html").write_text("<p id=p></p><script>p.textContent = 'made ' + 'here'</script>")
    with web_server(directory, company.server) as port:
        yield port


@pytest.fixture(scope="module")
def envoy(company: Certificates) -> Iterator[Proxy]:
    with http2_proxies.envoy(Proxy(0), Tls(company)) as proxy:
        yield proxy


@pytest.mark.peer("curl-cffi", "envoy")
def test_libcurl_through_envoy(envoy: Proxy, site: int, company: Certificates, tmp_path: Path) -> None:
    upload = tmp_path / "upload"
    upload.write_bytes(sample(MIB, 2))
    url = f"https://127.0.0.1:{site}/file"
    down = curl_client.fetch(envoy, url, url, authority=company.authority)
    assert [(done.error, done.status, done.connections, done.body == sample(MIB)) for done in down.transfers] == [
        ("", 200, 1, True),
        ("", 200, 0, True),
    ]
    assert (down.negotiated, down.responses) == (["h2"], ["200"])
    up = curl_client.fetch(envoy, url, authority=company.authority, upload=upload)
    assert [(done.error, done.status, done.body == sample(MIB, 2)) for done in up.transfers] == [("", 200, True)]


@pytest.mark.peer("curl-cffi", "envoy")
def test_libcurl_reports_a_refusal(envoy: Proxy, company: Certificates) -> None:
    sock, port = refusing_port()
    with sock:
        done = curl_client.fetch(envoy, f"https://127.0.0.1:{port}/", authority=company.authority)
    assert done.responses == ["503"]
    assert done.transfers[0].error


@pytest.mark.peer("curl-cffi")
def test_libcurl_logs_in_with_its_first_request(site: int, company: Certificates) -> None:
    credentials = "Basic YW5uYTpwYXNz"
    script = http2_server.require_login(credentials, 'Basic realm="r"', then=http2_server.relay)
    with Http2Server(script, company) as server:
        done = curl_client.fetch(server.proxy, f"https://127.0.0.1:{site}/file", authority=company.authority, user="anna:pass")
        assert [(one.error, one.body == sample(MIB)) for one in done.transfers] == [("", True)]
    (request,) = server.requests
    assert request.field("proxy-authorization") == credentials


@pytest.mark.peer("curl-cffi")
def test_libcurl_can_be_ended(company: Certificates, tmp_path: Path) -> None:
    """A client that vanishes without END_STREAM or RST_STREAM."""
    endings, granted = [], threading.Event()

    def hold(request: http2_server.Request) -> None:
        request.accept()
        granted.set()
        endings.append(request.wait_end())

    with Http2Server(hold, company) as server:
        with curl_client.started(tmp_path, server.proxy, "http://127.0.0.1:1/", authority=company.authority):
            wait_until(granted.is_set, what="a tunnel of libcurl")
    assert endings == [LOST]


@pytest.mark.peer("chromium", "envoy")
def test_chromium_through_envoy(envoy: Proxy, site: int, tmp_path: Path) -> None:
    assert "made here" in browser.page(f"https://127.0.0.1:{site}/page.html", envoy.url, tmp_path / "profile")


@pytest.mark.peer("chromium")
def test_chromium_sends_connect_over_http_2(site: int, company: Certificates, tmp_path: Path) -> None:
    """And others for hosts of its own, which the proxy refuses."""
    with Http2Server(http2_server.relay, company) as server:
        assert "made here" in browser.page(f"https://127.0.0.1:{site}/page.html", server.url, tmp_path / "profile")
    asked = [request for request in server.requests if request.target == f"127.0.0.1:{site}"]
    assert {request.method for request in asked} == {"CONNECT"}
    assert {connection.alpn for connection in server.connections} == {"h2"}
