"""Tests that failures of httpx have messages of our own, without the words of h11, Python or OpenSSL's sources."""

import httpx
import pytest

from tests.peers.scripted import Conversation, ScriptedServer, refusing_port
from tunnelctl.client.pac.httpx_failure import cause_of

CLOSE = b"Connection: close\r\nContent-Length: 0\r\n\r\n"
CASES = [
    ("http", b"HELLO\r\n\r\n", "not HTTP"),
    ("http", b"", "closed without a response"),
    ("http", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", "closed in the middle of the body"),
    ("http", b"HTTP/1.1 200 OK\r\nX\r\n\r\n", "malformed head"),
    ("http", b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\nabc", "the content is malformed"),
    ("http", b"HTTP/1.1 302 Found\r\nLocation: /\r\n" + CLOSE, "too many redirects"),
    (
        "http",
        b"HTTP/1.1 302 Found\r\nLocation: ftp://x/\r\n" + CLOSE,
        "the URL, or one that it leads to, is none of HTTP",
    ),
    ("https", b"HTTP/1.1 400 No\r\n\r\n", "the peer does not speak TLS"),
]


def failure(url: str) -> str:
    with pytest.raises(httpx.HTTPError) as raised, httpx.Client(trust_env=False, follow_redirects=True, timeout=10) as client:
        client.get(url)
    return cause_of(raised.value)


@pytest.mark.parametrize(("scheme", "answer", "cause"), CASES, ids=range(len(CASES)))
def test_failures_caused_by_the_server(scheme: str, answer: bytes, cause: str) -> None:
    def script(peer: Conversation) -> None:
        peer.read()
        peer.send(answer)

    with ScriptedServer(script) as server:
        assert failure(f"{scheme}://{server.authority}/") == cause


def test_connection_refused() -> None:
    held, port = refusing_port()
    with held:
        assert failure(f"http://127.0.0.1:{port}/") == "connection refused"


def test_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer(lambda peer: peer.wait_gone() and None) as server, pytest.raises(httpx.TimeoutException) as raised:
        httpx.get(server.url, trust_env=False, timeout=0.2)
    assert cause_of(raised.value) == "no answer in time"


def test_an_invalid_request() -> None:
    assert cause_of(httpx.LocalProtocolError("h11 says something")) == "the request cannot be sent"
