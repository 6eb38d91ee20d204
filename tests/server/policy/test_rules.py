"""Rules and decisions. S14: known ports only; V1, V5, V7 where a rule decides; V22: a refusal that reveals nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proto.feeding import bounded
from tunnelctl.errors import AddressError
from tunnelctl.proto import refusal
from tunnelctl.proto.address import Address, parse_authority
from tunnelctl.proto.network import Network, is_internal, parse_network
from tunnelctl.proto.tls.client_hello import ENDED, MALFORMED, NO_TLS, TOO_LONG, ClientHello, NoClientHello
from tunnelctl.server.policy.rules import (
    DEFAULT_ALLOW,
    Decision,
    Policy,
    Rule,
    TLSRequirement,
    client_network,
    explain,
    parse_client,
    parse_rule,
)

PUBLIC = "93.184.216.34"


def policy(allow="", deny=""):
    return Policy(tuple(map(parse_rule, allow.split())) or DEFAULT_ALLOW, tuple(map(parse_rule, deny.split())))


def reaches(rules, target, ip=None):
    """Whether the proxy may dial an address of the target. Calls both checks; for an IP literal they must agree."""
    address = parse_authority(target)
    refused = rules.before_lookup(address)
    decision = rules.judge(address, address.host if ip is None else ip)
    if ip is None:
        assert (refused is None) == decision.allowed
    elif refused is not None:
        assert not decision.allowed
    return refused is None and decision.allowed


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("*:443", Rule("*:443", 443, 443)),
        ("*:*", Rule("*:*", 1, 65535)),
        ("*:1-1024", Rule("*:1-1024", 1, 1024)),
        ("Example.COM.:22", Rule("Example.COM.:22", 22, 22, name="example.com")),
        ("münchen.example:22", Rule("münchen.example:22", 22, 22, name="xn--mnchen-3ya.example")),
        ("*.Example.com:22", Rule("*.Example.com:22", 22, 22, suffix=".example.com")),
        ("192.0.2.1:22", Rule("192.0.2.1:22", 22, 22, network=parse_network("192.0.2.1"))),
        ("10.0.0.0/8:22", Rule("10.0.0.0/8:22", 22, 22, network=parse_network("10.0.0.0/8"))),
        ("0.0.0.0/0:22", Rule("0.0.0.0/0:22", 22, 22, network=Network(4, 0, 2**32 - 1))),
        ("[::1]:*", Rule("[::1]:*", 1, 65535, network=Network(6, 1, 1))),
        ("[2001:db8::/32]:443", Rule("[2001:db8::/32]:443", 443, 443, network=parse_network("2001:db8::/32"))),
        ("[::ffff:10.0.0.0/104]:1", Rule("[::ffff:10.0.0.0/104]:1", 1, 1, network=parse_network("10.0.0.0/8"))),
        ("[::ffff:10.0.0.1]:1", Rule("[::ffff:10.0.0.1]:1", 1, 1, network=parse_network("10.0.0.1"))),
        ("[::/0]:1", Rule("[::/0]:1", 1, 1, network=Network(6, 0, 2**128 - 1))),
    ],
)
def test_a_rule_is_parsed(text, rule):
    assert parse_rule(text) == rule


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "port is missing"),
        ("example.com", "port is missing"),
        ("[::1]", "port is missing"),
        ("10.0.0.0/8", "port is missing"),
        (":443", "empty"),
        ("*:", "port is missing"),
        ("*:0", "port '0' is not a number from 1 to 65535"),
        ("*:443x", "1 to 65535"),
        ("*:0443", "1 to 65535"),
        ("*:1-", "1 to 65535"),
        ("*:-1", "1 to 65535"),
        ("*:1-2-3", "1 to 65535"),
        ("*:2-1", "ends before"),
        ("*.*:443", "a character"),
        ("*.:443", "empty"),
        ("*example.com:443", "a character"),
        ("www.*.com:443", "a character"),
        ("*.10.0.0.0:443", "not an address"),
        ("*.1:443", "four decimal numbers"),
        ("::1:443", "brackets"),
        ("2001:db8::/32:443", "brackets"),
        ("[10.0.0.0/8]:443", "brackets"),
        ("[127.0.0.1]:443", "brackets"),
        ("[example.com]:443", "brackets"),
        ("10.0.0.1/8:443", "bits set beyond the prefix"),
        ("10.0.0.0/33:443", "a number of bits, at most 32"),
        ("[::/129]:443", "a number of bits, at most 128"),
        (f"10.0.0.0/{'9' * 50}:443", "a number of bits, at most 32"),
        ("10.0.0.0/255.0.0.0:443", "number of bits"),
        ("10.0.0.0/:443", "number of bits"),
        ("10.0.0.0/٨:443", "number of bits"),
        ("10.0.0.0/8/8:443", "number of bits"),
        ("10/8:443", "four decimal numbers"),
        ("0x7f.1:443", "four decimal numbers"),
        ("example.com/24:443", "not a network ADDRESS/BITS: a name precedes the /"),
        ("/8:443", "empty"),
        ("[::1:443", "port is missing"),
        ("[fe80::1%lo]:443", "scope"),
        ("[2001:db8::]/32:443", "not an IPv6|brackets"),
        ("a b:443", "blank"),
        ("http://example.com:443", "a character|brackets|not a network"),
    ],
)
def test_a_malformed_rule_is_an_error(text, cause):
    with pytest.raises(AddressError, match=cause) as caught:
        parse_rule(text)
    assert caught.value.what == f"rule {text!a}"


class TestDefault:
    """S14: without a rule, every public address on port 443."""

    @pytest.mark.parametrize("target", [f"{PUBLIC}:443", "[2606:4700::1111]:443"])
    def test_s14_public_addresses_on_443(self, target):
        assert reaches(policy(), target)

    def test_s14_a_name_is_judged_by_its_address(self):
        assert reaches(policy(), "example.com:443", PUBLIC)
        assert not reaches(policy(), "example.com:443", "127.0.0.1")

    @pytest.mark.parametrize("port", [1, 22, 25, 80, 442, 444, 8443, 65535])
    def test_s14_no_other_port(self, port):
        assert not reaches(policy(), f"{PUBLIC}:{port}")
        assert policy().before_lookup(Address("example.com", port)).refusal == refusal.request_denied()

    @pytest.mark.parametrize(
        "host", ["127.0.0.1", "[::1]", "10.0.0.1", "169.254.169.254", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "[::]"]
    )
    def test_v1_v5_no_internal_address(self, host):
        assert not reaches(policy(), f"{host}:443")
        assert policy().before_lookup(parse_authority(f"{host}:443")).refusal == refusal.ip_prohibited()
        assert policy().judge(parse_authority(f"{host}:443"), parse_authority(f"{host}:443").host) == Decision(
            "internal address", refusal.ip_prohibited()
        )

    def test_deny_rules_alone_leave_the_default_in_place(self):
        rules = policy(deny="example.com:*")
        assert not reaches(rules, "example.com:443", PUBLIC)
        assert reaches(rules, "example.org:443", PUBLIC)
        assert not reaches(rules, "example.org:80", PUBLIC)

    def test_allow_rules_replace_the_default(self):
        assert not reaches(policy("*:22"), f"{PUBLIC}:443")


class TestInternal:
    @pytest.mark.parametrize(
        "rule", ["*:*", "0.0.0.0/0:*", "[::/0]:*", "*.example.com:*", "0.0.0.0/7:*", "126.0.0.0/7:*", "www.example.com:*"]
    )
    def test_v1_a_rule_without_the_internal_address_does_not_allow_it(self, rule):
        for ip in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "fe80::1%lo"):
            assert not reaches(policy(rule), "a.example.com:443", ip)

    @pytest.mark.parametrize("rule", ["127.0.0.1:*", "127.0.0.0/8:*", "127.0.0.0/31:443", "localhost:443"])
    def test_its_address_network_or_exact_name_allows_an_internal_target(self, rule):
        assert reaches(policy(rule), "localhost:443", "127.0.0.1")

    def test_a_name_allows_its_internal_address_only_under_that_name(self):
        rules = policy("intranet.example:443")
        assert reaches(rules, "intranet.example:443", "10.0.0.5")
        assert not reaches(rules, "10.0.0.5:443")
        assert not reaches(rules, "sub.intranet.example:443", "10.0.0.5")
        assert not reaches(rules, "intranet.example:22", "10.0.0.5")

    def test_an_address_is_allowed_under_every_name(self):
        """Except the proxy's own listeners, which are never targets: the socket address is checked for that."""
        assert reaches(policy("10.0.0.5:443"), "anything.example:443", "10.0.0.5")
        assert not reaches(policy("10.0.0.5:443"), "anything.example:443", "10.0.0.6")

    def test_v5_a_network_allows_its_addresses_in_every_embedding(self):
        rules = policy("127.0.0.0/8:443")
        assert reaches(rules, "[::ffff:127.0.0.1]:443")
        assert reaches(rules, "[64:ff9b::7f00:1]:443")
        assert not reaches(rules, "[::127.0.0.1]:443")
        assert not reaches(rules, "[::1]:443")

    def test_v5_an_embedding_network_allows_no_internal_address(self):
        rules = policy("[64:ff9b::/96]:443")
        assert reaches(rules, "[64:ff9b::101:101]:443")
        assert not reaches(rules, "[64:ff9b::7f00:1]:443")
        assert not reaches(rules, "1.1.1.1:443")

    def test_a_rule_can_name_one_embedded_address(self):
        assert reaches(policy("[64:ff9b::7f00:1]:443"), "[64:ff9b::7f00:1]:443")
        assert not reaches(policy("[64:ff9b::7f00:1]:443"), "127.0.0.1:443")


