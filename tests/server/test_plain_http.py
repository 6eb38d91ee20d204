"""Plain http requests at `serve`, with --plain-http: what the target and the client receive, and what the log says: S24-S31."""

import threading
from pathlib import Path

import h11
import pytest

from tests.peers.process import wait_until
from tests.peers.program import Serve
from tests.peers.scripted import ESTABLISHED, Conversation, Script, ScriptedServer, echo, refusing_port, sample
from tests.server.harness import Client, Leading, Proxy, basic, digest_users_file, parse, users_file
from tunnelctl.proto.auth.challenge import parse_challenges
from tunnelctl.proto.auth.digest import DigestClient
from tunnelctl.proto.auth.preference import strongest
from tunnelctl.server.http1 import PLAIN_OFF

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
DATA = sample(700_000)
CHUNKS = b"3;ext=1\r\n" + DATA[:3] + b"\r\n%x\r\n" % (len(DATA) - 3) + DATA[3:] + b"\r\n0\r\nT: u\r\n\r\n"


def get(server: ScriptedServer, *fields: str, method: str = "GET", path: str = "/x", version: str = "1.1") -> bytes:
    lines = (f"{method} {server.url}{path} HTTP/{version}", f"Host: {server.authority}", *fields, "", "")
    return "\r\n".join(lines).encode()


def answering(answer: bytes) -> Script:
    def script(peer: Conversation) -> None:
        peer.read_head()
        peer.send(answer)

    return script


def said(proxy: Proxy, data: bytes) -> bytes:
    """Sends a request, and returns all that comes up to the end of the connection."""
    with proxy.client() as client:
        client.send(data)
        return client.rest()


def whole(raw: bytes) -> tuple[int, bytes]:
    """Returns status and content of the one response that `raw` has to be, as a client of another maker reads it."""
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    reader.receive_data(raw)
    reader.receive_data(b"")
    status, content = 0, b""
    while not isinstance(event := reader.next_event(), h11.EndOfMessage):
        if isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            content += event.data
    assert reader.trailing_data[0] == b""
    return status, content


@pytest.fixture
def proxy():
    with Proxy(plain_http=True) as running:
        yield running


# --- what is passed on


def test_s24_s25_the_request_as_the_target_receives_it(proxy: Proxy) -> None:
    fields = ("Proxy-Connection: keep-alive", "Connection: X-Named", "X-Named: 1", "TE: trailers", "Upgrade: h2c", "Accept: */*")
    with ScriptedServer(answering(OK)) as server:
        raw = said(proxy, get(server, *fields))
        (head,) = server.heads
    name = head.partition(b"Via: 1.1 ")[2].partition(b"\r\n")[0]
    assert name.startswith(b"tunnelctl-")
    expected = f"GET /x HTTP/1.1\r\nHost: {server.authority}\r\nAccept: */*\r\nVia: 1.1 ".encode()
    assert head == expected + name + b"\r\nConnection: close\r\n\r\n"
    assert raw == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nVia: 1.1 " + name + b"\r\nConnection: close\r\n\r\nok"


def test_records_have_the_method_and_nothing_of_the_url_but_host_and_port(proxy: Proxy) -> None:
    with ScriptedServer(answering(OK)) as server:
        said(proxy, get(server, path="/private/path?token=canary", method="PURGE"))
        opened, closed = proxy.wait_for_records(2)
    assert [opened[key] for key in ("event", "method", "target", "status")] == ["opened", "PURGE", server.authority, 200]
    assert [closed[key] for key in ("event", "method", "target", "closed_by", "cause", "error", "phase")] == [
        "closed", "PURGE", server.authority, "target", "eof", "", "tunnel",
    ]  # fmt: skip
    assert (closed["sent"], closed["received"]) == (len(server.heads[0]), len(OK))
    assert "canary" not in proxy.log()
    assert "private" not in proxy.log()


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 700000\r\n\r\n" + DATA,
        b"HTTP/1.0 200 OK\r\n\r\n" + DATA,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\naae60;x=y\r\n" + DATA + b"\r\n0\r\nTrailer: x\r\n\r\n",
    ],
    ids=["length", "close", "chunks"],
)
def test_every_framing_of_a_response_arrives_whole(proxy: Proxy, version: str, response: bytes) -> None:
    with ScriptedServer(answering(response)) as server:
        raw = said(proxy, get(server, version=version))
        assert whole(raw) == (200, DATA)
    assert (b"chunked" in raw) is (version == "1.1" and b"Content-Length" not in response)


