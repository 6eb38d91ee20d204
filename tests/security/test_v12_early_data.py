"""V12: bytes after the head reach the target once and in order, wherever segments are cut; S12."""

import threading

from tests.peers.scripted import Conversation, ScriptedServer, sample
from tests.server.harness import Proxy, connect_request

PAYLOAD = b"early \r\n\r\n data \x00\xff"


class Sink:
    """A target that keeps the bytes of each connection."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self._lock = threading.Lock()

    def __call__(self, peer: Conversation) -> None:
        data = peer.read_to_end()
        with self._lock:
            self.received.append(data)


def deliver(proxy: Proxy, *pieces: bytes) -> None:
    """Sends pieces, each in a segment of its own, and waits until the tunnel has ended."""
    with proxy.client() as client:
        client.sock.setsockopt(6, 1, 1)  # TCP_NODELAY
        for piece in pieces:
            client.send(piece)
        client.sock.shutdown(1)
        assert client.rest().startswith(b"HTTP/1.1 200 ")


def test_early_data_cut_at_every_place() -> None:
    sink = Sink()
    with ScriptedServer(sink) as target, Proxy() as proxy:
        whole = connect_request(target.authority) + PAYLOAD
        for cut in range(len(whole)):
            deliver(proxy, whole[:cut], whole[cut:])
    assert sink.received == [PAYLOAD] * len(whole)


def test_early_data_byte_by_byte() -> None:
    sink = Sink()
    with ScriptedServer(sink) as target, Proxy() as proxy:
        whole = connect_request(target.authority) + PAYLOAD
        deliver(proxy, *(bytes([byte]) for byte in whole))
    assert sink.received == [PAYLOAD]


def test_early_data_larger_than_a_read_and_the_head_limit() -> None:
    sink = Sink()
    data = sample(3_000_000)
    with ScriptedServer(sink) as target, Proxy() as proxy:
        deliver(proxy, connect_request(target.authority) + data)
    assert sink.received == [data]


def test_early_data_is_counted_as_sent() -> None:
    with ScriptedServer(Sink()) as target, Proxy() as proxy:
        deliver(proxy, connect_request(target.authority) + PAYLOAD)
        assert proxy.wait_for_records(2)[1]["sent"] == len(PAYLOAD)
