"""The pages of the private endpoint, at every program that has one."""

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest

from tests.client.forwarding import Forwarding, is_turned_away
from tests.peers.instances import PATIENT, Patient
from tests.peers.process import free_port, wait_until
from tests.peers.program import Serve, run
from tests.peers.scripted import Conversation, ScriptedServer, echo
from tests.server.harness import SECONDS, Client, Proxy, basic, users_file
from tunnelctl.control.instances import named, running
from tunnelctl.control.pages import ANNOUNCED, PATHS
from tunnelctl.control.snapshot import recent_from, status_from, tunnels_from

Get = Callable[[str], httpx.Response]


@contextmanager
def at(port: int) -> Iterator[Get]:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=SECONDS, trust_env=False) as client:
        yield client.get


@contextmanager
def at_path(path: str) -> Iterator[Get]:
    with httpx.Client(transport=httpx.HTTPTransport(uds=path), base_url="http://localhost", timeout=SECONDS) as client:
        yield client.get


@contextmanager
def forward_with(proxy: Serve, **options: object) -> Iterator[tuple[Forwarding, Get]]:
    port = free_port()
    with Forwarding(dynamic=("0",), proxy=(proxy.url,), admin=f"127.0.0.1:{port}", **options) as forwarding, at(port) as get:  # type: ignore[arg-type]
        yield forwarding, get


def test_forward_tells_the_port_of_admin() -> None:
    """With port 0, nothing else does."""
    with Forwarding(dynamic=("0",), admin="127.0.0.1:0") as forwarding:
        (told,) = forwarding.events("admin")
        host, _, port = str(told["address"]).rpartition(":")
        assert host == "127.0.0.1"
        with at(int(port)) as get:
            assert told["pages"] == list(ANNOUNCED)
            assert [get(page).status_code for page in ANNOUNCED] == [200] * len(ANNOUNCED)


def socks(forwarding: Forwarding, target: ScriptedServer) -> Client:
    client = forwarding.open()
    client.send(b"\x04\x01" + target.port.to_bytes(2, "big") + socket.inet_aton("127.0.0.1") + b"\0")
    assert client.exactly(8)[1] == 0x5A
    return client


def test_every_path_answers_at_forward_and_at_its_control_socket() -> None:
    with Serve() as proxy, forward_with(proxy) as (forwarding, get), at_path(forwarding.control) as private:
        for path in PATHS:
            assert get(path).status_code == private(path).status_code == 200
        assert get("/nowhere").status_code == 404


def test_forward_describes_itself_and_its_tunnels() -> None:
    with ScriptedServer(echo) as target, Serve() as proxy, forward_with(proxy, name="work") as (forwarding, get):
        with socks(forwarding, target) as client:
            assert client.echoes(b"12345")
            status = status_from(get("/status").json())
            assert (status.command, status.name, status.route, status.tunnels) == ("forward", "work", [proxy.url], 1)
            assert [listener.address for listener in status.listeners] == forwarding.addresses[:1]
            assert (status.sent, status.received) == (5, 5)
            (tunnel,) = tunnels_from(get("/tunnels").json()).tunnels
            assert (tunnel.target, tunnel.phase, tunnel.sent, tunnel.received) == (target.authority, "tunnel", 5, 5)
            assert tunnel.address == f"127.0.0.1:{proxy.port}"
        wait_until(lambda: not get("/tunnels").json()["tunnels"], SECONDS, "the end")
        (ended,) = recent_from(get("/recent").json()).ended
        assert (ended.target, ended.sent, ended.received) == (target.authority, 5, 5)


def test_forward_lists_a_tunnel_that_is_being_opened() -> None:
    with ScriptedServer(Conversation.wait_gone) as silent, Forwarding("0:t.test:1", proxy=(silent.url,), name="w") as forwarding:
        with at_path(forwarding.control) as get:
            with forwarding.open() as client:
                wait_until(lambda: len(get("/tunnels").json()["tunnels"]) == 1, SECONDS, "the tunnel")
                (tunnel,) = tunnels_from(get("/tunnels").json()).tunnels
                assert (tunnel.target, tunnel.phase, tunnel.sent_rate) == ("t.test:1", "opening", None)
                client.reset()
            wait_until(lambda: not get("/tunnels").json()["tunnels"], SECONDS, "the client to be gone")


def test_forward_counts_failures_by_reason() -> None:
    with Serve() as proxy, Forwarding("0:10.0.0.1:1", proxy=(proxy.url,), name="w") as forwarding:
        for number in range(3):
            assert is_turned_away(forwarding)
            forwarding.failures(number + 1)
        with at_path(forwarding.control) as get:
            recent = recent_from(get("/recent").json())
        assert [(one.status, one.error, one.number) for one in recent.refusals] == [(403, "destination_ip_prohibited", 3)]
        assert [one.target for one in recent.refused] == ["10.0.0.1:1"] * 3
        assert recent.refused[0].details.startswith(f"proxy 127.0.0.1:{proxy.port} refused a tunnel to 10.0.0.1:1")


@pytest.mark.parametrize("workers", [1, 2])
def test_serve_describes_itself_and_its_tunnels(workers: int) -> None:
    """With several workers, each request gets the answers of all."""
    with (
        ScriptedServer(echo) as target,
        Serve("--name", "edge", "--workers", str(workers), program=PATIENT) as serve,
        ExitStack() as stack,
    ):
        clients = [stack.enter_context(Client(("127.0.0.1", serve.port))).tunnel(target.authority) for _ in range(6)]
        assert all(client.echoes(b"abc") for client in clients)
        edge = instance("edge")
        status = edge.status()
        assert (status.command, status.pid, status.tunnels, status.connections) == ("serve", serve.process.pid, 6, 6)
        assert (status.sent, status.received) == (18, 18)
        assert len(status.workers) == (workers if workers > 1 else 0)
        assert sorted(tunnel.client for tunnel in edge.tunnels().tunnels) == sorted(
            f"127.0.0.1:{client.sock.getsockname()[1]}" for client in clients
        )
        for client in clients:
            client.sock.close()
        wait_until(lambda: len(edge.recent().ended) == 6, SECONDS, "the ends")
        assert edge.status().sent == 18


