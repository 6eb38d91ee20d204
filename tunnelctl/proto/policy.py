"""Which targets the server may reach: rules on names, networks and ports, safe before anybody has written one.

Deny beats allow, in whatever order they stand. Without an allow rule every public address on port 443 is allowed. An internal
address is reached only where an allow rule names it: the address, a network that is all internal, or the very host name that
resolved to it. `*`, `*.example.com` and 0.0.0.0/0 never mean internal.

Rules on names bind the name that the client asked for; rules on networks bind every address, however it was arrived at.
"""

from functools import lru_cache
from typing import NamedTuple

from tunnelctl.errors import AddressError
from tunnelctl.proto import refusal
from tunnelctl.proto.address import MAX_PORT, Address, is_ip, parse_host, parse_port, shown
from tunnelctl.proto.network import IPV4_MAPPED, Network, is_internal, is_internal_network, parse_network, unwrap
from tunnelctl.proto.refusal import Refusal

_CACHED = 4096  # decisions kept; the questions come from clients, so the number is bounded
_LOW_32 = 0xFFFFFFFF


class Rule(NamedTuple):
    """One allow or deny rule: ports from low to high, and of name, suffix and network the one that is given, or any host.

    text: as written; suffix: ".example.com" of *.example.com, which is every name below it and not example.com itself
    """

    text: str
    low: int
    high: int
    name: str = ""
    suffix: str = ""
    network: Network | None = None

    def covers_port(self, port: int) -> bool:
        """Whether the rule is about this port."""
        return self.low <= port <= self.high

    def covers_name(self, host: str) -> bool:
        """Whether the rule is about a host whatever its address."""
        if self.network is not None:
            return False
        return (not self.name and not self.suffix) or host == self.name or (bool(self.suffix) and host.endswith(self.suffix))

    def covers_address(self, forms: tuple[Network, ...]) -> bool:
        """Whether the rule is about an address, given as it is and as what it is judged."""
        return self.network is not None and any(map(self.network.covers, forms))

    def reaches_internal(self) -> bool:
        """Whether an internal address that the rule covers was meant by it."""
        if self.network is None:
            return bool(self.name)
        return self.network.first == self.network.last or is_internal_network(self.network)


class Decision(NamedTuple):
    """The verdict on one address, and what led to it, for the access log."""

    allowed: bool
    rule: str


def parse_rule(text: str) -> Rule:
    """HOST, *.DOMAIN, CIDR or *, then :PORT, :LO-HI or :*; IPv6 in brackets. Raises AddressError."""
    host, colon, ports = text.rpartition(":")
    if not colon or not ports or ("[" in host) != ("]" in host):
        raise AddressError(f"rule {shown(text)}", "the port is missing", hint="write HOST:PORT, HOST:LO-HI or HOST:*")
    try:
        low, high = _parse_ports(ports)
        if host == "*":
            return Rule(text, low, high)
        if host[:2] == "*.":
            return Rule(text, low, high, suffix="." + _parse_domain(host[2:]))
        if "/" not in host and not is_ip(name := parse_host(host)):
            return Rule(text, low, high, name=name)
        return Rule(text, low, high, network=_parse_network(host))
    except AddressError as error:
        cause = f"{error.what} is {error.cause}" if error.what.startswith("port ") else error.cause
        raise AddressError(f"rule {shown(text)}", cause, error.hint) from None


DEFAULT_ALLOW = (Rule("*:443", low=443, high=443),)


class Policy:
    """The rules of one server; immutable, so that decisions can be cached."""

    def __init__(self, allow: tuple[Rule, ...] = (), deny: tuple[Rule, ...] = ()) -> None:
        self._allow = allow or DEFAULT_ALLOW
        self._deny = deny
        # The same targets come again and again: 0.3 µs for both questions instead of 3.
        self._cached_before_lookup = lru_cache(_CACHED)(self._before_lookup)
        self._cached_judge = lru_cache(_CACHED)(self._judge)

    def before_lookup(self, target: Address) -> Refusal | None:
        """A Refusal where no address could make the target allowed, so that the name service is not asked; else None.

        A target that is an IP address is judged here and now.
        """
        return self._cached_before_lookup(target)

    def judge(self, target: Address, ip: str) -> Decision:
        """The verdict on one address of the target, the one that will be dialled. Raises ValueError if `ip` is no address."""
        return self._cached_judge(target, ip)

    def _before_lookup(self, target: Address) -> Refusal | None:
        host, port = target
        if any(rule.covers_port(port) and rule.covers_name(host) for rule in self._deny):
            return refusal.request_denied()
        if not any(rule.covers_port(port) and (rule.network or rule.covers_name(host)) for rule in self._allow):
            return refusal.request_denied()
        return refusal.ip_prohibited() if is_ip(host) and not self._judge(target, host).allowed else None

    def _judge(self, target: Address, ip: str) -> Decision:
        forms = unwrap(ip)
        for rule in self._deny:
            if _covers(rule, target, forms):
                return Decision(False, f"deny {rule.text}")
        internal = is_internal(ip)
        for rule in self._allow:
            if _covers(rule, target, forms) and (not internal or rule.reaches_internal()):
                return Decision(True, f"allow {rule.text}")
        return Decision(False, "internal address" if internal else "no allow rule")


def _covers(rule: Rule, target: Address, forms: tuple[Network, ...]) -> bool:
    return rule.covers_port(target.port) and (rule.covers_name(target.host) or rule.covers_address(forms))


def _parse_ports(text: str) -> tuple[int, int]:
    if text == "*":
        return 1, MAX_PORT
    low, dash, high = text.partition("-")
    first = parse_port(low)
    last = parse_port(high) if dash else first
    if last < first:
        raise AddressError(f"ports {shown(text)}", "the range ends before it begins")
    return first, last


def _parse_domain(text: str) -> str:
    domain = parse_host(text)
    if is_ip(domain):
        raise AddressError(f"domain {shown(text)}", "*. goes before a domain, not before an address")
    return domain


def _parse_network(text: str) -> Network:
    address, slash, bits = text.removeprefix("[").removesuffix("]").partition("/")
    if (":" in address) != (text[0] == "["):
        raise AddressError(f"network {shown(text)}", "brackets belong round an IPv6 address or network, and only there")
    host = parse_host(address)
    if not is_ip(host):
        raise AddressError(f"network {shown(text)}", "not a network ADDRESS/BITS: before the / there is a name")
    most = 128 if ":" in host else 32
    if slash and not (bits.isascii() and bits.isdigit() and len(bits) <= 3 and int(bits) <= most):
        raise AddressError(f"network {shown(text)}", f"after / there is a number of bits, {most} at most")
    try:
        network = parse_network(host + slash + bits)
    except ValueError:
        cause = "not a network ADDRESS/BITS: the address has bits set beyond the prefix"
        raise AddressError(f"network {shown(text)}", cause, hint="for example 10.0.0.0/8, not 10.0.0.1/8") from None
    if network.version == 6 and network.first >> 32 == network.last >> 32 == IPV4_MAPPED >> 32:
        return Network(4, network.first & _LOW_32, network.last & _LOW_32)  # the same addresses in another spelling
    return network
