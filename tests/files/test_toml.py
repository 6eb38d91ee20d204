"""The lines of keys in TOML, whatever strings and comments are between them."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proto.feeding import bounded
from tunnelctl.cli.spec.messages.model import BACKSLASH
from tunnelctl.files.toml import TomlError, has_control, line_of, lines_of, read_toml

TEXT = '''# a comment with [brackets] and "quotes
title = "a # is no comment, nor is [this] a table"

[[allow]]   # the first
targets = [
    "a:443",  # ] not the end
    "b[:443",
]
tls = 'require'

[[allow]]
note = """
[[allow]]
targets = 1
ends in quotes"""""
"quoted key" = '''
TEXT += """'''
[[deny]]
'quotes too''''
targets = ["c:1"]
a.b = 1
[limits]
x = {y = 1, z = [1,
 2]}
w = {only = 1}

[[allow.deep]]
k = 1
[[allow]]
"""


def test_every_key_and_table_has_its_line():
    tomllib.loads(TEXT)
    assert lines_of(TEXT) == {
        ("title",): 2,
        ("allow", 0): 4,
        ("allow", 0, "targets"): 5,
        ("allow", 0, "tls"): 9,
        ("allow", 1): 11,
        ("allow", 1, "note"): 12,
        ("allow", 1, "quoted key"): 16,
        ("allow", 1, "targets"): 19,
        ("allow", 1, "a", "b"): 20,
        ("limits",): 21,
        ("limits", "x"): 22,
        ("limits", "w", "only"): 24,
        ("allow", 1, "deep", 0): 26,
        ("allow", 1, "deep", 0, "k"): 27,
        ("allow", 2): 28,
    }


def test_a_path_without_a_line_has_the_line_of_its_container():
    lines = lines_of("allow = [\n {targets = []}]\n\nx = 1")
    assert line_of(lines, ("allow", 0, "targets")) == 1
    assert line_of(lines, ("x", 5)) == 4
    assert line_of(lines, ("y",)) == 1
    assert line_of({}, ()) == 1


def test_an_array_of_tables_has_the_line_of_the_first():
    assert line_of(lines_of("a = 1\n[[x]]\nb = 1\n[[x]]\n"), ("x",)) == 2
    assert line_of(lines_of("a = 1\n[x]\n[[x.y]]\nb = 1\n"), ("x", "y")) == 3


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n# end"])
def test_the_last_line_needs_no_newline(end):
    assert lines_of(f"a = 1\r\nb = 2{end}") == {("a",): 1, ("b",): 2}


@pytest.mark.parametrize(
    ("text", "line", "cause"),
    [
        ("x = 1\n = 2\n", 2, "invalid statement"),
        ("x = 1\ny = [1,\n\n\n", 2, "invalid value"),
        ("x = 1\ny = 5 5", 2, "expected newline or end of document after a statement"),
        ("x = 1\n\nx = 2", 3, "cannot overwrite a value"),
        ("x =", 1, "invalid value"),
    ],
)
def test_invalid_toml_is_reported_with_its_line(text, line, cause):
    with pytest.raises(TomlError) as caught:
        read_toml(text)
    assert (caught.value.line, caught.value.cause) == (line, cause)


@pytest.mark.parametrize(
    ("value", "escape"),
    [
        ('"CORP\\user"', True),
        ('"CORP\\Users"', True),
        ('"CORP\\alice"', True),
        ('"C:\\"', True),
        ('"\\ud800"', True),
        ('"""a\\ b"""', True),
        ('"a\\\\" b', False),
        ('"a\\\\"\ny = "a\\\\"', False),
        ("CORP\\user", False),
    ],
)
def test_a_backslash_in_double_quotes_is_recognised(value, escape):
    with pytest.raises(TomlError) as caught:
        read_toml(f"x = 1\ny = {value}\n")
    assert caught.value.escape == escape
    assert caught.value.line == (3 if "\n" in value else 2)


def test_the_hint_about_backslashes_is_correct():
    assert BACKSLASH.text == r"in double quotes a backslash is written \\; in single quotes it stands for itself"
    document, _ = read_toml("x = \"CORP\\\\user\"\ny = 'CORP\\user'\n")
    assert document == {"x": "CORP\\user", "y": "CORP\\user"}


@pytest.mark.parametrize(
    ("text", "found"),
    [("a", False), ("a b\n", False), ("a\tb", True), ("CORP\bob", True), ("a\x7fb", True), ("\u00a0\u0085x", False)],
)
def test_control_characters_are_found(text, found):
    assert has_control(text) is found


def test_a_document_is_returned_with_the_lines_of_its_keys():
    text = '[a]\nb = [\n "c=d",\n]\n[e."f g"]  # x = 1\nh=1\n[ e . i ]\n"j" = true\nk = {l = 1, m = 2}\n'
    document, lines = read_toml(text)
    assert document == {"a": {"b": ["c=d"]}, "e": {"f g": {"h": 1}, "i": {"j": True, "k": {"l": 1, "m": 2}}}}
    assert list(lines.values()) == [1, 2, 5, 6, 7, 8, 9]
    assert lines[("e", "f g", "h")] == 6


STRINGS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=12)


@bounded
@given(st.lists(st.tuples(STRINGS, st.integers(0, 3)), max_size=6))
def test_property_every_key_has_its_line(values):
    """Whatever the strings contain: the keys are found, each with the line on which it was put."""
    text, wanted = "", {}
    for number, (value, blanks) in enumerate(values):
        text += "\n" * blanks
        wanted[(f"k{number}",)] = text.count("\n") + 1
        quoted = value.replace("\\", "\\\\").replace('"', '\\"')
        text += f'k{number} = """\n{quoted}\n"""\n' if blanks % 2 else f'k{number} = ["{quoted}"]  # {value}\n'
    tomllib.loads(text)
    assert lines_of(text) == wanted


DEEP = "[" * 5000


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"a = 1\n\nb = {DEEP}{']' * 5000}\n", 3),
        (f"a = 1\nb = {'{x=' * 5000}1{'}' * 5000}\n", 2),
        (f"a = 1\nb = 2\nc = [1, {'1' * 5000}]\n", 3),
        (f"a = 1\nb = {DEEP}\n", 1),  # the end of the value cannot be determined
    ],
    ids=["array", "table", "number", "unclosed"],
)
def test_values_that_overload_the_parser_are_errors(text, line):
    """Otherwise they would end a server that reloads its rules."""
    with pytest.raises(TomlError, match="nested too deeply, or a number is too long") as caught:
        read_toml(text)
    assert caught.value.line == line
