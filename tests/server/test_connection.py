"""Many tunnels on one connection, with policy, logins, caps, records and drain, over a protocol made for tests only."""

import json
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.client.harness import TraceLog
from tests.options import serve_options
from tests.peers import multiplexed
from tests.peers.multiplexed import MultiplexedConnection, MultiplexedProtocol
from tests.peers.scripted import Conversation, ScriptedServer, echo, refusing_port, sample
from tests.server.harness import LOOPBACK, SECONDS, Proxy
from tunnelctl.client import upstream
from tunnelctl.client.auth.credentials import Secret
from tunnelctl.client.auth.exchange import ProxyAuth
from tunnelctl.client.auth.schemes import ANY
from tunnelctl.client.pool import ConnectionPool
from tunnelctl.client.route.route import Hop, Route
from tunnelctl.client.tunnel import open_tunnel
from tunnelctl.engine.kernel import Nursery, checkpoint, fail_after, run
from tunnelctl.engine.sync import Event
from tunnelctl.errors import Refused
from tunnelctl.events import silent
from tunnelctl.proto.address import Address, parse_authority
from tunnelctl.server import connection as connections
from tunnelctl.server.access.limits import Caps
from tunnelctl.server.access.users import hash_password
from tunnelctl.server.config import read_settings
from tunnelctl.server.connection import PROTOCOLS, ClientConnection, protocol_of
from tunnelctl.server.observe.access_log import AccessLog
from tunnelctl.server.observe.recorder import Recorder
from tunnelctl.server.service import Service
from tunnelctl.stream.accept import ConnectionCount
from tunnelctl.stream.base import Stream
from tunnelctl.stream.own_ports import OwnAddresses
from tunnelctl.stream.socket_stream import SocketStream

PROXY = Hop(Address("proxy.test", 3128), protocol="frames")


class Served:
    """A client with one connection to a server, over a socket pair in this process."""

    def __init__(self, service: Service, pool: ConnectionPool, connection: MultiplexedConnection) -> None:
        self.service, self.pool, self.connection = service, pool, connection
        self.ended = Event()

    async def open(self, target: str, login: ProxyAuth | None = None) -> Stream:
        """Opens a tunnel as `forward` does, on the connection in the pool. Raises Refused."""
        route = Route(parse_authority(target), (PROXY._replace(login=login),), timeout=SECONDS)
        ready = await self.pool.take(route._replace(hops=(PROXY,)))
        assert ready is self.connection
        tunnel = await open_tunnel(route, silent, self.pool, ready)
        assert tunnel.early == b""
        return tunnel.stream


def served(tmp_path: Path, test: Callable[[Served], Awaitable[None]], **options: Any) -> list[dict[str, Any]]:
    """Runs a test against a server with these options; returns the access log."""
    settings = read_settings([], serve_options(**{"allow": (LOOPBACK,), **options}))
    trace, log_file = TraceLog(), tmp_path / "access.log"
    log = AccessLog(os.open(log_file, os.O_WRONLY | os.O_CREAT), trace, str(log_file))
    service = Service(
        policy=settings.policy,
        users=settings.users,
        own=OwnAddresses([]),
        caps=Caps(settings.most),
        counts=ConnectionCount(),
        timeouts=settings.timeouts,
        recorder=Recorder(log, trace),
        trace=trace,
    )

    async def main() -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)

        async def serve() -> None:
            await ClientConnection(service, theirs, "192.0.2.1", "192.0.2.1:5", "c").run()
            one.ended.set()

        with fail_after(SECONDS):
            async with Nursery() as serving:
                async with Nursery() as pooled:
                    pool, connection = ConnectionPool(pooled), MultiplexedConnection((PROXY,), SocketStream(ours))
                    one = Served(service, pool, connection)
                    serving.start_soon(serve)
                    pool.add(connection)
                    await test(one)
                    pooled.cancel_scope.cancel()
                await one.ended.wait()
            await log.close()

    run(main)
    assert (service.counts.connections, service.counts.tunnels) == (0, 0)
    assert trace.named("warning") == []
    return [json.loads(line) for line in log_file.read_text().splitlines()]