class TestDeny:
    def test_deny_beats_allow(self):
        for deny in ("*:443", "example.com:443", f"{PUBLIC}:443", "93.0.0.0/8:1-1000", "*.com:*"):
            rules = policy("*:443 example.com:443", deny)
            assert not reaches(rules, "example.com:443", PUBLIC)
            assert rules.judge(Address("example.com", 443), PUBLIC) == Decision(f"deny {deny}", refusal.ip_prohibited())

    def test_v5_a_deny_rule_applies_to_every_embedding(self):
        for deny in ("1.1.1.0/24:*", "[::ffff:1.1.1.0/120]:*"):
            for host in ("1.1.1.1", "[::ffff:1.1.1.1]", "[64:ff9b::101:101]"):
                assert not reaches(policy("*:443", deny), f"{host}:443")
            assert reaches(policy("*:443", deny), "1.1.2.1:443")
        assert not reaches(policy("*:443", "[64:ff9b::/96]:*"), "[64:ff9b::101:101]:443")

    def test_a_deny_rule_applies_to_its_ports_only(self):
        rules = policy("*:*", "*:25")
        assert not reaches(rules, f"{PUBLIC}:25")
        assert reaches(rules, f"{PUBLIC}:26")
        assert rules.before_lookup(Address(PUBLIC, 25)).refusal == refusal.request_denied()

    def test_v22_every_forbidden_address_gets_the_same_refusal(self):
        rules = policy(deny="1.1.1.1:*")
        answers = {rules.before_lookup(Address(host, 443)).refusal for host in ("1.1.1.1", "127.0.0.1", "10.0.0.1", "::1")}
        assert answers == {refusal.ip_prohibited()}


