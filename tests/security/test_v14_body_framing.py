"""V14: a CONNECT request has no content. The server refuses one that declares some, and never reads a body; S11."""

import pytest

from tests.peers.scripted import ScriptedServer, echo
from tests.server.harness import Proxy, Trap, connect_request


@pytest.mark.parametrize(
    "fields",
    [
        ["Content-Length: 5"],
        ["Content-Length: 1"],
        ["content-length: 18446744073709551616"],
        ["Content-Length: -1"],
        ["Content-Length: +0"],
        ["Content-Length: 0x0"],
        ["Content-Length: 00"],
        ["Content-Length:"],
        ["Content-Length: 0, 0"],
        ["Content-Length: 0", "Content-Length: 0"],
        ["Content-Length: 0", "Content-Length: 5"],
        ["Content-Length: 0", "content-length: 0"],
        ["Transfer-Encoding: chunked"],
        ["Transfer-Encoding: identity"],
        ["Transfer-Encoding:"],
        ["transfer-encoding: xchunked"],
        ["Transfer-Encoding: chunked", "Content-Length: 5"],
        ["Transfer-Encoding:\tchunked"],
        ["Transfer-Encoding : chunked"],
        ["Content-Length : 5"],
        ["X: y", " Content-Length: 5"],
        ["Content-Length: 0", " 5"],
        ["Content-Length: 0\x0b"],
        ["Trans\x00fer-Encoding: chunked"],
    ],
)
def test_content_framing_is_refused(fields: list[str]) -> None:
    with Trap() as trap, Proxy() as proxy:
        answer = proxy.ask(connect_request(f"127.0.0.1:{trap.port}", *fields) + b"0\r\n\r\n" + b"x" * 10)
        assert answer.status == 400
        assert answer.raw.count(b"HTTP/1.1 ") == 1


def test_http_1_0_with_framing_is_refused() -> None:
    with Trap() as trap, Proxy() as proxy:
        for field in ("Transfer-Encoding: chunked", "Content-Length: 3"):
            assert proxy.ask(connect_request(f"127.0.0.1:{trap.port}", field, version="HTTP/1.0")).status == 400


def test_content_length_zero_is_accepted() -> None:
    """The field is true, and libraries add it by themselves. Bytes after the head belong to the tunnel."""
    with ScriptedServer(echo) as target, Proxy() as proxy, proxy.client() as client:
        client.send(connect_request(target.authority, "Content-Length: 0") + b"not a body")
        client.head()
        assert client.exactly(10) == b"not a body"


@pytest.mark.parametrize(
    "field", ["Expect: 100-continue", "Upgrade: websocket", "Connection: Upgrade", "TE: trailers", "Trailer: X"]
)
def test_other_fields_are_ignored(field: str) -> None:
    with ScriptedServer(echo) as target, Proxy() as proxy, proxy.tunnel(target.authority, field) as client:
        assert client.echoes()
