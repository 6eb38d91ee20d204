"""Proxy-Status. C19: parsing that of a proxy; V17: ours is a valid structured field, whatever text it contains."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proto.feeding import bounded
from tunnelctl.proto.proxy_status import MAX_STRING, ProxyStatus, parse, printable, quote, render


@pytest.mark.parametrize(
    ("value", "members"),
    [
        ("", ()),
        ("p", (ProxyStatus("p"),)),
        ('p; error=dns_error; details="no such name"', (ProxyStatus("p", "dns_error", "no such name"),)),
        ('"Our Proxy"; error=http_request_denied', (ProxyStatus("Our Proxy", "http_request_denied"),)),
        # RFC 9209 sections 2 and 2.1
        ("Foo;next-hop=backend.example.org:8001", (ProxyStatus("Foo", params=(("next-hop", "backend.example.org:8001"),)),)),
        (
            'revproxy1.example.net, ExampleCDN; error=http_protocol_error; details="Malformed header: space before colon"',
            (
                ProxyStatus("revproxy1.example.net"),
                ProxyStatus("ExampleCDN", "http_protocol_error", "Malformed header: space before colon"),
            ),
        ),
        ("p; error=x; received-status=503; error=y", (ProxyStatus("p", "y", "", (("received-status", 503),)),)),
        ("1; error=2; details=?1", (ProxyStatus("1", "2", "?1"),)),
        ("p; error=x,", ()),
        ("p; error=\xe4", ()),
    ],
)
def test_c19_members_are_parsed(value, members):
    assert parse(value) == members


def test_a_member_is_rendered():
    status = ProxyStatus("tunnelctl", "dns_error", 'say "x" \\', (("rcode", "NXDOMAIN"), ("info-code", 3)))
    assert render(status) == 'tunnelctl; error=dns_error; details="say \\"x\\" \\\\"; rcode="NXDOMAIN"; info-code=3'
    assert render(ProxyStatus("tunnelctl")) == "tunnelctl"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("a\r\nX: y\0\x1b\x7f", "a%0D%0AX: y%00%1B%7F"),
        ("ü€", "%C3%BC%E2%82%AC"),
        ("cut…", "cut..."),
        ("\ud800", "%ED%A0%80"),
        ("x" * MAX_STRING, "x" * MAX_STRING),
        ("x" * 4096, "x" * MAX_STRING + "..."),
    ],
)
def test_v17_hostile_text_is_encoded_and_cut(text, shown):
    assert printable(text) == shown


def test_quote_escapes_and_encodes():
    assert quote('a"b\\c\n') == '"a\\"b\\\\c%0A"'


@bounded
@given(st.text(max_size=60), st.text(min_size=1, max_size=60), st.integers(-999, 999))
def test_v17_property_a_rendered_member_parses_back(details, text, number):
    status = ProxyStatus("tunnelctl", "dns_error", details, (("rcode", text), ("info-code", number)))
    value = render(status)
    assert value.isascii()
    assert value.isprintable()
    assert parse(value) == (
        status._replace(details=printable(details), params=(("rcode", printable(text)), ("info-code", number))),
    )
    assert parse(f"{value}, {value}") == parse(value) * 2


@bounded
@given(st.text('p;=,"\\ x1?:.-*\t', max_size=30))
def test_fuzz_parse_returns_well_typed_members(value):
    members = parse(value)
    assert len(members) <= 1 + value.count(",")
    assert all(isinstance(member.error, str) and isinstance(member.proxy, str) for member in members)