class TestNames:
    def test_v7_a_domain_rule_matches_at_label_boundaries(self):
        rules = policy("*.trusted.net:443")
        assert reaches(rules, "www.trusted.net:443", PUBLIC)
        assert reaches(rules, "a.b.trusted.net:443", PUBLIC)
        assert not reaches(rules, "evil-trusted.net:443", PUBLIC)
        assert not reaches(rules, "trusted.net:443", PUBLIC)
        assert not reaches(rules, "trusted.net.evil.example:443", PUBLIC)
        assert not reaches(policy("trusted.net:443"), "evil-trusted.net:443", PUBLIC)
        assert not reaches(policy("trusted.net:443"), "www.trusted.net:443", PUBLIC)

    def test_v7_a_deny_rule_for_a_domain_matches_at_label_boundaries(self):
        rules = policy("*:443", "*.evil.net:* evil.net:*")
        for host in ("evil.net", "EVIL.net.", "www.Evil.net"):
            assert not reaches(rules, f"{host}:443", PUBLIC)
        assert reaches(rules, "not-evil.net:443", PUBLIC)

    def test_v7_rules_on_names_do_not_match_addresses(self):
        assert not reaches(policy("*.example:443"), f"{PUBLIC}:443")

    def test_a_look_up_that_cannot_matter_is_avoided(self):
        assert policy("a.example:443").before_lookup(Address("b.example", 443)).refusal == refusal.request_denied()
        assert policy("a.example:443").before_lookup(Address("a.example", 443)) is None
        assert policy("10.0.0.0/8:443").before_lookup(Address("b.example", 443)) is None  # its address may be in that network
        assert policy("10.0.0.0/8:443").before_lookup(Address("b.example", 22)).refusal == refusal.request_denied()
        assert policy("*:*", "b.example:*").before_lookup(Address("b.example", 443)).refusal == refusal.request_denied()

    def test_the_decision_names_its_rule(self):
        rules = policy("*.example:443 10.0.0.0/8:*")
        assert rules.judge(Address("a.example", 443), PUBLIC) == Decision("allow *.example:443")
        assert rules.judge(Address("a.example", 22), "10.0.0.1") == Decision("allow 10.0.0.0/8:*")
        assert rules.judge(Address("a.example", 22), PUBLIC) == Decision("no allow rule", refusal.ip_prohibited())
        assert policy().judge(Address("a.example", 443), PUBLIC) == Decision("allow *:443")


