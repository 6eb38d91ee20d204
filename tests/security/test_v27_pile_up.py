"""V27: tunnels do not pile up at one target or for one client, and a refusal gives that reason."""

from pathlib import Path

import pytest

from tests.peers.process import wait_until
from tests.peers.scripted import ScriptedServer, black_hole_port, echo
from tests.server.harness import SECONDS, Proxy, admitted, basic, connect_request, users_file

pytestmark = pytest.mark.usefixtures("http_version")

LIMITS = {"max_per_client": 429, "max_per_target": 503, "max_tunnels": 503}


@pytest.mark.parametrize(("cap", "status"), LIMITS.items())
def test_a_tunnel_over_the_cap_is_refused_until_one_ends(cap: str, status: int) -> None:
    with ScriptedServer(echo) as target, Proxy(**{cap: 2}) as proxy:
        with proxy.tunnel(target.authority) as first, proxy.tunnel(target.authority) as second:
            assert first.echoes()
            assert second.echoes()
            for _ in range(3):
                answer = proxy.refusal(target.authority)
                assert (answer.status, answer.error, answer.fields["retry-after"]) == (status, "connection_limit_reached", "1")
            assert len(target.conversations) == 2, "the proxy dials no refused target"
            assert [record["status"] for record in proxy.wait_for_records(5)] == [200, 200, status, status, status]
            first.sock.close()
            wait_until(lambda: admitted(proxy, target), SECONDS, "a free slot")
            assert second.echoes()


def test_caps_apply_to_each_client_and_target_separately() -> None:
    with ScriptedServer(echo) as one, ScriptedServer(echo) as other, Proxy(max_per_client=1, max_per_target=1) as proxy:
        with proxy.tunnel(one.authority, source="127.0.0.1") as mine, proxy.tunnel(other.authority, source="127.0.0.2") as yours:
            assert proxy.ask(connect_request(other.authority), source="127.0.0.1").status == 429
            assert proxy.ask(connect_request(one.authority), source="127.0.0.2").status == 429
            assert proxy.ask(connect_request(one.authority), source="127.0.0.3").status == 503
            assert mine.echoes()
            assert yours.echoes()


def test_spellings_of_a_name_count_as_one_target() -> None:
    with ScriptedServer(echo) as target, Proxy("localhost:*", max_per_target=1) as proxy:
        with proxy.tunnel(f"localhost:{target.port}"):
            for host in ("LOCALHOST", "localhost.", "LocalHost."):
                assert proxy.refusal(f"{host}:{target.port}").error == "connection_limit_reached"


def test_the_cap_per_client_applies_to_its_network() -> None:
    with ScriptedServer(echo) as target, Proxy(max_per_client=1, client_prefix="30,64") as proxy:
        with proxy.tunnel(target.authority, source="127.0.0.1"):
            assert proxy.ask(connect_request(target.authority), source="127.0.0.2").status == 429
            with proxy.tunnel(target.authority, source="127.0.0.4") as other:
                assert other.echoes()


@pytest.mark.usefixtures("cheap_hashes")
def test_the_cap_per_user_is_enforced(tmp_path: Path) -> None:
    users = users_file(tmp_path, alice="a", bob="b")
    alice, bob = basic("alice", "a"), basic("bob", "b")
    with ScriptedServer(echo) as target, Proxy(max_per_user=1, users=users) as proxy, proxy.tunnel(target.authority, alice):
        answer = proxy.refusal(target.authority, alice)
        assert (answer.status, answer.error, answer.fields["retry-after"]) == (429, "connection_limit_reached", "1")
        with proxy.tunnel(target.authority, bob) as other:
            assert other.echoes()


def test_hanging_dials_are_capped() -> None:
    with ScriptedServer(echo) as target, black_hole_port() as port, Proxy(max_dials=2) as proxy:
        waiting = [proxy.client() for _ in range(2)]
        for client in waiting:
            client.send(connect_request(f"127.0.0.1:{port}"))
        wait_until(lambda: not admitted(proxy, target), SECONDS, "the cap on dials")
        for refused in (target.authority, f"127.0.0.1:{port}"):
            answer = proxy.refusal(refused)
            assert (answer.status, answer.error, answer.fields["retry-after"]) == (503, "connection_limit_reached", "1")
        for client in waiting:
            client.sock.close()


def test_open_tunnels_do_not_count_as_dials() -> None:
    with ScriptedServer(echo) as target, Proxy(max_dials=1) as proxy:
        with proxy.tunnel(target.authority), proxy.tunnel(target.authority) as second:
            assert second.echoes()


@pytest.mark.parametrize("head", [b"", b"CONNECT 127.0.0.1:1 HTTP/1.1\r\n"])
def test_incomplete_heads_do_not_count_towards_caps(head: bytes) -> None:
    with ScriptedServer(echo) as target, Proxy(max_tunnels=1, max_per_client=1) as proxy:
        slow = [proxy.client() for _ in range(5)]
        for client in slow:
            client.send(head)
        with proxy.tunnel(target.authority) as client:
            assert client.echoes()
        for client in slow:
            client.sock.close()
