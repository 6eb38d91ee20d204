"""Tests the choice between HTTP/1.1 and HTTP/2: --http, ALPN, prior knowledge, and what is remembered of a proxy."""

import ssl
from contextlib import suppress
from typing import Any

import pytest
from h2.errors import ErrorCodes

from tests.client.harness import TARGET, TraceLog, connect
from tests.client.sharing import SECONDS, Sharing, close, echoes, sharing
from tests.options import connect_options
from tests.peers import http2_server, scripted
from tests.peers.certificates import Certificates, make
from tests.peers.http2 import GoAway
from tests.peers.http2_server import Http2Server, grant_echo
from tests.peers.process import wait_until
from tests.peers.scripted import Conversation, Script, ScriptedServer
from tunnelctl.cli.render.hints import hint_of
from tunnelctl.client.route.planner import RoutePlanner
from tunnelctl.client.route.route import Hop, Route
from tunnelctl.client.tunnel import open_tunnel
from tunnelctl.client.upstream.http_version import HTTPVersion
from tunnelctl.engine.kernel import run
from tunnelctl.errors import MalformedAnswer, SpeaksTLS, TimedOut, TunnelctlError, UsageProblem
from tunnelctl.proto.address import Address
from tunnelctl.status import ExitStatus
from tunnelctl.stream.http2.connection import WINDOWS


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make(tmp_path_factory.mktemp("certificates"))


def granted_in_1_1(peer: Conversation) -> None:
    peer.accept_tunnel()
    scripted.echo(peer)


def versions(server: Http2Server, tls: Certificates | None, http: str | None, count: int = 2) -> list[str]:
    """Opens tunnels one after another; returns the version of each response."""

    async def test(world: Sharing) -> None:
        for _ in range(count):
            tunnel = await world.open()
            assert await echoes(tunnel)
            tunnel.stream.close()

    trace = sharing(server.url, test, tls, http=http)
    return [str(event["version"]) for event in trace.named("response")]


def failure(proxy: Http2Server | ScriptedServer | str, tls: Certificates | None = None, **options: Any) -> TunnelctlError:
    async def test(world: Sharing) -> None:
        await world.open()

    with pytest.raises(TunnelctlError) as caught:
        sharing(proxy if isinstance(proxy, str) else proxy.url, test, tls, **options)
    return caught.value


@pytest.mark.parametrize(
    ("alpn", "http", "version"),
    [
        (("h2", "http/1.1"), "auto", "HTTP/2"),
        (("h2", "http/1.1"), "2", "HTTP/2"),
        (("h2", "http/1.1"), "1.1", "HTTP/1.1"),
        (("h2",), "auto", "HTTP/2"),
        (("http/1.1",), "auto", "HTTP/1.1"),
        ((), "auto", "HTTP/1.1"),
        ((), "1.1", "HTTP/1.1"),
    ],
)
def test_over_tls_alpn_decides(alpn: tuple[str, ...], http: str, version: str, files: Certificates) -> None:
    with Http2Server(grant_echo, files, alpn=alpn, http1=granted_in_1_1) as server:
        assert versions(server, files, http) == [version] * 2
    assert server.accepted == (1 if version == "HTTP/2" else 2)


@pytest.mark.parametrize(("http", "version"), [("2", "HTTP/2"), ("auto", "HTTP/1.1"), ("1.1", "HTTP/1.1")])
def test_in_the_clear_only_2_has_prior_knowledge(http: str, version: str) -> None:
    with Http2Server(grant_echo, http1=granted_in_1_1) as server:
        assert versions(server, None, http) == [version] * 2


def test_without_the_flag_tunnels_that_can_share_use_http_2(files: Certificates) -> None:
    """As in `forward`, `run` and `serve`; `connect` has one tunnel."""
    with Http2Server(grant_echo, files) as server:
        planner = planner_of(server, files, pooled=True)
        (hop,) = planner.default().hops
        assert hop.http is not None
    assert planner_of(server, files, pooled=False).default().hops[0].http is None


