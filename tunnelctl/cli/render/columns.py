"""Tables as plain text: which columns fit, how wide each is, and the cells.

A narrow table loses its least important columns first. The columns of numbers have fixed widths; those of texts share what is left.
"""

from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from tunnelctl.cli.render.text import TEXT_LIMIT, escape
from tunnelctl.control.units import size

Row = TypeVar("Row")
UNKNOWN = "-"
CUT = "~"  # ends a cell that was cut; ASCII, as in every terminal and locale


class Column(NamedTuple, Generic[Row]):
    """A column.

    value: what it is sorted by, None if that is not known; shown: the text for it, which may have any characters
    rank: its importance, 1 for the most important; least: the width that it needs; grows: whether it gets more, up to its texts
    ample: the width up to which it grows before less important columns get any
    optional: it is left out while all its cells are empty
    """

    title: str
    value: Callable[[Row], Any]
    rank: int
    least: int
    shown: Callable[[Any], str] = str
    grows: bool = False
    ample: int = 0
    right: bool = False
    optional: bool = False

    def text(self, row: Row) -> str:
        """Returns the text of the cell."""
        return self.shown(self.value(row))


class Placed(NamedTuple, Generic[Row]):
    """A column in a table that is laid out, and its width."""

    column: Column[Row]
    width: int


def numbers(title: str, value: Callable[[Row], float | None], shown: Callable[[Any], str], rank: int) -> Column[Row]:
    """Returns a column for numbers. shown: a function whose results have at most six characters, such as `short` and `age`"""
    return Column(title, value, rank, max(6, len(title)), shown, right=True)


def texts(title: str, value: Callable[[Row], str], rank: int, least: int, *, ample: int = 0, optional: bool = False) -> Column[Row]:
    """Returns a column for texts, which are sorted as they are. least: the width below which they say too little"""
    return Column(title, value, rank, least, grows=True, ample=ample, optional=optional)


def fit(
    columns: Sequence[Column[Row]], rows: Sequence[Row], width: int | None, gap: int = 1, unicode: bool = True
) -> list[Placed[Row]]:
    """Chooses the columns that fit, and their widths. width: of the table; None if it may have any; unicode: as for `cells`"""
    filled = (column for column in columns if not column.optional or any(map(column.text, rows)))
    wanted = {column.title: _wanted(column, rows, unicode) for column in filled}
    ranked = sorted((column for column in columns if column.title in wanted), key=lambda column: column.rank)
    if width is None:
        return [Placed(column, wanted[column.title]) for column in columns if column in ranked]
    widths: dict[str, int] = {}
    left = width + gap
    for column in ranked:
        wish = wanted[column.title]
        if min(column.least, wish) + gap <= left or not widths:
            widths[column.title] = min(max(column.least, column.ample), wish, left - gap)
            left -= widths[column.title] + gap
    # The smallest wish comes first, so that as many columns as possible show their texts whole.
    growing = [column for column in ranked if column.grows and column.title in widths]
    for column in sorted(growing, key=lambda column: wanted[column.title] - widths[column.title]):
        more = max(0, min(left, wanted[column.title] - widths[column.title]))
        widths[column.title] += more
        left -= more
    return [Placed(column, widths[column.title]) for column in columns if column.title in widths]


def _wanted(column: Column[Row], rows: Sequence[Row], unicode: bool) -> int:
    """Returns the width that shows all texts of a column."""
    if not column.grows:
        return max(column.least, len(column.title))
    widths = (width_of(printable(column.text(row), TEXT_LIMIT, unicode)) for row in rows)
    return max(len(column.title), max(widths, default=0))


def titles(table: Sequence[Placed[Row]]) -> list[str]:
    """Returns the cells of the first line."""
    return [cell(placed.column.title, placed.width, placed.column.right) for placed in table]


def cells(table: Sequence[Placed[Row]], row: Row, unicode: bool = True) -> list[str]:
    """Returns the cells of a row, escaped, each as wide as its column. unicode: whether more than ASCII can be shown"""
    return [cell(placed.column.text(row), placed.width, placed.column.right, unicode) for placed in table]


def cell(text: str, width: int, right: bool = False, unicode: bool = True) -> str:
    """Escapes a text, and cuts or pads it to `width` columns of a terminal. A letter of Chinese has two of them."""
    text = printable(text, width + 1, unicode)
    if not text.isascii():
        return _wide_cell(text, width, right)
    if len(text) > width:
        return text[: width - 1] + CUT if width else ""
    return text.rjust(width) if right else text.ljust(width)


def printable(text: str, limit: int, unicode: bool = True) -> str:
    """Escapes a text for the terminal, and cuts what is beyond `limit` characters, which is not shown anyway."""
    text = text[: limit + 1]
    if not text.isascii() or not text.isprintable():
        text = escape(text)
    return text if unicode else text.encode("ascii", "backslashreplace").decode()


def width_of(text: str) -> int:
    """Returns the number of columns that an escaped text has on a terminal."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # 12 ms, seldom needed

    return cell_len(text)


def _wide_cell(text: str, width: int, right: bool) -> str:
    from rich.cells import set_cell_size

    long = width_of(text)
    if long > width:
        return set_cell_size(text, width - 1) + CUT if width else ""
    return " " * (width - long) + text if right else text + " " * (width - long)


def short(count: float | None) -> str:
    """Formats bytes in at most six characters: 1536 is 1.5K."""
    return UNKNOWN if count is None else size(count).replace(" ", "").replace("iB", "").removesuffix("B")


def age(seconds: float | None) -> str:
    """Formats a duration in at most six characters: 75 is 1m15s."""
    if seconds is None:
        return UNKNOWN
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes_left = divmod(minutes, 60)
    days, hours_left = divmod(hours, 24)
    if days:
        return f"{days}d{hours_left:02}h" if days < 100 else f"{days}d"
    if hours:
        return f"{hours}h{minutes_left:02}m"
    return f"{minutes}m{rest:02}s" if minutes else f"{rest}s"
