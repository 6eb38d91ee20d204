"""V23: the time limit for a head starts at accept, and slow clients do not affect others."""

import time

from tests.peers.scripted import ScriptedServer, echo
from tests.server.harness import SECONDS, Client, Proxy, connect_request

HEAD_SECONDS = 0.5


def dribble(client: Client, data: bytes) -> bytes:
    """Sends byte by byte, with pauses, until an answer arrives; returns its first bytes."""
    client.sock.settimeout(HEAD_SECONDS / 10)
    for byte in data:
        client.send(bytes([byte]))
        try:
            return client.sock.recv(4096)
        except TimeoutError:
            continue
    raise AssertionError("no answer arrived")


def test_head_timeout_covers_the_whole_head() -> None:
    with Proxy(head_timeout=HEAD_SECONDS) as proxy:
        begun = time.monotonic()  # before the proxy accepts the connection and starts its clock
        with proxy.client() as client:
            assert dribble(client, connect_request("target.test:443", "X: " + "x" * 1000)).startswith(b"HTTP/1.1 408 ")
            assert HEAD_SECONDS < time.monotonic() - begun < SECONDS
            assert proxy.wait_for_records(1)[0]["status"] == 408


def test_a_silent_client_gets_408() -> None:
    with Proxy(head_timeout=HEAD_SECONDS) as proxy, proxy.client() as client:
        assert client.answer().status == 408


def test_many_slow_clients_do_not_block_another() -> None:
    """Nor do they count towards the caps, which apply to admitted requests only."""
    with ScriptedServer(echo) as target, Proxy(max_tunnels=1, max_per_client=1) as proxy:
        slow = [proxy.client() for _ in range(100)]
        for number, client in enumerate(slow):
            client.send(connect_request("target.test:443")[: number % 40])
        with proxy.tunnel(target.authority) as client:
            assert client.echoes()
        for client in slow:
            client.sock.close()