def test_judging_a_name_as_an_address_raises_value_error():
    with pytest.raises(ValueError):
        policy().judge(Address("example.com", 443), "example.com")


def test_a_repeated_request_gets_the_same_decision():
    rules = policy("*:22")
    for _ in range(2):
        assert rules.before_lookup(Address(PUBLIC, 22)) is None
        assert rules.judge(Address(PUBLIC, 22), PUBLIC).allowed
        assert not rules.judge(Address(PUBLIC, 23), PUBLIC).allowed


class TestClients:
    """Rules for certain users and clients, as in a policy file."""

    RULES = Policy(
        (
            parse_rule("*:443"),
            parse_rule("*.example:22")._replace(users=frozenset({"alice"})),
            parse_rule("*:8443")._replace(clients=(parse_client("192.0.2.0/24"), parse_client("2001:db8::/32"))),
            parse_rule("*:99")._replace(users=frozenset({"alice"}), clients=(parse_client("192.0.2.7"),)),
        ),
        (parse_rule("evil.example:*")._replace(users=frozenset({"bob"})),),
        (parse_rule("*:22")._replace(clients=(parse_client("192.0.2.7"),)),),
    )

    def ports(self, user, host):
        """Returns the allowed ports of a public name."""
        rules = self.RULES.for_client(user, host)
        return {port for port in (22, 99, 443, 8443) if reaches(rules, f"a.example:{port}", PUBLIC)}

    @pytest.mark.parametrize(
        ("user", "host", "ports"),
        [
            ("", "198.51.100.1", {443}),
            ("bob", "198.51.100.1", {443}),
            ("alice", "198.51.100.1", {22, 443}),
            ("Alice", "198.51.100.1", {443}),
            ("", "192.0.2.1", {443, 8443}),
            ("", "::ffff:192.0.2.1", {443, 8443}),
            ("", "::ffff:c000:201", {443, 8443}),
            ("", "64:ff9b::192.0.2.1", {443}),
            ("", "2001:db8::5", {443, 8443}),
            ("", "fe80::1%eth0", {443}),
            ("alice", "192.0.2.7", {22, 99, 443, 8443}),
            ("bob", "192.0.2.7", {443, 8443}),
            ("alice", "unix", {22, 443}),
        ],
    )
    def test_a_rule_applies_to_its_users_and_clients(self, user, host, ports):
        assert self.ports(user, host) == ports

    def test_a_deny_rule_for_one_user_applies_to_that_user_only(self):
        assert not reaches(self.RULES.for_client("bob", "192.0.2.1"), "evil.example:443", PUBLIC)
        assert reaches(self.RULES.for_client("alice", "192.0.2.1"), "evil.example:443", PUBLIC)

    def test_a_client_without_a_rule_does_not_get_the_default(self):
        rules = Policy((parse_rule("*:443")._replace(users=frozenset({"alice"})),)).for_client("bob", "192.0.2.1")
        assert not reaches(rules, "a.example:443", PUBLIC)
        assert rules.before_lookup(Address("a.example", 443)).rule == "no allow rule"

    def test_without_rules_for_clients_all_share_one_policy(self):
        rules = policy("*:443", "evil.example:*")
        assert rules.for_client("alice", "192.0.2.1") is rules.for_client("", "unix") is rules

    def test_clients_with_the_same_rules_share_their_decisions(self):
        assert self.RULES.for_client("", "192.0.2.1") is self.RULES.for_client("bob2", "192.0.2.2")

    @pytest.mark.parametrize(
        ("users", "clients", "personal"),
        [
            ("", "", False),
            ("alice", "", True),
            ("", "192.0.2.0/24", True),
            ("", "0.0.0.0/0", False),
            ("", "192.0.2.0/24 ::/0", False),
            ("", "::/1", True),
        ],
    )
    def test_is_personal_if_every_allow_rule_excludes_strangers(self, users, clients, personal):
        rule = parse_rule("*:443")._replace(users=frozenset(users.split()), clients=tuple(map(parse_client, clients.split())))
        assert Policy((rule,)).is_personal is personal
        assert not Policy((rule, parse_rule("*:22"))).is_personal

    @pytest.mark.parametrize("text", ["::1", "[::1]", "2001:db8::/32", "10.0.0.0/8", "::ffff:10.0.0.0/104"])
    def test_a_client_is_an_address_or_a_network(self, text):
        assert parse_client(text) == parse_rule(f"[{text.strip('[]')}]:1" if ":" in text else f"{text}:1").network

    @pytest.mark.parametrize("text", ["", "a.example", "10.0.0.1/8", "[10.0.0.1]", "::1/8", "10/8", "*", "[::1", "fe80::1%lo"])
    def test_a_malformed_client_is_an_error(self, text):
        with pytest.raises(AddressError):
            parse_client(text)

    @pytest.mark.parametrize("host", ["unix", "", "a.example", "1.2.3"])
    def test_a_client_without_an_ip_address_has_no_network(self, host):
        assert client_network(host) is None


