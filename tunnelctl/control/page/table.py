"""Tables: a heading for each column and for each row, and links in the headings of those that can be sorted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tunnelctl.control.page.view import ASCENDING, View

CARD = 5  # columns from which a table does not fit a narrow screen, so that the style makes a card of each row

_ARIA = {True: "ascending", False: "descending"}


class Column(NamedTuple):
    """One column. cell: makes the HTML of its cell from a record; sort: the key by which the table can be sorted"""

    heading: str
    cell: Callable[[Any], str]
    sort: str = ""


def table(name: str, columns: Sequence[Column], rows: Sequence[object], view: View | None = None) -> str:
    """Returns a table whose first column names its rows. name: its class and the id of its title, `NAME-title`"""
    head = "".join(_heading(column, view) for column in columns)
    first, *rest = (column.cell for column in columns)
    body = "\n".join(
        f'<tr><th scope="row">{first(row)}</th>{"".join([f"<td>{cell(row)}</td>" for cell in rest])}</tr>' for row in rows
    )
    kind = f"{name} card" if len(columns) >= CARD else name
    return (
        f'<table class="{kind}" aria-labelledby="{name}-title">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>'
    )


def _heading(column: Column, view: View | None) -> str:
    if view is None or not column.sort:
        return f'<th scope="col">{column.heading}</th>'
    sorted_so = f' aria-sort="{_ARIA[view.order == ASCENDING]}"' if column.sort == view.sort else ""
    link = view.sorted_by(column.sort).replace("&", "&amp;")
    return f'<th scope="col"{sorted_so}><a href="{link}#tunnels">{column.heading}</a></th>'
