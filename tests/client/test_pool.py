"""`--warm`: connections to the proxies that stand before somebody asks for a tunnel."""

import socket
import threading
from itertools import chain
from pathlib import Path

import pytest

from tests.client.forwarding import Forwarding, spec, via
from tests.client.harness import way
from tests.peers.process import wait_until
from tests.peers.program import Serve
from tests.peers.scripted import ESTABLISHED, Conversation, Script, ScriptedServer, echo, refusing_port
from tunnelctl.client import pool as warm
from tunnelctl.client.pool import WarmPools
from tunnelctl.client.route.route import Route
from tunnelctl.engine.kernel import Nursery, run, sleep
from tunnelctl.stream.base import Stream
from tunnelctl.stream.socket_stream import SocketStream

SECONDS = 20.0


def test_a_warm_connection_is_there_before_the_client_and_is_replaced() -> None:
    with ScriptedServer(echo) as target, Serve() as proxy:
        accepted: list[int] = []
        with ScriptedServer(relay_to(proxy.port, accepted)) as front:
            with Forwarding(spec(target), proxy=via(front), warm=2) as forwarding:
                wait_until(lambda: len(accepted) == 2)
                with forwarding.open() as client:
                    assert client.echoes()
                    wait_until(lambda: len(accepted) == 3)  # the one that was used is replaced, and no more than that
                    with forwarding.open() as other:
                        assert other.echoes()
                        assert client.echoes()
                        wait_until(lambda: len(accepted) == 4)


def relay_to(port: int, accepted: list[int]):
    """A proxy in front of another that counts its connections."""

    def script(peer: Conversation) -> None:
        accepted.append(1)
        with socket.create_connection(("127.0.0.1", port), SECONDS) as far:
            back = threading.Thread(target=copy, args=(far, peer.sock), daemon=True)
            back.start()
            copy(peer.sock, far)
            back.join(SECONDS)

    return script


def copy(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def tunnel(peer: Conversation) -> None:
    """A proxy whose target echoes; no fault where a connection that was kept ready is not used."""
    try:
        peer.accept_tunnel()
    except (AssertionError, ConnectionError):
        return
    echo(peer)


@pytest.mark.parametrize("end_of_it", [Conversation.reset, Conversation.end_output], ids=["reset", "closed"])
def test_a_warm_connection_that_broke_in_the_same_moment_costs_nothing(end_of_it: Script) -> None:
    """The proxy closes when the request comes: the tunnel is asked for again, on a new connection."""
    seen: list[bytes] = []

    def script(peer: Conversation) -> None:
        try:
            head = peer.read_head()
        except (AssertionError, ConnectionError):
            return
        seen.append(head)
        if len(seen) == 1:
            end_of_it(peer)
            return
        peer.send(ESTABLISHED)
        echo(peer)

    with ScriptedServer(script) as proxy, Forwarding("0:host.test:22", proxy=via(proxy), warm=1) as forwarding:
        wait_until(lambda: len(proxy.conversations) == 1)
        with forwarding.open() as client:
            assert client.echoes()
    assert seen[0] == seen[1]
    assert forwarding.events("failed") == []


def test_a_warm_connection_to_a_proxy_that_fell_silent_leaves_time_to_the_next() -> None:
    """As when the network changes: no reset tells."""
    with ScriptedServer(lambda peer: peer.wait_gone() and None) as silent, ScriptedServer(tunnel) as good:
        proxy = (f"{silent.url},{good.url}",)
        with Forwarding("0:host.test:22", proxy=proxy, warm=1, timeout=3.0) as forwarding:
            wait_until(lambda: len(silent.conversations) == 1)
            for _ in range(2):
                with forwarding.open() as client:
                    assert client.echoes()
            assert [event["via"] for event in forwarding.events("opened")] == [[good.authority]] * 2


def test_the_proxy_that_is_used_in_place_of_another_is_kept_warm_too() -> None:
    held, port = refusing_port()
    with held, ScriptedServer(tunnel) as good:
        with Forwarding("0:host.test:22", proxy=(f"http://127.0.0.1:{port},{good.url}",), warm=2) as forwarding:
            for count in (3, 4):  # the first comes cold
                with forwarding.open() as client:
                    assert client.echoes()
                    wait_until(lambda count=count: len(good.conversations) == count)
            assert [bool(head) for head in good.heads].count(True) == 2
            assert good.heads[3] == b"", "it is there in place of the one that was used"


def test_the_proxies_of_a_pac_file_are_kept_warm_once_they_are_used(tmp_path: Path) -> None:
    with ScriptedServer(tunnel) as one, ScriptedServer(tunnel) as other, ScriptedServer(echo) as target:
        file = tmp_path / "proxy.pac"
        ways = f"{{'one.test': 'PROXY {one.authority}', 'other.test': 'PROXY {other.authority}'}}"
        file.write_text(f"function FindProxyForURL(url, host) {{ return {ways}[host] || 'DIRECT'; }}")
        places = ("0:one.test:22", "0:other.test:22", spec(target))
        with Forwarding(*places, pac=str(file), warm=1) as forwarding:
            for count in (2, 3):  # the first to each comes cold
                for place in (2, 0, 1):  # who is used takes the warmth of no other
                    with forwarding.open(place) as client:
                        assert client.echoes()
                wait_until(lambda count=count: len(one.conversations) == len(other.conversations) == count)
            assert [[bool(head) for head in proxy.heads] for proxy in (one, other)] == [[True, True, False]] * 2


def test_only_so_many_proxies_are_kept_warm() -> None:
    """The one whose last use is the longest past is let go, and its connections with it."""
    names = [f"p{number}.test:1" for number in range(warm.PROXIES + 1)]
    far: dict[str, list[socket.socket]] = {name: [] for name in names}

    async def dial(way: Route) -> Stream:
        near, other = socket.socketpair()
        far[str(way.hops[0].address)].append(other)
        near.setblocking(False)
        return SocketStream(near)

    async def main() -> None:
        async with Nursery() as nursery:
            pools = WarmPools(nursery, dial, 1)
            pools.keep(way())  # straight to the target: there is nobody to be kept ready
            for name in [*names[:-1], names[0], names[-1]]:
                pools.keep(way(name))
                await sleep(0.01)
            assert await pools.take(way(names[1])) is None
            assert [end.recv(1) for end in far[names[1]]] == [b""]
            taken = await pools.take(way(names[0]))
            assert taken is not None
            taken.close()
            nursery.cancel_scope.cancel()

    run(main)
    for end in chain.from_iterable(far.values()):
        end.close()