def demanding(text, sni=False, **more):
    return parse_rule(text)._replace(tls=True, sni=sni, **more)


class TestDemands:
    TARGET = Address("a.example", 443)

    def test_an_allow_rule_with_a_requirement_allows_under_it(self):
        rules = Policy((demanding("*:443"),))
        assert rules.judge(self.TARGET, PUBLIC) == Decision(
            "allow *:443", requirements=(TLSRequirement("allow *:443", False, True),)
        )

    def test_the_rule_with_the_least_requirement_decides_in_any_order(self):
        several = (demanding("*:443", sni=True), demanding("*:400-500"), demanding("a.example:443", sni=True))
        for allow in (several, several[::-1]):
            assert Policy(allow).judge(self.TARGET, PUBLIC).rule == "allow *:400-500"
            assert Policy((*allow, parse_rule("a.example:443"))).judge(self.TARGET, PUBLIC) == Decision("allow a.example:443")
            assert Policy((*allow, parse_rule("b.example:443"))).judge(self.TARGET, PUBLIC).requirements != ()

    def test_a_deny_rule_with_a_requirement_refuses_only_what_fails_it(self):
        rules = Policy((parse_rule("*:*"),), (demanding("*:443", sni=True), demanding("*:22"), parse_rule("*:25")))
        assert reaches(rules, "a.example:443", PUBLIC)
        assert rules.judge(self.TARGET, PUBLIC) == Decision("allow *:*", requirements=(TLSRequirement("deny *:443", True, True),))
        assert rules.judge(Address("a.example", 80), PUBLIC) == Decision("allow *:*")
        assert not reaches(rules, "a.example:25", PUBLIC)

    def test_the_requirements_of_all_deny_rules_add_to_the_allow_rule(self):
        rules = Policy((demanding("*:443"),), (demanding("*:443", sni=True), demanding("*.example:*")))
        assert [demand.rule for demand in rules.judge(self.TARGET, PUBLIC).requirements] == [
            "allow *:443", "deny *:443", "deny *.example:*",
        ]  # fmt: skip

    def test_a_report_rule_refuses_nothing_and_is_reported(self):
        rules = Policy((parse_rule("*:*"),), (), (parse_rule("*.example:443"), demanding("*:443"), parse_rule("93.0.0.0/8:*")))
        assert rules.before_lookup(self.TARGET) is None
        decision = rules.judge(self.TARGET, PUBLIC)
        assert decision == Decision(
            "allow *:*", None, ("report *.example:443", "report 93.0.0.0/8:*"), (TLSRequirement("report *:443", False, False),)
        )
        assert rules.judge(Address("b.test", 80), "8.8.8.8") == Decision("allow *:*")

    def test_a_refused_request_is_not_reported(self):
        rules = Policy((parse_rule("*:443"),), (), (parse_rule("*:*"),))
        assert rules.judge(Address("a.example", 80), PUBLIC) == Decision("no allow rule", refusal.ip_prohibited())
        assert rules.judge(self.TARGET, "10.0.0.1") == Decision("internal address", refusal.ip_prohibited())

    def test_v1_a_requirement_allows_no_internal_address(self):
        assert not reaches(Policy((demanding("*:443", sni=True),)), "a.example:443", "127.0.0.1")


