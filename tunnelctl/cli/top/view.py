"""The user's choices in `top`: sort order, filter, scroll position; and the keys that change them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tunnelctl.cli.render.columns import Column
from tunnelctl.cli.top.keys import BACKSPACE, CLEAR, DOWN, END, ENTER, ESCAPE, HOME, PAGE_DOWN, PAGE_UP, UP
from tunnelctl.cli.top.tables import OPEN, PAST, Sort

MAX_FILTER = 100


class View(NamedTuple):
    """What is shown.

    past: the ended ones in place of the open ones; each table has its own order
    typing: whether keys go into the filter
    offset: the number of rows above the first that is shown
    looks: how often a look was asked for by a key
    """

    open_sort: Sort = Sort("RECV/s")
    past_sort: Sort = Sort("AGO")
    past: bool = False
    filter: str = ""
    typing: bool = False
    paused: bool = False
    help: bool = False
    offset: int = 0
    looks: int = 0
    quit: bool = False

    @property
    def sort(self) -> Sort:
        """The order of the table that is shown."""
        return self.past_sort if self.past else self.open_sort

    @property
    def columns(self) -> Sequence[Column[Any]]:
        """The columns of the table that is shown."""
        return PAST if self.past else OPEN


class Extent(NamedTuple):
    """The number of rows, and the number that fit on the screen."""

    rows: int
    room: int


def press(view: View, key: str, extent: Extent) -> View:
    """Returns the view after a key. A key without a meaning changes nothing."""
    if view.typing and key not in MOVES:
        return _type(view, key)
    if key in MOVES:
        return view._replace(offset=max(0, min(MOVES[key](view.offset, extent), extent.rows - extent.room)))
    if view.help:  # any other key leaves it
        return view._replace(help=False, offset=0)
    return KEYS[key](view) if key in KEYS else view


def _type(view: View, key: str) -> View:
    if key == ENTER:
        return view._replace(typing=False)
    if key == ESCAPE:
        return view._replace(typing=False, filter="", offset=0)
    text = view.filter
    if key == BACKSPACE:
        text = text[:-1]
    elif key == CLEAR:
        text = ""
    elif len(key) == 1 and len(text) < MAX_FILTER:
        text += key
    return view._replace(filter=text, offset=0)


def _sorted_by(view: View, step: int) -> View:
    titles = [column.title for column in view.columns]
    return _with_sort(view, Sort(titles[(titles.index(view.sort.title) + step) % len(titles)]))


def _with_sort(view: View, sort: Sort) -> View:
    return view._replace(past_sort=sort) if view.past else view._replace(open_sort=sort)


def _reversed(view: View) -> View:
    return _with_sort(view, view.sort._replace(reverse=not view.sort.reverse))


def _look(view: View) -> View:
    return view._replace(looks=view.looks + 1)


def _toggled(view: View) -> View:
    return _look(view._replace(past=not view.past, offset=0))


def _helped(view: View) -> View:
    return view._replace(help=True, offset=0)


def _unfiltered(view: View) -> View:
    return view._replace(filter="", offset=0)


KEYS: dict[str, Callable[[View], View]] = {
    "<": lambda view: _sorted_by(view, -1),
    ">": lambda view: _sorted_by(view, 1),
    "r": _reversed,
    "/": lambda view: view._replace(typing=True),
    ESCAPE: _unfiltered,
    "e": _toggled,
    "p": lambda view: view._replace(paused=not view.paused),
    " ": _look,
    "h": _helped,
    "?": _helped,
    "q": lambda view: view._replace(quit=True),
}

MOVES: dict[str, Callable[[int, Extent], int]] = {
    UP: lambda offset, _: offset - 1,
    DOWN: lambda offset, _: offset + 1,
    PAGE_UP: lambda offset, extent: offset - extent.room,
    PAGE_DOWN: lambda offset, extent: offset + extent.room,
    HOME: lambda _offset, _extent: 0,
    END: lambda _, extent: extent.rows,
}
