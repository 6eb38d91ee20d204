"""The PROXY protocol. V28: the parser guesses nothing and accepts only an exact header."""

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proto.feeding import bounded
from tunnelctl.proto.proxy_protocol import MOST, SIGNATURE, V1_MOST, HeaderError, Source, parse_header

TLV = b"\x04\x00\x03abc"  # PP2_TYPE_NOOP
UNKNOWN_LONGEST = b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n"


def v2(command: int, family: int, block: bytes, length: int | None = None) -> bytes:
    return SIGNATURE + bytes([command, family]) + struct.pack("!H", len(block) if length is None else length) + block


def ipv4(source: str = "192.0.2.1", port: int = 5) -> bytes:
    return ipaddress.ip_address(source).packed + bytes([198, 51, 100, 1]) + struct.pack("!HH", port, 443)


def ipv6(source: str = "2001:db8::1", port: int = 5) -> bytes:
    return ipaddress.ip_address(source).packed + bytes(16) + struct.pack("!HH", port, 443)


def outcome(data: bytes) -> Source | str | None:
    try:
        return parse_header(data)
    except HeaderError as error:
        return str(error)


def three_ways(data: bytes) -> Source | str | None:
    """All at once, growing octet by octet as MSG_PEEK shows it, and with trailing data: the outcome must be the same."""
    whole = outcome(data)
    for size in range(len(data)):
        early = outcome(data[:size])
        assert early is None or early == whole, data[:size]
        if isinstance(early, Source):
            raise AssertionError("the parser accepted an incomplete header")
    for trailing in (b"CONNECT h:1 HTTP/1.1\r\n\r\n", SIGNATURE, b"\n", b"\r\n", bytes(5000)):
        followed = outcome(data + trailing)
        assert whole is None or followed == whole
    return whole


