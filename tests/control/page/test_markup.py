"""Escaping: whatever a text holds, it stays text, and what it holds can be seen."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.control.samples import HOSTILE
from tunnelctl.control.page.markup import MAX_TEXT, NAME, counted, day, moment, plain, text


class Parser(HTMLParser):
    """Collects elements, their attributes and the text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


def parsed(html: str) -> Parser:
    parser = Parser()
    parser.feed(html)
    parser.close()
    return parser


anything = st.text(st.characters(codec=None), max_size=200)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("host.example:443", "host.example:443"),
        ("<b>&\"'", "&lt;b&gt;&amp;&quot;&#x27;"),
        ("a\u202eb", "a<i>\\u202e</i>b"),
        ("a\nb\x1b[0m\x00", "a<i>\\n</i>b<i>\\x1b</i>[0m<i>\\x00</i>"),
        ("\ud800\udcff", "<i>\\ud800</i><i>\\udcff</i>"),
        ("\u200b\u2066\ufeff", "<i>\\u200b</i><i>\\u2066</i><i>\\ufeff</i>"),
        (r"a\u202eb", r"a\u202eb"),
        ("Grüße", "Grüße"),
        ("", ""),
    ],
)
def test_text(value, shown):
    assert text(value) == shown


def test_a_long_name_is_cut_in_the_middle_with_the_whole_in_its_title():
    name = f"{'a' * 60}.example.com:443"
    found = parsed(text(name))
    assert found.attributes == [("title", name)]
    assert found.text.startswith("aaaa")
    assert found.text.endswith(".example.com:443")
    assert "…" in found.text
    assert len(found.text) <= NAME + 1


def test_escapes_are_cut_as_a_whole():
    found = parsed(text("\x1b" * 100))
    assert found.text.replace("\\x1b", "") == "…"


@pytest.mark.parametrize("make", [text, plain])
@given(value=anything)
def test_property_a_text_stays_text(make, value):
    html = make(value)
    assert html.isprintable()
    html.encode()
    assert set(parsed(html).elements) <= {"i", "span"}
    assert {name for name, _ in parsed(html).attributes} <= {"title"}


@given(value=anything, limit=st.integers(10, 80))
def test_property_what_is_shown_is_no_longer_than_the_limit(value, limit):
    assert len(parsed(text(value, limit)).text) <= limit + 1


@pytest.mark.parametrize("name", HOSTILE)
def test_v55_hostile_names(name):
    assert "<script" not in text(name)
    assert '"' not in plain(name)
    assert len(text(name)) < 2 * 10 * MAX_TEXT


def test_times_and_counts():
    assert moment(0.0, 75.0) == '<time datetime="1970-01-01T00:00:00Z" title="1970-01-01 00:00:00 UTC">1m 15s ago</time>'
    assert day(86400.0) == "1970-01-02"
    assert [counted(number, "tunnel") for number in (0, 1, 5000)] == ["0 tunnels", "1 tunnel", "5,000 tunnels"]
    assert counted(2, "match", "matches") == "2 matches"