def test_s27_both_framings_of_a_request_body_arrive_whole(proxy: Proxy) -> None:
    def script(peer: Conversation) -> None:
        chunked = b"Transfer-Encoding: chunked" in peer.read_head()
        if not chunked:
            peer.send(b"HTTP/1.0 200 OK\r\n\r\n" + peer.read_exactly(len(DATA)))
            return
        body = b""
        while size := int(b"".join(iter(lambda: peer.read(1), b"\r")), 16):
            peer.read_exactly(1)
            body += peer.read_exactly(size)
            peer.read_exactly(2)
        peer.read_exactly(3)
        peer.send(b"HTTP/1.0 200 OK\r\n\r\n" + body)

    for head, body in (
        (f"Content-Length: {len(DATA)}", DATA),
        ("Transfer-Encoding: chunked", CHUNKS),
    ):
        with ScriptedServer(script) as server:
            raw = said(proxy, get(server, head, method="POST") + body)
            assert whole(raw) == (200, DATA)
            assert b"ext" not in server.heads[0]


def test_the_head_may_arrive_octet_by_octet(proxy: Proxy) -> None:
    with ScriptedServer(answering(OK)) as server, proxy.client() as client:
        for octet in get(server):
            client.send(bytes([octet]))
        assert whole(client.rest()) == (200, b"ok")


def test_connect_is_served_beside_it(proxy: Proxy) -> None:
    with ScriptedServer(echo) as server, proxy.client() as client:
        client.send(b"CON")
        client.send(f"NECT {server.authority} HTTP/1.1\r\nHost: {server.authority}\r\n\r\n".encode())
        client.head()
        assert client.echoes()


def test_s29_expect_100_continue_is_the_targets_to_answer(proxy: Proxy) -> None:
    """RFC 9110 section 10.1.1. HTTP/1.0 has no expectations, so there it is removed."""

    def script(peer: Conversation) -> None:
        if b"\r\nExpect: 100-continue\r\n" in peer.read_head():
            peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert peer.read_exactly(4) == b"body"
        peer.send(OK)

    with ScriptedServer(script) as server:
        with proxy.client() as client:
            client.send(get(server, "Content-Length: 4", "Expect: 100-continue", method="PUT"))
            assert client.head().startswith(b"HTTP/1.1 100 ")
            client.send(b"body")
            assert whole(client.rest()) == (200, b"ok")
        old = get(server, "Content-Length: 4", "Expect: 100-continue", method="PUT", version="1.0")
        assert whole(said(proxy, old + b"body")) == (200, b"ok")
        assert b"Expect" not in server.heads[1]


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE"])
def test_s28_max_forwards_counts_down_and_ends_here(proxy: Proxy, method: str) -> None:
    """RFC 9110 section 7.6.2."""
    with ScriptedServer(answering(OK)) as server:
        said(proxy, get(server, "Max-Forwards: 2", method=method))
        assert b"\r\nMax-Forwards: 1\r\n" in server.heads[0]
        assert proxy.ask(get(server, "Max-Forwards: 0", method=method)).status == 405
        assert proxy.ask(get(server, "Max-Forwards: -1", method=method)).status == 400
        said(proxy, get(server, "Max-Forwards: 0"))
        assert b"\r\nMax-Forwards: 0\r\n" in server.heads[1], "it applies to no other method"


