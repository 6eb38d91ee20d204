"""Tests plain http requests on a dynamic port, through a proxy that supports CONNECT only, to a real web server and to scripted
ones.
"""

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.client.forwarding import Forwarding, half_close, is_reset
from tests.peers.https import web_server
from tests.peers.process import wait_until
from tests.peers.program import Serve
from tests.peers.scripted import ESTABLISHED, Conversation, Script, ScriptedServer, refusing_port, sample
from tests.server.harness import Client, parse
from tunnelctl.client.forward import http as plain_http
from tunnelctl.client.forward import session as local_session
from tunnelctl.proto.proxy_status import parse as proxy_status

DATA = sample(700_000)
BRIEF = 0.3
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def get(server: ScriptedServer, *fields: str, method: str = "GET", body: bytes = b"") -> bytes:
    lines = (f"{method} {server.url}/x HTTP/1.1", f"Host: {server.authority}", *fields, "", "")
    return "\r\n".join(lines).encode() + body


def answering(answer: bytes) -> Callable[[Conversation], None]:
    def script(peer: Conversation) -> None:
        peer.read_head()
        peer.send(answer)

    return script


def test_httpx_fetches_pages_through_the_dynamic_port(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    with web_server(tmp_path) as port, Serve("-v") as proxy, Forwarding(dynamic=("0",), proxy=(proxy.url,)) as forwarding:
        with httpx.Client(proxy=f"http://127.0.0.1:{forwarding.ports[0]}", timeout=10) as client:
            for _ in range(3):
                assert client.get(f"http://127.0.0.1:{port}/file").content == DATA
                assert client.post(f"http://127.0.0.1:{port}/", content=DATA).content == DATA
                assert client.head(f"http://127.0.0.1:{port}/file").headers["Content-Length"] == str(len(DATA))
                assert client.get(f"http://127.0.0.1:{port}/none").status_code == 404
    assert proxy.log().count(f"tunnel to 127.0.0.1:{port} open") == 12  # each request has its own CONNECT


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_an_error_response_to_head_has_no_content(port: Forwarding, method: str) -> None:
    """RFC 9110 section 9.3.2, for each request of a connection: refused here, or the server cannot be reached."""
    held, closed = refusing_port()
    with held, ScriptedServer(answering(OK)) as server:
        malformed = f"{method} http://h/ HTTP/1.1\r\nX: a\x07b"
        for line in (f"{method} / HTTP/1.1", f"{method} http://127.0.0.1:{closed}/ HTTP/1.1", malformed):
            with port.open() as client:
                client.send(get(server))
                client.head()
                assert client.exactly(2) == b"ok"
                client.send(f"{line}\r\nHost: h\r\n\r\n".encode())
                head, content = client.head(), client.rest()
                size = int(re.search(rb"\r\nContent-Length: (\d+)\r\n", head)[1])  # type: ignore[index]
                assert size > 0
                assert len(content) == (0 if method == "HEAD" else size)


@pytest.fixture
def port():
    with Forwarding(dynamic=("0",), proxy=("direct",)) as forwarding:
        yield forwarding


def test_the_request_as_the_server_receives_it(port: Forwarding) -> None:
    with ScriptedServer(answering(OK)) as server, port.open() as client:
        client.send(get(server, "Proxy-Connection: keep-alive", "Accept: */*"))
        head = client.head()
        assert client.exactly(2) == b"ok"
        (via,) = re.findall(rb"\r\nVia: 1\.1 tunnelctl-[0-9a-f]{16}(?=\r\n)", head)
        expected = f"GET /x HTTP/1.1\r\nHost: {server.authority}\r\nAccept: */*".encode() + via + b"\r\nConnection: close\r\n\r\n"
        assert server.heads == [expected]
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_request_that_loops_back_is_refused(port: Forwarding) -> None:
    """RFC 9110 section 7.6.3. The test learns the name in Via as a loop would: from the forwarded request."""
    with ScriptedServer(answering(OK)) as server, port.open() as client:
        client.send(get(server, "Via: 1.0 other"))
        client.head()
        assert client.exactly(2) == b"ok"
        assert server.heads[0].count(b"\r\nVia: ") == 2
        (name,) = re.findall(rb"tunnelctl-[0-9a-f]{16}", server.heads[0])
        client.send(get(server, f"Via: 1.0 other, 1.1 {name.decode()}"))
        answer = client.answer()
        assert (answer.status, answer.error) == (502, "proxy_loop_detected")
    assert len(server.heads) == 1


def test_a_response_sent_together_with_the_proxys_head_is_counted() -> None:
    def script(peer: Conversation) -> None:
        peer.accept_tunnel(ESTABLISHED + OK)
        peer.wait_gone()

    with ScriptedServer(script) as proxy, Forwarding(dynamic=("0",), proxy=(proxy.url,)) as forwarding:
        with forwarding.open() as client:
            client.send(b"GET http://h.test/ HTTP/1.1\r\nHost: h.test\r\n\r\n")
            client.head()
            assert client.exactly(2) == b"ok"
        (ended,) = forwarding.ended_tunnels()
    assert (ended["received"], ended["cause"]) == (len(OK), "eof")


def test_requests_for_several_hosts_on_one_connection(port: Forwarding) -> None:
    with ScriptedServer(answering(OK)) as one, ScriptedServer(answering(OK)) as two, port.open() as client:
        client.send(get(one) + get(two))  # pipelined: the second must not reach the first server
        for _ in range(2):
            client.head()
            assert client.exactly(2) == b"ok"
    assert [len(one.heads), len(two.heads)] == [1, 1]
    assert two.authority.encode() in two.heads[0]


def test_the_request_body_and_the_response_stream_at_the_same_time(port: Forwarding) -> None:
    def script(peer: Conversation) -> None:
        peer.read_head()
        assert peer.read_exactly(5) == b"first"
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        assert peer.read_exactly(5) == b"later"
        peer.send(b"again")

    with ScriptedServer(script) as server, port.open() as client:
        client.send(get(server, "Content-Length: 10", method="POST", body=b"first"))
        client.head()
        assert client.exactly(5) == b"hello"
        client.send(b"later")
        assert client.exactly(5) == b"again"


def test_a_chunked_body_is_forwarded_whole_and_chunked(port: Forwarding) -> None:
    def script(peer: Conversation) -> None:
        assert b"Transfer-Encoding: chunked" in peer.read_head()
        body = b""
        while not body.endswith(b"0\r\n\r\n"):
            body += peer.read(1)
        assert body.replace(b"5\r\nhello\r\n", b"") == b"0\r\n\r\n"
        peer.send(OK)

    with ScriptedServer(script) as server, port.open() as client:
        client.send(get(server, "Transfer-Encoding: chunked", method="POST", body=b"5\r\nhello\r\n0\r\n\r\n"))
        client.head()
        assert client.exactly(2) == b"ok"


def test_the_server_sends_the_100_continue(port: Forwarding) -> None:
    def script(peer: Conversation) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert peer.read_exactly(4) == b"body"
        peer.send(OK)

    with ScriptedServer(script) as server, port.open() as client:
        client.send(get(server, "Content-Length: 4", "Expect: 100-continue", method="PUT"))
        assert client.head().startswith(b"HTTP/1.1 100")
        client.send(b"body")
        assert client.head().startswith(b"HTTP/1.1 200")


def test_a_response_delimited_by_close_is_forwarded(port: Forwarding) -> None:
    with ScriptedServer(answering(b"HTTP/1.0 200 OK\r\n\r\nto the end")) as server, port.open() as client:
        client.send(get(server).replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert client.rest().endswith(b"\r\n\r\nto the end")


@pytest.mark.parametrize(
    ("data", "cause", "error"),
    [
        (b"", "closed without a response", "http_response_incomplete"),
        (b"HTTP/1.1 20", "closed in the middle of the head", "http_response_incomplete"),
        (b"HELLO\r\n\r\n", "not HTTP: it starts with 'HELLO\\r\\n\\r\\n'", "http_protocol_error"),
        (b"SSH-2.0-x\r\n", "not HTTP: it starts with 'SSH-2.0-x\\r\\n'", "http_protocol_error"),
        (b"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n", "malformed head: the control character 0x00", "http_protocol_error"),
        (b"HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n", "malformed head: a bare CR", "http_protocol_error"),
    ],
)
def test_a_malformed_response_gets_502(port: Forwarding, data: bytes, cause: str, error: str) -> None:
    """The page, Proxy-Status and the message to the user have the same words, all of them from tunnelctl."""
    with ScriptedServer(answering(data)) as server, port.open() as client:
        client.send(get(server))
        answer = client.answer()
        said = f"target {server.authority}: {cause}"
        assert (answer.status, answer.error) == (502, error)
        assert answer.body.decode() == f"tunnelctl: 502 Bad Gateway: {said}\n"
        assert proxy_status(answer.fields["proxy-status"])[0].details == said
    (failure,) = port.failures()
    assert (failure["what"], failure["cause"]) == (f"target {server.authority}", cause)


def test_a_non_http_server_that_stays_open_gets_502_without_waiting(port: Forwarding) -> None:
    def script(peer: Conversation) -> None:
        peer.read_head()
        peer.send(b"SSH-2.0-x\r\n")
        peer.wait_gone()

    with ScriptedServer(script) as server, port.open() as client:
        client.send(get(server))
        assert client.answer().status == 502


def test_a_malformed_response_body_resets_the_client(port: Forwarding) -> None:
    with (
        ScriptedServer(answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n")) as server,
        port.open() as client,
    ):
        client.send(get(server))
        client.head()
        assert is_reset(client)
    assert [failure["cause"] for failure in port.failures()] == ["malformed body: no chunk where one has to begin"]
    assert [ended["cause"] for ended in port.ended_tunnels()] == ["malformed"]


def test_a_request_body_cut_short_gets_400(port: Forwarding) -> None:
    """And the server's connection is reset, so that the server does not treat the body as complete."""
    aborted = threading.Event()

    def script(peer: Conversation) -> None:
        peer.read_head()
        assert peer.read_exactly(4) == b"half"
        try:
            peer.read()
        except ConnectionResetError:
            aborted.set()

    with ScriptedServer(script) as server, port.open() as client:
        client.send(get(server, "Content-Length: 8", method="POST", body=b"half"))
        half_close(client)
        answer = parse(client.rest())
        assert (answer.status, b"400 Bad Request: the request ended inside its body\n" in answer.body) == (400, True)
        assert aborted.wait(20)
    assert (port.events("closed")[0]["closed_by"], port.events("closed")[0]["cause"]) == ("client", "reset")


def test_a_response_cut_short_resets_the_client(port: Forwarding) -> None:
    with ScriptedServer(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")) as server, port.open() as client:
        client.send(get(server))
        client.head()
        with pytest.raises(ConnectionResetError):
            while client.sock.recv(100):
                pass


def test_after_an_early_response_the_connection_closes(port: Forwarding) -> None:
    """A 413 before the whole body: the client receives it, and the connection closes, or the rest of the body would be read as a
    request.
    """
    with ScriptedServer(answering(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")) as server, port.open() as client:
        client.send(get(server, "Content-Length: 1000000", method="POST", body=b"x"))
        assert client.head().startswith(b"HTTP/1.1 413")
        assert client.rest() == b""


def test_an_early_response_arrives_although_the_server_has_closed(port: Forwarding) -> None:
    """The rest of the body can no longer be written to the server; its response is in our receive queue, and reaches the client."""

    def script(peer: Conversation) -> None:
        peer.read_head()
        peer.read_exactly(1)
        peer.send(b"HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno")
        peer.sock.close()  # at once: a half-close first would race with the forwarder's close

    with ScriptedServer(script) as server, port.open() as client:
        client.send(get(server, "Content-Length: 1000000", method="POST", body=b"x"))
        assert client.head().startswith(b"HTTP/1.1 401")
        assert client.exactly(2) == b"no"


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_interim_responses_go_to_http_1_1_clients_only(port: Forwarding, version: str) -> None:
    """RFC 9110 section 15.2: a client that speaks HTTP/1.0 would treat it as the final response."""
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    with ScriptedServer(answering(early + OK)) as server, port.open() as client:
        client.send(get(server).replace(b"HTTP/1.1", f"HTTP/{version}".encode()))
        if version == "1.1":
            assert client.head().startswith(b"HTTP/1.1 103 ")
        assert client.head().startswith(b"HTTP/1.1 200 ")


def test_a_control_character_in_a_response_field_is_forwarded(port: Forwarding) -> None:
    with ScriptedServer(answering(b"HTTP/1.1 200 OK\r\nX: a\x07b\r\nContent-Length: 2\r\n\r\nok")) as server, port.open() as client:
        client.send(get(server))
        assert b"X: a\x07b\r\n" in client.head()
        assert client.exactly(2) == b"ok"


def test_an_unreachable_server_gets_502(port: Forwarding) -> None:
    held, number = refusing_port()
    with held, port.open() as client:
        client.send(f"GET http://127.0.0.1:{number}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert client.answer().status == 502
    assert len(port.failures()) == 1


@pytest.mark.parametrize(
    ("data", "details"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "this is a proxy: it takes CONNECT, and requests for http:// URLs"),
        (b"GET http://h/ HTTP/1.1\r\n bad\r\n\r\n", "malformed head: a folded header line"),
        (b"GET http://h/#x HTTP/1.1\r\nHost: h\r\n\r\n", "a fragment has no place in the request target"),
        (b"nonsense\r\n\r\n", "not a request line: METHOD TARGET VERSION with one space between"),
        (b"GET http://u:p@h/ HTTP/1.1\r\nHost: x\r\n\r\n", "user information has no place in the request target"),
        (b"POST http://h/ HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n", "Content-Length is no plain number"),
        (b"GET http://h/ HTTP/1.1\r\nHost: x\r\nX: a\x07b\r\n\r\n", "malformed head: the control character 0x07"),
    ],
)
def test_a_malformed_request_gets_400(port: Forwarding, data: bytes, details: str) -> None:
    with port.open() as client:
        client.send(data)
        answer = client.answer()
        assert (answer.status, answer.body.decode()) == (400, f"tunnelctl: 400 Bad Request: {details}\n")
    (failure,) = port.failures()
    assert (failure["what"], failure["cause"]) == ("request to the local port", f"400 Bad Request: {details}")


@pytest.mark.parametrize(
    ("field", "status"), [("Transfer-Encoding: gzip\r\n\r\n", 501), (f"X: {'x' * 20000}", 431)], ids=["coding", "length"]
)
def test_an_unsupported_request_gets_its_own_status(port: Forwarding, field: str, status: int) -> None:
    with port.open() as client:
        client.send(f"GET http://h/ HTTP/1.1\r\nHost: h\r\n{field}".encode())
        assert client.answer().status == status


def test_the_idle_timeout_ends_the_exchange() -> None:
    with ScriptedServer(lambda peer: (peer.read_head(), peer.wait_gone())) as server:  # type: ignore[arg-type,return-value]
        with Forwarding(dynamic=("0",), proxy=("direct",), idle_timeout=0.2) as forwarding, forwarding.open() as client:
            client.send(get(server))
            assert client.answer().status == 502
            wait_until(lambda: bool(forwarding.events("closed")))
    assert forwarding.events("closed")[0]["cause"] == "idle"


# --- clients that disconnect: the awaited bytes would never come, and nothing else ends the wait


def silent(peer: Conversation) -> None:
    """Reads everything, and sends nothing."""
    peer.read_head()
    peer.wait_gone()


def half_a_head(peer: Conversation) -> None:
    peer.read_head()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-")
    peer.wait_gone()


def half_a_body(peer: Conversation) -> None:
    peer.read_head()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
    peer.wait_gone()


WAITS = {
    "for the head": (silent, ()),
    "inside the head": (half_a_head, ()),
    "inside the body": (half_a_body, ()),
    "for 100": (silent, ("Content-Length: 4", "Expect: 100-continue")),
    "for the rest of the request": (silent, ("Content-Length: 4",)),
}
waits = pytest.mark.parametrize(("script", "fields"), WAITS.values(), ids=WAITS)


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """A time limit on half-closed clients short enough for a test."""
    monkeypatch.setattr(plain_http, "HALF_CLOSED_SECONDS", BRIEF)
    monkeypatch.setattr(local_session, "HALF_CLOSED_SECONDS", BRIEF)


@waits
@pytest.mark.usefixtures("brief")
def test_a_half_closed_client_is_closed_after_a_time_limit(script: Script, fields: tuple[str, ...]) -> None:
    """Otherwise the drain would wait for it too, longer than the test may take."""
    with ScriptedServer(script) as server, Forwarding(dynamic=("0",), proxy=("direct",), drain=600.0) as forwarding:
        with forwarding.open() as client:
            client.send(get(server, *fields))
            wait_until(lambda: bool(server.heads and server.heads[0].endswith(b"\r\n\r\n")))
        (ended,) = forwarding.ended_tunnels()
        assert ended["closed_by"] == "client"
        forwarding.signal()
        assert forwarding.ended() == 0


@waits
def test_a_client_reset_ends_the_exchange_at_once(script: Script, fields: tuple[str, ...]) -> None:
    with ScriptedServer(script) as server, Forwarding(dynamic=("0",), proxy=("direct",), drain=600.0) as forwarding:
        with forwarding.open() as client:
            client.send(get(server, *fields))
            wait_until(lambda: bool(server.heads and server.heads[0].endswith(b"\r\n\r\n")))
            client.reset()
        (ended,) = forwarding.ended_tunnels()
        assert (ended["closed_by"], ended["cause"]) == ("client", "reset")
    assert forwarding.events("failed") == []


def test_a_half_closed_client_still_receives_its_responses(port: Forwarding) -> None:
    """RFC 9112 section 9.6: it may have no further request, and wait."""
    ended = threading.Event()

    def script(peer: Conversation) -> None:
        peer.read_head()
        assert ended.wait(20)
        peer.send(OK)

    with ScriptedServer(script) as server, port.open() as client:
        client.send(get(server) + get(server))
        half_close(client)
        ended.set()
        for _ in range(2):
            assert client.head().startswith(b"HTTP/1.1 200")
            assert client.exactly(2) == b"ok"


def test_each_byte_restarts_the_time_limit_of_a_half_closed_client(port: Forwarding, monkeypatch: pytest.MonkeyPatch) -> None:
    limit, paces = 1.0, 15
    monkeypatch.setattr(plain_http, "HALF_CLOSED_SECONDS", limit)

    def script(peer: Conversation) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % paces)
        for _ in range(paces):
            time.sleep(limit / 10)  # the test is about a slow server
            peer.send(b"x")

    with ScriptedServer(script) as server, port.open() as client:
        client.send(get(server))
        half_close(client)
        client.head()
        assert client.exactly(paces) == b"x" * paces


@pytest.mark.usefixtures("brief")
def test_a_half_closed_client_that_still_reads_gets_502(port: Forwarding) -> None:
    with ScriptedServer(silent) as server, port.open() as client:
        client.send(get(server))
        half_close(client)
        assert client.answer().status == 502


def test_a_unix_socket_client_that_has_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel reports its close like a reset; the server still receives what the client sent."""
    monkeypatch.setattr(plain_http, "HALF_CLOSED_SECONDS", 2.0)  # the body has to reach the server within it
    monkeypatch.setattr(local_session, "HALF_CLOSED_SECONDS", 2.0)
    taken = threading.Event()

    def script(peer: Conversation) -> None:
        peer.read_head()
        assert peer.read_exactly(4) == b"body"
        taken.set()
        peer.wait_gone()

    with ScriptedServer(script) as server, Forwarding(dynamic=(f"{tmp_path}/s",), proxy=("direct",)) as forwarding:
        with forwarding.open() as client:
            client.send(get(server, "Content-Length: 4", method="POST", body=b"body"))
        (ended,) = forwarding.ended_tunnels()
        assert (ended["closed_by"], ended["cause"]) == ("client", "half-closed")
    assert taken.is_set()


def test_a_client_that_does_not_read_blocks_the_server(port: Forwarding) -> None:
    """The response is not buffered here: the server can send only what fits into the kernel's buffers."""
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

    with ScriptedServer(script) as server, port.open() as client:
        client.send(get(server))
        assert stuck.wait(20)
        assert isinstance(client, Client)
        client.reset()
