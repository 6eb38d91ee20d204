"""Tests connections to proxies that exist before a client asks for a tunnel: kept by `--warm`, or shared with other tunnels."""

import socket
import threading
from collections.abc import Callable, Coroutine
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.client.forwarding import Forwarding, spec, via
from tests.client.harness import prepared, route_through
from tests.options import forward_options
from tests.peers.process import wait_until
from tests.peers.program import Serve
from tests.peers.scripted import ESTABLISHED, Conversation, Script, ScriptedServer, echo, refusing_port
from tunnelctl.client import pool as under_test
from tunnelctl.client.auth.credentials import Secret
from tunnelctl.client.auth.exchange import ProxyAuth
from tunnelctl.client.pool import ConnectionPool, WarmConnections
from tunnelctl.client.retry import open_with_retries
from tunnelctl.client.route.route import Hop, Route, Tunnel
from tunnelctl.client.tunnel import connect_nearest, open_tunnel
from tunnelctl.client.upstream import PROTOCOLS, Protocol
from tunnelctl.client.upstream.base import ProxyConnection, TunnelRequest
from tunnelctl.client.upstream.http1 import HTTP1Connection
from tunnelctl.engine.kernel import Nursery, fail_after, move_on_after, run, sleep
from tunnelctl.engine.sync import Event
from tunnelctl.errors import Refused, SettingsError, TunnelctlError, Unreachable
from tunnelctl.events import Trace, silent
from tunnelctl.proto.address import Address, parse_authority
from tunnelctl.stream.base import Stream
from tunnelctl.stream.socket_stream import SocketStream

SECONDS = 20.0


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> list[ProxyConnection]:
    """The connections that the pool has to give. The proxy accepts one some moments before it is there."""
    connections: list[ProxyConnection] = []
    offer = ConnectionPool._offer

    def noting(pool: ConnectionPool, connection: ProxyConnection) -> Any:
        entry = offer(pool, connection)
        connections.append(connection)
        return entry

    monkeypatch.setattr(ConnectionPool, "_offer", noting)
    return connections


def test_a_warm_connection_is_open_before_the_client_and_is_replaced(offered: list[ProxyConnection]) -> None:
    with ScriptedServer(echo) as target, Serve() as proxy:
        accepted: list[int] = []
        with ScriptedServer(relay_to(proxy.port, accepted)) as front:
            with Forwarding(spec(target), proxy=via(front), warm=2) as forwarding:
                wait_until(lambda: len(accepted) == len(offered) == 2)
                with forwarding.open() as client:
                    assert client.echoes()
                    wait_until(lambda: len(accepted) == len(offered) == 3)  # only the used connection is replaced
                    with forwarding.open() as other:
                        assert other.echoes()
                        assert client.echoes()
                        wait_until(lambda: len(accepted) == 4)


def relay_to(port: int, accepted: list[int]):
    """A proxy in front of another; counts its connections."""

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
    """A proxy whose target echoes; a kept connection that is never used is no error."""
    try:
        peer.accept_tunnel()
    except (AssertionError, ConnectionError):
        return
    echo(peer)


@pytest.mark.parametrize("end_of_it", [Conversation.reset, Conversation.end_output], ids=["reset", "closed"])
def test_a_warm_connection_that_breaks_on_use_is_replaced(end_of_it: Script, offered: list[ProxyConnection]) -> None:
    """The proxy closes when the request arrives: the client repeats the request on a new connection."""
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
        wait_until(lambda: len(offered) == 1)
        with forwarding.open() as client:
            assert client.echoes()
    assert seen[0] == seen[1]
    assert forwarding.events("failed") == []


def test_a_silent_warm_connection_leaves_time_for_the_next_proxy(offered: list[ProxyConnection]) -> None:
    """As after a change of network: no reset arrives."""
    with ScriptedServer(lambda peer: peer.wait_gone() and None) as silent, ScriptedServer(tunnel) as good:
        proxy = (f"{silent.url},{good.url}",)
        with Forwarding("0:host.test:22", proxy=proxy, warm=1, timeout=3.0) as forwarding:
            wait_until(lambda: len(offered) == 1)
            for _ in range(2):
                with forwarding.open() as client:
                    assert client.echoes()
            assert [event["via"] for event in forwarding.events("opened")] == [[good.authority]] * 2


