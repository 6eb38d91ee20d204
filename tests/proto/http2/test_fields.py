"""The fields of a request and of a response, judged by themselves. The rules R1 to R6 are in test_rules.py."""

import string

import pytest
from hpack import HeaderTuple, NeverIndexedHeaderTuple
from hypothesis import given
from hypothesis import strategies as st

from tests.proto.feeding import bounded
from tunnelctl.proto.address import Address
from tunnelctl.proto.http2 import fields
from tunnelctl.proto.http2.fields import Malformed, Rejected, Request, Response

CONNECT = [(b":method", b"CONNECT"), (b":authority", b"example.com:443")]
TARGET = Address("example.com", 443)


def test_a_request_keeps_its_fields_but_for_the_login():
    request = fields.parse_request([*CONNECT, (b"a", b"\xe4"), (b"proxy-authorization", b"Basic x"), (b"a", b"")])
    assert request == Request(TARGET, (("a", "\xe4"), ("a", "")), "Basic x")
    assert repr(request) == "Request(target=example.com:443)"
    assert fields.parse_request(CONNECT) == Request(TARGET, (), None)


def test_two_logins_are_a_bad_request():
    rejected = fields.parse_request([*CONNECT, (b"proxy-authorization", b"a"), (b"proxy-authorization", b"a")])
    assert isinstance(rejected, Rejected)
    assert rejected.refusal.status == 400


def test_a_host_field_in_place_of_an_authority_is_not_enough():
    with pytest.raises(Malformed, match="without :authority"):
        fields.parse_request([CONNECT[0], (b"host", b"example.com:443")])


@pytest.mark.parametrize("authority", [b"[::1]:443", b"127.0.0.1:1", b"EXAMPLE.com:65535", b"xn--mnchen-3ya.example:22"])
def test_an_authority_is_a_target_as_in_http_1_1(authority):
    request = fields.parse_request([CONNECT[0], (b":authority", authority)])
    assert isinstance(request, Request)
    assert str(request.target).lower() == authority.decode().lower()


def test_a_long_authority_is_refused_and_not_kept():
    """The targets that were parsed last are kept: their size must not be the peer's choice."""
    for place in range(3):
        rejected = fields.parse_request([CONNECT[0], (b":authority", b"a" * 8000 + b"%d:443" % place)])
        assert isinstance(rejected, Rejected)
        assert rejected.refusal.status == 400
    before = fields._parse_target.cache_info().currsize
    fields.parse_request([CONNECT[0], (b":authority", b"a" * 8000 + b"3:443")])
    assert fields._parse_target.cache_info().currsize == before


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"BREW", b"\xff", b"connect"])
def test_another_method_is_refused(method):
    rejected = fields.parse_request([(b":method", method), (b":scheme", b""), (b":path", b"*")])
    assert isinstance(rejected, Rejected)
    assert rejected.refusal.status in (405, 501)
    assert rejected.to_head == (method == b"HEAD")


def test_a_response_has_a_status_and_fields():
    assert fields.parse_response([(b":status", b"502"), (b"server", b"\xe4")]) == Response(502, (("server", "\xe4"),))
    for wrong in ([], [(b":status", b"200"), (b":status", b"200")], [(b"a", b"b"), (b":status", b"200")], [(b":method", b"GET")]):
        with pytest.raises(Malformed):
            fields.parse_response(wrong)


def test_trailers_have_no_pseudo_fields():
    fields.check_trailers([(b"a", b"b")])
    fields.check_trailers([])
    for wrong in ([(b":status", b"200")], [(b"A", b"b")], [(b"a", b" b")], [(b"connection", b"close")]):
        with pytest.raises(Malformed):
            fields.check_trailers(wrong)


def test_a_field_name_is_a_token_in_lower_case():
    allowed = set((string.ascii_lowercase + string.digits + "!#$%&'*+-.^_`|~").encode())
    for octet in range(256):
        for name in (bytes([octet]), bytes([97, octet, 97])):
            if octet == 58 and name == b":":
                continue
            try:
                fields.check_trailers([(name, b"x")])
            except Malformed:
                assert octet not in allowed
            else:
                assert octet in allowed


def test_what_we_send_has_no_field_of_the_connection_and_no_secret_in_a_table():
    block = fields.request_block(
        TARGET, (("Host", "x"), ("Proxy-Connection", "x"), ("Upgrade", "x"), ("X-A", "\xe4"), ("Proxy-Authorization", "y"))
    )
    assert [tuple(field) for field in block] == [
        (":method", "CONNECT"),
        (":authority", "example.com:443"),
        (b"x-a", b"\xe4"),
        (b"proxy-authorization", b"y"),
    ]
    assert [type(field) for field in block] == [HeaderTuple] * 3 + [NeverIndexedHeaderTuple]
    response = fields.response_block(407, (("Proxy-Authenticate", "Basic"), ("Connection", "close")))
    assert [tuple(field) for field in response] == [(":status", "407"), (b"proxy-authenticate", b"Basic")]


NAMES = st.one_of(
    st.sampled_from(
        [b":method", b":scheme", b":authority", b":path", b":status", b":protocol", b"host", b"te", b"proxy-authorization"]
    ),
    st.binary(max_size=6),
    st.text("abc-", min_size=1, max_size=6).map(str.encode),
)
VALUES = st.one_of(
    st.sampled_from([b"CONNECT", b"GET", b"example.com:443", b"200", b"https", b"/", b"trailers", b""]), st.binary(max_size=10)
)


@bounded
@given(st.lists(st.tuples(NAMES, VALUES), max_size=8), st.booleans())
def test_any_fields_are_a_message_or_malformed(pairs, complete):
    if complete:
        pairs = CONNECT + pairs
    for parse in (fields.parse_request, fields.parse_response, fields.check_trailers):
        try:
            found = parse(pairs)
        except Malformed:
            continue
        else:
            assert found is None or isinstance(found, Request | Rejected | Response)
            assert not any(octet in value for _, value in pairs for octet in b"\0\r\n")
            assert all(name == name.lower() for name, _ in pairs)
