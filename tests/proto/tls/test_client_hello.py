"""The first octets of a tunnel. V29: split, large, greased or malformed hellos neither bypass nor crash the parser."""

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proto.client_hellos import (
    CHROMIUM,
    body,
    extension,
    hello,
    message,
    named,
    of_openssl,
    records,
    server_name,
    vector,
)
from tests.proto.feeding import bounded, cut, feed_all, octets, three_ways
from tunnelctl.proto.tls.client_hello import (
    MALFORMED,
    MAX_HELLO,
    NO_TLS,
    TOO_LONG,
    ClientHello,
    ClientHelloReader,
    NoClientHello,
)

ECH = extension(0xFE0D, bytes(200))
GREASE = extension(0x0A0A, b""), extension(0xFAFA, b"\0")
# Key shares (RFC 8446 section 4.2.8) for X25519MLKEM768 (1216 octets) and X25519.
SHARES = extension(51, vector(2, b"\x11\xec" + vector(2, bytes(1216)) + b"\x00\x1d" + vector(2, bytes(32))))
BARE = records(message(b"\x03\x01" + bytes(32) + b"\0" + vector(2, b"\x00\x2f") + b"\1\0"))


def read(data):
    return three_ways(ClientHelloReader, data)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (named("www.example.com"), ClientHello("www.example.com")),
        (named("WWW.Example.COM"), ClientHello("www.example.com")),
        (named("www.example.com."), ClientHello("www.example.com")),
        (named("xn--bcher-kva.example"), ClientHello("xn--bcher-kva.example")),
        (named("192.0.2.1"), ClientHello("192.0.2.1")),
        (named("2001:db8::1"), ClientHello("2001:db8::1")),
        (named("a.example", ECH), ClientHello("a.example", ech=True)),
        (hello(ECH), ClientHello("", ech=True)),
        (hello(*GREASE, server_name(b"a.example"), SHARES), ClientHello("a.example")),
        (hello(SHARES, extension(21, bytes(6000)), server_name(b"a.example")), ClientHello("a.example")),
        (hello(), ClientHello("")),
        (BARE, ClientHello("")),
        (records(message(body(server_name(b"a.example"), session=bytes(32)))), ClientHello("a.example")),
        (records(message(body(server_name(b"a.example"))), version=b"\x03\x04"), ClientHello("a.example")),
        (CHROMIUM, ClientHello("www.example.com", ech=True)),
    ],
)
def test_a_hello_is_parsed(data, found):
    assert read(data) == found


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("name", [None, "www.example.com"])
def test_the_hello_of_openssl_is_parsed(version, name):
    assert read(of_openssl(name, version)) == ClientHello(name or "")


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 100, 1000])
def test_a_hello_fragmented_over_records_is_parsed(size):
    assert read(named("a.example", SHARES, size=size)) == ClientHello("a.example")


@pytest.mark.parametrize(
    "name", ["a b", "a\x1b[31m", "-a.example", "127.1", "a..example", 'x","event":"end', "*", "a@b.example", "a:1"]
)
def test_an_invalid_host_name_is_reported_unchanged(name):
    assert read(named(name)) == ClientHello(name)


def test_a_name_that_is_not_ascii_is_reported_escaped():
    assert read(named("bücher.example")) == ClientHello("b\\xc3\\xbccher.example")


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"EHLO x\r\n",
        b"\0",
        b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10",  # SSL 2, as sent by old clients
        records(b"\2\x28", kind=21),
        records(b"data", kind=23),
        records(b"\1", kind=20),
        b"\x16SSH",
        b"\x16\x02\x00",
        b"\x16\x04\x01",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\x40\x01",
        b"\x16\x03\x01\xff\xff",
    ],
)
def test_data_other_than_tls_is_recognised(data):
    assert read(data) == NoClientHello(NO_TLS)


GOOD = body(server_name(b"a.example"))


