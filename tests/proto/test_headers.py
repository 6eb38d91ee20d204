"""Header fields: what may be sent, what the user types, and what logs may show. V17: nothing can add a line; V18: no secrets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proto.feeding import bounded
from tunnelctl.errors import UsageProblem
from tunnelctl.proto import headers as header
from tunnelctl.proto.headers import is_token

FIELDS = (("Via", "1.1 a"), ("X-One", "1"), ("via", "1.1 b"))


def test_names_compare_without_case_and_order_is_kept():
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
def test_a_field_as_typed(text, field):
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
def test_v17_a_field_that_cannot_be_sent(text, message):
    with pytest.raises(UsageProblem, match=message) as caught:
        header.parse(text)
    assert str(caught.value).isascii()
    assert str(caught.value).isprintable()


def test_v18_errors_do_not_repeat_the_value():
    for text in ("Proxy-Authorization Basic c2VjcmV0", "Proxy-Authorization: c2VjcmV0\x01"):
        with pytest.raises(UsageProblem) as caught:
            header.parse(text)
        assert "c2VjcmV0" not in str(caught.value)


def test_what_is_typed_is_what_is_sent():
    name, value = header.parse("X-Name: Jürgen")
    assert header.render(((name, value),)) == "X-Name: Jürgen\r\n".encode()
    with pytest.raises(UsageProblem, match="cannot carry"):
        header.check("X", "€")


def test_render():
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
def test_tokens_are_what_rfc_9110_says(text):
    alphabet = set("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    assert is_token(text) == (text != "" and set(text) <= alphabet)


@bounded
@given(st.text(max_size=20), st.text(max_size=40))
def test_v17_property_a_field_that_passes_is_one_line(name, value):
    try:
        header.check(name, value)
    except UsageProblem:
        return
    line = header.render(((name, value),))
    assert line.count(b"\r") == line.count(b"\n") == 1
    assert line.endswith(b"\r\n")
    assert not set(line[:-2]) & set(range(0x20)) - {0x09}
