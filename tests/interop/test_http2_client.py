"""Our client with HTTP/2 proxies of five makers, in the clear and over TLS: how either side ends, breaks or leaves a tunnel.

What each proxy can deliver is pinned in test_http2_peers.py, where a scripted client takes our place.
"""

from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import pytest

from tests.client.sharing import Sharing, close, echoes, exactly, sharing, to_the_end
from tests.peers import certificates, http2_proxies
from tests.peers.certificates import Certificates
from tests.peers.http2 import END_STREAM
from tests.peers.http2_proxies import KNOWN, Known
from tests.peers.process import scratch_directory, wait_until
from tests.peers.program import Serve, read_soon, started
from tests.peers.proxies import Proxy, Tls
from tests.peers.scripted import Conversation, Script, ScriptedServer, echo, refusing_port, sample
from tests.peers.targets import Sink, answer_after_eof, blast, echo_for_many, one_byte_and_close, reset_after_one_byte
from tunnelctl.client.route.route import Tunnel
from tunnelctl.engine.kernel import TooSlowError, fail_after
from tunnelctl.errors import Refused
from tunnelctl.proto.address import Address

pytestmark = pytest.mark.once  # other makers' programs know of no poller of ours

MIB = 1 << 20
QUIET_SECONDS = 0.3  # how long nothing comes, where a proxy never sends what it should

EVERY = [
    pytest.param((name, over_tls), id=f"{name} {'TLS' if over_tls else 'clear'}", marks=pytest.mark.peer(name))
    for name in KNOWN
    for over_tls in (False, True)
]


@pytest.fixture(scope="module")
def company() -> Iterator[Certificates]:
    with scratch_directory() as directory:
        yield certificates.make(directory)


class Peer(NamedTuple):
    known: Known
    name: str
    proxy: Proxy
    company: Certificates

    def use(self, test: Callable[[Sharing], Coroutine[None, None, Any]], **options: Any) -> None:
        sharing(self.proxy.url, test, self.company if self.proxy.scheme == "https" else None, **options)

    def tunnel(self, script: Script, use: Callable[[Tunnel], Coroutine[None, None, Any]]) -> None:
        """Opens a tunnel to a target that runs the script."""
        with ScriptedServer(script) as target:

            async def test(world: Sharing) -> None:
                tunnel = await world.open(Address(target.host, target.port))
                try:
                    await use(tunnel)
                finally:
                    tunnel.stream.close()

            self.use(test)


@pytest.fixture(scope="module", params=EVERY)
def peer(request: pytest.FixtureRequest, serve: Serve, company: Certificates) -> Iterator[Peer]:
    name, over_tls = request.param
    with http2_proxies.STARTERS[name](Proxy(serve.port), Tls(company) if over_tls else None) as proxy:
        yield Peer(KNOWN[name], name, proxy, company)


async def nothing_comes(tunnel: Tunnel) -> bool:
    try:
        with fail_after(QUIET_SECONDS):
            await tunnel.stream.receive_some()
    except TooSlowError:
        return True
    return False


def test_tunnels_share_a_connection(peer: Peer) -> None:
    with ScriptedServer(echo) as target:

        async def test(world: Sharing) -> None:
            tunnels = [await world.open(Address(target.host, target.port)) for _ in range(5)]
            for number, tunnel in enumerate(tunnels):
                assert await echoes(tunnel, sample(50_000, number))
            assert len(world.made) == 1
            for tunnel in tunnels:
                tunnel.stream.send_eof()
                if peer.known.passes_end_stream:
                    assert await to_the_end(tunnel.stream) == b""
            close(tunnels)

        peer.use(test)


def test_an_answer_after_the_end_of_the_request(peer: Peer) -> None:
    async def use(tunnel: Tunnel) -> None:
        await tunnel.stream.send_all(b"question")
        tunnel.stream.send_eof()
        if peer.known.passes_end_stream:
            assert await to_the_end(tunnel.stream) == b"noitseuq"
        else:
            assert await nothing_comes(tunnel)

    peer.tunnel(answer_after_eof, use)


def test_a_target_that_closes_first(peer: Peer) -> None:
    async def use(tunnel: Tunnel) -> None:
        assert await exactly(tunnel.stream, 1) == b"1"
        if not peer.known.passes_eof:
            assert await nothing_comes(tunnel)
            tunnel.stream.send_eof()
        assert await to_the_end(tunnel.stream) == b""

    peer.tunnel(one_byte_and_close, use)


def test_a_client_that_sends_after_the_target_has_half_closed(peer: Peer) -> None:
    received = []

    def half_close(target: Conversation) -> None:
        target.end_output()
        received.append(target.wait_gone())

    async def use(tunnel: Tunnel) -> None:
        if peer.known.passes_eof:
            assert await to_the_end(tunnel.stream) == b""
        with suppress(OSError):  # where the proxy has cancelled the stream
            await tunnel.stream.send_all(b"late")
            tunnel.stream.send_eof()
        if not peer.known.passes_eof:
            assert await to_the_end(tunnel.stream) == b""

    peer.tunnel(half_close, use)
    assert received == [b"late"] or (peer.known.cancels_after_eof and received == [b""])


