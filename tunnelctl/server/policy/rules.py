"""Rules on who may reach which targets: by user, client, name, network and port. Safe without any rule.

Deny beats allow, in whatever order they are given. Without an allow rule, every public address on port 443 is allowed. An internal
address is reachable only if an allow rule names it: the address, an entirely internal network, or the exact host name that resolved
to it. `*`, `*.example.com` and 0.0.0.0/0 never cover internal addresses.

Rules on names apply to the name in the client's request; rules on networks apply to every address, however it was found.

A rule may make a demand on the traffic in the tunnel. An allow rule then grants no more than that; of several that cover a target,
the least demanding one decides, so that an exception is one more allow rule. A deny rule with a demand refuses traffic that does
not meet it, and beats every allow rule as other deny rules do. A report rule is a deny rule not yet in force: what it would have
refused is recorded.
"""

from functools import lru_cache
from typing import NamedTuple

from tunnelctl.engine.resolver import SocketAddress, literal_family
from tunnelctl.errors import AddressError
from tunnelctl.proto import refusal
from tunnelctl.proto.address import MAX_PORT, Address, is_ip, parse_host, parse_port, shown
from tunnelctl.proto.network import IPV4_MAPPED, Network, is_internal, is_internal_network, is_local_name, parse_network, unwrap
from tunnelctl.proto.refusal import Refusal
from tunnelctl.proto.tls.client_hello import ClientHello, NoClientHello
from tunnelctl.server.policy.index import RuleIndex

_CACHED = 4096  # decisions kept; clients choose the targets, so the number is bounded
_CACHED_CLIENTS = 256  # sets of rules that differ by client; each keeps its own decisions
_LOW_32 = 0xFFFFFFFF

NO_ALLOW = "no allow rule"
INTERNAL = "internal address"


class Rule(NamedTuple):
    """One rule: ports from low to high, and one of name, suffix and network, or none of them for any host.

    text: its name in records; suffix: ".example.com" for *.example.com, which covers every name below it, not example.com itself
    users, clients: those that the rule applies to; if empty, everybody
    tls, sni: the demand, if there is one: that the tunnel carries TLS, and that its server name is the target; sni implies tls
    """

    text: str
    low: int
    high: int
    name: str = ""
    suffix: str = ""
    network: Network | None = None
    users: frozenset[str] = frozenset()
    clients: tuple[Network, ...] = ()
    tls: bool = False
    sni: bool = False

    @property
    def target(self) -> str:
        """The target as it was written; `text` of a rule in a file also has the name or the line of the rule."""
        return self.text.partition(" ")[0]

    def covers_client(self, user: str, client: Network | None) -> bool:
        """Whether the rule applies to this user ("": not logged in) at this address (None: no IP address)."""
        if self.users and user not in self.users:
            return False
        return not self.clients or (client is not None and any(network.covers(client) for network in self.clients))

    def covers_port(self, port: int) -> bool:
        """Whether the rule covers this port."""
        return self.low <= port <= self.high

    def covers_name(self, host: str) -> bool:
        """Whether the rule covers a host whatever its address."""
        if self.network is not None:
            return False
        return (not self.name and not self.suffix) or host == self.name or (bool(self.suffix) and host.endswith(self.suffix))

    def covers_address(self, forms: tuple[Network, ...]) -> bool:
        """Whether the rule covers an address. forms: as `unwrap` returns them"""
        return self.network is not None and any(map(self.network.covers, forms))

    @property
    def names_networks(self) -> bool:
        """Whether the rule is for some client networks only. A network of all addresses does not count."""
        return bool(self.clients) and not any(map(_is_everything, self.clients))

    def reaches_internal(self) -> bool:
        """Whether the rule extends to internal addresses: it names a host, a single address, or an internal network."""
        if self.network is None:
            return bool(self.name)
        return self.network.first == self.network.last or is_internal_network(self.network)


class TLSRequirement(NamedTuple):
    """Traffic that a tunnel must carry: TLS, and with `sni` the target as server name. Anything else is cut, or only recorded."""

    rule: str
    sni: bool
    cut: bool

    def is_met(self, seen: ClientHello | NoClientHello, host: str) -> bool:
        """Whether the beginning of a tunnel to this host meets the demand.

        A server name cannot be an address (RFC 6066 section 3), so a hello without a name is accepted if the host is an address.
        """
        if isinstance(seen, NoClientHello):
            return False
        return not self.sni or seen.name == host or (not seen.name and is_ip(host))


class Decision(NamedTuple):
    """A verdict, and the rule behind it for the access log.

    refusal: the response to the client, None if the target is allowed; reports: the report rules that would have refused
    """

    rule: str
    refusal: Refusal | None = None
    reports: tuple[str, ...] = ()
    requirements: tuple[TLSRequirement, ...] = ()

    @property
    def allowed(self) -> bool:
        return self.refusal is None

    def without_tls(self) -> "Decision":
        """Returns the decision about traffic that is known to be no TLS, so that there is nothing to inspect."""
        cut = next((requirement.rule for requirement in self.requirements if requirement.cut), "")
        if cut:
            return Decision(f"{cut}: no TLS", refusal.ip_prohibited())
        return self._replace(reports=(*self.reports, *(requirement.rule for requirement in self.requirements)), requirements=())


