"""Text for a person: escaped, without secrets, and of bounded length."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnelctl.cli.render.text import escape, mask, mask_word

# --- escaping


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain – text", "plain – text"),
        ("\x00\x07\t\r\n", r"\x00\x07\x09\x0d\x0a"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x7f\x80\x9b31m", r"\x7f\x80\x9b31m"),
        ("a\u202eb\u2066c\u200f", r"a\u202eb\u2066c\u200f"),
        ("\u2028\u2029\ufeff\u200b", r"\u2028\u2029\ufeff\u200b"),
        ("\U000e0041", r"\U000e0041"),
        ("\udcff", r"\xff"),
        ("\ud800", r"\ud800"),
        (b"ok\xff\xc3(\xe2\x82\xac", r"ok\xff\xc3(€"),
        (b"\x1b]0;title\x07", r"\x1b]0;title\x07"),
    ],
)
def test_control_characters_are_escaped(text, shown):
    assert escape(text) == shown


@given(st.one_of(st.text(), st.binary()), st.integers(1, 40))
def test_property_escaped_text_is_short_and_printable(text, limit):
    shown = escape(text, limit)
    assert len(shown) <= limit
    assert shown.isprintable()
    assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}


def test_a_cut_is_marked_with_an_ellipsis():
    assert escape("x" * 11, 10) == "x" * 9 + "…"
    assert escape(b"x" * 1_000_000, 10) == "x" * 9 + "…"
    assert escape("x" * 10, 10) == "x" * 10


# --- secrets


@pytest.mark.parametrize(
    ("word", "masked"),
    [
        ("http://user:pa@ss/w:ord@host:3128", "http://user:***@host:3128"),
        ("user:password@host", "user:***@host"),
        ("http://user:with blank@host", "http://user:***@host"),
        ("http://user@host:3128", "http://user@host:3128"),
        ("host:3128", "host:3128"),
        ("http://u:***@p:1,socks5://b:***@z:1", "http://u:***@p:1,socks5://b:***@z:1"),
        ("http://p:1,socks5://b@z:1", "http://p:1,socks5://b@z:1"),
        ("http://u:***@p:1,socks5://b:hush@z:1", "http://u:***@z:1"),
        ("http://u:12,34@p:1", "http://u:***@p:1"),
        ("http://u:secret:***@p:1", "http://u:***@p:1"),
        ("@", "@"),
        ("", ""),
    ],
)
def test_the_password_of_a_url_is_masked(word, masked):
    assert mask_word(word) == masked


def test_passwords_in_a_line_are_masked():
    assert mask("proxy `http://u:p@h:1` and u:p@h: no") == "proxy `http://u:***@h:1` and u:***@h: no"