def test_an_early_response_arrives_before_the_body_has_been_sent(proxy: Proxy) -> None:
    with ScriptedServer(answering(b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n")) as server, proxy.client() as client:
        client.send(get(server, "Content-Length: 1000000", method="POST") + b"x" * 50_000)
        assert client.rest().startswith(b"HTTP/1.1 413 No\r\n")


def test_the_proxys_own_challenges_are_not_a_targets_to_send(proxy: Proxy) -> None:
    """RFC 9110 section 11.7.1: a target that could ask for the login at the proxy would be shown it."""
    fields = b'Proxy-Authenticate: Basic realm="x"\r\nProxy-Authentication-Info: x=y\r\n'
    with ScriptedServer(answering(b"HTTP/1.1 407 No\r\n" + fields + b"Content-Length: 0\r\n\r\n")) as server:
        raw = said(proxy, get(server))
    assert raw.startswith(b"HTTP/1.1 407 ")
    assert b"Proxy-Authen" not in raw


# --- the same rules, users, caps


def test_off_unless_asked_for() -> None:
    with ScriptedServer(answering(OK)) as server, Proxy() as proxy:
        answer = proxy.ask(get(server))
        (record,) = proxy.wait_for_records(1)
        assert server.heads == []
    assert (answer.status, answer.fields["allow"]) == (405, "CONNECT")
    assert b"plain-http" not in answer.raw, "only the operator is told"
    assert (record["status"], record["method"], record["rule"]) == (405, "GET", PLAIN_OFF)


@pytest.mark.parametrize("target", ["example.com:80", "127.0.0.1:80", "10.0.0.1:443", "169.254.169.254:80"])
def test_without_rules_no_port_but_443_of_public_addresses(target: str) -> None:
    from tests.options import serve_options

    with Proxy(plain_http=True, allow=serve_options().allow) as proxy:
        answer = proxy.ask(f"GET http://{target}/ HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        (record,) = proxy.wait_for_records(1)
    assert answer.status == 403
    assert (record["event"], record["method"], record["target"]) == ("refused", "GET", target)


def test_deny_beats_allow() -> None:
    with ScriptedServer(answering(OK)) as server, Proxy(plain_http=True, deny=("127.0.0.1:*",)) as strict:
        assert strict.ask(get(server)).status == 403
        assert server.heads == []


@pytest.mark.parametrize("demand", ["tls = 'require'", "sni = 'match'"])
def test_a_rule_that_demands_tls_lets_no_plain_http_through(tmp_path: Path, demand: str) -> None:
    """It is refused before the target is connected. A report rule only reports."""
    with ScriptedServer(answering(OK)) as server:
        policy = tmp_path / "policy.toml"
        policy.write_text(f"[[allow]]\ntargets = ['{server.authority}']\n{demand}\n")
        with Proxy(plain_http=True, allow=(), policy=str(policy)) as proxy:
            answer = proxy.ask(get(server))
            (record,) = proxy.wait_for_records(1)
        assert (answer.status, record["rule"]) == (403, f"allow {server.authority} (line 1): no TLS")
        assert server.heads == []
        report = f"[[report]]\ntargets = ['{server.authority}']\n{demand}\n"
        policy.write_text(f"[[allow]]\ntargets = ['{server.authority}']\n{report}")
        with Proxy(plain_http=True, allow=(), policy=str(policy)) as proxy:
            assert whole(said(proxy, get(server))) == (200, b"ok")
            assert proxy.wait_for_records(1)[0]["reports"] == [f"report {server.authority} (line 3)"]


@pytest.mark.usefixtures("cheap_hashes")
def test_users_log_in_and_the_target_sees_nothing_of_it(tmp_path: Path) -> None:
    with ScriptedServer(answering(OK)) as server, Proxy(plain_http=True, users=users_file(tmp_path, alice="s3cret")) as proxy:
        assert proxy.ask(get(server)).status == 407
        assert proxy.ask(get(server, basic("alice", "wrong"))).status == 407
        assert server.heads == []
        assert whole(said(proxy, get(server, basic("alice", "s3cret")))) == (200, b"ok")
        assert b"Proxy-Auth" not in server.heads[0]
        record = proxy.wait_for_records(3)[2]
    assert (record["event"], record["user"]) == ("opened", "alice")


@pytest.mark.usefixtures("cheap_hashes")
@pytest.mark.parametrize("absolute", [True, False])
def test_digest_covers_method_and_url(tmp_path: Path, absolute: bool) -> None:
    """RFC 7616 section 3.4 has the whole URL as uri; curl and Chromium send its path."""
    with ScriptedServer(answering(OK)) as server, Proxy(plain_http=True, users=digest_users_file(tmp_path, al="x")) as proxy:

        def login(method: str, uri: str) -> str:
            answer = proxy.ask(get(server))
            challenge = strongest(parse_challenges([answer.fields["proxy-authenticate"]]), ("digest",))
            assert challenge is not None
            return f"Proxy-Authorization: {DigestClient(challenge, 'al', 'x', 'c').authorize(method, uri)}"

        uri = f"{server.url}/x" if absolute else "/x"
        assert proxy.ask(get(server, login("POST", uri))).status == 407
        assert proxy.ask(get(server, login("GET", "/y"))).status == 400
        assert server.heads == []
        assert whole(said(proxy, get(server, login("GET", uri)))) == (200, b"ok")


def test_caps_count_requests_and_tunnels_alike() -> None:
    let_go = threading.Event()

    def script(peer: Conversation) -> None:
        peer.read_head()
        assert let_go.wait(20)
        peer.send(OK)

    with ScriptedServer(script) as server, Proxy(plain_http=True, max_per_client=1) as proxy, proxy.client() as client:
        client.send(get(server))
        server.wait_for_heads()
        assert proxy.ask(get(server)).status == 429
        assert proxy.refusal(server.authority).status == 429
        let_go.set()
        assert whole(client.rest()) == (200, b"ok")
        wait_until(lambda: whole(said(proxy, get(server)))[0] == 200)


def test_a_target_that_cannot_be_reached_gets_its_own_status(proxy: Proxy) -> None:
    held, number = refusing_port()
    with held:
        answer = proxy.ask(f"GET http://127.0.0.1:{number}/ HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    assert (answer.status, answer.error) == (502, "connection_refused")


def test_a_response_to_head_has_no_content(proxy: Proxy) -> None:
    with proxy.client() as client:
        client.send(b"HEAD http://10.0.0.1/ HTTP/1.1\r\nHost: h\r\n\r\n")
        head = client.head()
        assert b"\r\nContent-Length: " in head
        assert client.rest() == b""


def test_the_proxy_is_not_its_own_target() -> None:
    with Proxy("127.0.0.1:*", plain_http=True) as proxy:
        answer = proxy.ask(f"GET http://{proxy.authority}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert (answer.status, answer.error) == (502, "proxy_loop_detected")


def test_s26_a_request_that_comes_round_is_refused(proxy: Proxy) -> None:
    """RFC 9110 section 7.6.3: a web server that passes requests on may lead back here. The test learns the name as it would."""
    with ScriptedServer(answering(OK)) as server:
        said(proxy, get(server, "Via: 1.0 fred"))
        name = server.heads[0].rpartition(b"Via: 1.1 ")[2].partition(b"\r\n")[0].decode()
        assert b"\r\nVia: 1.0 fred\r\n" in server.heads[0]
        answer = proxy.ask(get(server, f"Via: 1.0 fred, 1.1 {name}"))
        assert (answer.status, answer.error) == (502, "proxy_loop_detected")
        assert len(server.heads) == 1


def test_s26_all_workers_have_one_name() -> None:
    """A request that comes round may arrive at any of them."""
    with ScriptedServer(answering(OK)) as server, Serve("--plain-http", "--workers", "3") as proxy:
        for _ in range(20):
            with Client(("127.0.0.1", proxy.port)) as client:
                client.send(get(server))
                client.rest()
        names = {head.rpartition(b"Via: 1.1 ")[2].partition(b"\r\n")[0] for head in server.heads}
    assert len(names) == 1


# --- failures after the target has been connected


@pytest.mark.parametrize(
    ("data", "error", "cause"),
    [
        (b"", "http_response_incomplete", "reset"),
        (b"HTTP/1.1 20", "http_response_incomplete", "reset"),
        (b"SSH-2.0-x\r\n", "http_protocol_error", "malformed"),
        (b"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n", "http_protocol_error", "malformed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "http_protocol_error", "malformed"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", "http_protocol_error", "malformed"),
    ],
)
def test_no_response_of_the_target_is_502(proxy: Proxy, data: bytes, error: str, cause: str) -> None:
    with ScriptedServer(answering(data)) as server:
        answer = proxy.ask(get(server))
        closed = proxy.wait_for_records(2)[1]
    assert (answer.status, answer.error) == (502, error)
    assert b"SSH" not in answer.raw, "what another service says is not shown"
    assert (closed["closed_by"], closed["cause"]) == ("target", cause)


def test_a_target_that_resets_is_502(proxy: Proxy) -> None:
    with ScriptedServer(lambda peer: (peer.read_head(), peer.reset())) as server:  # type: ignore[arg-type,return-value]
        assert proxy.ask(get(server)).status == 502
        closed = proxy.wait_for_records(2)[1]
    assert (closed["closed_by"], closed["cause"], closed["error"]) == ("target", "reset", "ECONNRESET")


def test_a_target_that_does_not_answer_is_504() -> None:
    with ScriptedServer(lambda peer: (peer.read_head(), peer.wait_gone())) as server:  # type: ignore[arg-type,return-value]
        with Proxy(plain_http=True, idle_timeout=0.2) as proxy:
            answer = proxy.ask(get(server))
            closed = proxy.wait_for_records(2)[1]
    assert (answer.status, answer.error) == (504, "connection_read_timeout")
    assert (closed["closed_by"], closed["cause"]) == ("tunnelctl", "idle")


@pytest.mark.parametrize("length", [b"Content-Length: 9\r\n", b"Transfer-Encoding: chunked\r\n"])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_s31_a_response_cut_short_is_a_reset_for_the_client(proxy: Proxy, length: bytes, version: str) -> None:
    with ScriptedServer(answering(b"HTTP/1.1 200 OK\r\n" + length + b"\r\n4\r\nhalf")) as server, proxy.client() as client:
        client.send(get(server, version=version))
        with pytest.raises(ConnectionResetError):
            client.rest()


def test_a_request_body_cut_short_is_400_and_a_reset_for_the_target(proxy: Proxy) -> None:
    aborted = threading.Event()

    def script(peer: Conversation) -> None:
        peer.read_head()
        peer.read_exactly(4)
        with pytest.raises(ConnectionResetError):
            peer.read()
        aborted.set()

    with ScriptedServer(script) as server, proxy.client() as client:
        client.send(get(server, "Content-Length: 8", method="POST") + b"half")
        client.sock.shutdown(1)
        assert parse(client.rest()).status == 400
        assert aborted.wait(20)
        closed = proxy.wait_for_records(2)[1]
    assert (closed["closed_by"], closed["cause"]) == ("client", "reset")


def test_a_client_that_leaves_ends_the_request_at_once(proxy: Proxy) -> None:
    gone = threading.Event()

    def script(peer: Conversation) -> None:
        peer.read_head()
        peer.wait_gone()
        gone.set()

    with ScriptedServer(script) as server, proxy.client() as client:
        client.send(get(server))
        server.wait_for_heads()
        client.reset()
        assert gone.wait(20)
        closed = proxy.wait_for_records(2)[1]
    assert (closed["closed_by"], closed["cause"]) == ("client", "reset")


def test_the_lifetime_limit_ends_a_request_with_a_reset() -> None:
    def script(peer: Conversation) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.0 200 OK\r\n\r\nand so on")
        peer.wait_gone()

    with ScriptedServer(script) as server, Proxy(plain_http=True, max_lifetime=2.0) as proxy, proxy.client() as client:
        client.send(get(server, version="1.0"))
        with pytest.raises(ConnectionResetError):
            client.rest()
        assert proxy.wait_for_records(2)[1]["cause"] == "lifetime"


def test_a_stop_resets_a_response_that_is_not_complete() -> None:
    """With HTTP/1.0, a closed connection would look like its end."""

    def script(peer: Conversation) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.0 200 OK\r\n\r\nand so on")
        peer.wait_gone()

    with ScriptedServer(script) as server, Proxy(plain_http=True) as proxy, proxy.client() as client:
        client.send(get(server, version="1.0"))
        client.head()
        proxy.signal()
        with pytest.raises(ConnectionResetError):
            client.rest()
        proxy.ended()
        assert proxy.records()[1]["cause"] == "drained"


def test_a_half_closed_client_receives_its_response(proxy: Proxy) -> None:
    ended = threading.Event()

    def script(peer: Conversation) -> None:
        peer.read_head()
        assert ended.wait(20)
        peer.send(OK)

    with ScriptedServer(script) as server, proxy.client() as client:
        client.send(get(server))
        client.sock.shutdown(1)
        ended.set()
        assert whole(client.rest()) == (200, b"ok")


def test_no_request_within_the_time_limit_is_408() -> None:
    for begin in (b"G", b"C", b"GET http://h/ HTTP/1.1\r\n"):
        with Proxy(plain_http=True, head_timeout=0.2) as proxy:
            assert proxy.ask(begin).status == 408


def test_a_client_that_does_not_read_holds_the_target_back(proxy: Proxy) -> None:
    stuck = threading.Event()

    def script(peer: Conversation) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        peer.sock.settimeout(1)
        try:
            for _ in range(1000):
                peer.send(bytes(1 << 20))
        except TimeoutError:
            stuck.set()

    with ScriptedServer(script) as server, proxy.client() as client:
        client.send(get(server))
        assert stuck.wait(20)
        assert isinstance(client, Client)
        client.reset()


# --- through another proxy


def test_it_goes_on_through_a_tunnel_of_the_next_proxy() -> None:
    def script(peer: Conversation) -> None:
        head = peer.read_head()
        assert head.startswith(b"CONNECT web.test:80 HTTP/1.1\r\n")
        assert b"\r\nVia: 1.0 fred, 1.1 tunnelctl-" in head
        peer.send(ESTABLISHED)
        inner = Conversation(peer.sock).read_head()
        assert inner.startswith(b"GET /x HTTP/1.1\r\nHost: web.test\r\n")
        peer.send(OK)

    with ScriptedServer(script) as next_proxy, Leading(next_proxy.url, plain_http=True) as proxy:
        raw = said(proxy, b"GET http://web.test/x HTTP/1.1\r\nHost: web.test\r\nVia: 1.0 fred\r\n\r\n")
    assert whole(raw) == (200, b"ok")


def test_the_next_proxys_refusal_is_the_clients() -> None:
    with (
        ScriptedServer(answering(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")) as next_proxy,
        Leading(next_proxy.url, plain_http=True) as proxy,
    ):
        assert proxy.ask(b"GET http://web.test/x HTTP/1.1\r\nHost: web.test\r\n\r\n").status == 403


def test_http2_requests_for_urls_are_refused(proxy: Proxy) -> None:
    with proxy.http2() as connection:
        fields = [(":method", "GET"), (":scheme", "http"), (":authority", "web.test"), (":path", "/")]
        stream = connection.request(fields)
        assert connection.response(stream) == "405"
