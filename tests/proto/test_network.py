"""The table of internal networks. V1: first and last address of every prefix and their neighbours; V5: IPv4 inside IPv6."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proto.feeding import bounded
from tunnelctl.proto.network import (
    IPV4_INTERNAL,
    IPV6_INTERNAL,
    Network,
    is_internal,
    is_internal_network,
    is_local_name,
    parse_network,
    unwrap,
)

MAX = "ffff:ffff:ffff"

# prefix, its first and last address, the address before and the one after. Written out, not computed: an independent source.
TABLE = [
    ("0.0.0.0/8", "0.0.0.0", "0.255.255.255", None, "1.0.0.0"),
    ("10.0.0.0/8", "10.0.0.0", "10.255.255.255", "9.255.255.255", "11.0.0.0"),
    ("100.64.0.0/10", "100.64.0.0", "100.127.255.255", "100.63.255.255", "100.128.0.0"),
    ("127.0.0.0/8", "127.0.0.0", "127.255.255.255", "126.255.255.255", "128.0.0.0"),
    ("168.63.129.16/32", "168.63.129.16", "168.63.129.16", "168.63.129.15", "168.63.129.17"),
    ("169.254.0.0/16", "169.254.0.0", "169.254.255.255", "169.253.255.255", "169.255.0.0"),
    ("172.16.0.0/12", "172.16.0.0", "172.31.255.255", "172.15.255.255", "172.32.0.0"),
    ("192.0.0.0/24", "192.0.0.0", "192.0.0.255", "191.255.255.255", "192.0.1.0"),
    ("192.0.2.0/24", "192.0.2.0", "192.0.2.255", "192.0.1.255", "192.0.3.0"),
    ("192.88.99.0/24", "192.88.99.0", "192.88.99.255", "192.88.98.255", "192.88.100.0"),
    ("192.168.0.0/16", "192.168.0.0", "192.168.255.255", "192.167.255.255", "192.169.0.0"),
    ("198.18.0.0/15", "198.18.0.0", "198.19.255.255", "198.17.255.255", "198.20.0.0"),
    ("198.51.100.0/24", "198.51.100.0", "198.51.100.255", "198.51.99.255", "198.51.101.0"),
    ("203.0.113.0/24", "203.0.113.0", "203.0.113.255", "203.0.112.255", "203.0.114.0"),
    ("224.0.0.0/4", "224.0.0.0", "239.255.255.255", "223.255.255.255", None),
    ("240.0.0.0/4", "240.0.0.0", "255.255.255.255", None, None),
    ("::/96", "::", "::ffff:ffff", None, "::1:0:0"),
    ("::ffff:0:0:0/96", "::ffff:0:0:0", "::ffff:0:ffff:ffff", f"::fffe:{MAX}", "::ffff:1:0:0"),
    ("64:ff9b:1::/48", "64:ff9b:1::", f"64:ff9b:1:ffff:ffff:{MAX}", f"64:ff9b:0:ffff:ffff:{MAX}", "64:ff9b:2::"),
    ("100::/64", "100::", f"100::ffff:{MAX}", f"ff:ffff:ffff:ffff:ffff:{MAX}", "100:0:0:1::"),
    ("2001::/32", "2001::", f"2001:0:ffff:ffff:ffff:{MAX}", f"2000:ffff:ffff:ffff:ffff:{MAX}", "2001:1::"),
    ("2001:2::/48", "2001:2::", f"2001:2:0:ffff:ffff:{MAX}", f"2001:1:ffff:ffff:ffff:{MAX}", "2001:2:1::"),
    ("2001:10::/28", "2001:10::", f"2001:1f:ffff:ffff:ffff:{MAX}", f"2001:f:ffff:ffff:ffff:{MAX}", None),
    ("2001:20::/28", "2001:20::", f"2001:2f:ffff:ffff:ffff:{MAX}", None, "2001:30::"),
    ("2001:db8::/32", "2001:db8::", f"2001:db8:ffff:ffff:ffff:{MAX}", f"2001:db7:ffff:ffff:ffff:{MAX}", "2001:db9::"),
    ("2002::/16", "2002::", f"2002:ffff:ffff:ffff:ffff:{MAX}", f"2001:ffff:ffff:ffff:ffff:{MAX}", "2003::"),
    ("3fff::/20", "3fff::", f"3fff:fff:ffff:ffff:ffff:{MAX}", f"3ffe:ffff:ffff:ffff:ffff:{MAX}", "3fff:1000::"),
    ("5f00::/16", "5f00::", f"5f00:ffff:ffff:ffff:ffff:{MAX}", f"5eff:ffff:ffff:ffff:ffff:{MAX}", "5f01::"),
    ("fc00::/7", "fc00::", f"fdff:ffff:ffff:ffff:ffff:{MAX}", f"fbff:ffff:ffff:ffff:ffff:{MAX}", "fe00::"),
    ("fe80::/10", "fe80::", f"febf:ffff:ffff:ffff:ffff:{MAX}", f"fe7f:ffff:ffff:ffff:ffff:{MAX}", None),
    ("fec0::/10", "fec0::", f"feff:ffff:ffff:ffff:ffff:{MAX}", None, None),
    ("ff00::/8", "ff00::", f"ffff:ffff:ffff:ffff:ffff:{MAX}", None, None),
]


@pytest.mark.parametrize(("prefix", "first", "last", "before", "after"), TABLE, ids=[row[0] for row in TABLE])
def test_v1_first_and_last_address_are_internal_and_neighbours_are_not(prefix, first, last, before, after):
    """None: the neighbour is internal by another row, or does not exist."""
    assert is_internal(first)
    assert is_internal(last)
    assert before is None or not is_internal(before)
    assert after is None or not is_internal(after)
    network = ipaddress.ip_network(prefix)
    assert (network[0], network[-1]) == (ipaddress.ip_address(first), ipaddress.ip_address(last))


def test_v1_this_table_has_every_row_of_the_code():
    assert [row[0] for row in TABLE] == [*IPV4_INTERNAL, *IPV6_INTERNAL]


@pytest.mark.parametrize(
    "ip", ["169.254.169.254", "fd00:ec2::254", "100.100.100.200", "168.63.129.16", "192.0.0.192", "0.0.0.0", "::1"]
)
def test_v1_well_known_addresses_are_internal(ip):
    assert is_internal(ip)


@pytest.mark.parametrize(
    "ip", ["1.1.1.1", "8.8.8.8", "93.184.216.34", "2606:4700::1111", "2001:4860:4860::8888", "2a00::1", "64:ff9b:0:1::"]
)
def test_public_addresses_are_not_internal(ip):
    assert not is_internal(ip)


INTERNAL_V4 = ["127.0.0.1", "169.254.169.254", "10.0.0.1", "0.0.0.0", "255.255.255.255"]
PUBLIC_V4 = ["1.1.1.1", "93.184.216.34"]


def wrapped(prefix, ip):
    """Puts an IPv4 address into the last 32 bits of `prefix`."""
    return str(ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) | int(ipaddress.IPv4Address(ip))))


@pytest.mark.parametrize("prefix", ["::ffff:0:0", "64:ff9b::"])
def test_v5_mapped_and_nat64_are_judged_by_the_embedded_address(prefix):
    assert all(is_internal(wrapped(prefix, ip)) for ip in INTERNAL_V4)
    assert not any(is_internal(wrapped(prefix, ip)) for ip in PUBLIC_V4)
    address, judged = unwrap(wrapped(prefix, "127.0.0.1"))
    assert (address.version, judged) == (6, parse_network("127.0.0.1"))


@pytest.mark.parametrize("prefix", ["::", "::ffff:0:0:0", "64:ff9b:1::", "64:ff9b:1:ffff::"])
def test_v5_compatible_translated_and_local_nat64_are_always_internal(prefix):
    assert all(is_internal(wrapped(prefix, ip)) for ip in INTERNAL_V4 + PUBLIC_V4)


@pytest.mark.parametrize("ip", INTERNAL_V4 + PUBLIC_V4)
def test_v5_6to4_and_teredo_are_always_internal(ip):
    bits = int(ipaddress.IPv4Address(ip))
    assert is_internal(str(ipaddress.IPv6Address((0x2002 << 112) | (bits << 80))))
    server_inside = (0x20010000 << 96) | (bits << 64)
    assert is_internal(str(ipaddress.IPv6Address(server_inside)))
    assert is_internal(str(ipaddress.IPv6Address(server_inside | (bits ^ 0xFFFFFFFF))))


@pytest.mark.parametrize("prefix", ["2a00::5efe:0:0", "2a00::200:5efe:0:0"])
def test_v5_isatap_is_judged_by_the_embedded_address(prefix):
    assert all(is_internal(wrapped(prefix, ip)) for ip in INTERNAL_V4)
    assert not any(is_internal(wrapped(prefix, ip)) for ip in PUBLIC_V4)
    assert not is_internal(wrapped("2a00::5eff:0:0", "127.0.0.1"))


@pytest.mark.parametrize(
    "ip", ["", "localhost", "2130706433", "0x7f.1", "127.1", "1.2.3.4.5", "[::1]", "1.1.1.1 ", "1.1.1.1\0", "%lo"]
)
def test_an_invalid_address_counts_as_internal(ip):
    """V4: the check must not fail open."""
    assert is_internal(ip)
    with pytest.raises(ValueError):
        unwrap(ip)


def test_a_scope_id_is_ignored():
    assert is_internal("fe80::1%lo")
    assert unwrap("2a00::1%eth0") == unwrap("2a00::1")


@pytest.mark.parametrize(
    ("text", "internal"),
    [
        ("127.0.0.0/8", True),
        ("127.0.0.1", True),
        ("10.1.0.0/16", True),
        ("224.0.0.0/3", True),  # two adjacent rows
        ("fe80::/9", True),
        ("2001:20::/28", True),
        ("8.0.0.0/8", False),
        ("0.0.0.0/0", False),
        ("0.0.0.0/7", False),
        ("10.0.0.0/7", False),
        ("::/0", False),
        ("::/64", False),
        ("2001:db8::/31", False),
        ("64:ff9b::/96", False),
    ],
)
def test_a_network_is_internal_only_if_all_of_it_is(text, internal):
    assert is_internal_network(parse_network(text)) is internal


@pytest.mark.parametrize("text", ["10.0.0.1/8", "10.0.0.0/33", "::1/64", "x", "", "10.0.0.0/-1"])
def test_an_invalid_network_is_rejected(text):
    with pytest.raises(ValueError):
        parse_network(text)


@pytest.mark.parametrize("text", ["192.0.2.7", "192.0.2.0/24", "0.0.0.0/0", "10.0.0.0/31", "2001:db8::1", "2001:db8::/32", "::/0"])
def test_a_network_as_text(text):
    assert str(parse_network(text)) == text


def test_a_network_covers_its_parts():
    network = parse_network("10.0.0.0/8")
    assert network.covers(parse_network("10.0.0.0/8"))
    assert network.covers(parse_network("10.255.255.255"))
    assert not network.covers(parse_network("10.0.0.0/7"))
    assert not network.covers(parse_network("11.0.0.0"))
    assert not network.covers(Network(6, network.first, network.first))


@bounded
@given(st.ip_addresses())
def test_property_is_internal_agrees_with_a_linear_search(address):
    table = [ipaddress.ip_network(text) for text in (*IPV4_INTERNAL, *IPV6_INTERNAL)]
    judged = address
    if address.version == 6 and address.ipv4_mapped is not None:
        judged = address.ipv4_mapped
    if not (
        address.version == 6 and (int(address) >> 32) & 0xFFFFFFFF in (0x5EFE, 0x2005EFE)
    ) and judged not in ipaddress.ip_network("64:ff9b::/96"):
        assert is_internal(str(address)) == any(judged in network for network in table if network.version == judged.version)


# Names from the hosts files of systems, and names that resolve without one. An independent list, not taken from the code.
HOSTS_FILES = {
    "Debian": "localhost ip6-localhost ip6-loopback ip6-localnet ip6-mcastprefix ip6-allnodes ip6-allrouters",
    "Fedora": "localhost localhost.localdomain localhost4 localhost4.localdomain4 localhost6 localhost6.localdomain6",
    "Alpine": "localhost localhost.localdomain",
    "SUSE": "localhost ipv6-localhost ipv6-loopback ipv6-localnet ipv6-mcastprefix ipv6-allnodes ipv6-allrouters",
    "FreeBSD": "localhost localhost.my.domain",
    "macOS": "localhost broadcasthost kubernetes.docker.internal",
    "Windows": "localhost loopback",
    "AIX and Solaris": "loopback loghost",
    "systemd": "localhost.localdomain a.localhost a.localhost.localdomain _gateway _outbound _localdnsstub _localdnsproxy",
    "RFC 6761": "localhost a.localhost a.b.localhost",
    "an installer of Red Hat": "myhost.localdomain",
}


@pytest.mark.parametrize("names", HOSTS_FILES.values(), ids=HOSTS_FILES)
def test_v1_names_of_loopback_are_local(names):
    assert [name for name in names.split() if not is_local_name(name)] == []


@pytest.mark.parametrize(
    "name", ["localhost.example.com", "notlocalhost", "localhosts", "example.com", "localdomain", "localdomain.example", "gateway"]
)
def test_other_names_are_not_local(name):
    assert not is_local_name(name)
