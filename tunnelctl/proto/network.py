"""Internal addresses and names: those that no stranger may reach through this proxy.

The module has its own table, because `ipaddress.is_global` is wrong where it matters (NAT64, 6to4, translated and compatible IPv4,
site-local, multicast: all global in 3.11) and changes with the patch level. Sources: the IANA special-purpose address registries
(RFC 6890), and ranges that are not in them but are internal nevertheless.
"""

import ipaddress
from functools import lru_cache
from typing import NamedTuple

IPV4_INTERNAL = (
    "0.0.0.0/8",  # this network; a connect to 0.0.0.0 reaches loopback
    "10.0.0.0/8",  # private
    "100.64.0.0/10",  # carrier-grade NAT; a cloud's metadata at 100.100.100.200
    "127.0.0.0/8",  # loopback
    "168.63.129.16/32",  # Azure's host agent: looks public
    "169.254.0.0/16",  # link-local; cloud metadata at 169.254.169.254
    "172.16.0.0/12",  # private
    "192.0.0.0/24",  # protocol assignments, among them 192.0.0.192 (Oracle's metadata)
    "192.0.2.0/24",  # documentation
    "192.88.99.0/24",  # 6to4 relays
    "192.168.0.0/16",  # private
    "198.18.0.0/15",  # benchmarks
    "198.51.100.0/24",  # documentation
    "203.0.113.0/24",  # documentation
    "224.0.0.0/4",  # multicast
    "240.0.0.0/4",  # reserved, and broadcast
)
IPV6_INTERNAL = (
    "::/96",  # unspecified, loopback, and IPv4-compatible
    "::ffff:0:0:0/96",  # IPv4-translated, which is not IPv4-mapped
    "64:ff9b:1::/48",  # NAT64 of the local network: its targets cannot be known here
    "100::/64",  # discard
    "2001::/32",  # Teredo: carries an inverted IPv4 address, and that of a server
    "2001:2::/48",  # benchmarks
    "2001:10::/28",  # ORCHID
    "2001:20::/28",  # ORCHIDv2
    "2001:db8::/32",  # documentation
    "2002::/16",  # 6to4: carries an IPv4 address, and the relays are gone
    "3fff::/20",  # documentation
    "5f00::/16",  # segment routing
    "fc00::/7",  # unique local; cloud metadata at fd00:ec2::254
    "fe80::/10",  # link-local
    "fec0::/10",  # site-local
    "ff00::/8",  # multicast
)
# Judged by the IPv4 address in the last 32 bits, because a packet to such an address arrives there.
IPV4_MAPPED = int(ipaddress.IPv6Address("::ffff:0:0"))
NAT64 = int(ipaddress.IPv6Address("64:ff9b::"))

# Names that resolve to loopback, or to another address above, on any machine. Needed where another machine resolves the name.
LOCAL_NAMES = frozenset(
    {
        "localhost",  # RFC 6761 section 6.3
        # From the hosts files of Debian, SUSE, Fedora (which has its names below localdomain4 and localdomain6 too), FreeBSD and
        # macOS; of AIX, Solaris and old Windows; and Docker Desktop's additions.
        *("ip6-localhost", "ip6-loopback", "ip6-localnet", "ip6-mcastprefix", "ip6-allnodes", "ip6-allrouters"),
        *("ipv6-localhost", "ipv6-loopback", "ipv6-localnet", "ipv6-mcastprefix", "ipv6-allnodes", "ipv6-allrouters"),
        *("localhost4", "localhost6"),
        "localhost.my.domain",
        "broadcasthost",
        *("loopback", "loghost"),
        "kubernetes.docker.internal",
        *("_localdnsstub", "_localdnsproxy"),  # systemd-resolved(8)
        *("_gateway", "_outbound"),  # nss-myhostname(8): the router, and the machine's own address
    }
)
# Names below localhost are loopback as well (RFC 6761). localdomain is no public domain: the hosts files of Fedora and Alpine, and
# nss-myhostname(8), have localhost in it, and installers put the machine's own name there.
LOCAL_DOMAINS = (".localhost", ".localdomain", ".localdomain4", ".localdomain6")

_LOW_32 = 0xFFFFFFFF
_ISATAP = (0x00005EFE, 0x02005EFE)  # the third 32 bits (RFC 5214 section 6.1); the IPv4 address follows


class Network(NamedTuple):
    """All addresses of one version from first to last, as integers."""

    version: int
    first: int
    last: int

    def covers(self, other: "Network") -> bool:
        """Whether the other network lies in this one. An address is a network of one."""
        return other.version == self.version and self.first <= other.first and other.last <= self.last

    def __str__(self) -> str:
        """Returns ADDRESS for a network of one, otherwise ADDRESS/BITS."""
        address = ipaddress.IPv4Address(self.first) if self.version == 4 else ipaddress.IPv6Address(self.first)
        bits = address.max_prefixlen - (self.last - self.first).bit_length()
        return str(address) if bits == address.max_prefixlen else f"{address}/{bits}"


def parse_network(text: str) -> Network:
    """Parses an address or ADDRESS/BITS. Raises ValueError, also for an address with bits beyond the prefix."""
    network = ipaddress.ip_network(text)
    return Network(network.version, int(network.network_address), int(network.broadcast_address))


@lru_cache(maxsize=4096)  # 0.1 µs instead of 3.7, for each connection behind a balancer, and twice for a new target
def unwrap(ip: str) -> tuple[Network, Network]:
    """Returns the address as given, and the one to judge it by: the IPv4 address in an IPv4-mapped or NAT64 one, else the same.

    Raises ValueError if the text is no address. Ignores a scope id, which getaddrinfo adds to link-local addresses.
    """
    parsed = ipaddress.ip_address(ip.partition("%")[0])
    address = Network(parsed.version, int(parsed), int(parsed))
    if address.version == 6 and address.first & ~_LOW_32 in (IPV4_MAPPED, NAT64):
        inner = address.first & _LOW_32
        return address, Network(4, inner, inner)
    return address, address


def is_internal(host_ip: str) -> bool:
    """True if an address is internal, or if the text is no address: this check must not fail open."""
    try:
        _, address = unwrap(host_ip)
    except ValueError:
        return True
    return _lies_internal(address) or (
        address.version == 6
        and address.first >> 32 & _LOW_32 in _ISATAP
        and _lies_internal(Network(4, address.first & _LOW_32, address.first & _LOW_32))
    )


def is_local_name(host: str) -> bool:
    """True if a canonical name means the machine that resolves it, or another internal address, whichever machine that is."""
    return host in LOCAL_NAMES or host.endswith(LOCAL_DOMAINS)


def is_internal_network(network: Network) -> bool:
    """True if every address of the network is in the table, so that a rule for that network means internal addresses."""
    return _lies_internal(network)


def _lies_internal(network: Network) -> bool:
    return any(internal.covers(network) for internal in _RANGES[network.version])


def _merge(networks: tuple[str, ...]) -> tuple[Network, ...]:
    """Returns the ranges of the table in order, neighbours joined: 224.0.0.0/3 is two entries, and wholly internal."""
    merged: list[Network] = []
    for network in sorted(map(parse_network, networks)):
        if merged and network.first <= merged[-1].last + 1:
            network = Network(network.version, merged.pop().first, network.last)
        merged.append(network)
    return tuple(merged)


_RANGES = {4: _merge(IPV4_INTERNAL), 6: _merge(IPV6_INTERNAL)}