class TestWhatATunnelCarries:
    TLS, SNI = TLSRequirement("allow *:443", False, True), TLSRequirement("allow *:443", True, True)

    @pytest.mark.parametrize("what", [NO_TLS, MALFORMED, TOO_LONG, ENDED])
    def test_v29_without_a_client_hello_no_requirement_is_met(self, what):
        for demand in (self.TLS, self.SNI):
            assert not demand.is_met(NoClientHello(what), "a.example")

    @pytest.mark.parametrize(
        ("name", "host", "met"),
        [
            ("a.example", "a.example", True),
            ("b.example", "a.example", False),
            ("a.example", "b.a.example", False),
            ("", "a.example", False),
            ("", "192.0.2.1", True),
            ("", "2001:db8::1", True),
            ("192.0.2.1", "192.0.2.1", True),
            ("192.0.2.2", "192.0.2.1", False),
            ("a.example", "192.0.2.1", False),
        ],
    )
    def test_v29_the_server_name_must_be_the_target(self, name, host, met):
        assert self.SNI.is_met(ClientHello(name), host) is met
        assert self.SNI.is_met(ClientHello(name, ech=True), host) is met
        assert self.TLS.is_met(ClientHello(name), host)


class TestExplain:
    RULES = Policy(
        (
            parse_rule("*:443"),
            parse_rule("*:22")._replace(users=frozenset({"alice"})),
            parse_rule("10.0.0.0/8:443")._replace(clients=(parse_client("192.0.2.7"),)),
            parse_rule("b.example:443"),
        ),
        (parse_rule("198.51.100.0/24:*"),),
        (parse_rule("*:8443"),),
    )

    def test_rules_that_do_not_apply_are_listed_with_the_reason(self):
        assert explain(self.RULES, Address("a.example", 443), PUBLIC, "", "192.0.2.1") == [
            ("deny 198.51.100.0/24:*", "another address"),
            ("allow *:22", "another port"),
            ("allow 10.0.0.0/8:443", "another address"),
            ("allow b.example:443", "another host"),
            ("report *:8443", "another port"),
        ]

    def test_the_reason_may_be_the_user_or_the_client(self):
        def gap(rule, user, host, port, ip):
            return dict(explain(self.RULES, Address("a.example", port), ip, user, host)).get(rule)

        assert gap("allow *:22", "", "unix", 22, PUBLIC) == "nobody is logged in"
        assert gap("allow *:22", "bob", "unix", 22, PUBLIC) == "another user"
        assert gap("allow *:22", "alice", "unix", 22, PUBLIC) is None
        assert gap("allow 10.0.0.0/8:443", "", "192.0.2.8", 443, "10.0.0.1") == "another client"
        assert gap("allow 10.0.0.0/8:443", "", "192.0.2.7", 443, "10.0.0.1") is None
        assert "internal" in gap("allow *:443", "", "192.0.2.7", 443, "10.0.0.1")

    def test_before_the_look_up_networks_are_not_listed(self):
        assert [rule for rule, _ in explain(self.RULES, Address("a.example", 22), "", "bob", "unix")] == [
            "allow *:443", "allow *:22", "allow 10.0.0.0/8:443", "allow b.example:443", "report *:8443",
        ]  # fmt: skip


RULES = st.sampled_from(
    [
        "*:443",
        "*:*",
        "*:1-1024",
        "a.example:*",
        "*.example:443",
        "10.0.0.0/8:*",
        "127.0.0.1:443",
        "0.0.0.0/0:*",
        "[::/0]:*",
        "[::1]:*",
    ]
)
HOSTS = st.one_of(st.sampled_from(["a.example", "b.a.example", "example", "aexample"]), st.ip_addresses().map(str))


