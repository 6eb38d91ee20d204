"""Tests `check --get`: the request to the target, how its response is judged, and the time limit."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.client.harness import TARGET
from tests.peers import certificates
from tests.peers.scripted import ESTABLISHED, Conversation, ScriptedServer
from tunnelctl.client.check import fetch
from tunnelctl.client.check.events import Reply
from tunnelctl.client.route.route import Hop, Route
from tunnelctl.client.tunnel import open_tunnel
from tunnelctl.engine.kernel import run
from tunnelctl.events import silent
from tunnelctl.proto.address import Address, parse_authority
from tunnelctl.stream.tls.settings import TLSClient

HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@contextmanager
def answering(answer: bytes, context: ssl.SSLContext | None = None) -> Iterator[ScriptedServer]:
    """A proxy and target in one: opens the tunnel, reads the request, which replaces the head of CONNECT, and responds."""

    def script(peer: Conversation) -> None:
        peer.accept_tunnel()
        with suppress(OSError):
            peer.sock = context.wrap_socket(peer.sock, server_side=True) if context is not None else peer.sock
            peer.head = b""
            peer.read_head()
            peer.send(answer)

    with ScriptedServer(script) as proxy:
        yield proxy


def get(proxy: ScriptedServer, path: str = "/", target: Address = TARGET, tls: TLSClient | None = None) -> Reply:
    route = Route(target, (Hop(parse_authority(proxy.authority)),), tls=tls)
    return run(lambda: fetch.fetch(route, path, lambda route: open_tunnel(route, silent)))


@pytest.mark.parametrize(
    ("target", "host"),
    [
        (Address("target.test", 80), b"target.test"),
        (Address("target.test", 8080), b"target.test:8080"),
        (Address("::1", 80), b"[::1]"),
        (Address("::1", 81), b"[::1]:81"),
        (Address("target.test", 180), b"target.test:180"),
    ],
)
def test_the_request_has_path_host_and_user_agent(target: Address, host: bytes) -> None:
    with answering(HELLO) as proxy:
        assert get(proxy, "/path?query", target).ok
    first, named, agent, *rest = proxy.heads[0].split(b"\r\n")
    assert (first, named, rest) == (
        b"GET /path?query HTTP/1.1",
        b"Host: " + host,
        [b"Accept: */*", b"Connection: close", b"", b""],
    )
    assert agent.startswith(b"User-Agent: tunnelctl/")


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/a b", b"/a%20b"),
        ("/ä", b"/%C3%A4"),
        ("/a%20b?x=[1]&y", b"/a%20b?x=[1]&y"),
        ("/page#part", b"/page"),
        ("/\r\nX: y", b"/%0D%0AX:%20y"),
    ],
)
def test_paths_are_encoded_for_the_request_line(path: str, sent: bytes) -> None:
    with answering(HELLO) as proxy:
        get(proxy, path)
    assert proxy.heads[0].split(b" ")[1] == sent


@pytest.mark.parametrize(
    ("answer", "status", "line", "size"),
    [
        (HELLO, 200, "HTTP/1.1 200 OK", 5),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" + HELLO, 200, "HTTP/1.1 200 OK", 5),
        (b"HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n", 302, "HTTP/1.1 302 Found", 0),
        (b"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n", 200, "HTTP/1.1 200", 4),
        (b"HTTP/1.0 404 Not \xe4 there\r\n\r\nuntil the end", 404, "HTTP/1.0 404 Not  there", 13),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, "HTTP/1.1 204 No Content", 0),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", 200, "HTTP/1.1 200 OK", 3),
    ],
    ids=["length", "informational", "redirect", "chunked", "until the end", "none", "encoded"],
)
def test_a_response_is_reported_with_status_line_and_size(answer: bytes, status: int, line: str, size: int) -> None:
    with answering(answer) as proxy:
        reply = get(proxy)
    assert (reply.ok, reply.status, reply.line, reply.size, reply.cause) == (True, status, line, size, "")
    assert len(proxy.heads) == 1, "a redirect is not followed"


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (b"SSH-2.0-server\r\n\r\n", "not HTTP: it starts with 'SSH-2.0-server\\r\\n\\r\\n'"),
        (b"", "closed without a response"),
        (b"HTTP/1.1 200 OK\r\n", "closed in the middle of the head"),
        (HELLO[:-1], "closed in the middle of the body"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", "malformed body: no chunk where one has to begin"),
    ],
)
def test_a_malformed_or_missing_response_is_reported(answer: bytes, cause: str) -> None:
    with answering(answer) as proxy:
        reply = get(proxy)
    assert (reply.ok, reply.cause) == (False, cause)


def test_a_response_sent_together_with_the_proxys_head_is_read() -> None:
    """The target's bytes arrive with the head of the proxy's response."""

    def script(peer: Conversation) -> None:
        peer.accept_tunnel(ESTABLISHED + HELLO)
        peer.wait_gone()

    with ScriptedServer(script) as proxy:
        assert (get(proxy).size, get(proxy).status) == (5, 200)


def test_a_refused_tunnel_is_reported() -> None:
    with ScriptedServer(lambda peer: peer.accept_tunnel(b"HTTP/1.1 403 No\r\n\r\n")) as proxy:
        reply = get(proxy)
    assert (reply.ok, reply.cause) == (False, f"proxy {proxy.authority} refused a tunnel to {TARGET}: 403 No")


def test_a_reset_by_the_target_is_reported() -> None:
    def script(peer: Conversation) -> None:
        peer.accept_tunnel()
        peer.head = b""
        peer.read_head()
        peer.reset()

    with ScriptedServer(script) as proxy:
        assert get(proxy).cause == "connection reset by peer"


@pytest.mark.parametrize("tls", [False, True], ids=["request", "handshake"])
def test_a_silent_target_exceeds_the_time_limit(tls: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "SECONDS", 0.1)

    def script(peer: Conversation) -> None:
        peer.accept_tunnel()
        peer.wait_gone()

    with ScriptedServer(script) as proxy:
        reply = get(proxy, tls=TLSClient("target.test") if tls else None)
    assert (reply.ok, reply.cause) == (False, "no answer in time")
    assert reply.seconds >= 0.1


def endless(peer: Conversation) -> None:
    """Sends a response without end, as fast as the client reads it."""
    peer.accept_tunnel(ESTABLISHED + b"HTTP/1.1 200 OK\r\n\r\n")
    with suppress(OSError):
        while True:
            peer.send(b"x" * 65536)


def test_an_endless_response_exceeds_the_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "WHOLE_SECONDS", 0.2)
    monkeypatch.setattr(fetch, "MOST", 1 << 60)
    with ScriptedServer(endless) as proxy:
        reply = get(proxy)
    assert (reply.ok, reply.cause) == (False, "not done within 0.2 s")


def test_an_endless_response_is_read_up_to_the_size_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "MOST", 1 << 20)
    with ScriptedServer(endless) as proxy:
        reply = get(proxy)
    assert (reply.ok, reply.status) == (True, 200)
    assert 1 << 20 < reply.size <= (1 << 20) + 65536


# --- https


def context_for(directory: Path, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificates.issue(directory, "target", name))
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


def test_port_443_uses_tls_without_the_flag(tmp_path: Path) -> None:
    """Host does not name port 443, and names any other port."""
    authority = str(certificates.authority(tmp_path))
    for port, host in ((443, b"named.test"), (8443, b"named.test:8443")):
        with answering(HELLO, context_for(tmp_path, "named.test")) as proxy:
            reply = get(proxy, target=Address("named.test", port), tls=TLSClient("named.test", authority))
        assert (reply.ok, reply.size) == (True, 5)
        assert b"\r\nHost: %b\r\n" % host in proxy.heads[0]


def test_an_untrusted_certificate_is_reported(tmp_path: Path) -> None:
    with answering(HELLO, context_for(tmp_path, "named.test")) as proxy:
        reply = get(proxy, target=Address("named.test", 443))
    assert (reply.ok, reply.cause) == (False, "its certificate was issued by an authority that is not known here")
    with answering(HELLO, context_for(tmp_path, "other.test")) as proxy:
        reply = get(proxy, tls=TLSClient("named.test", str(certificates.authority(tmp_path))))
    assert (reply.ok, reply.cause) == (False, "its certificate is for another name")
