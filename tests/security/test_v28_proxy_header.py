"""V28: the proxy accepts a PROXY header from trusted peers only. Rules apply to the client that it names.

Syntax: tests/proto/test_proxy_protocol. A balancer that sends no header or half of one: tests/server/access/test_proxy_header.
"""

from pathlib import Path

import pytest

from tests.peers.scripted import ScriptedServer, echo
from tests.server.access.proxy_headers import LOCAL, V2
from tests.server.harness import Proxy, Trap, connect_request
from tunnelctl.proto.proxy_protocol import SIGNATURE

RULE = '[[allow]]\nname = "inner"\ntargets = ["127.0.0.1:*"]\nclients = ["192.0.2.0/24"]\n'
MAPPED = SIGNATURE + b"\x21\x21\x00\x24" + bytes(10) + b"\xff\xff" + bytes([192, 0, 2, 7]) + bytes(10) + b"\xff\xff" + bytes(4)
MAPPED += b"\x12\x67\x01\xbb"
NAMED = {
    "v1": b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n",
    "v2": V2,
    "mapped, v1": b"PROXY TCP6 ::ffff:192.0.2.7 ::1 4711 443\r\n",
    "mapped, v2": MAPPED,
}


@pytest.fixture
def policy(tmp_path: Path) -> str:
    path = tmp_path / "policy.toml"
    path.write_text(RULE)
    return str(path)


@pytest.mark.parametrize("header", NAMED.values(), ids=NAMED)
def test_rules_apply_to_the_client_named_by_a_trusted_peer(header: bytes, policy: str) -> None:
    """However its address is spelled: an IPv4-mapped address becomes the IPv4 address before any rule is applied."""
    with ScriptedServer(echo) as target, Proxy(policy=policy, allow=(), proxy_protocol=("127.0.0.1",)) as proxy:
        with proxy.client() as client:
            client.send(header + connect_request(target.authority))
            assert client.head().startswith(b"HTTP/1.1 200 ")
            assert client.echoes()


@pytest.mark.parametrize("header", NAMED.values(), ids=NAMED)
@pytest.mark.parametrize("trusted", [(), ("127.0.0.2",), ("192.0.2.0/24",), ("198.51.100.1",)])
def test_a_header_from_an_untrusted_peer_is_refused(header: bytes, trusted: tuple[str, ...], policy: str) -> None:
    """A client that claims to come from an allowed network is refused, whichever networks are trusted."""
    with Trap() as trap, Proxy(policy=policy, allow=(), proxy_protocol=trusted) as proxy:
        assert proxy.ask(header + connect_request(f"127.0.0.1:{trap.port}")).status == 400
        (record,) = proxy.wait_for_records(1)
    assert record["client"].startswith("127.0.0.1:")


@pytest.mark.parametrize("header", [LOCAL, b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN 192.0.2.7 192.0.2.8 1 2\r\n"])
def test_a_trusted_peer_without_a_named_client_is_judged_itself(header: bytes, policy: str) -> None:
    with Trap() as trap, Proxy(policy=policy, allow=(), proxy_protocol=("127.0.0.1",)) as proxy:
        assert proxy.ask(header + connect_request(f"127.0.0.1:{trap.port}")).status == 403


@pytest.mark.parametrize(
    "header",
    [
        b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 04711 443\r\n",
        b"PROXY TCP4 192.0.2.07 198.51.100.1 4711 443\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 443\r\n",
        b"PROXY TCP4 ::1 198.51.100.1 4711 443\r\n",
        b"PROXY TCP6 192.0.2.7 198.51.100.1 4711 443\r\n",
        b"PROXY TCP4  192.0.2.7 198.51.100.1 4711 443\r\n",
        b"PROXY TCP5 192.0.2.7 198.51.100.1 4711 443\r\n",
        b"proxy TCP4 192.0.2.7 198.51.100.1 4711 443\r\n",
        b"PROXY UNKNOWN " + b"x" * 94 + b"\r\n",
        b"",
        SIGNATURE[:-1] + b"\r" + V2[12:],
        V2[:12] + b"\x11" + V2[13:],
        V2[:12] + b"\x2f" + V2[13:],
    ],
)
def test_a_malformed_header_resets_the_connection(header: bytes, policy: str) -> None:
    with Trap() as trap, Proxy("127.0.0.1:*", policy=policy, proxy_protocol=("127.0.0.1",)) as proxy:
        with proxy.client() as client:
            client.send(header + connect_request(f"127.0.0.1:{trap.port}"))
            with pytest.raises(ConnectionResetError):
                client.rest()
        assert proxy.records() == []