def as_anna(password: str) -> ProxyAuth:
    """A login with this password, which is sent once the proxy requires one."""

    async def find() -> Secret:
        return Secret("anna", password)

    return ProxyAuth(PROXY.address, ANY, find, given=True)


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROTOCOLS, multiplexed.PREFACE, multiplexed.serve)
    monkeypatch.setitem(upstream.PROTOCOLS, "frames", MultiplexedProtocol)


async def carries(tunnel: Stream, data: bytes) -> bool:
    """Whether the bytes come back through the tunnel."""
    got = bytearray()
    async with Nursery() as nursery:
        nursery.start_soon(tunnel.send_all, data)
        while len(got) < len(data):
            piece = await tunnel.receive_some()
            assert piece
            got += piece
    return bytes(got) == data


async def end(tunnel: Stream) -> None:
    """Ends both directions cleanly."""
    tunnel.send_eof()
    while await tunnel.receive_some():
        pass
    tunnel.close()


def test_three_tunnels_on_one_connection(tmp_path: Path) -> None:
    async def main(one: Served) -> None:
        tunnels = [await one.open(target.authority) for _ in range(3)]
        assert (one.service.counts.connections, one.service.counts.tunnels) == (1, 3)
        for number, tunnel in enumerate(tunnels):
            assert await carries(tunnel, sample(100_000, number))
        for tunnel in tunnels:
            await end(tunnel)

    with ScriptedServer(echo) as target:
        records = served(tmp_path, main)
        assert [(record["event"], record["tunnel"]) for record in records][:3] == [
            ("opened", f"c.{number}") for number in (1, 2, 3)
        ]
        assert {record["connection"] for record in records} == {"c"}
        ends = records[3:]
        assert {record["tunnel"] for record in ends} == {"c.1", "c.2", "c.3"}
        assert {(record["sent"], record["received"], record["cause"]) for record in ends} == {(100_000, 100_000, "eof")}


def test_rules_apply_to_each_tunnel_of_a_connection(tmp_path: Path) -> None:
    async def main(one: Served) -> None:
        tunnel = await one.open(target.authority)
        for refused, text in (("127.0.0.2:22", "403 "), ("192.0.2.7:443", "403 "), (f"127.0.0.1:{port}", "502 connection_refused")):
            with pytest.raises(Refused, match=text):
                await one.open(refused)
        assert await carries(tunnel, b"it goes on")
        await end(tunnel)

    bound, port = refusing_port()
    with bound, ScriptedServer(echo) as target:
        records = served(tmp_path, main, allow=("127.0.0.1:*",))
        assert [record["status"] for record in records if record["event"] in ("opened", "refused")] == [200, 403, 403, 502]


