"""Our client and server connected back to back, and each compared with h11 (which comes with httpx) as an independent parser."""

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proto.feeding import bounded, cut, feed_all
from tunnelctl.proto.address import Address
from tunnelctl.proto.http1.connect_client import ConnectClient, Established, Rejected
from tunnelctl.proto.http1.connect_server import ConnectServer, Request
from tunnelctl.proto.http1.render import ESTABLISHED, render_refusal
from tunnelctl.proto.refusal import Refusal

HOSTS = st.one_of(
    st.sampled_from(["example.com", "xn--mnchen-3ya.example", "localhost", "_x.a-b.c"]),
    st.ip_addresses().map(lambda ip: ip.compressed),
)
TARGETS = st.builds(Address, HOSTS, st.integers(1, 65535))
NAMES = st.text("abcdefghijklmnopqrstuvwxyzABCDEF0123456789-!#$%&'*+.^_`|~", min_size=1, max_size=12).map(lambda name: "X-" + name)
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=20).map(
    lambda value: value.strip(" \t")
)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=5).map(tuple)


@bounded
@given(TARGETS, FIELDS, st.sets(st.integers(1, 300)), st.binary(max_size=20))
def test_s12_c7_server_parses_the_request_of_the_client(target, fields, at, early):
    client, server = ConnectClient(target, fields), ConnectServer()
    sent = client.request() + early
    pieces = cut(sent, at)
    request = feed_all(server, pieces)
    assert isinstance(request, Request)
    assert str(request.target) == str(target) or ":" in target.host  # we spell mapped IPv6 addresses in one form
    assert request.fields[2:] == fields
    assert sent.startswith(request.leftover, len(client.request()))
    tunnel = client.feed(ESTABLISHED + early)
    assert tunnel == Established("HTTP/1.1", 200, "Connection established", (), early)


@bounded
@given(st.text(max_size=80), st.sampled_from([403, 407, 502, 504]), st.sets(st.integers(1, 300)))
def test_s18_c9_c19_client_parses_the_refusal_of_the_server(details, status, at):
    refusal = Refusal(status, "http_request_denied", details)
    rejected = feed_all(ConnectClient(Address("example.com", 443)), cut(render_refusal(refusal), at))
    assert isinstance(rejected, Rejected)
    assert rejected.status == status
    assert rejected.proxy_status[0].error == "http_request_denied"


def h11_reads(data):
    """Parses a request head with h11 as a server: (method, target, fields), None if incomplete, or a protocol error."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError as error:
        return error
    if event is h11.NEED_DATA:
        return None
    assert isinstance(event, h11.Request)
    return event.method, event.target, [(name.lower(), value) for name, value in event.headers.raw_items()]


def lowered(fields):
    return [(name.lower().encode(), value.encode("latin-1")) for name, value in fields]


@bounded
@given(TARGETS, FIELDS)
def test_h11_parses_our_request_alike(target, fields):
    data = ConnectClient(target, fields).request()
    method, authority, items = h11_reads(data)
    request = ConnectServer().feed(data)
    assert (method, authority) == (b"CONNECT", str(target).encode())
    assert items == lowered(request.fields)


LINES = st.sampled_from(
    [
        *(
            b"Host: example.com:443\r\n",
            b"Host: example.com:443\n",
            b"Host: proxy\r\n",
            b"X: y\r\n",
            b"X: y\n",
            b"X : y\r\n",
            b"X:\r\n",
            b"X: \xe4 \r\n",
            b": y\r\n",
        ),
        *(b"X: a\rb\r\n", b"X: \0\r\n", b"X\r\n", b"X Y: z\r\n", b"\xe4: y\r\n", b" folded\r\n", b"X: \x7f\r\n", b"X: \x0b\r\n"),
    ]
)
HEADS = st.builds(
    lambda line, lines, end: line + b"".join(lines) + end,
    st.sampled_from(
        [
            *(
                b"CONNECT example.com:443 HTTP/1.1\r\n",
                b"CONNECT example.com:443 HTTP/1.0\r\n",
                b"CONNECT  example.com:443 HTTP/1.1\r\n",
            ),
            *(b"CONNECT\texample.com:443 HTTP/1.1\r\n", b"CONNECT example.com:443\r\n", b"CONNECT example.com:443 HTTP/1.1\n"),
            *(b"CONNECT example.com:443 HTTP/1.0\n", b"CONNECT example.com:443 HTTP/1.0\n", b"CONNECT example.com:443 HTTP/1.0 \n"),
        ]
    ),
    st.lists(LINES, max_size=4),
    st.sampled_from([b"\r\n", b"\n"]),
)


@bounded
@given(HEADS)
def test_v15_server_accepts_no_request_that_h11_refuses(data):
    """What the server accepts, h11 parses alike. Not the reverse: h11 folds lines and accepts a lone LF, see the checklist."""
    ours, theirs = ConnectServer().feed(data), h11_reads(data)
    if isinstance(ours, Request):
        assert theirs == (b"CONNECT", b"example.com:443", lowered(ours.fields))
    if isinstance(theirs, h11.RemoteProtocolError):
        assert isinstance(ours, Refusal)


ANSWERS = st.builds(
    lambda line, lines: line + b"".join(lines) + b"\r\n",
    st.sampled_from(
        [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 299\r\n", b"HTTP/1.1 200 \r\n", b"HTTP/1.1 200 a b\n", b"HTTP/1.1 403 No\r\n"]
    ),
    st.lists(st.sampled_from([b"X: y\r\n", b"X: y\n", b"X:\r\n", b" folded \r\n", b"X: \xe4\r\n", b"Via: 1.0 x\r\n"]), max_size=4),
)


@bounded
@given(ANSWERS)
def test_c16_client_parses_responses_that_h11_accepts_alike(data):
    theirs = h11.Connection(h11.CLIENT)
    theirs.send(h11.Request(method="CONNECT", target="example.com:443", headers=[("Host", "example.com:443")]))
    theirs.send(h11.EndOfMessage())
    theirs.receive_data(data)
    try:
        event = theirs.next_event()
    except h11.RemoteProtocolError:
        return
    client = ConnectClient(Address("example.com", 443))
    ours = client.feed(data) or client.eof()
    assert ours.status == event.status_code
    assert ours.reason.encode("latin-1") == bytes(event.reason).strip()
    # h11 keeps the whitespace at a fold
    assert lowered(ours.fields) == [(name.lower(), b" ".join(value.split())) for name, value in event.headers.raw_items()]


@pytest.mark.parametrize("early", [b"", b"SSH-2.0-x\r\n"])
def test_c6_c7_h11_switches_protocols_at_the_same_octet(early):
    server = h11.Connection(h11.SERVER)
    server.receive_data(ConnectClient(Address("example.com", 22)).request() + early)
    server.next_event()
    server.next_event()
    sent = server.send(h11.Response(status_code=200, headers=[("Via", "1.1 x")], reason=b"OK"))
    assert server.their_state is h11.SWITCHED_PROTOCOL
    assert server.trailing_data[0] == early
    tunnel = ConnectClient(Address("example.com", 22)).feed(sent + early)
    assert (tunnel.fields, tunnel.leftover) == ((("Via", "1.1 x"),), early)