@pytest.mark.parametrize(
    "data",
    [
        records(message(GOOD, kind=2)),
        records(message(GOOD, kind=0)),
        records(message(b"")),
        records(message(GOOD + b"\0")),
        records(message(GOOD[:-1])),
        records(message(b"\x03\x03" + bytes(32))),
        records(message(body(suites=b""))),
        records(message(body(suites=b"\0"))),
        records(message(body(compression=b""))),
        hello(server_name(b"a.example"), server_name(b"a.example")),
        hello(extension(9, b""), extension(9, b"")),
        hello(server_name(b"a.example", b"b.example")),
        hello(server_name(b"a.example", kind=1)),
        hello(server_name()),
        hello(server_name(b"")),
        hello(server_name(b"a" * 255)),
        hello(extension(0, b"")),
        hello(extension(0, vector(2, b"\0" + vector(2, b"a.example")) + b"\0")),
        hello(b"\0\0\0"),
        hello(b"\0\1\0\x09a"),
        records(message(GOOD)[:20], kind=22) + records(b"x", kind=23),
        records(message(GOOD)[:20]) + b"\x16\x03\x01\x00\x00",
    ],
)
def test_malformed_hellos_are_recognised(data):
    assert read(data) == NoClientHello(MALFORMED)


def test_a_too_long_hello_is_recognised():
    assert read(b"\x16\x03\x01\x00\x04" + message(bytes(MAX_HELLO))[:4]) == NoClientHello(TOO_LONG)
    room = MAX_HELLO - 4 - len(body()) - 4
    whole = message(body(extension(21, bytes(room))))
    assert len(whole) == MAX_HELLO
    assert feed_all(ClientHelloReader(), [records(whole)]) == NoClientHello(TOO_LONG), "record headers count too"
    fits = records(message(body(extension(21, bytes(room - 20)))))
    assert len(fits) == MAX_HELLO
    assert feed_all(ClientHelloReader(), [fits]) == ClientHello("")
    assert feed_all(ClientHelloReader(), cut(fits, range(0, MAX_HELLO, 1000))) == ClientHello("")


def test_headers_of_small_records_count_towards_the_limit():
    data = records(message(body(extension(21, bytes(20000)))), size=1)
    assert len(data) > MAX_HELLO
    reader, fed = ClientHelloReader(), 0
    for piece in octets(data):
        fed += 1
        if (outcome := reader.feed(piece)) is not None:
            break
    assert (outcome, fed) == (NoClientHello(TOO_LONG), MAX_HELLO)
    assert ClientHelloReader().feed(data) == outcome


@bounded
@given(st.lists(st.integers(1, 2100), max_size=8), st.integers(1, 700))
def test_property_cuts_do_not_matter(at, size):
    for data in (CHROMIUM, records(message(CHROMIUM[9:]), size)):
        assert feed_all(ClientHelloReader(), cut(data, at)) == ClientHello("www.example.com", ech=True)


@bounded
@given(st.integers(0, len(CHROMIUM) - 1), st.integers(0, 255))
def test_fuzz_one_octet_changed(at, octet):
    """The reader has an outcome or needs more, the same fed at once and octet by octet, and raises no exception."""
    data = CHROMIUM[:at] + bytes([octet]) + CHROMIUM[at + 1 :]
    outcome = feed_all(ClientHelloReader(), [data])
    assert outcome is None or isinstance(outcome, ClientHello | NoClientHello)
    assert feed_all(ClientHelloReader(), octets(data)) == outcome


@bounded
@given(st.binary(max_size=300), st.integers(1, 50))
def test_fuzz_octets_in_a_hello(content, size):
    for data in (content, records(content, size), records(message(content), size), hello(content)):
        outcome = feed_all(ClientHelloReader(), [data])
        assert outcome is None or isinstance(outcome, ClientHello | NoClientHello)
        assert feed_all(ClientHelloReader(), octets(data)) == outcome