def test_the_fallback_proxy_in_use_is_kept_warm_too() -> None:
    held, port = refusing_port()
    with held, ScriptedServer(tunnel) as good:
        with Forwarding("0:host.test:22", proxy=(f"http://127.0.0.1:{port},{good.url}",), warm=2) as forwarding:
            for count in (3, 4):  # the first connection is cold
                with forwarding.open() as client:
                    assert client.echoes()
                    wait_until(lambda count=count: len(good.conversations) == count)
            assert [bool(head) for head in good.heads].count(True) == 2
            assert good.heads[3] == b"", "it replaces the one that was used"


def test_the_proxies_of_a_pac_file_are_kept_warm_once_used(tmp_path: Path) -> None:
    with ScriptedServer(tunnel) as one, ScriptedServer(tunnel) as other, ScriptedServer(echo) as target:
        file = tmp_path / "proxy.pac"
        ways = f"{{'one.test': 'PROXY {one.authority}', 'other.test': 'PROXY {other.authority}'}}"
        file.write_text(f"function FindProxyForURL(url, host) {{ return {ways}[host] || 'DIRECT'; }}")
        places = ("0:one.test:22", "0:other.test:22", spec(target))
        with Forwarding(*places, pac=str(file), warm=1) as forwarding:
            for count in (2, 3):  # the first connection to each is cold
                for place in (2, 0, 1):  # using one takes no warm connection from the others
                    with forwarding.open(place) as client:
                        assert client.echoes()
                wait_until(lambda count=count: len(one.conversations) == len(other.conversations) == count)
            assert [[bool(head) for head in proxy.heads] for proxy in (one, other)] == [[True, True, False]] * 2


def test_the_number_of_proxies_kept_warm_is_limited() -> None:
    """The least recently used proxy is dropped, and its connections are closed."""
    names = [f"p{number}.test:1" for number in range(under_test.PROXIES + 1)]
    far: dict[str, list[socket.socket]] = {name: [] for name in names}

    async def connect(route: Route) -> ProxyConnection:
        near, other = socket.socketpair()
        far[str(route.hops[0].address)].append(other)
        near.setblocking(False)
        return HTTP1Connection(route.hops[:1], SocketStream(near))

    async def main() -> None:
        async with Nursery() as nursery:
            pool = ConnectionPool(nursery)
            warm = WarmConnections(nursery, pool, connect, 1)
            warm.keep(route_through())  # straight to the target: there is no proxy to keep ready
            for name in [*names[:-1], names[0], names[-1]]:
                warm.keep(route_through(name))
                await sleep(0.01)
            assert await pool.take(route_through(names[1])) is None
            assert [end.recv(1) for end in far[names[1]]] == [b""]
            taken = await pool.take(route_through(names[0]))
            assert taken is not None
            assert taken.capacity == 0
            taken.close()
            nursery.cancel_scope.cancel()

    run(main)
    for end in chain.from_iterable(far.values()):
        end.close()


# --- multiplexed connections


class Shared(ProxyConnection):
    """A connection that opens its tunnels directly to the next stop: it is multiplexed only in that it has several."""

    multiplexed, limit = True, 2
    answer: TunnelctlError | None = None  # to all requests
    prompt = True  # whether new connections grant at once
    made: ClassVar[list["Shared"]] = []

    def __init__(self, hops: tuple[Hop, ...], stream: Stream, early: bytes) -> None:
        super().__init__(hops, stream, early)
        self.going_away = Event()
        self.granting = Event()
        if self.prompt:
            self.granting.set()
        self.made.append(self)

    async def _open(self, request: TunnelRequest) -> Tunnel:
        await self.granting.wait()
        if self.answer is not None:
            raise self.answer
        sock = socket.create_connection(request.stop)
        sock.setblocking(False)
        return Tunnel(SharedStream(sock, self.release), b"")

    async def run(self) -> None:
        while await self.stream.receive_some():
            pass
        self.going_away.set()

    async def wait_until_unusable(self) -> None:
        await self.going_away.wait()