def reset_at_once(target: Conversation) -> None:
    target.reset()


@pytest.mark.parametrize("script", [reset_after_one_byte, reset_at_once], ids=["during", "before"])
def test_a_target_that_resets(peer: Peer, script: Script) -> None:
    async def use(tunnel: Tunnel) -> None:
        with suppress(OSError):
            await tunnel.stream.send_all(b"x")
        if peer.known.reset == END_STREAM:
            with suppress(OSError):  # some say so only after the end of the stream
                assert await to_the_end(tunnel.stream) == b""
        else:
            with pytest.raises(ConnectionResetError, match="CONNECT_ERROR"):
                await to_the_end(tunnel.stream)

    with suppress(*([Refused] if script is reset_at_once else ())):  # it may be gone before the proxy answers
        peer.tunnel(script, use)


def test_a_target_that_refuses(peer: Peer) -> None:
    sock, port = refusing_port()
    with sock, ScriptedServer(echo) as target:

        async def test(world: Sharing) -> None:
            with pytest.raises(Refused) as caught:
                await world.open(Address("127.0.0.1", port))
            assert str(caught.value.detail["code"]) == peer.known.refused
            tunnel = await world.open(Address(target.host, target.port))
            assert await echoes(tunnel)
            tunnel.stream.close()
            assert len(world.made) == 1

        peer.use(test)


@pytest.mark.parametrize("after", [False, True], ids=["during", "after its end"])
def test_a_client_that_aborts(peer: Peer, after: bool) -> None:
    sink = Sink()

    def greet(target: Conversation) -> None:
        target.send(target.read_exactly(1))
        sink(target)

    async def use(tunnel: Tunnel) -> None:
        assert await echoes(tunnel, b"x")
        if after:
            tunnel.stream.send_eof()
        tunnel.stream.abort()

    peer.tunnel(greet, use)
    wait_until(lambda: sink.endings, what="the end at the target")
    assert sink.endings[0] in ({peer.known.left[0]} | ({"EOF"} if after else set()))


def test_a_client_process_that_ends(peer: Peer) -> None:
    """Its connection is closed with the tunnel open."""
    sink = Sink()

    def greet(target: Conversation) -> None:
        target.send(target.read_exactly(1))
        sink(target)

    with ScriptedServer(greet) as target:
        trust = ("--proxy-cacert", str(peer.company.authority)) if peer.proxy.scheme == "https" else ()
        with started("connect", "-x", peer.proxy.url, *trust, "--http", "2", target.authority) as process:
            process.stdin.write(b"x")
            assert read_soon(process.stdout, 1) == b"x"
            process.kill()
            process.wait()
        wait_until(lambda: sink.endings, what="the end at the target")
    assert sink.endings[0] in peer.known.left[1:]


def test_4_mib_up(peer: Peer) -> None:
    data, received = sample(4 * MIB), []

    def count(target: Conversation) -> None:
        received.append(target.read_exactly(len(data)))
        target.send(b"!")

    async def use(tunnel: Tunnel) -> None:
        await tunnel.stream.send_all(data)
        assert await exactly(tunnel.stream, 1) == b"!"

    peer.tunnel(count, use)
    assert received == [data]


def test_4_mib_down(peer: Peer) -> None:
    """Envoy resets a stream whose target has ended if the rest does not fit into the window: its fault is pinned elsewhere."""
    data = sample(4 * MIB)

    async def use(tunnel: Tunnel) -> None:
        if peer.name == "envoy":
            with suppress(ConnectionResetError):
                assert await exactly(tunnel.stream, len(data)) == data
        else:
            assert await exactly(tunnel.stream, len(data)) == data

    peer.tunnel(blast(data), use)


@pytest.mark.peer("envoy")
def test_1000_tunnels_on_one_connection(company: Certificates) -> None:
    with http2_proxies.envoy(Proxy(0), Tls(company)) as proxy, echo_for_many() as target:

        async def test(world: Sharing) -> None:
            tunnels = await world.open_at_once(1000, target)
            for number, tunnel in enumerate(tunnels):
                await tunnel.stream.send_all(sample(1000, number))
            for number, tunnel in enumerate(tunnels):
                assert await exactly(tunnel.stream, 1000) == sample(1000, number)
            assert len(world.made) == 1
            close(tunnels)

        sharing(proxy.url, test, company)


@pytest.mark.parametrize("count", [200])
def test_many_tunnels(peer: Peer, count: int) -> None:
    """On as many connections as the proxy's limit requires. Apache serves few at once; nghttpx keeps those that it never ends."""
    if peer.name in ("apache2", "nghttpx"):
        count = 5
    with ScriptedServer(echo) as target:

        async def test(world: Sharing) -> None:
            tunnels = [await world.open(Address(target.host, target.port)) for _ in range(count)]
            for number, tunnel in enumerate(tunnels):
                assert await echoes(tunnel, sample(1000, number))
            expected = -(-count // (peer.known.max_streams or count))
            assert len(world.made) == expected
            close(tunnels)

        peer.use(test)
