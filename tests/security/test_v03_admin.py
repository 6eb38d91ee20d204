"""V3: the admin endpoints are reachable neither through a tunnel nor on the proxy port."""

from pathlib import Path

import pytest

from tests.peers.process import free_port
from tests.server.harness import Client, Names, Proxy

EVERYTHING = ("127.0.0.0/8:*", "0.0.0.0:*", "[::1]:*", "[::]:*", "localhost:*", "self.test:*", "[::ffff:127.0.0.1]:*", "*:*")
PATHS = ["/metrics", "/healthz", "/readyz", "/tunnels", "/"]


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "0.0.0.0", "[::ffff:0.0.0.0]", "localhost", "LocalHost.", "self.test"],
)
def test_admin_port_is_refused_as_target_in_every_spelling(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if a rule names it."""
    Names(monkeypatch, localhost=[["127.0.0.1"]], self_test=[["192.0.2.1", "127.0.0.1"]])
    port = free_port()
    with Proxy(*EVERYTHING, f"127.0.0.1:{port}", admin=f"127.0.0.1:{port}") as proxy:
        answer = proxy.refusal(f"{host}:{port}")
        assert (answer.status, answer.error) == (502, "proxy_loop_detected")
        with Client(("127.0.0.1", port)) as straight:
            straight.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert straight.head().startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "127.255.255.254", "0.0.0.0", "[::ffff:127.0.0.9]"])
def test_a_wildcard_admin_listener_covers_every_local_address(host: str) -> None:
    port = free_port()
    with Proxy(*EVERYTHING, admin=f"0.0.0.0:{port}", open_admin=True) as proxy:
        assert proxy.refusal(f"{host}:{port}").error == "proxy_loop_detected"


def test_ipv6_admin_port_is_refused_as_target() -> None:
    port = free_port()
    with Proxy(*EVERYTHING, admin=f"[::1]:{port}") as proxy:
        for host in ("[::1]", "[::]", "[0:0:0:0:0:0:0:1]"):
            assert proxy.refusal(f"{host}:{port}").error == "proxy_loop_detected"


def test_a_policy_file_cannot_allow_the_admin_port(tmp_path: Path) -> None:
    port = free_port()
    path = tmp_path / "policy.toml"
    path.write_text(f'[[allow]]\ntargets = ["127.0.0.1:{port}", "127.0.0.0/8:*"]\n')
    with Proxy(policy=str(path), allow=(), admin=f"127.0.0.1:{port}") as proxy:
        assert proxy.refusal(f"127.0.0.1:{port}").error == "proxy_loop_detected"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("form", ["{path}", "http://127.0.0.1:{port}{path}", "http://healthz{path}"])
def test_proxy_port_serves_no_admin_paths(path: str, form: str) -> None:
    """Not even for a request with an admin path, which one other proxy answered."""
    port = free_port()
    with Proxy(*EVERYTHING, admin=f"127.0.0.1:{port}") as proxy, Client(("127.0.0.1", proxy.port)) as client:
        asked = form.format(path=path, port=port)
        client.send(f"GET {asked} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        assert client.answer().status in (400, 405)
