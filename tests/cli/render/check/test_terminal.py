"""The region of a terminal that is redrawn, on a screen that pyte emulates."""

import os

import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnelctl.cli.render.check.terminal import MARGIN, Terminal, columns_of, cut, fold, head_of


@pytest.mark.parametrize(("text", "columns"), [("", 0), ("abc", 3), ("\u7db2\u8def", 4), ("e\u0301", 1), ("\u2501", 1)])
def test_the_columns_of_a_text(text, columns):
    assert columns_of(text) == columns


@given(st.text("ab \u7db2e\u0301", max_size=40), st.integers(2, 12))
def test_property_folding_keeps_the_words_and_the_width(text, width):
    rows = fold(text, width)
    assert all(columns_of(row) <= width for row in rows)
    assert "".join(rows).replace(" ", "") == text.replace(" ", "")


def test_words_are_broken_only_if_they_are_too_long():
    assert fold("one two three", 7) == ["one two", "three"]
    assert fold("abcdefgh ij", 3) == ["abc", "def", "gh", "ij"]
    assert fold("", 5) == [""]


def test_a_wide_character_that_does_not_fit_is_cut():
    assert head_of("\u7db2\u8def", 3) == "\u7db2"
    assert cut([("ab", "1"), ("\u7db2c", "")], 3) == [("ab", "1"), ("", "")]


class Window:
    """A terminal on a screen that is emulated."""

    def __init__(self, monkeypatch, columns: int, lines: int, **options: bool) -> None:
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.Stream(self.screen)
        monkeypatch.setattr("tunnelctl.cli.render.check.terminal.write_stdout", self.write)
        monkeypatch.setattr(os, "get_terminal_size", lambda fd: (self.screen.columns, self.screen.lines))
        self.terminal = Terminal(**{"color": True, "ascii_only": False, **options})

    def write(self, text: str) -> None:
        self._stream.feed(text.replace("\n", "\r\n"))

    @property
    def rows(self) -> list[str]:
        return [row.rstrip() for row in self.screen.display if row.strip()]


def rows(*texts: str) -> list[list[tuple[str, str]]]:
    return [[(text, "")] for text in texts]


def test_the_region_is_redrawn_below_what_stays(monkeypatch):
    window = Window(monkeypatch, 20, 6)
    window.terminal.put(rows("stays"))
    window.terminal.draw(rows("a", "b", "c"))
    window.terminal.draw(rows("d" * 40))
    assert window.rows == ["stays", "d" * (20 - MARGIN)]
    window.terminal.put(rows("too"))
    window.terminal.draw(rows("e"))
    window.terminal.put([])
    assert window.rows == ["stays", "too"]


def test_a_region_that_is_higher_than_the_window_shows_its_end(monkeypatch):
    window = Window(monkeypatch, 20, 4)
    for _ in range(3):
        window.terminal.draw(rows(*"abcdef"))
    assert window.rows == ["d", "e", "f"]


def test_a_line_that_a_narrower_window_breaks_is_erased_as_a_whole(monkeypatch):
    """The emulator does not break lines anew, as most terminals do; so the test does."""
    window = Window(monkeypatch, 40, 8)
    window.terminal.put(rows("stays"))
    window.terminal.draw(rows("a" * 30, "b" * 10))
    window.screen.reset()
    window.screen.resize(8, 20)
    window.write("stays\n" + "a" * 20 + "\n" + "a" * 10 + "\n" + "b" * 10)
    window.terminal.draw(rows("c"))
    assert window.rows == ["stays", "c"]


@pytest.mark.parametrize("color", [True, False])
def test_styles_are_shown_in_colour_only(monkeypatch, color):
    window = Window(monkeypatch, 20, 4, color=color)
    window.terminal.put([[("good", "32"), (" plain", "")]])
    assert window.rows == ["good plain"]
    assert window.screen.buffer[0][0].fg == ("green" if color else "default")
    assert window.screen.buffer[0][5].fg == "default"


def test_a_terminal_without_utf8_gets_ascii(monkeypatch):
    window = Window(monkeypatch, 40, 4, ascii_only=True)
    window.terminal.put(rows("caf\u00e9 \u7db2"))
    assert window.rows == [r"caf\xe9 \u7db2"]


def test_a_terminal_that_tells_no_size_has_the_usual_one(monkeypatch):
    def untold(fd: int) -> os.terminal_size:
        raise OSError

    terminal = Terminal(color=False, ascii_only=False)
    monkeypatch.setattr(os, "get_terminal_size", untold)
    assert terminal.size == (80, 24)
    monkeypatch.setattr(os, "get_terminal_size", lambda fd: (0, 0))
    assert terminal.size == (80, 24)
