"""The entries of NO_PROXY in the notations of other tools, each read by an interpreter of that notation."""

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnelctl.cli.setup.exemptions import (
    gnome,
    hosts,
    hosts_and_one_level,
    left_out,
    names,
    names_and_networks,
    wildcards,
    written,
)
from tunnelctl.client.route.no_proxy import exempting_entry, usable_entries
from tunnelctl.proto.address import Address

ENTRIES = ["a.example", ".b.example", "*.c.example", "10.0.0.0/8", "10.1.0.0/16", "192.0.2.7", "2001:db8::1", "d.example:443"]
ODD = ["*", "<local>", "*.corp.*", "10.*", "10.0.0.1-10.0.0.6", "fd00::/8", "a?.example"]
HOSTS = [
    "a.example",
    "x.a.example",
    "xa.example",
    "c.example",
    "10.1.2.3",
    "10.0.0.3",
    "11.1.1.1",
    "192.0.2.7",
    "2001:db8::1",
    "db",
]
TARGETS = st.builds(Address, st.sampled_from(HOSTS), st.sampled_from([443, 80]))
LISTS = st.lists(st.sampled_from([*ENTRIES, *ODD]), min_size=1, max_size=4)


@given(LISTS, TARGETS)
def test_the_common_notation_exempts_the_same_targets(texts, target):
    """Unless an entry was left out, which is then named."""
    entries = usable_entries(",".join(texts))
    forms = written(entries, names_and_networks)
    exempt = bool(exempting_entry(target, ",".join(texts)))
    again = bool(exempting_entry(target, ",".join(forms)))
    assert again == exempt or (exempt and left_out(entries, names_and_networks))


@given(LISTS, TARGETS)
def test_the_wildcards_of_java_exempt_no_other_targets(texts, target):
    """java.net's own rule: a pattern has a * at its start or its end, and matches without regard to case."""
    entries = usable_entries(",".join(texts))
    host = f"[{target.host}]" if ":" in target.host else target.host
    matched = any(fnmatch.fnmatchcase(host, form.replace("[", "[[]")) for form in written(entries, wildcards))
    exempt = bool(exempting_entry(target, ",".join(texts)))
    assert matched <= exempt
    assert matched == exempt or left_out(entries, wildcards)


@pytest.mark.parametrize(
    ("text", "notation", "forms"),
    [
        ("a.example", names_and_networks, ["a.example"]),
        ("a.example:443", names_and_networks, ["a.example:443"]),
        ("[2001:db8::1]:443", names_and_networks, ["[2001:db8::1]:443"]),
        ("*", names_and_networks, ["*"]),
        ("<local>", names_and_networks, []),
        ("a.example", wildcards, ["a.example", "*.a.example"]),
        ("10.0.0.0/8", wildcards, ["10.*"]),
        ("192.0.2.0/24", wildcards, ["192.0.2.*"]),
        ("192.0.2.7/32", wildcards, ["192.0.2.7"]),
        ("172.16.0.0/12", wildcards, []),
        ("fd00::/8", wildcards, []),
        ("::1", wildcards, ["[::1]"]),
        ("*.corp.*", wildcards, ["*.corp.*"]),
        ("a*b.example", wildcards, []),
        ("a.example:443", wildcards, []),
        ("a.example", names, ["a.example"]),
        ("10.0.0.0/8", names, []),
        ("a.example", hosts, ["a.example"]),
        ("*", hosts, []),
        ("a.example", hosts_and_one_level, ["a.example", "*.a.example"]),
        ("192.0.2.7", hosts_and_one_level, ["192.0.2.7"]),
        ("10.0.0.0/8", hosts_and_one_level, []),
        ("a.example", gnome, ["a.example", "*.a.example"]),
        ("10.0.0.0/8", gnome, ["10.0.0.0/8"]),
        ("*", gnome, []),
    ],
)
def test_forms(text, notation, forms):
    entries = usable_entries(text)
    assert written(entries, notation) == forms
    assert left_out(entries, notation) == ([] if forms else [text])
