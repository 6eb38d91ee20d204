"""Header fields: which may be sent, how the user types them, and how logs show them. V17: no added lines; V18: no secrets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proto.feeding import bounded
from tunnelctl.errors import UsageProblem
from tunnelctl.proto import headers as header
from tunnelctl.proto.headers import is_token

FIELDS = (("Via", "1.1 a"), ("X-One", "1"), ("via", "1.1 b"))


def test_field_names_ignore_case_and_keep_their_order():
    assert header.get_all(FIELDS, "VIA") == ("1.1 a", "1.1 b")
    assert header.get(FIELDS, "via") == "1.1 a"
    assert header.get(FIELDS, "x-two") is None
    assert header.get_all(FIELDS, "x-two") == ()


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("Name: value", ("Name", "value")),
        ("Name:value", ("Name", "value")),
        ("Name: \t value\t ", ("Name", "value")),
        ("Name:", ("Name", "")),
        ("X: a: b", ("X", "a: b")),
        ("X!#$%&'*+-.^_`|~9: a\t~", ("X!#$%&'*+-.^_`|~9", "a\t~")),
        ("X: Jürgen €", ("X", "J\xc3\xbcrgen \xe2\x82\xac")),
        ("X: \udcfc\udcff", ("X", "\xfc\xff")),
    ],
)
def test_a_typed_field_is_parsed(text, field):
    assert header.parse(text) == field


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no colon"),
        ("Name value", "no colon"),
        (": value", "field name"),
        ("Na me: value", "field name"),
        ("Name : value", "field name"),
        (" Name: value", "field name"),
        ("N\xe4me: value", "field name"),
        ("Name\r\nX: y", "field name"),
        ("X: a\r\nY: b", "control"),
        ("X: a\nY: b", "control"),
        ("X: a\rb", "control"),
        ("X: a\0", "control"),
        ("X: \x1b[2J", "control"),
        ("X: \x7f", "control"),
        ("X: \ud83d", "an unpaired surrogate"),
    ],
)
def test_v17_an_invalid_field_is_refused(text, message):
    with pytest.raises(UsageProblem, match=message) as caught:
        header.parse(text)
    assert str(caught.value).isascii()
    assert str(caught.value).isprintable()


def test_v18_errors_do_not_repeat_the_value():
    for text in ("Proxy-Authorization Basic c2VjcmV0", "Proxy-Authorization: c2VjcmV0\x01"):
        with pytest.raises(UsageProblem) as caught:
            header.parse(text)
        assert "c2VjcmV0" not in str(caught.value)


def test_a_typed_value_is_sent_as_utf_8():
    name, value = header.parse("X-Name: Jürgen")
    assert header.render(((name, value),)) == "X-Name: Jürgen\r\n".encode()
    with pytest.raises(UsageProblem, match="cannot carry"):
        header.check("X", "€")


def test_fields_are_rendered():
    assert header.render(FIELDS) == b"Via: 1.1 a\r\nX-One: 1\r\nvia: 1.1 b\r\n"
    assert header.render(()) == b""
    assert header.render((("X", "\xfc"),)) == b"X: \xfc\r\n"


def test_v18_mask_hides_credentials_and_keeps_the_scheme():
    fields = (
        ("Host", "example.com:22"),
        ("PROXY-Authorization", "Basic c2VjcmV0"),
        ("Authorization", "c2VjcmV0"),
        ("Cookie", "session=c2VjcmV0; more=c2VjcmV0"),
        ("Proxy-Authorization", ""),
    )
    assert header.mask(fields) == (
        ("Host", "example.com:22"),
        ("PROXY-Authorization", "Basic ***"),
        ("Authorization", "***"),
        ("Cookie", "***"),
        ("Proxy-Authorization", "***"),
    )


@bounded
@given(st.text(max_size=20))
def test_tokens_are_those_of_rfc_9110(text):
    alphabet = set("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    assert is_token(text) == (text != "" and set(text) <= alphabet)


@bounded
@given(st.text(max_size=20), st.text(max_size=40))
def test_v17_property_an_accepted_field_is_one_line(name, value):
    try:
        header.check(name, value)
    except UsageProblem:
        return
    line = header.render(((name, value),))
    assert line.count(b"\r") == line.count(b"\n") == 1
    assert line.endswith(b"\r\n")
    assert not set(line[:-2]) & set(range(0x20)) - {0x09}


@pytest.mark.parametrize(
    ("octets", "shown"),
    [(b"plain", "plain"), ("größer".encode(), "größer"), (b"\xff\x00", "\\xff\x00"), (b"", "")],
)
def test_fields_for_people_are_utf_8_or_escaped_octets(octets: bytes, shown: str) -> None:
    received = octets.decode("latin-1")
    assert header.text(received) == shown
    assert header.readable((("Via", received), (received, "1"))) == (("Via", shown), (shown, "1"))
