"""NO_PROXY: each form of an entry, and what is no entry at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnelctl.client.no_proxy import exempting_entry
from tunnelctl.proto.address import Address, parse_authority


def exempt(target: str, no_proxy: str) -> bool:
    return bool(exempting_entry(parse_authority(target), no_proxy))


@pytest.mark.parametrize(
    ("target", "entry"),
    [
        ("example.com:22", "example.com"),
        ("example.com:22", "EXAMPLE.com"),
        ("EXAMPLE.COM:22", "example.com"),
        ("example.com.:22", "example.com"),
        ("example.com:22", "example.com."),
        ("www.example.com:22", "example.com"),
        ("a.b.example.com:22", "example.com"),
        ("www.example.com:22", ".example.com"),
        ("www.example.com:22", "*.example.com"),
        ("example.com:22", ".example.com"),
        ("bücher.example:22", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example:22", "BÜCHER.example"),
        ("localhost:22", "localhost"),
        ("anything:1", "*"),
        ("192.0.2.1:1", "*"),
        ("[2001:db8::1]:1", "*"),
    ],
)
def test_names(target: str, entry: str) -> None:
    assert exempt(target, entry)


@pytest.mark.parametrize(
    ("target", "entry"),
    [
        ("badexample.com:22", "example.com"),
        ("badexample.com:22", ".example.com"),
        ("example.com:22", "www.example.com"),
        ("example.com.evil.test:22", "example.com"),
        ("com:22", "example.com"),
        ("example.com:22", "exam*"),
        ("192.0.2.1:22", "1"),
        ("192.0.2.1:22", ".2.1"),
    ],
)
def test_names_match_at_label_boundaries_only(target: str, entry: str) -> None:
    assert not exempt(target, entry)


@pytest.mark.parametrize(
    ("target", "entry"),
    [
        ("192.0.2.1:22", "192.0.2.1"),
        ("[2001:db8::1]:22", "2001:db8::1"),
        ("[2001:db8::1]:22", "[2001:db8::1]"),
        ("[2001:db8::1]:22", "2001:0DB8:0:0:0:0:0:0001"),
        ("[2001:0db8:0::0:1]:22", "2001:db8::1"),
        ("[::1]:22", "0:0:0:0:0:0:0:1"),
        ("192.0.2.77:22", "192.0.2.0/24"),
        ("192.0.2.77:22", "192.0.2.5/24"),
        ("10.200.0.1:22", "10.0.0.0/8"),
        ("192.0.2.1:22", "192.0.2.1/32"),
        ("192.0.2.1:22", "0.0.0.0/0"),
        ("[2001:db8:1::5]:22", "2001:db8::/32"),
        ("[2001:db8:1::5]:22", "[2001:db8::/32]"),
        ("[fd00::1]:22", "FC00::/7"),
    ],
)
def test_addresses_and_networks_match_however_spelled(target: str, entry: str) -> None:
    assert exempt(target, entry)


@pytest.mark.parametrize(
    ("target", "entry"),
    [
        ("192.0.2.1:22", "192.0.2.10"),
        ("192.0.3.1:22", "192.0.2.0/24"),
        ("[2001:db9::1]:22", "2001:db8::/32"),
        ("[2001:db8::1]:22", "192.0.2.0/24"),
        ("192.0.2.1:22", "2001:db8::/32"),
        ("ten.example:22", "10.0.0.0/8"),
        ("ten.example:22", "0.0.0.0/0"),
    ],
)
def test_other_addresses_do_not_match(target: str, entry: str) -> None:
    assert not exempt(target, entry)


@pytest.mark.parametrize(
    ("target", "entry", "matches"),
    [
        ("example.com:22", "example.com:22", True),
        ("example.com:22", "example.com:443", False),
        ("www.example.com:22", ".example.com:22", True),
        ("www.example.com:22", ".example.com:443", False),
        ("192.0.2.1:22", "192.0.2.1:22", True),
        ("192.0.2.1:22", "192.0.2.1:23", False),
        ("[2001:db8::1]:22", "[2001:db8::1]:22", True),
        ("[2001:db8::1]:22", "[2001:db8::1]:23", False),
        ("example.com:22", "example.com:0", False),
        ("example.com:22", "example.com:", False),
        ("example.com:22", "example.com:ssh", False),
    ],
)
def test_an_entry_with_a_port_is_for_that_port(target: str, entry: str, matches: bool) -> None:
    assert exempt(target, entry) is matches


@pytest.mark.parametrize(
    "no_proxy", ["a,target.test", "a, target.test ,b", "a target.test", ",,target.test,,", "\ta\n,target.test\t"]
)
def test_commas_and_blanks_separate(no_proxy: str) -> None:
    assert exempting_entry(Address("target.test", 22), no_proxy) == "target.test"


@pytest.mark.parametrize(
    "no_proxy",
    ["", " ", ",", ".", "..", "/", "/8", "1.2.3.4/", "1.2.3.4/33", "1.2.3.4/8/9", "[", "[]", "[::1", "::1]/128", "a/b", ":22", "@",
     "%", "http://target.test", "u@target.test", "0x7f.1", "-target.test", "target..test", "\x00", "\udcff", "a" * 300,
     "ß\u200d", "[target.test]"],
)  # fmt: skip
def test_garbage_matches_nothing_and_harms_nobody(no_proxy: str) -> None:
    """The variable belongs to other programs as well."""
    for host in ("target.test", "127.0.0.1", "::1"):
        assert exempting_entry(Address(host, 22), no_proxy) == ""
    assert exempting_entry(Address("target.test", 22), f"{no_proxy},target.test") == "target.test"


@given(st.text(max_size=60))
def test_no_text_raises(no_proxy: str) -> None:
    for host in ("target.test", "192.0.2.1", "2001:db8::1"):
        assert exempting_entry(Address(host, 22), no_proxy) in (*no_proxy.replace(",", " ").split(), "")
