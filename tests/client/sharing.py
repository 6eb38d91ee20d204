"""Opens tunnels that share connections of HTTP/2 inside this process, and records the connections that are made for them."""

from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from tests.client.harness import TARGET, TraceLog, prepared
from tests.options import forward_options
from tests.peers.certificates import Certificates
from tunnelctl.client.pool import ConnectionPool
from tunnelctl.client.retry import open_with_retries
from tunnelctl.client.route.route import Tunnel
from tunnelctl.client.upstream.base import ProxyConnection
from tunnelctl.engine.kernel import Nursery, fail_after, run, sleep
from tunnelctl.events import silent
from tunnelctl.proto.address import Address
from tunnelctl.stream.base import Stream

SECONDS = 20.0


class RecordingPool(ConnectionPool):
    """A pool that remembers the multiplexed connections that it was given."""

    def __init__(self, nursery: Nursery, connections: int) -> None:
        super().__init__(nursery, connections)
        self.made: list[ProxyConnection] = []

    def add(self, connection: ProxyConnection) -> None:
        self.made.append(connection)
        super().add(connection)


class Sharing:
    """A planner and a pool, as `forward` has them."""

    def __init__(self, planner: Any, pool: RecordingPool, trace: TraceLog) -> None:
        self.planner, self.pool, self.trace = planner, pool, trace

    @property
    def made(self) -> list[ProxyConnection]:
        return self.pool.made

    async def open(self, target: Address = TARGET) -> Tunnel:
        tunnel, _ = await open_with_retries(self.planner, target, 0, self.trace, self.pool)
        return tunnel

    async def open_at_once(self, count: int, target: Address = TARGET) -> list[Tunnel]:
        """Opens tunnels in as many tasks, without a trace: to check their events would take the most time."""
        tunnels: list[Tunnel] = []

        async def one() -> None:
            tunnels.append((await open_with_retries(self.planner, target, 0, silent, self.pool))[0])

        async with Nursery() as nursery:
            for _ in range(count):
                nursery.start_soon(one)
        return tunnels

    async def until(self, condition: Callable[[], object]) -> None:
        """Waits for a condition; the test's own time limit applies."""
        while not condition():
            await sleep(0.002)


def sharing(
    proxy: str | tuple[str, ...],
    test: Callable[[Sharing], Coroutine[None, None, Any]],
    tls: Certificates | None = None,
    environ: dict[str, str] | None = None,
    **options: Any,
) -> TraceLog:
    """Runs a test with `--http 2`, unless the options say otherwise. In the end no connection may count an open tunnel."""
    trace = TraceLog()
    urls = (proxy,) if isinstance(proxy, str) else proxy
    reach = {"proxy": urls, "http": "2", "timeout": SECONDS, **({"proxy_cacert": str(tls.authority)} if tls else {}), **options}
    given = forward_options(**reach)

    async def main() -> None:
        with fail_after(SECONDS):
            planner = await prepared(given, environ or {}, trace)
            async with Nursery() as nursery:
                world = Sharing(planner, RecordingPool(nursery, given.reach.connections), trace)
                await test(world)
                await world.until(lambda: not any(connection.tunnels for connection in world.made))
                nursery.cancel_scope.cancel()

    run(main)
    return trace


async def echoes(tunnel: Tunnel, data: bytes = b"hello") -> bool:
    await tunnel.stream.send_all(data)
    return await exactly(tunnel.stream, len(data)) == data


async def exactly(stream: Stream, count: int) -> bytes:
    data = b""
    while len(data) < count and (piece := await stream.receive_some(count - len(data))):
        data += piece
    return data


async def to_the_end(stream: Stream) -> bytes:
    data = b""
    while piece := await stream.receive_some():
        data += piece
    return data


def close(tunnels: Iterable[Tunnel]) -> None:
    for tunnel in tunnels:
        tunnel.stream.close()