def parse_rule(text: str) -> Rule:
    """Parses HOST, *.DOMAIN, CIDR or *, then :PORT, :LO-HI or :*; IPv6 in brackets. Raises AddressError."""
    host, colon, ports = text.rpartition(":")
    if not colon or not ports or ("[" in host) != ("]" in host):
        raise AddressError(f"rule {shown(text)}", "the port is missing", "rule-port-missing")
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
        raise AddressError(f"rule {shown(text)}", cause, "rule-part", inner=error) from None


def parse_client(text: str) -> Network:
    """Parses clients: ADDRESS or ADDRESS/BITS. There is no port, so IPv6 needs no brackets. Raises AddressError."""
    bare = text[1:-1] if text[:1] == "[" and text[-1:] == "]" else text
    return _parse_network(f"[{bare}]" if ":" in bare else text)


DEFAULT_ALLOW = (Rule("*:443", low=443, high=443),)


class Policy:
    """The rules of one server; immutable, so that decisions can be cached."""

    def __init__(self, allow: tuple[Rule, ...] = DEFAULT_ALLOW, deny: tuple[Rule, ...] = (), report: tuple[Rule, ...] = ()) -> None:
        self.allow, self.deny, self.report = allow, deny, report
        self._allow, self._deny, self._report = map(RuleIndex, (allow, deny, report))
        self._network_ports = {(rule.low, rule.high) for rule in allow if rule.network}
        self._personal = tuple(rule for rule in (*allow, *deny, *report) if rule.users or rule.clients)
        # The same targets and clients recur. The first two take 0.2 µs each instead of 3 and 10, and the third in place of both;
        # the fourth takes 0.2 instead of 10. The fifth makes clients with the same rules share the others.
        self._cached_before_lookup = lru_cache(_CACHED)(self._before_lookup)
        self._cached_judge = lru_cache(_CACHED)(self._judge)
        self._cached_judge_literal = lru_cache(_CACHED)(self._judge_literal)
        self._cached_select = lru_cache(_CACHED)(self._select)
        self._cached_narrow = lru_cache(_CACHED_CLIENTS)(self._narrow)

    @property
    def is_personal(self) -> bool:
        """Whether every allow rule names users or clients, so that strangers get nothing.

        A network of all addresses does not count.
        """
        return all(rule.users or rule.names_networks for rule in self.allow)

    def admitted_networks(self, logins: bool) -> list[Network]:
        """Returns the client networks that the allow rules admit; empty if one of those that can apply admits any address.

        logins: whether a client can log in; if not, a rule for users never applies
        """
        usable = [rule for rule in self.allow if logins or not rule.users]
        if not all(rule.names_networks for rule in usable):
            return []
        return list(dict.fromkeys(network for rule in usable for network in rule.clients))

    def for_client(self, user: str, host: str) -> "Policy":
        """Returns the rules that apply to this user at this address; `host` may be something else, as for a unix socket."""
        return self._cached_select(user, host) if self._personal else self

    def before_lookup(self, target: Address) -> Decision | None:
        """Returns the refusing decision if no address could make the target allowed, so that no lookup is needed; else None.

        A target that is an IP address is judged at once.
        """
        return self._cached_before_lookup(target)

    def judge(self, target: Address, ip: str) -> Decision:
        """Judges one address of the target, the one that will be dialled. Raises ValueError if `ip` is not an address."""
        return self._cached_judge(target, ip)

    def judge_literal(self, target: Address) -> tuple[SocketAddress, Decision] | None:
        """Judges a target that is an IP address by all rules; None for a name."""
        return self._cached_judge_literal(target)

    def judge_name(self, target: Address) -> Decision:
        """Judges a target whose name the next proxy will resolve, so that no rule on networks applies to a name.

        `localhost` and the other loopback names then mean that proxy's machine; they are reachable only if a rule names them.
        """
        if is_ip(target.host):
            return self.judge(target, target.host)
        return self._decide(target, (), is_local_name(target.host))

    def _select(self, user: str, host: str) -> "Policy":
        client = client_network(host)
        return self._cached_narrow(tuple(rule.covers_client(user, client) for rule in self._personal))

    def _narrow(self, covered: tuple[bool, ...]) -> "Policy":
        """Returns the policy without the personal rules for others. Clients with the same rules share their decisions."""
        others = {rule for rule, covers in zip(self._personal, covered, strict=True) if not covers}
        kept = (tuple(rule for rule in rules if rule not in others) for rules in (self.allow, self.deny, self.report))
        return Policy(*kept)

    def _before_lookup(self, target: Address) -> Decision | None:
        host, port = target
        for rule in self._deny.for_host(host):
            if not rule.tls and rule.covers_port(port):
                return Decision(f"deny {rule.text}", refusal.request_denied())
        by_address = any(low <= port <= high for low, high in self._network_ports)
        if not by_address and not any(rule.covers_port(port) for rule in self._allow.for_host(host)):
            return Decision(NO_ALLOW, refusal.request_denied())
        if is_ip(host) and not (decision := self._judge(target, host)).allowed:
            return decision
        return None

    def _judge_literal(self, target: Address) -> tuple[SocketAddress, Decision] | None:
        family = literal_family(target.host)
        if family is None:
            return None
        return SocketAddress(family, *target), self.before_lookup(target) or self.judge(target, target.host)

    def _judge(self, target: Address, ip: str) -> Decision:
        return self._decide(target, unwrap(ip), is_internal(ip))

    def _decide(self, target: Address, forms: tuple[Network, ...], internal: bool) -> Decision:
        host, port = target
        allow, deny, report = (
            tuple(rule for rule in rules.for_target(host, forms) if rule.covers_port(port))
            for rules in (self._allow, self._deny, self._report)
        )
        for rule in deny:
            if not rule.tls:
                return Decision(f"deny {rule.text}", refusal.ip_prohibited())
        if internal:
            allow = tuple(filter(Rule.reaches_internal, allow))
        if not allow:
            return Decision(INTERNAL if internal else NO_ALLOW, refusal.ip_prohibited())
        rule = min(allow, key=lambda rule: (rule.tls, rule.sni))
        reports = tuple(f"report {rule.text}" for rule in report if not rule.tls)
        requirements = (*_requirements("allow", (rule,)), *_requirements("deny", deny), *_requirements("report", report))
        return Decision(f"allow {rule.text}", None, reports, requirements)


