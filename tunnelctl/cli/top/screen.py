"""Renders the state of `top` and the user's choices as the lines of a terminal of a given size.

tunnelctl top  2 processes, 3 tunnels  13:05:22    the title
NAME  COMMAND …                                    the processes: one line each, a third of the screen at most
CLIENT          TARGET …                           the table, of which only the visible rows are rendered
q quit  h help …                                   the keys, or the filter while it is typed
"""

from collections.abc import Callable, Sequence
from itertools import chain
from textwrap import wrap
from typing import Any, NamedTuple, TypeVar

from tunnelctl.cli.render import instances
from tunnelctl.cli.render.columns import Column, Placed, cell, cells, fit, numbers, printable, short, texts, titles, width_of
from tunnelctl.cli.render.instances import Listed
from tunnelctl.cli.top.processes import NOT_RUNNING, Processes, listed
from tunnelctl.cli.top.tables import Open, Past, matching, open_rows, ordered, past_rows
from tunnelctl.cli.top.view import MAX_FILTER, Extent, View

Row = TypeVar("Row")

# Styles, of which `terminal` knows the codes.
PLAIN, TITLE, HEAD, SORTED, ODD, BAD = "", "title", "head", "sorted", "odd", "bad"

ROOMY = 16  # lines of a screen that has one to spare between the two tables


class Span(NamedTuple):
    """A piece of a line, escaped, in one style."""

    text: str
    style: str = PLAIN


Line = tuple[Span, ...]


class Size(NamedTuple):
    """The size of the terminal. unicode: whether it shows more than ASCII"""

    columns: int
    lines: int
    unicode: bool = True


class Scene(NamedTuple):
    """What is shown.

    clock: the time of day as text; now: the monotonic clock, on which the answers are dated; interval: seconds between two looks
    """

    view: View
    processes: Processes
    clock: str = ""
    now: float = 0.0
    interval: float = 2.0


class Picture(NamedTuple):
    """As many lines as the terminal has, and the extent of the part that scrolls."""

    lines: list[Line]
    extent: Extent


def _what(one: Listed) -> str:
    """Describes where a process listens and leads, after what is unusual about it."""
    where = " ".join(filter(None, (", ".join(instances.listeners(one)), instances.route(one))))
    return ": ".join(filter(None, (instances.state(one), where)))


PROCESSES: tuple[Column[Listed], ...] = (
    instances.NAME,
    instances.COMMAND._replace(rank=6),
    instances.PID._replace(rank=8),
    instances.TUNNELS._replace(rank=3),
    numbers("SENT/s", lambda one: one.sent_rate, short, 5),
    numbers("RECV/s", lambda one: one.received_rate, short, 4),
    instances.UP,
    texts("LISTENS", _what, 2, 11),
)


def picture(scene: Scene, size: Size) -> Picture:
    """Draws the screen."""
    head = [_title(scene, size)]
    if scene.view.help:
        return _scrolled(scene, size, head, help_lines(size.columns), lambda line: (Span(line),))
    rows = _rows(scene)
    columns = [column for column in scene.view.columns if column.title != "NAME" or len(scene.processes) > 1]
    table = fit(columns, rows, size.columns, unicode=size.unicode)
    between: list[Line] = [()] if size.lines >= ROOMY else []
    head += [*_processes(scene, size), *between, _titles(table, scene.view, size)]
    if not rows:
        head.append(_nothing(scene, size))
    return _scrolled(scene, size, head, rows, lambda row: _row(table, row, size))


def _scrolled(scene: Scene, size: Size, head: list[Line], rows: Sequence[Row], draw: Callable[[Row], Line]) -> Picture:
    """Draws those of the rows that fit below the head, and the footer in the last line."""
    extent = Extent(len(rows), max(0, size.lines - len(head) - 1))
    first = max(0, min(scene.view.offset, extent.rows - extent.room))
    lines = [*head, *map(draw, rows[first : first + extent.room])][: size.lines - 1]
    empty: list[Line] = [()] * (size.lines - 1 - len(lines))
    return Picture([*lines, *empty, _footer(scene.view, size)], extent)


def _rows(scene: Scene) -> list[Any]:
    view = scene.view
    rows: list[Any] = [*(past_rows(scene.processes) if view.past else open_rows(scene.processes))]
    return ordered(matching(rows, view.columns, view.filter), view.columns, view.sort)


def _title(scene: Scene, size: Size) -> Line:
    tunnels = sum(process.answer.status.tunnels for process in scene.processes.values() if process.answer.status)
    running = sum(process.trouble != NOT_RUNNING for process in scene.processes.values())
    counts = f"{_count(running, 'process', 'es')}, {_count(tunnels, 'tunnel', 's')}"
    state = "  PAUSED" if scene.view.paused else ""
    rest = "  ".join(filter(None, (counts, f"every {scene.interval:g} s", scene.clock)))
    return _cut((Span("tunnelctl top", TITLE), Span(state, ODD), Span(f"  {rest}")), size)