def planner_of(server: Http2Server, files: Certificates, pooled: bool) -> RoutePlanner:
    options = connect_options(TARGET, (server.url,), proxy_cacert=str(files.authority))
    planner = RoutePlanner(options.reach, {}, TraceLog(), pooled=pooled)
    run(planner.prepare)
    return planner


@pytest.mark.parametrize("alpn", [("http/1.1",), ()])
def test_a_proxy_over_tls_without_http_2_where_2_is_required(alpn: tuple[str, ...], files: Certificates) -> None:
    with Http2Server(grant_echo, files, alpn=alpn, http1=lambda peer: peer.wait_gone()) as server:
        error = failure(server, files)
        assert server.accepted == 1
    assert (type(error), error.exit_status) == (MalformedAnswer, ExitStatus.MALFORMED)
    assert str(error) == f"proxy localhost:{server.port}, asked for a tunnel to {TARGET}: it does not offer HTTP/2 over TLS"
    assert hint_of(error) == "try --http auto, which falls back to HTTP/1.1"


@pytest.mark.parametrize("http", ["auto", "1.1"])
def test_the_hint_for_such_a_proxy_can_be_followed(http: str, files: Certificates) -> None:
    with Http2Server(grant_echo, files, alpn=(), http1=granted_in_1_1) as server:
        assert versions(server, files, http, 1) == ["HTTP/1.1"]


