"""Tests NO_PROXY: each form of an entry, and malformed entries."""

import fnmatch
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnelctl.client.route.no_proxy import (
    ADDRESS,
    DOMAIN,
    EVERYTHING,
    NETWORK,
    PATTERN,
    WITHOUT_DOT,
    Entry,
    exempting_entry,
    matches_pattern,
    unusable_entries,
    usable_entries,
)
from tunnelctl.proto.address import Address, parse_authority

ROOT = Path(__file__).parents[3]


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
def test_names_match_themselves_and_their_subdomains(target: str, entry: str) -> None:
    assert exempt(target, entry)


@pytest.mark.parametrize(
    ("target", "entry"),
    [
        ("badexample.com:22", "example.com"),
        ("badexample.com:22", ".example.com"),
        ("example.com:22", "www.example.com"),
        ("example.com.evil.test:22", "example.com"),
        ("com:22", "example.com"),
        ("example.com:22", "*.exam"),
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
def test_addresses_and_networks_match_in_every_notation(target: str, entry: str) -> None:
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


CNTLM = "localhost, 127.0.0.*, 10.*, 192.168.*"  # NoProxy of the cntlm.conf that cntlm ships
JAVA = "localhost|127.*|[::1]|*.corp.test"  # http.nonProxyHosts
WINDOWS = "*.corp.*;10.*;192.168.*;<local>"  # ProxyOverride
MACOS = "*.local, 169.254/16"  # ExceptionsList
PX = "10.0.0.1-10.0.0.20, 192.168.*.*, 172.16.0.0/12, .corp.test, <local>"


@pytest.mark.parametrize(
    ("no_proxy", "entry", "targets"),
    [
        (CNTLM, "10.*", ["10.1.2.3:22", "10.255.255.255:22"]),
        (CNTLM, "127.0.0.*", ["127.0.0.1:22"]),
        (CNTLM, "", ["127.0.1.1:22", "192.169.1.1:22", "110.1.2.3:22", "[::1]:22", "10.example:22", "a10.1:22"]),
        (JAVA, "127.*", ["127.0.0.1:22", "127.9.9.9:22"]),
        (JAVA, "[::1]", ["[::1]:22"]),
        (JAVA, "*.corp.test", ["a.b.corp.test:22", "corp.test:22"]),
        (JAVA, "", ["notcorp.test:22"]),
        (WINDOWS, "*.corp.*", ["www.corp.test:22", "a.b.corp.c.test:22", "WWW.CORP.Test.:22"]),
        (WINDOWS, "<local>", ["intranet:22", "localhost:22"]),
        (WINDOWS, "", ["corp.test:22", "[2001:db8::1]:22", "8.8.8.8:22"]),
        (MACOS, "169.254/16", ["169.254.169.254:80"]),
        (MACOS, "*.local", ["printer.local:22"]),
        (PX, "10.0.0.1-10.0.0.20", ["10.0.0.1:22", "10.0.0.9:22", "10.0.0.20:22"]),
        (PX, "", ["10.0.0.21:22", "10.0.0.0:22", "[::ffff:10.0.0.9]:22"]),
        (PX, "192.168.*.*", ["192.168.0.1:22"]),
        ('"localhost,corp.test"', "corp.test", ["www.corp.test:22"]),
        ("'localhost','corp.test'\r\n", "corp.test", ["www.corp.test:22"]),
        ("exam*", "exam*", ["example.com:22", "exam:22"]),
        ("*corp*", "*corp*", ["my.corporation.test:22", "corp:22"]),
        ("*corp.test", "*corp.test", ["notcorp.test:22", "corp.test:22"]),
        ("dev-??.corp.test", "dev-??.corp.test", ["dev-01.corp.test:22"]),
        ("dev-??.corp.test", "", ["dev-1.corp.test:22", "a.dev-01.corp.test:22"]),
        (".corp.*", ".corp.*", ["www.corp.test:22"]),
        ("*.corp.*:443", "*.corp.*:443", ["www.corp.test:443"]),
        ("*.corp.*:443", "", ["www.corp.test:22"]),
        ("*.corp.test:*,db:*", "*.corp.test:*", ["www.corp.test:22"]),
        ("fd00:*", "fd00:*", ["[fd00::1]:22", "[fd00:1:2::]:22"]),
        ("[fe80::*]:22", "[fe80::*]:22", ["[fe80::1]:22"]),
        ("[fe80::*]:22", "", ["[fe80::1]:23"]),
        ("10.0.0.0/8:22", "10.0.0.0/8:22", ["10.1.2.3:22"]),
        ("10.0.0.0/8:22", "", ["10.1.2.3:23"]),
        ("[2001:db8::/32]:22", "[2001:db8::/32]:22", ["[2001:db8::9]:22"]),
        ("[2001:db8::]/32", "[2001:db8::]/32", ["[2001:db8::9]:22"]),
        ("[2001:db8::1]-[2001:db8::9]", "[2001:db8::1]-[2001:db8::9]", ["[2001:db8::5]:22"]),
        ("10.0.0.0/255.0.0.0", "10.0.0.0/255.0.0.0", ["10.1.2.3:22"]),
        ("10/8", "10/8", ["10.1.2.3:22"]),
        ("1-2.test,my-host", "my-host", ["my-host:22"]),
    ],
)
def test_lists_in_the_formats_of_other_programs(no_proxy: str, entry: str, targets: list[str]) -> None:
    assert [exempting_entry(parse_authority(target), no_proxy) for target in targets] == [entry] * len(targets)


@pytest.mark.parametrize("no_proxy", [CNTLM, JAVA, WINDOWS, MACOS, PX, "*", "a:22,[::1]:22,2001:db8::1,.a,*.a,<LOCAL>,1.2.3.4"])
def test_valid_entries_are_not_reported_as_unusable(no_proxy: str) -> None:
    assert unusable_entries(no_proxy) == []


@pytest.mark.parametrize(
    ("entry", "cause"),
    [
        ("http://proxy.test", "a URL: an entry is a host, without a scheme"),
        ("<-loopback>", "<local> is the only word in angle brackets that is supported"),
        ("10.0.0.0/33", "neither a network ADDRESS/BITS nor a range of addresses FIRST-LAST"),
        ("[2001:db8::/129]", "neither a network ADDRESS/BITS nor a range of addresses FIRST-LAST"),
        ("10.0.0.9-10.0.0.1", "neither a network ADDRESS/BITS nor a range of addresses FIRST-LAST"),
        ("10.0.0.1-2001:db8::1", "neither a network ADDRESS/BITS nor a range of addresses FIRST-LAST"),
        ("10.0.0.1-20", "neither a network ADDRESS/BITS nor a range of addresses FIRST-LAST"),
        ("corp.test/24", "neither a network ADDRESS/BITS nor a range of addresses FIRST-LAST"),
        ("corp.test:ssh", "port 'ssh' is not a number from 1 to 65535"),
        ("corp.test:99999", "port '99999' is not a number from 1 to 65535"),
        ("b\u00fc*.test", "too long, or it contains a character that neither ASCII names nor addresses have"),
        ("*" * 254, "too long, or it contains a character that neither ASCII names nor addresses have"),
        ("dev*:x:y", "too long, or it contains a character that neither ASCII names nor addresses have"),
        ("[dev*]x", "too long, or it contains a character that neither ASCII names nor addresses have"),
        ("corp..test", "labels have 1 to 63 characters and do not start with a hyphen"),
        ("10.1", "an IPv4 address must be four decimal numbers with dots, like 192.0.2.1"),
        (".", "empty"),
    ],
)
def test_malformed_entries_are_reported_once_and_match_nothing(entry: str, cause: str) -> None:
    shown = "http://***" if "://" in entry else entry
    assert unusable_entries(f"a.test,{entry};b.test") == [(shown, cause)]
    for host in ("proxy.test", "10.0.0.5", "2001:db8::1"):
        assert exempting_entry(Address(host, 22), entry) == ""


def test_a_password_in_an_entry_is_not_shown_even_if_a_separator_splits_it() -> None:
    shown = [entry for entry, _ in unusable_entries("http://u:can;ary@proxy.test:3128")]
    assert shown == ["http://***", "***@proxy.test:3128"]


@pytest.mark.parametrize(("entry", "target"), [("db:*", "db:22"), ("cafe:*", "cafe:443"), ("fd00:*", "[fd00::1]:22")])
def test_a_name_of_hexadecimal_letters_is_not_an_address(entry: str, target: str) -> None:
    assert exempting_entry(parse_authority(target), entry) == entry


def test_a_password_mistaken_for_a_port_is_not_shown() -> None:
    told = dict(unusable_entries("socks5://anna:two;words:of-it@proxy"))
    assert told["***@proxy"] == "port '***@proxy' is not a number from 1 to 65535"


def test_matching_a_name_does_not_import_ipaddress() -> None:
    """The import would delay every start from ssh."""
    no_proxy = "10.0.0.0/8,10.0.0.1-10.0.0.9,[2001:db8::]/32,10.*,*.corp.*,<local>"
    code = f"import sys; from tunnelctl.client.route import no_proxy as n; from tunnelctl.proto.address import Address as A; \
n.exempting_entry(A('a.test', 22), {no_proxy!r}); print({{'ipaddress', 're', 'fnmatch'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, timeout=20, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("set()\n", "")


@given(st.text("ab", max_size=8), st.text("ab*?", max_size=6))
def test_patterns_match_as_in_fnmatch(text: str, pattern: str) -> None:
    assert matches_pattern(text, pattern) == fnmatch.fnmatchcase(text, pattern)


def test_a_hostile_pattern_is_matched_fast() -> None:
    """A backtracking matcher would need years for its 253 characters."""
    begun = time.monotonic()
    assert not matches_pattern("a" * 253, "*a" * 120 + "b")
    assert time.monotonic() - begun < 5


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
def test_an_entry_with_a_port_matches_that_port_only(target: str, entry: str, matches: bool) -> None:
    assert exempt(target, entry) is matches


@pytest.mark.parametrize(
    "no_proxy",
    [
        *("a,target.test", "a, target.test ,b", "a target.test", ",,target.test,,", "\ta\n,target.test\t"),
        *("a;target.test", "a|target.test|b", ";a; target.test;", 'a "target.test" b'),
    ],
)
def test_separators_of_entries(no_proxy: str) -> None:
    assert exempting_entry(Address("target.test", 22), no_proxy) == "target.test"


@pytest.mark.parametrize(
    "no_proxy",
    ["", " ", ",", ".", "..", "/", "/8", "1.2.3.4/", "1.2.3.4/33", "1.2.3.4/8/9", "[", "[]", "[::1", "::1]/128", "a/b", ":22", "@",
     "%", "http://target.test", "u@target.test", "0x7f.1", "-target.test", "target..test", "\x00", "\udcff", "a" * 300,
     "ß\u200d", "[target.test]"],
)  # fmt: skip
def test_garbage_matches_nothing_and_other_entries_still_count(no_proxy: str) -> None:
    """Other programs use the variable too."""
    for host in ("target.test", "127.0.0.1", "::1"):
        assert exempting_entry(Address(host, 22), no_proxy) == ""
    assert exempting_entry(Address("target.test", 22), f"{no_proxy},target.test") == "target.test"


@given(st.text(max_size=60))
def test_no_text_raises_an_error(no_proxy: str) -> None:
    for host in ("target.test", "192.0.2.1", "2001:db8::1"):
        assert exempting_entry(Address(host, 22), no_proxy) in no_proxy
    for entry, cause in unusable_entries(no_proxy):
        assert entry.replace("***", "") in no_proxy
        assert cause


# --- for the notations of other programs


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("*", [Entry(EVERYTHING)]),
        ("<LOCAL>", [Entry(WITHOUT_DOT)]),
        ("*.Corp.example.:443", [Entry(DOMAIN, "corp.example", 443)]),
        ("[2001:DB8::1]:22", [Entry(ADDRESS, "2001:db8::1", 22)]),
        ("169.254/16", [Entry(NETWORK, "169.254.0.0/16")]),
        ("10.0.0.2-10.0.0.5", [Entry(NETWORK, "10.0.0.2/31"), Entry(NETWORK, "10.0.0.4/31")]),
        ("*.corp.*", [Entry(PATTERN, "*.corp.*")]),
        ("10.*", [Entry(PATTERN, "10.*")]),
        ("a;b|'c'", [Entry(DOMAIN, "a"), Entry(DOMAIN, "b"), Entry(DOMAIN, "c")]),
        ("http://u:p@x a..b $(id) a=b 10.0.0.9-10.0.0.1", []),
    ],
)
def test_usable_entries(text, entries):
    assert usable_entries(text) == entries


AWKWARD = [*"\"'\\`$%#;=:<>&!{}[]()|,.*?/- \n\r\t\0ä", "10.0.0.0/8", "a.example", "::1", ":443"]


@given(st.lists(st.sampled_from(AWKWARD), max_size=9).map("".join))
def test_no_entry_has_a_character_of_a_quote_or_a_command(text):
    allowed = set("abcdefghijklmnopqrstuvwxyz0123456789-_.*?:/")
    assert all(set(entry.text) <= allowed for entry in usable_entries(text))
