"""V1: loopback, private, link-local and metadata addresses are refused unless a rule names the address, network or host itself.

The table is independent of the code: it was written down from the registries.
"""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest

from tests.security import everywhere
from tests.server.harness import Names, Proxy, Trap, dialled

INTERNAL = [
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
    "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    "255.255.255.255/32", "168.63.129.16/32",
    "::/128", "::1/128", "::/96", "::ffff:0:0:0/96", "64:ff9b:1::/48", "100::/64", "2001::/32", "2001:2::/48", "2001:db8::/32",
    "2001:10::/28", "2001:20::/28", "2002::/16", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
]  # fmt: skip
METADATA = ["169.254.169.254", "fd00:ec2::254", "100.100.100.200", "168.63.129.16", "192.0.0.192"]
NETWORKS = [ip_network(text) for text in INTERNAL]
MAPPED = ip_network("::ffff:0:0/96")  # judged by the address they map to: test_v05


def is_internal(address: IPv4Address | IPv6Address) -> bool:
    return any(address in network for network in NETWORKS if network.version == address.version)


def borders() -> list[IPv4Address | IPv6Address]:
    """The first and last address of every network, and their neighbours outside."""
    found: dict[IPv4Address | IPv6Address, None] = {}
    for network in NETWORKS:
        top = 2**network.max_prefixlen - 1
        first, last = int(network.network_address), int(network.broadcast_address)
        kind = type(network.network_address)
        found.update((kind(number), None) for number in (first - 1, first, last, last + 1) if 0 <= number <= top)
    return [address for address in found if address not in MAPPED]


def authority(address: object, port: int) -> str:
    return f"[{address}]:{port}" if ":" in str(address) else f"{address}:{port}"


@pytest.mark.parametrize("rule", ["*:*", "0.0.0.0/0:*", "[::/0]:*"])
def test_network_borders_are_refused_and_neighbours_allowed(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However wide the rule, the first and last address of each network are refused; the addresses just outside are not."""
    noted = dialled(monkeypatch)
    with Proxy(rule) as proxy:
        for address in borders():
            answer = proxy.refusal(authority(address, 443))
            outside = not is_internal(address) and (rule == "*:*" or (":" in rule[1:-2]) == (address.version == 6))
            assert (answer.status, answer.error) == (
                (502, "connection_refused") if outside else (403, "destination_ip_prohibited")
            ), address
    assert not [host for host in noted if is_internal(ip_address(host))]
    assert noted


@pytest.mark.peer("unshare", "ip")
@pytest.mark.parametrize("rules", [("*:*",), ("0.0.0.0/0:*", "[::/0]:*"), ("*:1-65535", "64.0.0.0/2:*", "[2000::/3]:*")])
def test_network_borders_over_real_sockets(rules: tuple[str, ...]) -> None:
    """With a listener on every address, none inside a network is reached, and each neighbour outside is."""
    asked = (*borders(), *map(ip_address, METADATA))
    hosts = {f"[{address}]" if address.version == 6 else str(address): address for address in asked}
    outcome = everywhere.ask(list(hosts), rules)
    outside = {host for host, address in hosts.items() if not is_internal(address)}
    assert outside
    for host, (answer,) in outcome.answers.items():
        assert answer == ((200, "") if host in outside else (403, "destination_ip_prohibited")), host
    assert set(outcome.reached) == {str(hosts[host]) for host in outside}


@pytest.mark.parametrize("address", METADATA)
def test_metadata_addresses_are_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    noted = dialled(monkeypatch)
    Names(monkeypatch, metadata_test=[[address]])
    with Proxy("*:*") as proxy:
        for target in (authority(address, 80), "metadata.test:80"):
            assert proxy.refusal(target).error == "destination_ip_prohibited"
    assert noted == []


@pytest.mark.parametrize("rules", [(), ("*:*",), ("0.0.0.0/0:*", "[::/0]:*"), ("*.test:*", "*:1-65535"), ("126.0.0.0/7:*",)])
def test_loopback_is_refused_although_it_has_a_listener(rules: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """By address and by a name that resolves to it; a rule on a partly public network does not open its internal part."""
    Names(monkeypatch, loop_test=[["127.0.0.1"]], loop6_test=[["::1"]], localhost=[["127.0.0.1", "::1"]])
    with Trap() as trap, Trap("::1") as trap6, Proxy(*(rules or ("*:443",))) as proxy:
        for host in ("127.0.0.1", "127.0.0.2", "0.0.0.0", "loop.test", "localhost", "LOCALHOST."):
            assert proxy.refusal(f"{host}:{trap.port}").status == 403
        for host in ("[::1]", "[::]", "loop6.test", "localhost"):
            assert proxy.refusal(f"{host}:{trap6.port}").status == 403


@pytest.mark.parametrize(
    ("rule", "target"),
    [
        ("127.0.0.1:*", "127.0.0.1:9"),
        ("127.0.0.0/8:*", "127.1.2.3:9"),
        ("[::1]:*", "[::1]:9"),
        ("10.0.0.0/8:22", "10.1.2.3:22"),
        ("[fc00::/7]:*", "[fd00::1]:9"),
        ("inner.test:*", "inner.test:9"),
    ],
)
def test_a_rule_naming_an_internal_target_allows_it(rule: str, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, inner_test=[["10.0.0.7"]])
    noted = dialled(monkeypatch)
    with Proxy(rule) as proxy:
        assert proxy.refusal(target).status == 502
    assert len(noted) == 1


def test_deny_overrides_a_rule_naming_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    noted = dialled(monkeypatch)
    with Proxy("127.0.0.0/8:*", deny=("127.0.0.2:*",)) as proxy:
        assert proxy.refusal("127.0.0.2:9").status == 403
        assert proxy.refusal("127.0.0.3:9").status == 502
    assert noted == ["127.0.0.3"]


def test_s14_default_allows_only_public_addresses_on_443(monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, public_test=[["198.41.0.4"]])
    noted = dialled(monkeypatch)
    with Proxy(allow=()) as proxy:
        assert proxy.refusal("198.41.0.4:443").status == 502
        assert proxy.refusal("public.test:443").status == 502
        for target in ("198.41.0.4:22", "198.41.0.4:80", "public.test:8443", "10.0.0.1:443", "[::1]:443"):
            assert proxy.refusal(target).status == 403
    assert noted == ["198.41.0.4"] * 2