class SharedProtocol(Protocol):
    connect = Shared


class SharedStream(SocketStream):
    """A tunnel on a shared connection; frees its place when closed."""

    def __init__(self, sock: socket.socket, ended: Callable[[], None]) -> None:
        super().__init__(sock)
        self._ended = ended

    def close(self) -> None:
        super().close()
        self._ended()


@pytest.fixture(autouse=True)
def _shared_is_a_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Shared, "made", [])
    monkeypatch.setitem(PROTOCOLS, "shared", SharedProtocol)


END, RESET = b"e", b"r"


def leads(peer: Conversation) -> None:
    """The proxy of shared connections; ends one on command."""
    told = peer.read()
    if told == END:
        peer.end_output()
        peer.wait_gone()
    elif told == RESET:
        peer.reset()


class World:
    """A target that echoes behind a proxy with shared connections, and the pool."""

    def __init__(self, proxy: ScriptedServer, target: ScriptedServer, pool: ConnectionPool) -> None:
        self.proxy, self.pool = proxy, pool
        self.hop = Hop(Address(proxy.host, proxy.port), protocol="shared")
        self.route = Route(Address(target.host, target.port), (self.hop,), timeout=SECONDS)

    async def open(self, route: Route | None = None) -> Tunnel:
        route = route or self.route
        return await open_tunnel(route, silent, self.pool, await self.pool.take(route))

    def is_in_the_pool(self) -> bool:
        found = self.pool.share(self.route)
        if found is not None:
            found.release()
        return found is not None


def is_closed(stream: Stream) -> bool:
    assert isinstance(stream, SocketStream)
    return stream.descriptor.closed


def in_a_world(test: Callable[[World], Coroutine[None, None, None]]) -> None:
    async def main(proxy: ScriptedServer, target: ScriptedServer) -> None:
        with fail_after(SECONDS):
            async with Nursery() as nursery:
                await test(World(proxy, target, ConnectionPool(nursery)))
                nursery.cancel_scope.cancel()
        assert all(is_closed(connection.stream) for connection in Shared.made), "the pool closes its connections"

    with ScriptedServer(leads) as proxy, ScriptedServer(echo) as target:
        run(main, proxy, target)


async def echoes(tunnel: Tunnel) -> bool:
    await tunnel.stream.send_all(b"hello")
    return await tunnel.stream.receive_some() == b"hello"


def test_two_tunnels_share_a_connection_and_a_third_opens_another() -> None:
    async def test(world: World) -> None:
        tunnels = [await world.open() for _ in range(3)]
        assert [await echoes(tunnel) for tunnel in tunnels] == [True] * 3
        assert [connection.tunnels for connection in Shared.made] == [2, 1]
        wait_until(lambda: len(world.proxy.conversations) == 2)  # its thread may be late to accept
        tunnels.pop(0).stream.close()
        tunnels.append(await world.open())
        assert [connection.tunnels for connection in Shared.made] == [2, 1], "a freed place is used first"
        for tunnel in tunnels:
            tunnel.stream.close()
        assert [connection.capacity for connection in Shared.made] == [2, 2]

    in_a_world(test)


def test_the_last_place_of_a_connection_is_taken_once() -> None:
    """It is reserved before the first await."""

    async def test(world: World) -> None:
        first = await world.open()
        (connection,) = Shared.made
        taken: list[ProxyConnection | None] = []

        async def take() -> None:
            taken.append(await world.pool.take(world.route))

        async with Nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(take)
        assert taken == [connection, None, None]
        connection.release()
        first.stream.close()

    in_a_world(test)


