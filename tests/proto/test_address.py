"""Canonical hosts, ports and authorities. V4: spellings of IPv4; V7: spellings of names; V8: ports; V16, V17: hostile text."""

import ipaddress
import socket

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.proto.feeding import bounded
from tunnelctl.cli.render.hints import hint_of
from tunnelctl.errors import AddressError
from tunnelctl.proto.address import Address, is_ip, parse_authority, parse_host, parse_port, shown, unbracketed, without_scope

NAMES = st.lists(st.text("abcxyz019_", min_size=1, max_size=10), min_size=1, max_size=4).map(
    lambda labels: ".".join([*labels, "test"])
)
ADDRESSES = st.ip_addresses().map(str)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("example.com", "example.com"),
        ("EXAMPLE.Com", "example.com"),
        ("example.com.", "example.com"),
        ("localhost", "localhost"),
        ("_sip._tcp.example.com", "_sip._tcp.example.com"),
        ("a-b--c.example-", "a-b--c.example-"),
        ("web.1", "web.1"),
        ("1.web", "1.web"),
        ("3com.example", "3com.example"),
        ("0xcafe.example", "0xcafe.example"),
        ("dead.beef", "dead.beef"),
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1.", "192.0.2.1"),
        ("0.0.0.0", "0.0.0.0"),
        ("255.255.255.255", "255.255.255.255"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
        ("::ffff:7f00:1", "::ffff:127.0.0.1"),
        ("[::FFFF:127.0.0.1]", "::ffff:127.0.0.1"),
        ("a" * 63 + ".example", "a" * 63 + ".example"),
        (".".join(["a" * 49] * 5) + ".ab", ".".join(["a" * 49] * 5) + ".ab"),
    ],
)
def test_hosts_are_made_canonical(text, host):
    assert parse_host(text) == host
    assert parse_host(host) == host


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("münchen.example", "xn--mnchen-3ya.example"),
        ("MÜNCHEN.example", "xn--mnchen-3ya.example"),
        ("münchen.example.", "xn--mnchen-3ya.example"),
        ("münchen。example", "xn--mnchen-3ya.example"),
        ("_dmarc.münchen.example", "_dmarc.xn--mnchen-3ya.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("ｅｘａｍｐｌｅ．ｃｏｍ", "example.com"),
        ("１２７.0.0.1", "127.0.0.1"),
        ("①②⑦.0.0.1", "127.0.0.1"),
        ("127。0。0。1", "127.0.0.1"),
    ],
)
def test_c3_unicode_names_become_a_labels_and_wide_digits_ascii(text, host):
    """C3, V4, V7"""
    assert parse_host(text) == host


