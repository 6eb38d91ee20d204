"""The index finds what a look at every rule would find, in the same order."""

from hypothesis import given
from hypothesis import strategies as st

from tunnelctl.proto.network import unwrap
from tunnelctl.server.policy.index import RuleIndex
from tunnelctl.server.policy.rules import parse_rule

HOSTS = ("example", "b.example", "a.b.example", "xb.example", "c.test", "10.0.0.1", "::1", "2001:db8::1", "::ffff:10.0.0.1")
DOMAINS = ("*.example", "*.b.example", "*.test", "*")
NETWORKS = (
    *("10.0.0.1", "10.0.0.0/8", "10.0.0.0/31", "10.0.0.0/30", "0.0.0.0/0", "127.0.0.0/8"),
    *("[::1]", "[::/0]", "[2001:db8::/32]", "[2001:db8::/127]", "[64:ff9b::/96]", "[::ffff:0.0.0.0/96]"),
)
ADDRESSES = ("10.0.0.1", "10.0.0.2", "127.0.0.1", "::1", "2001:db8::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "fe80::1%lo")
TEXTS = (*(host for host in HOSTS if ":" not in host), *DOMAINS, *NETWORKS)

rules = st.lists(st.sampled_from(TEXTS), max_size=12).map(lambda texts: [parse_rule(f"{text}:443") for text in texts])


@given(rules, st.sampled_from(HOSTS))
def test_the_rules_for_a_host(given_rules, host):
    assert RuleIndex(given_rules).for_host(host) == [rule for rule in given_rules if rule.covers_name(host)]


@given(rules, st.sampled_from(HOSTS), st.sampled_from(ADDRESSES))
def test_the_rules_for_a_host_at_an_address(given_rules, host, ip):
    forms = unwrap(ip)
    expected = [rule for rule in given_rules if rule.covers_name(host) or rule.covers_address(forms)]
    assert RuleIndex(given_rules).for_target(host, forms) == expected


def test_a_decision_asks_few_of_many_rules(monkeypatch):
    """With 10,000 rules, a target that is new to the server asks no more of them than with 10."""
    many = [
        parse_rule(f"{text}:443") for n in range(2500) for text in (f"h{n}.test", f"*.d{n}.test", f"10.{n >> 8}.{n & 255}.0/24")
    ]
    index = RuleIndex(many)
    assert index.for_target("a.d7.test", unwrap("10.1.2.3")) == [many[7 * 3 + 1], many[258 * 3 + 2]]
    monkeypatch.setattr(type(many[0]), "covers_name", None)
    assert index.for_target("elsewhere.test", unwrap("192.0.2.1")) == []