def client_network(host: str) -> Network | None:
    """Returns a client's address as a network of one; None for other text. IPv4-mapped, as from a dual-stack listener, is IPv4."""
    try:
        return _unmapped(parse_network(host.partition("%")[0]))
    except ValueError:
        return None


def _requirements(kind: str, rules: tuple[Rule, ...]) -> tuple[TLSRequirement, ...]:
    return tuple(TLSRequirement(f"{kind} {rule.text}", rule.sni, kind != "report") for rule in rules if rule.tls)


def _is_everything(network: Network) -> bool:
    return network.first == 0 and network.last + 1 == 1 << (32 if network.version == 4 else 128)


def explain(policy: Policy, target: Address, ip: str, user: str, host: str) -> list[tuple[str, str]]:
    """Returns each rule that does not apply to the request, with the reason. `ip`: an address of the target, "" if unknown."""
    client, forms = client_network(host), unwrap(ip) if ip else ()
    kinds = (("deny", policy.deny), ("allow", policy.allow), ("report", policy.report))
    told = []
    for kind, rules in kinds:
        for rule in rules:
            gap = _gap(rule, target, forms, user, client)
            if not gap and kind == "allow" and ip and is_internal(ip) and not rule.reaches_internal():
                gap = "the address is internal, and the rule does not name it"
            if gap:
                told.append((f"{kind} {rule.text}", gap))
    return told


def _gap(rule: Rule, target: Address, forms: tuple[Network, ...], user: str, client: Network | None) -> str:
    if not rule.covers_port(target.port):
        return "another port"
    if not (rule.covers_name(target.host) or rule.covers_address(forms) or (rule.network and not forms)):
        return "another host" if rule.network is None else "another address"
    if rule.users and user not in rule.users:
        return "another user" if user else "nobody is logged in"
    return "" if rule.covers_client(user, client) else "another client"


def _parse_ports(text: str) -> tuple[int, int]:
    if text == "*":
        return 1, MAX_PORT
    low, dash, high = text.partition("-")
    first = parse_port(low)
    last = parse_port(high) if dash else first
    if last < first:
        raise AddressError(f"ports {shown(text)}", "the range ends before it begins", "port-range")
    return first, last


def _parse_domain(text: str) -> str:
    domain = parse_host(text)
    if is_ip(domain):
        raise AddressError(f"domain {shown(text)}", "*. precedes a domain, not an address", "domain-address")
    return domain


def _parse_network(text: str) -> Network:
    address, slash, bits = text.removeprefix("[").removesuffix("]").partition("/")
    if (":" in address) != (text[:1] == "["):
        raise AddressError(
            f"network {shown(text)}", "brackets are for IPv6 addresses and networks, which require them", "network-brackets"
        )
    host = parse_host(address)
    if not is_ip(host):
        raise AddressError(f"network {shown(text)}", "not a network ADDRESS/BITS: a name precedes the /", "network-name")
    most = 128 if ":" in host else 32
    if slash and not (bits.isascii() and bits.isdigit() and len(bits) <= 3 and int(bits) <= most):
        raise AddressError(f"network {shown(text)}", f"after the / there must be a number of bits, at most {most}", "network-bits")
    try:
        network = parse_network(host + slash + bits)
    except ValueError:
        cause = "not a network ADDRESS/BITS: the address has bits set beyond the prefix"
        raise AddressError(f"network {shown(text)}", cause, "network-host-bits") from None
    return _unmapped(network)


def _unmapped(network: Network) -> Network:
    """Converts IPv4-mapped addresses to IPv4: the same ones in another notation."""
    if network.version == 6 and network.first >> 32 == network.last >> 32 == IPV4_MAPPED >> 32:
        return Network(4, network.first & _LOW_32, network.last & _LOW_32)
    return network