@pytest.mark.parametrize(
    "text",
    [
        *("127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0X7F.1", "0177.0.0.1", "0177.1", "017700000001"),
        *("0", "00", "0x", "1.2.3.4.5", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.16689662", "127.0.0.1.1"),
        *(
            "256.0.0.1",
            "1.2.3.999",
            "1.2.3.04",
            "1.2.3.00",
            "08",
            "0x7f000001.",
            "２１３０７０６４３３",
            "0ｘ7f.1",
            "1.2.3.4444444444",
        ),
    ],
)
def test_v4_a_numeric_host_that_is_no_dotted_quad_is_refused(text):
    with pytest.raises(AddressError, match="four decimal numbers"):
        parse_host(text)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "empty"),
        (".", "empty"),
        ("..", "labels"),
        (".example.com", "labels"),
        ("example..com", "labels"),
        ("example.com..", "labels"),
        ("-o.example.com", "labels"),
        ("www.-o.com", "labels"),
        ("a" * 64, "labels"),
        ("a" * 64 + ".example", "labels"),
        ("a." * 127 + "a", "longer than 253"),
        ("ü" * 254, "longer than 253"),
        ("user@example.com", "user information"),
        ("exam ple.com", "blank"),
        (" example.com", "blank"),
        ("example.com\n", "blank"),
        ("example.com\r\nX: y", "blank|IPv6"),
        ("127.0.0.1\0.example.com", "blank"),
        ("example.com\x1b[2J", "blank"),
        ("exa\x7fmple.com", "blank"),
        ("example.com/", "a character"),
        ("a,b", "a character"),
        ("*", "a character"),
        ("$(id)", "a character"),
        ("fe80::1%lo", "scope"),
        ("[fe80::1%25lo]", "scope"),
        ("::1%1", "scope"),
        ("[example.com]", "brackets"),
        ("[127.0.0.1]", "brackets"),
        ("[::1", "brackets"),
        ("[", "brackets"),
        ("[]", "brackets"),
        ("[v1.fe80::a+en1]", "not an IPv6"),
        ("::1]", "not an IPv6"),
        ("http://example.com/", "not a URL"),
        ("https://[::1]/%20", "not a URL"),
        ("[[::1]]", "not an IPv6"),
        (":", "not an IPv6"),
        (":::", "not an IPv6"),
        ("1:2:3:4:5:6:7:8:9", "not an IPv6"),
        ("::127.0.0.01", "not an IPv6"),
        ("::1.", "not an IPv6"),
        ("：：1", "a character"),
        ("［::1］", "a character"),
        ("a\u2028b", "international|blank"),
        ("\ud800", "international|blank"),
        ("xn--ü", "international"),
        ("-ü", "international|labels"),
        ("ü" * 70, "international"),
        ("a\u200db.ü", "international|a character"),
    ],
)
def test_v17_an_invalid_host_is_refused_with_the_cause(text, cause):
    with pytest.raises(AddressError, match=cause):
        parse_host(text)


@pytest.mark.parametrize("port", [1, 9, 443, 3128, 65535])
def test_v8_valid_ports_are_accepted(port):
    assert parse_port(str(port)) == port


@pytest.mark.parametrize(
    "text",
    [
        *("", "0", "00", "65536", str(65536 + 443), "4294967739", "-1", "+443", " 443", "443 ", "443\n", "0443", "443x", "x"),
        *("４４３", "٤٤٣", "4_4_3", "0x1bb", "443.0", "1e2", "9" * 5000, "²"),
    ],
)
def test_v8_invalid_ports_are_refused(text):
    """V8, S2: only ASCII digits within the range; no number wraps around."""
    with pytest.raises(AddressError):
        parse_port(text)
    with pytest.raises(AddressError):
        parse_authority(f"example.com:{text}")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("example.com:22", Address("example.com", 22)),
        ("Example.com.:22", Address("example.com", 22)),
        ("192.0.2.1:1", Address("192.0.2.1", 1)),
        ("[::1]:65535", Address("::1", 65535)),
    ],
)
def test_authorities_are_parsed(text, address):
    assert parse_authority(text) == address
    assert parse_authority(text, default_port=80) == address
    assert parse_authority(str(address)) == address


@pytest.mark.parametrize(("text", "host"), [("example.com", "example.com"), ("[::1]", "::1"), ("192.0.2.1", "192.0.2.1")])
def test_an_authority_may_have_a_default_port(text, host):
    assert parse_authority(text, 80) == Address(host, 80)
    with pytest.raises(AddressError, match="port is missing"):
        parse_authority(text)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "missing"),
        (":22", "empty"),
        ("::1:22", "brackets"),
        ("::1", "brackets"),
        ("[::1]22", "only :PORT"),
        ("[::1]x:22", "only :PORT"),
        ("[::1:22", "missing"),
        ("[::1]:", "port is missing"),
        ("[]:22", "brackets"),
        ("example.com:", "port is missing"),
        ("example.com:22:22", "brackets"),
        ("user@example.com:22", "user information"),
        ("user:pw@example.com:22", "brackets"),
        ("a,b:22", "a character"),
        ("http://example.com:22", "not a URL"),
        ("http://example.com/", "not a URL"),
        ("/:22", "a character"),
    ],
)
def test_v16_an_invalid_authority_is_refused(text, cause):
    with pytest.raises(AddressError, match=cause):
        parse_authority(text)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("[h.example]:22", "h.example:22"),
        ("[h.example]", "h.example"),
        ("[::1]:22", "[::1]:22"),
        ("[h]22", "[h]22"),
        ("[h", "[h"),
        ("h]", "h]"),
        ("[]", ""),
        ("", ""),
        ("h:22", "h:22"),
    ],
)
def test_brackets_around_a_name_are_removed(text, host):
    assert unbracketed(text) == host