@bounded
@given(
    st.lists(RULES, max_size=3), st.lists(RULES, max_size=3), HOSTS, st.sampled_from([22, 443, 8080]), st.ip_addresses().map(str)
)
def test_property_no_set_of_rules_is_unsafe(allow, deny, host, port, ip):
    rules = policy(" ".join(allow), " ".join(deny))
    target = parse_authority(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    ip = target.host if ":" in target.host or target.host[0].isdigit() else ip
    refused, decision = rules.before_lookup(target), rules.judge(target, ip)
    if refused is not None:
        assert not decision.allowed
    if decision.allowed and is_internal(ip):
        assert decision.rule.split()[1] in ("a.example:*", "10.0.0.0/8:*", "127.0.0.1:443", "[::1]:*")
    if deny and decision.allowed:
        assert not policy("*:*", " ".join(deny)).judge(target, ip).rule.startswith("deny")
    more = policy(" ".join(allow), " ".join([*deny, "*:*"]))
    assert not more.judge(target, ip).allowed
    silent = {rule for rule, _ in explain(rules, target, ip, "", "unix")}
    assert decision.rule not in silent


@bounded
@given(st.one_of(st.text(max_size=30), st.text("*.[]:/-0123456789a%@ ", max_size=24)))
def test_fuzz_a_rule_parses_or_raises_address_error(text):
    try:
        rule = parse_rule(text)
    except AddressError:
        return
    assert 1 <= rule.low <= rule.high <= 65535
    assert [bool(rule.name), bool(rule.suffix), rule.network is not None].count(True) <= 1


# --- names that another proxy looks up


@pytest.mark.parametrize(
    ("target", "rule"),
    [
        ("a.example.com:443", "allow *.example.com:443"),
        ("db.corp.test:5432", "allow db.corp.test:5432"),
        ("203.0.113.0.example.com:443", "allow *.example.com:443"),
        ("10.1.2.3:22", "allow 10.0.0.0/8:22"),
        ("localhost:8080", "allow localhost:8080"),
        ("ip6-localhost:8080", "allow ip6-localhost:8080"),
        ("localhost.example.com:443", "allow *.example.com:443"),
        ("notlocalhost:9", "allow *:9"),
    ],
)
def test_a_name_resolved_elsewhere_is_allowed_by_name(target: str, rule: str) -> None:
    rules = ("*.example.com:443", "db.corp.test:5432", "10.0.0.0/8:22", "localhost:8080", "ip6-localhost:8080", "*:9")
    decision = Policy(tuple(map(parse_rule, rules))).judge_name(parse_authority(target))
    assert (decision.allowed, decision.rule) == (True, rule)


@pytest.mark.parametrize(
    ("target", "rule"),
    [
        ("secret.example.com:443", "deny secret.example.com:*"),
        ("other.test:443", "no allow rule"),
        ("a.example.com:444", "no allow rule"),
        ("localhost:9", "internal address"),
        ("db.localhost:9", "internal address"),
        ("LocalHost.LocalDomain.:9", "internal address"),
        ("ip6-loopback:9", "internal address"),
        ("machine.localdomain:9", "internal address"),
        ("10.1.2.3:9", "internal address"),
        ("127.0.0.1:9", "internal address"),
    ],
)
def test_a_name_resolved_elsewhere_is_refused_by_name(target: str, rule: str) -> None:
    allow = map(parse_rule, ("*.example.com:443", "10.0.0.0/8:22", "*:9", "*.localdomain:*"))
    decision = Policy(tuple(allow), (parse_rule("secret.example.com:*"),)).judge_name(parse_authority(target))
    assert (decision.allowed, decision.rule) == (False, rule)


def test_a_decision_about_traffic_without_tls() -> None:
    """A demand that may cut refuses it, and one that only reports is noted."""
    cut, report = TLSRequirement("allow *:80", sni=False, cut=True), TLSRequirement("report *:80", sni=True, cut=False)
    free = Decision("allow *:80", reports=("report *:1",))
    assert free.without_tls() == free
    noted = free._replace(requirements=(report,)).without_tls()
    assert (noted.allowed, noted.reports, noted.requirements) == (True, ("report *:1", "report *:80"), ())
    refused = free._replace(requirements=(report, cut)).without_tls()
    assert (refused.allowed, refused.rule) == (False, "allow *:80: no TLS")