@pytest.mark.parametrize("shared", [True, False])
def test_a_cancelled_opening_frees_its_place_and_spares_other_tunnels(shared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether or not the cancelled opening made the connection."""

    async def test(world: World) -> None:
        others = [await world.open()] if shared else []
        for connection in Shared.made:
            connection.granting = Event()
        monkeypatch.setattr(Shared, "prompt", False)
        with move_on_after(0.05) as scope:
            await world.open()
        assert scope.cancelled_caught
        (connection,) = Shared.made
        assert connection.tunnels == len(others)
        assert world.is_in_the_pool()
        connection.granting.set()
        others.append(await world.open())
        assert len(Shared.made) == 1
        for tunnel in others:
            assert await echoes(tunnel)
            tunnel.stream.close()

    in_a_world(test)


def test_a_login_that_cannot_be_prepared_frees_the_place() -> None:
    async def find() -> Secret | None:
        raise SettingsError("--password-command", "it ended with status 1", "unreadable")

    async def test(world: World) -> None:
        first = await world.open()
        inner = Hop(Address("inner.test", 1), login=ProxyAuth(Address("inner.test", 1), "basic", find))
        with pytest.raises(SettingsError):
            await world.open(world.route._replace(hops=(world.hop, inner)))
        assert [connection.tunnels for connection in Shared.made] == [1]
        first.stream.close()

    in_a_world(test)


def test_a_refusal_ends_neither_the_connection_nor_its_tunnels() -> None:
    """RFC 9931: in HTTP/2 and HTTP/3 only the stream ends."""

    async def test(world: World) -> None:
        first = await world.open()
        (connection,) = Shared.made
        connection.answer = Refused("the request", "no", "refused", detail={"code": 403})
        with pytest.raises(Refused) as caught:
            await world.open()
        assert caught.value.hop == 0
        connection.answer = None
        second = await world.open()
        assert len(Shared.made) == 1
        for tunnel in (first, second):
            assert await echoes(tunnel)
            tunnel.stream.close()

    in_a_world(test)


@pytest.mark.parametrize("how", [END, RESET], ids=["ended", "reset"])
def test_a_connection_that_the_proxy_ends_leaves_the_pool(how: bytes) -> None:
    async def test(world: World) -> None:
        (await world.open()).stream.close()
        assert world.is_in_the_pool()
        await Shared.made[0].stream.send_all(how)
        while world.is_in_the_pool() or not is_closed(Shared.made[0].stream):
            await sleep(0.001)
        (await world.open()).stream.close()
        assert len(Shared.made) == 2

    in_a_world(test)


def test_a_connection_going_away_gets_no_new_tunnels_and_keeps_its_own() -> None:
    async def test(world: World) -> None:
        first = await world.open()
        Shared.made[0].going_away.set()
        while world.is_in_the_pool():
            await sleep(0.001)
        second = await world.open()
        assert len(Shared.made) == 2
        for tunnel in (first, second):
            assert await echoes(tunnel)
            tunnel.stream.close()

    in_a_world(test)


def test_a_connection_serves_every_route_that_begins_with_its_hops() -> None:
    """If several do, the pool takes the one with the most hops."""

    async def test(world: World) -> None:
        through_both = world.route._replace(hops=(world.hop, world.hop))
        both = await world.open(through_both)
        near, far = Shared.made
        assert (near.hops, far.hops) == ((world.hop,), (world.hop, world.hop))
        again, other = await world.open(through_both), await world.open()
        assert len(Shared.made) == 2
        assert (near.tunnels, far.tunnels) == (2, 2), "a tunnel on the first carries the second"
        for tunnel in (both, again, other):
            assert await echoes(tunnel)
            tunnel.stream.close()

    in_a_world(test)


def test_a_login_to_an_inner_proxy_needs_no_new_shared_connection() -> None:
    """HTTP/1.1 sends its login on a new connection, which here is a tunnel."""

    def inner(peer: Conversation) -> None:
        if b"Proxy-Authorization" in peer.read_head():
            peer.send(ESTABLISHED)
            echo(peer)
        else:
            peer.send(b"HTTP/1.1 407 Login\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n")

    async def find() -> Secret:
        return Secret("u", "p")

    async def test(world: World) -> None:
        with ScriptedServer(inner) as proxy:
            address = Address(proxy.host, proxy.port)
            hops = (world.hop, Hop(address, login=ProxyAuth(address, "any", find)))
            tunnel = await world.open(world.route._replace(hops=hops))
            assert await echoes(tunnel)
            tunnel.stream.close()
            assert len(proxy.conversations) == 2
        assert len(Shared.made) == 1

    in_a_world(test)


class OneRoute:
    """The part of a planner that one route needs."""

    timeout = SECONDS

    def __init__(self, route: Route) -> None:
        self._route = route

    async def to(self, target: Address, trace: Trace) -> list[Route]:
        return [self._route]

    def worked(self, route: Route) -> None:
        pass


def test_a_shared_connection_that_breaks_on_use_is_replaced() -> None:
    """The client repeats the request on a new connection."""

    async def test(world: World) -> None:
        first = await world.open()
        Shared.made[0].answer = Unreachable("the request", "connection reset by peer", "not-connected")
        planner: Any = OneRoute(world.route)
        second, _ = await open_with_retries(planner, world.route.target, 0, silent, world.pool)
        assert len(Shared.made) == 2
        for tunnel in (first, second):
            assert await echoes(tunnel)
            tunnel.stream.close()

    in_a_world(test)


def test_a_shared_warm_connection_stays_after_use() -> None:
    async def test(world: World) -> None:
        async with Nursery() as nursery:
            WarmConnections(nursery, world.pool, lambda route: connect_nearest(route, silent), 1).keep(world.route)
            while not world.is_in_the_pool():
                await sleep(0.001)
            tunnels = [await world.open() for _ in range(2)]
            assert len(Shared.made) == 1
            nursery.cancel_scope.cancel()
        for tunnel in tunnels:  # the task that keeps the connection ready has ended
            assert await echoes(tunnel)
            tunnel.stream.close()
        assert world.is_in_the_pool()

    in_a_world(test)


def test_an_unused_shared_warm_connection_ends_with_its_keeper() -> None:
    async def test(world: World) -> None:
        async with Nursery() as nursery:
            WarmConnections(nursery, world.pool, lambda route: connect_nearest(route, silent), 1).keep(world.route)
            while not world.is_in_the_pool():
                await sleep(0.001)
            nursery.cancel_scope.cancel()
        while world.is_in_the_pool():
            await sleep(0.001)

    in_a_world(test)


# --- a network that has changed


@pytest.fixture
def cut_off(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether connections have a route; tests/client/test_follow_network.py has real ones."""
    verdict = [False]
    monkeypatch.setattr(under_test, "is_cut_off", lambda stream: verdict[0])
    return verdict


def test_a_cut_off_idle_connection_is_closed_and_any_other_is_kept(cut_off: list[bool]) -> None:
    gone = threading.Event()

    def script(peer: Conversation) -> None:
        peer.wait_gone()
        gone.set()

    async def main() -> None:
        with ScriptedServer(script) as proxy:
            async with Nursery() as nursery:
                pool, route = ConnectionPool(nursery), route_through(proxy.authority)
                nursery.start_soon(pool.hold, await connect_nearest(route, silent))
                await sleep(0)
                assert pool.drop_cut_off() == 0
                cut_off[0] = True
                assert pool.drop_cut_off() == 1
                await sleep(0)
                assert await pool.take(route) is None
                assert gone.wait(SECONDS)
                nursery.cancel_scope.cancel()

    run(main)


def test_a_cut_off_shared_connection_gets_no_new_tunnels_and_those_it_has_go_on(cut_off: list[bool]) -> None:
    async def echoes(tunnel: Tunnel) -> bool:
        await tunnel.stream.send_all(b"x")
        return await tunnel.stream.receive_some() == b"x"

    async def main(proxy: str, target: Address) -> None:
        planner = await prepared(forward_options(proxy=(proxy,), http="2"), {}, silent)
        async with Nursery() as nursery:
            pool = ConnectionPool(nursery)
            (old, _), _ = [await open_with_retries(planner, target, 0, silent, pool) for _ in range(2)]
            (first,) = list(pool._running)
            cut_off[0] = True
            assert pool.drop_cut_off() == 1
            new, _ = await open_with_retries(planner, target, 0, silent, pool)
            assert len(pool._running) == 2
            assert await echoes(new)
            assert await echoes(old)
            assert first.tunnels == 2
            nursery.cancel_scope.cancel()

    with ScriptedServer(echo) as target, Serve() as proxy:
        run(main, proxy.url, parse_authority(target.authority))