def instance(name: str) -> Patient:
    (found,) = named([name], os.environ)
    return Patient(*found)


def test_serve_counts_refusals_by_reason_and_failed_logins(tmp_path: object) -> None:
    with Proxy("127.0.0.1:*", users=users_file(tmp_path, alice="x"), name="w-logins") as proxy:  # type: ignore[arg-type]
        assert proxy.refusal("127.0.0.1:1").status == 407  # no login: clients try that first
        assert proxy.refusal("127.0.0.1:1", basic("alice", "canary")).status == 407
        for _ in range(2):
            assert proxy.refusal("10.0.0.1:1", basic("alice", "x")).status == 403
        recent = instance("w-logins").recent()
        counts = {(one.status, one.error): one.number for one in recent.refusals}
        assert counts == {(407, "http_request_denied"): 2, (403, "destination_ip_prohibited"): 2}
        assert recent.failed_logins == 1
        assert [one.user for one in recent.refused] == ["", "alice", "alice"], "the first is not listed"
        assert "canary" not in json.dumps([*recent.refused])


def test_serve_lists_a_tunnel_that_is_being_opened() -> None:
    with Proxy("192.0.2.1:*", name="w-opening", dial_timeout=SECONDS) as proxy, proxy.client() as client:
        client.send(b"CONNECT 192.0.2.1:9 HTTP/1.1\r\nHost: 192.0.2.1:9\r\n\r\n")
        work = instance("w-opening")
        wait_until(lambda: bool(work.tunnels().tunnels) or bool(work.recent().refused), SECONDS, "the tunnel")
        if not work.recent().refused:  # without a network, the refusal comes at once
            (tunnel,) = work.tunnels().tunnels
            assert (tunnel.target, tunnel.phase) == ("192.0.2.1:9", "connect")


def test_a_draining_program_is_not_ready() -> None:
    with ScriptedServer(echo) as target, Serve("--name", "old") as serve:
        serve.ended_on_purpose = True
        with Client(("127.0.0.1", serve.port)).tunnel(target.authority) as client:
            serve.process.terminate()
            name = f"old-{serve.process.pid}"
            wait_until(lambda: any(one == name for one in names()), SECONDS, "the name for a successor")
            retired = instance(name)
            assert retired.status().draining
            with at_path(retired.path) as get:
                assert get("/readyz").status_code == 503
                assert get("/healthz").status_code == 200
            with Serve("--name", "old") as successor:
                assert instance("old").status().pid == successor.process.pid
            assert client.echoes()
        wait_until(lambda: name not in names(), SECONDS, "the end")


def names() -> list[str]:
    return [one.name for one in running(os.environ)]


def test_the_limit_of_connections_does_not_hide_the_program() -> None:
    """A look must succeed just when it is needed, and takes no client's place."""
    with ScriptedServer(echo) as target, Serve() as proxy:
        with (
            Forwarding(dynamic=("0",), proxy=(proxy.url,), name="w", max_connections=1) as forwarding,
            at_path(forwarding.control) as get,
        ):
            with socks(forwarding, target) as client:
                assert get("/status").json()["tunnels"] == 1
                with Client(forwarding.control) as other:
                    other.send(b"CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n")
                    assert forwarding.failures(1)[0]["cause"] == "the limit is 1"
                assert client.echoes()


def test_the_admin_port_is_no_target_of_a_dynamic_port() -> None:
    port = free_port()
    with Forwarding(dynamic=("0",), proxy=("direct",), admin=f"127.0.0.1:{port}") as forwarding, forwarding.open() as client:
        client.send(b"\x04\x01" + port.to_bytes(2, "big") + socket.inet_aton("127.0.0.2") + b"\0")
        client.exactly(8)  # at another address, nobody listens
        with forwarding.open() as other:
            other.send(b"\x04\x01" + port.to_bytes(2, "big") + socket.inet_aton("127.0.0.1") + b"\0")
            assert other.exactly(8)[1] != 0x5A
        assert any("admin port" in str(one["cause"]) for one in forwarding.failures(2))


def test_an_ended_request_is_no_open_tunnel() -> None:
    """A browser keeps its connection open after the response."""

    def web(peer: Conversation) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        peer.wait_gone()

    with ScriptedServer(web) as target, Forwarding(dynamic=("0",), proxy=("direct",), name="w") as forwarding:
        with forwarding.open() as client, at_path(forwarding.control) as get:
            client.send(f"GET http://{target.authority}/ HTTP/1.1\r\nHost: {target.authority}\r\n\r\n".encode())
            data = b""
            while not data.endswith(b"ok"):
                data += client.exactly(1)
            wait_until(lambda: not get("/tunnels").json()["tunnels"], SECONDS, "the end of the request")


def test_run_serves_the_port_of_admin() -> None:
    port = free_port()
    done = run(
        "run",
        "-x",
        "direct",
        "--admin",
        f"127.0.0.1:{port}",
        "--",
        "curl",
        "--noproxy",
        "*",
        "-sSf",
        "-m",
        "10",
        f"http://127.0.0.1:{port}/healthz",
    )
    assert done.stdout == b"ok\n", done.stderr
