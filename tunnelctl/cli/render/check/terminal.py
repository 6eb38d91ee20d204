"""A terminal with a region at its end that is redrawn in place, below lines that stay.

Plain escape sequences, and not rich: its live display moves the cursor up by the lines that it has drawn, and not by the rows that
these take once the window has become narrower, so it leaves pieces behind. A report needs no more of it than folding and colours.
Nothing needs to be restored at the end, whatever ends the program.
"""

import os
from collections.abc import Sequence
from unicodedata import combining, east_asian_width

from tunnelctl.cli.render.console import write_stdout

Cell = tuple[str, str]  # a text without control characters, and its SGR parameters or ""
Row = Sequence[Cell]

# The last columns of a line in the region stay free: for the cursor, and for the ^C that the terminal echoes there.
MARGIN = 3
USUAL = (80, 24)  # columns and lines of a terminal that does not tell


def columns_of(text: str) -> int:
    """The columns that a text takes: two for a wide character, none for one that combines with the one before."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def head_of(text: str, width: int) -> str:
    """The longest beginning of a text that fits the width."""
    if columns_of(text) <= width:
        return text
    end = next(end for end in range(len(text), -1, -1) if columns_of(text[:end]) <= max(width, 0))
    return text[:end]


def fold(text: str, width: int) -> list[str]:
    """Breaks a text into rows, between words where possible."""
    rows, row = [], ""
    for word in text.split(" "):
        longer = f"{row} {word}" if row else word
        if columns_of(longer) <= width:
            row = longer
            continue
        rows += [row] if row else []
        while columns_of(word) > width and (piece := head_of(word, width)):
            rows.append(piece)
            word = word[len(piece) :]
        row = word
    return [*rows, row]


def cut(row: Row, width: int) -> list[Cell]:
    """Cuts a row to the width."""
    cells: list[Cell] = []
    for text, style in row:
        text = head_of(text, width)
        cells.append((text, style))
        width -= columns_of(text)
    return cells


class Terminal:
    """Standard output, where it is a terminal that can move its cursor."""

    def __init__(self, color: bool, ascii_only: bool) -> None:
        self._color, self.ascii_only = color, ascii_only
        self._drawn: list[int] = []  # columns of each line of the region

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines, at this moment."""
        try:
            columns, lines = os.get_terminal_size(1)
        except OSError:
            return USUAL
        return columns or USUAL[0], lines or USUAL[1]

    def put(self, rows: Sequence[Row]) -> None:
        """Prints rows that stay, in place of the region."""
        write_stdout(self._erasure() + "".join(f"{self._paint(row)}\n" for row in rows))
        self._drawn = []

    def draw(self, rows: Sequence[Row]) -> None:
        """Draws the region anew. Of more rows than the terminal has, the last ones are shown."""
        columns, lines = self.size
        rows = [cut(row, columns - MARGIN) for row in rows[1 - lines :]]
        write_stdout(self._erasure() + "\n".join(map(self._paint, rows)))
        self._drawn = [sum(columns_of(text) for text, _ in row) for row in rows]

    def _erasure(self) -> str:
        """Moves to the start of the region, and clears from there. A line that has become too long for the window takes several."""
        if not self._drawn:
            return ""
        columns, _ = self.size
        above = sum(max(1, -(-drawn // columns)) for drawn in self._drawn) - 1
        return "\r" + (f"\x1b[{above}A" if above else "") + "\x1b[J"

    def _paint(self, row: Row) -> str:
        text = "".join(f"\x1b[{style}m{text}\x1b[m" if style and self._color and text else text for text, style in row).rstrip()
        return text.encode("ascii", "backslashreplace").decode() if self.ascii_only else text
