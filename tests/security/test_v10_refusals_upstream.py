"""V10: the client never treats a refusal by a hop as a tunnel, and sends no payload after it."""

import pytest

from tests.client.harness import connect, next_head
from tests.options import connect_options
from tests.peers.scripted import ESTABLISHED, Conversation, ScriptedServer
from tunnelctl.errors import TunnelctlError
from tunnelctl.proto.address import Address

PAYLOAD = b"GET /secret HTTP/1.1\r\n\r\n"


@pytest.mark.parametrize("hops", [1, 2])
@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", 69),
        (b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n", 77),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", 69),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n" + ESTABLISHED, 69),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n", 69),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", 69),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", 69),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", 76),
        (b"HTTP/1.1 099 Early\r\n\r\n", 76),
        (b"HTTP/1.1 2000 OK\r\n\r\n", 76),
        (b"HTTP/1.1 +200 OK\r\n\r\n", 76),
        (b"HTTP/0.9 200 OK\r\n\r\n", 76),
        (b"200 OK\r\n\r\n", 76),
        (b"garbage HTTP/1.1 200 OK\r\n\r\n", 76),
    ],
)
def test_a_refusing_hop_that_stays_connected_gets_no_payload(answer: bytes, status: int, hops: int) -> None:
    after: list[bytes] = []

    def script(peer: Conversation) -> None:
        for _ in range(hops - 1):
            next_head(peer)
            peer.send(ESTABLISHED)
        next_head(peer)
        peer.send(answer)
        after.append(peer.wait_gone())

    with ScriptedServer(script) as first:
        chain = (first.url, "http://second.test:1")[:hops]
        with pytest.raises(TunnelctlError) as caught:
            connect(connect_options(Address("target.test", 22), chain), stdin=PAYLOAD)
    assert caught.value.exit_status == status
    assert after == [b""]


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 20", b"HTTP/1.1 200 OK\r\nA: b\r\n"])
def test_a_hop_with_an_incomplete_head_gets_no_payload(answer: bytes) -> None:
    after: list[bytes] = []

    def script(peer: Conversation) -> None:
        peer.read_head()
        peer.send(answer)
        after.append(peer.wait_gone())

    with ScriptedServer(script) as first, pytest.raises(TunnelctlError) as caught:
        connect(connect_options(Address("target.test", 22), (first.url,), timeout=0.2), stdin=PAYLOAD)
    assert caught.value.exit_status == 75
    assert after == [b""]