def _count(number: int, what: str, plural: str) -> str:
    return f"{number} {what}{plural if number != 1 else ''}"


def _processes(scene: Scene, size: Size) -> list[Line]:
    """Draws a line for each process. Those in trouble come first, so that they are seen where there are many."""
    every = sorted((listed(process, scene.now) for process in scene.processes.values()), key=lambda one: not one.trouble)
    if not every:
        return []
    room = max(1, size.lines // 3 - 1)
    table = fit(PROCESSES, every, size.columns, unicode=size.unicode)
    shown = every if len(every) <= room else every[: room - 1]
    lines: list[Line] = [(Span(" ".join(titles(table)).ljust(size.columns), HEAD),)]
    lines += [(Span(" ".join(cells(table, one, size.unicode)), _style(one)),) for one in shown]
    if len(shown) < len(every):
        lines.append((Span(cell(f"and {len(every) - len(shown)} more", size.columns)),))
    return lines


def _style(one: Listed) -> str:
    return BAD if one.trouble else ODD if instances.state(one) else PLAIN


def _titles(table: Sequence[Placed[Any]], view: View, size: Size) -> Line:
    """Draws the titles of the table, with the one that it is sorted by in another style."""
    spans: list[Span] = []
    for placed, text in zip(table, titles(table), strict=True):
        between = Span(" " * bool(spans), HEAD)
        spans += [between, Span(text, SORTED if placed.column.title == view.sort.title else HEAD)]
    used = sum(len(span.text) for span in spans)
    return _cut((*spans, Span(" " * (size.columns - used), HEAD)), size)


def _row(table: Sequence[Placed[Any]], row: Open | Past, size: Size) -> Line:
    return (Span(" ".join(cells(table, row, size.unicode)), _style_of(row)),)


def _style_of(row: Open | Past) -> str:
    if isinstance(row, Past):
        return BAD if row.bad else PLAIN
    return PLAIN if row.tunnel.phase == "tunnel" else ODD


def _nothing(scene: Scene, size: Size) -> Line:
    """Returns the reason why the table is empty."""
    answers = [process.answer for process in scene.processes.values()]
    if not answers:
        text = "nothing is running: `tunnelctl forward`, `run` and `serve` appear here"
    elif scene.view.filter:
        text = "nothing matches the filter; Esc clears it"
    elif all((answer.recent if scene.view.past else answer.tunnels) is None for answer in answers):
        text = "no answer yet"
    else:
        text = "nothing has ended or was refused yet" if scene.view.past else "no open tunnels"
    return (Span(cell(text, size.columns)),)


def _footer(view: View, size: Size) -> Line:
    if view.typing:
        text = printable(view.filter, MAX_FILTER, size.unicode)
        return _cut((Span("filter: ", TITLE), Span(text[-max(1, size.columns - 10) :]), Span(" ", HEAD)), size)
    spans = [Span("q", TITLE), Span(" quit  "), Span("h", TITLE), Span(" help  ")]
    if view.filter:
        spans.append(Span(f"filter: {printable(view.filter, size.columns, size.unicode)}  ", ODD))
    order = f"{view.sort.title}{', reversed' if view.sort.reverse else ''}"
    keys = (("< >", f"sort: {order}"), ("r", "reverse"), ("/", "filter"), ("e", "open" if view.past else "ended"), ("p", "pause"))
    for key, what in keys:
        spans += [Span(key, TITLE), Span(f" {what}  ")]
    return _cut(tuple(spans), size)


def _cut(line: Line, size: Size) -> Line:
    """Cuts a line to the width of the screen."""
    left, kept = size.columns, []
    for span in line:
        kept.append(span if width_of(span.text) <= left else span._replace(text=cell(span.text, left)))
        left -= width_of(kept[-1].text)
    return tuple(kept)


HELP = (
    ("q", "quit, as does Ctrl-C"),
    ("< >", "sort by the column before, or after"),
    ("r", "reverse the order"),
    ("/", "show only the lines that have a text; Enter keeps it, Esc clears it"),
    ("e", "show what has ended or was refused, or the open tunnels again"),
    ("p", "pause or resume"),
    ("Space", "update now"),
    ("Up Down", "scroll; so do PgUp, PgDn, Home and End"),
    ("h ?", "show this help; any other key leaves it"),
)
LEGEND = (
    "SENT is from clients to targets, RECV from targets to clients; K, M and G are 1024, 1024 * 1024 and so on bytes. "
    "AGE and IDLE are those of the tunnel: since its request, and without a byte.",
)


def help_lines(width: int) -> list[str]:
    """Returns the text of the help."""
    column = 9
    lines = []
    for key, text in HELP:
        first, *others = wrap(text, max(10, width - column)) or [""]
        lines += [f"{key:<{column}}{first}", *(" " * column + other for other in others)]
    return [*lines, "", *chain.from_iterable(wrap(text, max(10, width)) for text in LEGEND)]