@pytest.mark.usefixtures("cheap_hashes")
def test_a_login_follows_a_407_on_the_same_connection(tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text(hash_password("anna", "s3cret") + "\n")

    async def main(one: Served) -> None:
        for login in (None, as_anna("wrong")):
            with pytest.raises(Refused, match="407 "):
                await one.open(target.authority, login)
        tunnel = await one.open(target.authority, as_anna("s3cret"))
        assert await carries(tunnel, b"as anna")
        await end(tunnel)

    with ScriptedServer(echo) as target:
        records = served(tmp_path, main, users=str(users))
        decisions = [(record["status"], record["user"]) for record in records if record["event"] in ("opened", "refused")]
        assert decisions == [(407, ""), (407, ""), (407, ""), (407, ""), (200, "anna")], "each login must follow a challenge"


def test_the_pool_opens_no_more_tunnels_than_the_peer_accepts(tmp_path: Path) -> None:
    async def main(one: Served) -> None:
        tunnels = [await one.open(target.authority) for _ in range(MultiplexedConnection.limit)]
        assert await one.pool.take(Route(parse_authority(target.authority), (PROXY,))) is None
        await end(tunnels.pop())
        tunnels.append(await one.open(target.authority))
        for tunnel in tunnels:
            await end(tunnel)

    with ScriptedServer(echo) as target:
        served(tmp_path, main)


def test_a_cap_counts_tunnels_and_not_connections(tmp_path: Path) -> None:
    async def main(one: Served) -> None:
        tunnels = [await one.open(target.authority) for _ in range(2)]
        with pytest.raises(Refused, match="429 connection_limit_reached"):
            await one.open(target.authority)
        await end(tunnels.pop())
        while one.service.counts.tunnels > 1:  # the client sees the end of the tunnel before the server has counted it
            await checkpoint()
        tunnels.append(await one.open(target.authority))
        for tunnel in tunnels:
            assert await carries(tunnel, b"open")
            await end(tunnel)

    with ScriptedServer(echo) as target:
        served(tmp_path, main, max_per_client=2)


def test_a_drain_lets_tunnels_finish_and_refuses_new_ones(tmp_path: Path) -> None:
    async def main(one: Served) -> None:
        tunnel = await one.open(target.authority)
        one.service.counts.draining.set()
        await one.connection.wait_until_unusable()
        assert await one.pool.take(Route(parse_authority(target.authority), (PROXY,))) is None
        one.connection.reserve()
        with pytest.raises(Refused, match="503 "):
            await open_tunnel(Route(parse_authority(target.authority), (PROXY,), timeout=SECONDS), silent, one.pool, one.connection)
        assert await carries(tunnel, sample(50_000))
        await end(tunnel)
        await one.ended.wait()
        assert one.service.counts.empty.is_set()

    with ScriptedServer(echo) as target:
        served(tmp_path, main)


def test_a_lost_connection_resets_every_target(tmp_path: Path) -> None:
    outcomes: list[str] = []

    def target_script(conversation: Conversation) -> None:
        conversation.send(b"!")
        try:
            outcomes.append(f"EOF {conversation.sock.recv(1)!r}")
        except ConnectionResetError:
            outcomes.append("reset")

    async def main(one: Served) -> None:
        for _ in range(2):
            tunnel = await one.open(target.authority)
            assert await tunnel.receive_some() == b"!", "the target has accepted it"

    with ScriptedServer(target_script) as target:
        records = served(tmp_path, main)
        assert [record["cause"] for record in records if record["event"] == "closed"] == ["reset", "reset"]
    assert outcomes == ["reset", "reset"]


def test_a_reset_tunnel_cancels_its_dial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tunnelctl.server import tunnel as under_test

    dialling, given_up = Event(), Event()

    async def dial(*_: object) -> None:
        dialling.set()
        try:
            await Event().wait()
        finally:
            given_up.set()

    monkeypatch.setattr(under_test, "dial", dial)

    async def main(one: Served) -> None:
        async with Nursery() as nursery:
            nursery.start_soon(one.open, "127.0.0.1:9")
            await dialling.wait()
            nursery.cancel_scope.cancel()
        await given_up.wait()

    records = served(tmp_path, main)
    assert [record["status"] for record in records] == [499]


@pytest.mark.parametrize(
    ("data", "protocol"),
    [
        (multiplexed.PREFACE, multiplexed.serve),
        (multiplexed.PREFACE + b"\x00", multiplexed.serve),
        (multiplexed.PREFACE[:1], None),
        (multiplexed.PREFACE[:-1], None),
        (multiplexed.PREFACE[:-1] + b"\r", connections._http1),
        (b"CONNECT ", connections._http1),
        (b"", connections._http1),
    ],
)
def test_the_first_bytes_choose_the_protocol(data: bytes, protocol: object) -> None:
    assert protocol_of(data) is protocol


@pytest.mark.parametrize("data", [multiplexed.PREFACE[:5], b"multiplexed\n"])
def test_a_connection_without_a_preface_is_treated_as_http1(data: bytes) -> None:
    with Proxy() as proxy, proxy.client() as client:
        client.send(data)
        client.sock.shutdown(socket.SHUT_WR)
        assert client.answer().status == 400
