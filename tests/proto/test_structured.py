"""Structured fields, tested against the rules of RFC 9651 section 4.2."""

import pytest

from tunnelctl.proto.structured import MalformedField, parse_list


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("", []),
        ("  ", []),
        ("a", [("a", {})]),
        ("  a  ", [("a", {})]),
        ("a,b", [("a", {}), ("b", {})]),
        ("a \t,\t b", [("a", {}), ("b", {})]),
        ("*a:/b!#$%&'*+-.^_`|~9", [("*a:/b!#$%&'*+-.^_`|~9", {})]),
        ('"a \\" \\\\ ~"', [('a " \\ ~', {})]),
        ('""', [("", {})]),
        ("1, -12, 999999999999999", [(1, {}), (-12, {}), (999999999999999, {})]),
        ("1.5, -123456789012.125", [("1.5", {}), ("-123456789012.125", {})]),
        ("?0, ?1", [("?0", {}), ("?1", {})]),
        (":aGk=:", [("aGk=", {})]),
        (":aGk:, :aA==:, :aA:, :aGVs:", [("aGk", {}), ("aA==", {}), ("aA", {}), ("aGVs", {})]),
        (":iZ==:", [("iZ==", {})]),  # non-zero pad bits: section 4.2.7
        ("::", [("", {})]),
        ('a;b;c=1;  d="x";*e=f', [("a", {"b": "?1", "c": 1, "d": "x", "*e": "f"})]),
        ("a;b=1;c=2;b=3", [("a", {"b": 3, "c": 2})]),
    ],
)
def test_lists_are_parsed(text, items):
    found = parse_list(text)
    assert found == items
    assert [list(params) for _, params in found] == [list(params) for _, params in items]


@pytest.mark.parametrize(
    "text",
    [
        *("a,", "a,,b", ",a", "a b", "a\tb;", "a;", "a; =1", "a;B=1", "a;1=1", "a;-b=1", "a;b=", "a;b=,", "a ;b", "a;\tb"),
        *('"a', '"', '"a\\', '"a\\b"', '"a\tb"', '"\xe4"', '"\x7f"', "\xe4", "\u0661", "(a b)", "(a)", "%22x%22"),
        *("-", "--1", "1.", "1.1234", "1234567890123.1", "1234567890123456", "+1", ".5", "1.-5"),
        *("?", "?2", "?true", ":", ":a", ":a b:", ":é:", "@1659578233", "=", ";a"),
        *(":=aGVsbG8=:", ":a=GVsbG8=:", ":=:", ":====:", ":a:", ":aGVsb:", ":aG=:", ":aGk==:", ":aGVs=:", ":_-Ah:", ":aGVs.:"),
    ],
)
def test_malformed_lists_are_refused(text):
    with pytest.raises(MalformedField):
        parse_list(text)