def test_errors_show_the_text_escaped_cut_and_without_user_information():
    assert shown("a\x1bb\u202e") == r"'a\x1bb\u202e'"
    assert shown("user:secret@host\n") == r"'***@host\n'"
    assert shown("x" * 80) == "'" + "x" * 80 + "'"
    assert shown("x" * 5000) == "'" + "x" * 80 + "'..."
    for text in ("user:secret@host", "user:secret@host:1", "secret@[::1", "user:secret@host:99999"):
        with pytest.raises(AddressError) as caught:
            parse_authority(text)
        assert "secret" not in f"{caught.value} {hint_of(caught.value)}"
        assert caught.value.exit_status == 2


@pytest.mark.parametrize(
    ("host", "expected"),
    [("192.0.2.1", True), ("::1", True), ("::ffff:1.2.3.4", True), ("example.com", False), ("1.web", False), ("web.1", False)],
)
def test_is_ip_recognises_addresses(host, expected):
    assert is_ip(host) is expected


@bounded
@given(NAMES, st.integers(0, 2**250), st.sampled_from(("", ".")))
def test_v7_case_trailing_dot_and_character_width_are_ignored(name, upper, dot):
    spelling = "".join(c.upper() if upper >> i & 1 else c for i, c in enumerate(name))
    assert parse_host(spelling + dot) == parse_host(name) == name
    wide = "".join(chr(ord(c) + 0xFEE0) if c.isalnum() else c for c in name)
    assert parse_host(wide) == name


@bounded
@given(st.text(alphabet="äöüéßœñ中文字例え", min_size=1, max_size=12))
def test_v7_u_label_and_a_label_parse_to_the_same_host(label):
    a_label = parse_host(f"{label}.example")
    assert a_label.isascii()
    assert parse_host(a_label) == parse_host(a_label.upper()) == a_label


@bounded
@given(ADDRESSES)
def test_parsed_addresses_agree_with_ipaddress(text):
    host = parse_host(text)
    assert is_ip(host)
    assert ipaddress.ip_address(host) == ipaddress.ip_address(text)
    assert parse_authority(str(Address(host, 1))) == Address(host, 1)


@bounded
@given(st.one_of(st.text(max_size=40), st.text(alphabet="0123456789abcxf.:[]%-@ \0\r\n１。", max_size=24)))
@example("0x7f.1")
def test_fuzz_parsing_raises_address_errors_only(text):
    for parse in (parse_host, lambda t: parse_authority(t).host, lambda t: parse_authority(t, 1).host):
        try:
            host = parse(text)
        except AddressError:
            continue
        assert parse_host(host) == host
        assert host.isascii()
        assert not set(host) & set(" \0\r\n@/%[]")


@bounded
@given(st.text(alphabet="0123456789x.af", min_size=1, max_size=14))
def test_v4_the_resolver_reads_no_parsed_name_as_an_address(text):
    """getaddrinfo must not read as an address what we treat as a name: alternate spellings exploit that gap."""
    try:
        host = parse_host(text)
    except AddressError:
        return
    if not is_ip(host):
        with pytest.raises(socket.gaierror):
            socket.getaddrinfo(host, 1, flags=socket.AI_NUMERICHOST)


@pytest.mark.parametrize(("host", "known"), [("fe80::1%eth0", "fe80::1"), ("::1", "::1"), ("h.example", "h.example")])
def test_without_scope_removes_the_scope_id(host, known):
    assert without_scope(host) == known