def test_prior_knowledge_with_a_proxy_that_responds_in_http_1_1() -> None:
    """As HTTP/1.1 servers do to the method PRI."""

    def script(peer: Conversation) -> None:
        peer.read(24)
        peer.send(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        peer.end_output()
        peer.wait_gone()

    with ScriptedServer(script) as server:
        error = failure(server)
    assert (error.code, error.exit_status) == ("not-http2", ExitStatus.MALFORMED)
    assert error.cause == r"not HTTP/2: it starts with 'HTTP/1.1 400 Bad Request\r\nConnection: cl'"
    assert hint_of(error) == "try --http 1.1"


@pytest.mark.parametrize("first", [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.0 400\r\n\r\n", b"x"])
def test_prior_knowledge_with_something_else(first: bytes) -> None:
    def script(peer: Conversation) -> None:
        with suppress(ConnectionError):  # the client leaves as soon as it knows
            peer.dribble(first)
            peer.end_output()
            peer.wait_gone()

    with ScriptedServer(script) as server:
        error = failure(server)
    assert (error.code, error.exit_status) == ("not-http2", ExitStatus.MALFORMED)
    assert ascii(first.decode())[1:10] in error.cause


def test_prior_knowledge_with_a_tls_port(files: Certificates) -> None:
    """OpenSSL sends an alert; others close, or respond in HTTP/1.1."""
    with Http2Server(grant_echo, files) as server:
        error = failure(f"http://localhost:{server.port}")
    assert isinstance(error, SpeaksTLS)
    assert hint_of(error) == f"its URL is https://localhost:{server.port}"


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.0 400 Bad Request\r\n\r\nThis is an HTTPS port"])
def test_prior_knowledge_with_a_tls_port_that_sends_no_alert(answer: bytes, files: Certificates) -> None:
    """Another connection tells what it is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files.server)

    def script(peer: Conversation) -> None:
        if peer.hears_tls():
            try:
                with context.wrap_socket(peer.sock, server_side=True):
                    pass
            except OSError:
                pass
            return
        peer.read(24)
        peer.send(answer)
        peer.end_output()
        peer.wait_gone()

    with ScriptedServer(script) as server:
        error = failure(server)
    assert isinstance(error, SpeaksTLS)


def test_prior_knowledge_with_a_mute_port() -> None:
    with ScriptedServer(lambda peer: peer.wait_gone()) as server:
        error = failure(server, timeout=0.3)
    assert (type(error).__mro__[1], error.exit_status) == (TimedOut, ExitStatus.UNREACHABLE)
    assert "--http 1.1" in hint_of(error)


def no_http_2(script: http2_server.Script, files: Certificates, http1: Script = granted_in_1_1) -> Http2Server:
    return Http2Server(script, files, http1=http1)


NO_CONNECT = {
    "405": http2_server.refuse(405),
    "501": http2_server.refuse(501, body=b"what?"),
    "PROTOCOL_ERROR": http2_server.reset(ErrorCodes.PROTOCOL_ERROR),
    "HTTP_1_1_REQUIRED": http2_server.reset(ErrorCodes.HTTP_1_1_REQUIRED),
}


@pytest.mark.parametrize("script", NO_CONNECT.values(), ids=NO_CONNECT.keys())
def test_a_server_without_connect_in_http_2_gets_http_1_1_from_then_on(script: http2_server.Script, files: Certificates) -> None:
    """The next tunnel makes no attempt in HTTP/2."""
    offered: list[tuple[str, ...]] = []

    async def test(world: Sharing) -> None:
        for _ in range(3):
            tunnel = await world.open()
            (hop,) = world.planner.default().hops
            offered.append(hop.http.alpn)
            assert await echoes(tunnel)
            tunnel.stream.close()

    with no_http_2(script, files) as server:
        sharing(server.url, test, files, http="auto")
        assert (len(server.connections), len(server.requests), len(server.conversations)) == (1, 1, 3)
    assert offered == [("http/1.1",)] * 3


@pytest.mark.parametrize("script", NO_CONNECT.values(), ids=NO_CONNECT.keys())
def test_a_burst_at_such_a_server(script: http2_server.Script, files: Certificates) -> None:
    async def test(world: Sharing) -> None:
        tunnels = await world.open_at_once(20)
        for tunnel in tunnels:
            assert await echoes(tunnel)
        close(tunnels)

    def lenient(request: http2_server.Request) -> None:
        with suppress(ConnectionError):  # the client goes over to HTTP/1.1 with the first answer, and resets the other requests
            script(request)

    with no_http_2(lenient, files) as server:
        sharing(server.url, test, files, http="auto")
        assert (len(server.connections), len(server.conversations)) == (1, 20)


@pytest.mark.parametrize("name", NO_CONNECT)
def test_after_a_tunnel_in_http_2_such_an_answer_is_final(name: str, files: Certificates) -> None:
    """It is about the target then. It may come on another connection."""

    def script(request: http2_server.Request) -> None:
        if request.target == str(TARGET):
            grant_echo(request)
        else:
            NO_CONNECT[name](request)

    async def test(world: Sharing) -> None:
        first = await world.open()
        with pytest.raises(TunnelctlError):
            await world.open(Address("other.test", 1))
        assert await echoes(first)
        first.stream.close()

    with no_http_2(script, files) as server:
        sharing(server.url, test, files, http="auto", connections=2)
        assert server.conversations == []


@pytest.mark.parametrize("name", ["405", "HTTP_1_1_REQUIRED"])
def test_where_2_is_required_there_is_no_fallback(name: str, files: Certificates) -> None:
    with no_http_2(NO_CONNECT[name], files) as server:
        error = failure(server, files)
        assert server.conversations == []
    assert error.exit_status in (ExitStatus.REFUSED, ExitStatus.MALFORMED)


def test_a_proxy_without_http_2_makes_later_tunnels_wait_for_nobody(files: Certificates) -> None:
    """As long as a connection may turn out to be of HTTP/2, the tunnels of a burst wait for the first."""

    async def test(world: Sharing) -> None:
        (await world.open()).stream.close()
        (hop,) = world.planner.default().hops
        assert not hop.http.may_be_2
        close(await world.open_at_once(5))

    with Http2Server(grant_echo, files, alpn=("http/1.1",), http1=granted_in_1_1) as server:
        sharing(server.url, test, files, http="auto")


# --- a cipher suite that HTTP/2 forbids (R28)

CBC = "ECDHE-ECDSA-AES128-SHA256"


def goodbye(server: Http2Server) -> GoAway:
    """Waits until the one connection of HTTP/2 has been declined; returns with which words."""
    wait_until(lambda: any(connection.goaways for connection in server.connections))
    (connection,) = server.connections
    return connection.goaways[0]


def test_http_2_with_a_forbidden_suite_is_declined_in_favour_of_http_1_1(files: Certificates) -> None:
    """The next tunnel makes no attempt in HTTP/2."""
    with Http2Server(grant_echo, files, suites=CBC, http1=granted_in_1_1) as server:
        assert versions(server, files, "auto") == ["HTTP/1.1"] * 2
        assert goodbye(server) == GoAway(0, ErrorCodes.INADEQUATE_SECURITY, CBC.encode())
        assert (len(server.conversations), server.requests) == (2, [])


def test_a_burst_at_a_proxy_with_a_forbidden_suite(files: Certificates) -> None:
    async def test(world: Sharing) -> None:
        tunnels = await world.open_at_once(20)
        for tunnel in tunnels:
            assert await echoes(tunnel)
        close(tunnels)

    with Http2Server(grant_echo, files, suites=CBC, http1=granted_in_1_1) as server:
        sharing(server.url, test, files, http="auto")
        assert goodbye(server).code == ErrorCodes.INADEQUATE_SECURITY
        assert len(server.conversations) == 20


def test_where_2_is_required_a_forbidden_suite_is_an_error(files: Certificates) -> None:
    budget = WINDOWS.left
    with Http2Server(grant_echo, files, suites=CBC, http1=granted_in_1_1) as server:
        error = failure(server, files)
        assert goodbye(server).code == ErrorCodes.INADEQUATE_SECURITY
        assert (server.accepted, server.requests) == (1, [])
    assert (type(error), error.code, error.exit_status) == (MalformedAnswer, "http2-suite", ExitStatus.MALFORMED)
    assert error.cause == f"it chose HTTP/2 with {CBC}, which HTTP/2 forbids"
    assert hint_of(error).startswith("try --http auto, which falls back to HTTP/1.1; ")
    assert budget == WINDOWS.left


@pytest.mark.parametrize("suite", ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"])
def test_other_suites_of_tls_1_2_carry_http_2(suite: str, files: Certificates) -> None:
    with Http2Server(grant_echo, files, suites=suite) as server:
        assert versions(server, files, "2") == ["HTTP/2"] * 2


def plan_to_pass_on(scheme: str) -> None:
    async def prepare() -> None:
        options = connect_options(TARGET, (f"{scheme}://127.0.0.1:1",), http="2", fdpass=True)
        await RoutePlanner(options.reach, {}, TraceLog(), no_readahead=True).to(TARGET, TraceLog())

    run(prepare)


def test_a_descriptor_cannot_be_passed_on_in_http_2() -> None:
    with pytest.raises(UsageProblem) as caught:
        plan_to_pass_on("http")
    assert (caught.value.code, hint_of(caught.value)) == ("fdpass-http2", "give --http 1.1")


def test_a_route_without_a_proxy_of_http_has_no_http_2() -> None:
    plan_to_pass_on("socks5")


def test_a_single_connect_in_http_2(files: Certificates) -> None:
    for tls in (None, files):
        with Http2Server(grant_echo, tls) as server:
            cacert = str(files.authority) if tls else None
            ended = connect(connect_options(TARGET, (server.url,), http="2", proxy_cacert=cacert, timeout=SECONDS), stdin=b"hello")
            assert (ended.status, ended.stdout) == (0, b"hello")
            (request,) = server.requests
            assert request.method == "CONNECT"


def test_without_a_pool_no_proxy_is_quietly_spoken_to_in_another_version() -> None:
    """Nothing would read a connection of HTTP/2. So a probe needs a pool, to see what a tunnel of the user would meet."""

    async def main() -> None:
        hop = Hop(Address("proxy.test", 3128), http=HTTPVersion(required=False, over_tls=True, keepalive=0.0))
        await open_tunnel(Route(TARGET, (hop,)), TraceLog())

    with pytest.raises(AssertionError, match="HTTP/2"):
        run(main)