@pytest.mark.parametrize(
    ("data", "host", "port"),
    [
        (b"PROXY TCP4 192.0.2.1 198.51.100.1 5 443\r\n", "192.0.2.1", 5),
        (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255", 65535),
        (b"PROXY TCP4 192.0.2.1 198.51.100.1 0 0\r\n", "192.0.2.1", 0),
        (b"PROXY TCP6 2001:db8::1 ::1 5 443\r\n", "2001:db8::1", 5),
        (b"PROXY TCP6 2001:DB8:0:0:0:0:0:1 ::1 5 443\r\n", "2001:db8::1", 5),
        (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 5 443\r\n", "192.0.2.1", 5),
        (b"PROXY UNKNOWN\r\n", "", 0),
        (UNKNOWN_LONGEST, "", 0),
        (v2(0x21, 0x11, ipv4()), "192.0.2.1", 5),
        (v2(0x21, 0x11, ipv4() + TLV), "192.0.2.1", 5),
        (v2(0x21, 0x21, ipv6()), "2001:db8::1", 5),
        (v2(0x21, 0x21, ipv6("::ffff:192.0.2.1") + TLV * 3), "192.0.2.1", 5),
        (v2(0x21, 0x00, b""), "", 0),
        (v2(0x21, 0x00, TLV), "", 0),
        (v2(0x21, 0x31, bytes(216)), "", 0),
        (v2(0x20, 0x00, b""), "", 0),
        (v2(0x20, 0x11, ipv4()), "", 0),
        (v2(0x20, 0x77, b""), "", 0),  # with LOCAL the rest is ignored
        (v2(0x21, 0x11, ipv4() + bytes(MOST - 16 - 12)), "192.0.2.1", 5),
    ],
)
def test_a_valid_header_is_parsed(data: bytes, host: str, port: int) -> None:
    assert three_ways(data) == Source(len(data), host, port)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"CONNECT h:1 HTTP/1.1\r\n\r\n", "does not begin"),
        (b"\x16\x03\x01", "does not begin"),
        (b"proxy TCP4", "does not begin"),
        (b" PROXY TCP4", "does not begin"),
        (b"PROXY\tTCP4", "does not begin"),
        (SIGNATURE[:-1] + b"\r", "does not begin"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.1 5 443\n", "CR LF"),
        (b"PROXY UNKNOWN\n", "CR LF"),
        (b"PROXY TCP4  192.0.2.1 198.51.100.1 5 443\r\n", "words"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.1 5 443 \r\n", "words"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.1 5\r\n", "words"),
        (b"PROXY \r\n", "words"),
        (b"PROXY UDP4 192.0.2.1 198.51.100.1 5 443\r\n", "words"),
        (b"PROXY TCP5 192.0.2.1 198.51.100.1 5 443\r\n", "words"),
        (b"PROXY TCP4 2001:db8::1 ::1 5 443\r\n", "wrong kind"),
        (b"PROXY TCP6 192.0.2.1 198.51.100.1 5 443\r\n", "wrong kind"),
        (b"PROXY TCP6 fe80::1%lo ::1 5 443\r\n", "wrong kind"),
        (b"PROXY TCP4 192.0.2.1 2001:db8::1 5 443\r\n", "wrong kind"),
        (b"PROXY TCP4 192.0.2.01 198.51.100.1 5 443\r\n", "address"),
        (b"PROXY TCP4 192.0.2 198.51.100.1 5 443\r\n", "address"),
        (b"PROXY TCP4 3221225985 198.51.100.1 5 443\r\n", "address"),
        (b"PROXY TCP4 \xb2.0.2.1 198.51.100.1 5 443\r\n", "address"),
        (b"PROXY TCP4 192.0.2.1 host 5 443\r\n", "address"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.1 05 443\r\n", "port"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.1 5 0443\r\n", "port"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.1 65536 443\r\n", "port"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.1 -1 443\r\n", "port"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.1 +5 443\r\n", "port"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.1 \xb2 443\r\n", "port"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.1  443\r\n", "port"),
        (b"PROXY UNKNOWN ".ljust(V1_MOST, b"x") + b"\r\n", "too long"),
        (v2(0x22, 0x11, ipv4()), "command"),
        (v2(0x11, 0x11, ipv4()), "command"),
        (v2(0x31, 0x11, ipv4()), "command"),
        (v2(0x21, 0x12, ipv4()), "family"),
        (v2(0x21, 0x22, ipv6()), "family"),
        (v2(0x21, 0x10, ipv4()), "family"),
        (v2(0x21, 0x41, ipv4()), "family"),
        (v2(0x21, 0x11, ipv4()[:-1]), "too short"),
        (v2(0x21, 0x21, ipv4()), "too short"),
        (v2(0x21, 0x11, b""), "too short"),
        (v2(0x21, 0x11, ipv4(), MOST - 15), "too long"),
        (v2(0x20, 0x00, b"", 65535), "too long"),
    ],
)
def test_v28_an_invalid_header_is_refused(data: bytes, why: str) -> None:
    said = three_ways(data)
    assert isinstance(said, str)
    assert why in said


@pytest.mark.parametrize("data", [b"", b"P", b"PROXY ", b"PROXY TCP4 192.0.2.1", SIGNATURE, SIGNATURE + b"\x21\x11\x00"])
def test_an_incomplete_header_needs_more(data: bytes) -> None:
    assert three_ways(data) is None


def test_a_long_header_is_refused_before_it_is_complete() -> None:
    """Memory per sender is bounded: the parser checks the announced length first."""
    assert outcome(v2(0x21, 0x11, b"", 65535)) == "it is too long"
    assert outcome(b"PROXY ".ljust(V1_MOST, b"x")) == "the line is too long"
    assert outcome(b"PROXY ".ljust(V1_MOST - 1, b"x")) is None


@bounded
@given(st.ip_addresses(), st.integers(0, 65535), st.binary(max_size=40))
def test_both_versions_parse_to_the_same_source(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int, tlvs: bytes
) -> None:
    if address.version == 4:
        kind, family, block = "TCP4", 0x11, ipv4(str(address), port)
    else:
        kind, family, block = "TCP6", 0x21, ipv6(str(address), port)
    other = "198.51.100.1" if address.version == 4 else "::1"
    text = parse_header(f"PROXY {kind} {address} {other} {port} 443\r\n".encode())
    binary = parse_header(v2(0x21, family, block + tlvs))
    assert text is not None
    assert binary is not None
    assert text[1:] == binary[1:]
    assert text.port == port


@bounded
@given(st.binary(max_size=300), st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11\x00\x0c"]))
def test_any_octets_have_the_same_outcome_however_they_are_cut(data: bytes, start: bytes) -> None:
    whole = start + data
    said = outcome(whole)
    if isinstance(said, Source):
        assert 0 < said.size <= MOST
        whole = whole[: said.size]
    assert three_ways(whole) == said
