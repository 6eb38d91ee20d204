"""Lines KEY=VALUE: comments, sections, line numbers."""

from tunnelctl.client.discovery.readers.lines import Entry, entries, numbered, unquoted


def test_entries_have_their_line_and_section():
    text = "a=1\r\n# c=2\n[s]\n; d=3\n b = x=y \nnothing\n[t \n=e\n"
    assert list(entries(text)) == [Entry(1, "", "a", "1"), Entry(5, "s", "b", "x=y"), Entry(8, "", "", "e")]


def test_only_a_newline_ends_a_line():
    """str.splitlines would count a form feed and U+2028 too, and every later number would be wrong."""
    assert list(numbered("a\x0cb\u2028c\nd")) == [(1, "a\x0cb\u2028c"), (2, "d")]


def test_one_pair_of_quotes_is_removed():
    assert [unquoted(text) for text in ('"a"', "'a'", "\"a'", "a", '"', "''")] == ["a", "a", "\"a'", "a", '"', ""]
