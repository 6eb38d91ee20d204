"""The list of running programs for `status` and `top`: their names, listeners, routes and traffic."""

from collections.abc import Callable, Sequence
from functools import partial
from textwrap import wrap
from typing import NamedTuple, TypeVar

from tunnelctl.cli.render.columns import UNKNOWN, Column, age, cells, fit, numbers, printable, short, texts, titles
from tunnelctl.cli.render.text import TEXT_LIMIT
from tunnelctl.control.snapshot import Status

T = TypeVar("T")

WIDTH = 80
GAP = 2
INDENT = "    "


class Listed(NamedTuple):
    """A program in the list.

    status: what it said last; None if it never answered
    trouble: why it does not answer; "" if it does
    sent_rate, received_rate: bytes a second; None if they are not known
    """

    name: str
    status: Status | None = None
    trouble: str = ""
    sent_rate: float | None = None
    received_rate: float | None = None


def listeners(listed: Listed) -> list[str]:
    """Describes each listener: its address and where it leads; `any target` if its clients choose."""
    if listed.status is None:
        return []
    choose = "" if listed.status.command == "serve" else " -> any target"
    return [f"{one.address} -> {one.target}" if one.target else one.address + choose for one in listed.status.listeners]


def route(listed: Listed) -> str:
    """Describes what the tunnels pass; "" if that is unknown, or for a proxy that dials the targets itself."""
    status = listed.status
    if status is None or (status.command == "serve" and not status.route):
        return ""
    if not status.route:
        return "directly"
    return "via " + ", then ".join(hop.replace(",", " or ") for hop in status.route)


def state(listed: Listed) -> str:
    """Describes what is unusual; "" if nothing is."""
    draining = listed.status is not None and listed.status.draining
    return listed.trouble or ("draining" if draining else "")


def notes(listed: Listed) -> list[str]:
    """Describes the last warning, and the last tunnel that could not be opened."""
    status = listed.status
    if status is None:
        return []
    last = (("warning", status.warnings[-1] if status.warnings else None), ("failed", status.last_failure))
    return [f"{word} {age(status.now - note.when)} ago: {note.text}" for word, note in last if note is not None]


def of_status(get: Callable[[Status], T]) -> Callable[[Listed], T | None]:
    """Returns a function that reads a value from a program's status; None if it never answered."""
    return lambda listed: None if listed.status is None else get(listed.status)


def known(value: object) -> str:
    """Shows a value of a status."""
    return UNKNOWN if value is None else str(value)


NAME: Column[Listed] = texts("NAME", lambda one: one.name, 1, 10)
COMMAND: Column[Listed] = Column("COMMAND", of_status(lambda status: status.command), 4, 7, known)
PID: Column[Listed] = Column("PID", of_status(lambda status: status.pid), 8, 7, known, right=True)
TUNNELS: Column[Listed] = Column("TUNNELS", of_status(lambda status: status.tunnels), 3, 7, known, right=True)
SENT: Column[Listed] = numbers("SENT", of_status(lambda status: status.sent), short, 6)
RECEIVED: Column[Listed] = numbers("RECEIVED", of_status(lambda status: status.received), short, 5)
UP: Column[Listed] = numbers("UP", of_status(lambda status: status.now - status.started), age, 7)
SENT_RATE: Column[Listed] = numbers("SENT/s", lambda one: one.sent_rate, short, 5)
RECEIVED_RATE: Column[Listed] = numbers("RECV/s", lambda one: one.received_rate, short, 5)
LISTENS: Column[Listed] = texts("LISTENS", lambda one: ", ".join(listeners(one)), 9, 10)
ROUTE: Column[Listed] = texts("ROUTE", route, 10, 10, optional=True)
STATE: Column[Listed] = texts("STATE", state, 2, 10, optional=True)

RATES = (SENT_RATE, RECEIVED_RATE)
DETAILS = (LISTENS, ROUTE, STATE)


def instances(every: Sequence[Listed], width: int = WIDTH) -> list[str]:
    """Renders the list with a line of titles. Listeners and routes are not cut: where they do not fit, each has its own line."""
    rates = RATES if any(one.received_rate is not None for one in every) else ()
    narrow_columns = (NAME, COMMAND, PID, TUNNELS, SENT, RECEIVED, *rates, UP)
    whole = fit((*narrow_columns, *DETAILS), every, None)
    if sum(placed.width + GAP for placed in whole) - GAP <= width:
        rows = ([_joined(cells(whole, one)), *_folded(notes(one), width)] for one in every)
        return [_joined(titles(whole)), *(line for row in rows for line in row)]
    narrow = fit(narrow_columns, every, width, GAP)
    lines = [_joined(titles(narrow))]
    for one in every:
        details = (*listeners(one), route(one), state(one))
        lines += [_joined(cells(narrow, one)), *(INDENT + printable(text, TEXT_LIMIT) for text in details if text)]
        lines += _folded(notes(one), width)
    return lines


def _folded(texts: Sequence[str], width: int) -> list[str]:
    """Folds sentences at blanks; unlike the rest, nobody copies parts of them."""
    fold = partial(wrap, width=width, initial_indent=INDENT, subsequent_indent=2 * INDENT, break_on_hyphens=False)
    return [line for text in texts for line in fold(printable(text, TEXT_LIMIT))]


def _joined(row: Sequence[str]) -> str:
    return (" " * GAP).join(row).rstrip()
