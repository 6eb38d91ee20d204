"""The two tables of `top`: the open tunnels of all processes; ended tunnels and refused requests."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

from tunnelctl.cli.render.columns import Column, age, numbers, short, texts
from tunnelctl.cli.top.processes import Process, Processes
from tunnelctl.control.snapshot import EndedFacts, RefusedFacts, TunnelFacts

T = TypeVar("T")


class Open(NamedTuple):
    """A row: an open tunnel, and the name of its process."""

    name: str
    tunnel: TunnelFacts


class Past(NamedTuple):
    """A row: a tunnel that has ended, or a request that was refused or failed.

    ago, seconds: how long ago it ended, and how long the tunnel was open; result: how it ended; bad: whether there was no tunnel
    """

    name: str
    ago: float
    client: str
    user: str
    target: str
    seconds: float | None
    sent: int | None
    received: int | None
    result: str
    bad: bool


def opened(get: Callable[[TunnelFacts], T]) -> Callable[[Open], T]:
    """Returns a function that reads a value from the tunnel of a row."""
    return lambda row: get(row.tunnel)


OPEN: tuple[Column[Open], ...] = (
    texts("NAME", lambda row: row.name, 4, 6),
    texts("CLIENT", opened(lambda tunnel: tunnel.client), 5, 15),
    texts("USER", opened(lambda tunnel: tunnel.user), 7, 6, optional=True),
    texts("TARGET", opened(lambda tunnel: tunnel.target), 1, 18),
    texts("ADDRESS", opened(lambda tunnel: tunnel.address), 12, 15, optional=True),
    texts("PHASE", opened(lambda tunnel: tunnel.phase), 11, 7),
    numbers("AGE", opened(lambda tunnel: tunnel.seconds), age, 6),
    numbers("IDLE", opened(lambda tunnel: tunnel.idle), age, 10),
    numbers("SENT", opened(lambda tunnel: tunnel.sent), short, 9),
    numbers("RECV", opened(lambda tunnel: tunnel.received), short, 8),
    numbers("SENT/s", opened(lambda tunnel: tunnel.sent_rate), short, 3),
    numbers("RECV/s", opened(lambda tunnel: tunnel.received_rate), short, 2),
)

# By AGO, the newest comes first: its value is the largest.
PAST: tuple[Column[Past], ...] = (
    numbers("AGO", lambda row: -row.ago, lambda ago: age(-ago), 1),
    texts("NAME", lambda row: row.name, 4, 6),
    texts("CLIENT", lambda row: row.client, 5, 15),
    texts("USER", lambda row: row.user, 6, 6, optional=True),
    texts("TARGET", lambda row: row.target, 2, 16),
    numbers("LASTED", lambda row: row.seconds, age, 9),
    numbers("SENT", lambda row: row.sent, short, 8),
    numbers("RECV", lambda row: row.received, short, 7),
    texts("RESULT", lambda row: row.result, 3, 16, ample=44),
)


class Sort(NamedTuple):
    """The sort column of a table, and whether its usual order is reversed."""

    title: str
    reverse: bool = False


def open_rows(processes: Processes) -> list[Open]:
    """Returns the open tunnels of all processes. A process that does not answer has no rates."""
    return [row for process in processes.values() for row in _open_rows(process)]


def _open_rows(process: Process) -> list[Open]:
    if process.answer.tunnels is None:
        return []
    tunnels = process.answer.tunnels.tunnels
    if process.trouble:
        tunnels = [tunnel._replace(sent_rate=None, received_rate=None) for tunnel in tunnels]
    return [Open(process.name, tunnel) for tunnel in tunnels]


def past_rows(processes: Processes) -> list[Past]:
    """Returns what has ended or was refused lately, of all processes."""
    return [row for process in processes.values() for row in _past_rows(process)]


def _past_rows(process: Process) -> list[Past]:
    status, recent = process.answer.status, process.answer.recent
    if status is None or recent is None:
        return []
    ended = [_ended(process.name, status.now, facts) for facts in recent.ended]
    return [*ended, *(_refused(process.name, status.now, facts) for facts in recent.refused)]


def _ended(name: str, now: float, facts: EndedFacts) -> Past:
    by = f"by the {facts.closed_by}" if facts.closed_by else ""
    why = f"({facts.cause})" if facts.cause else ""
    result = " ".join(filter(None, ("ended", by, why, facts.error)))
    moved = (facts.seconds, facts.sent, facts.received)
    return Past(name, now - facts.when, facts.client, facts.user, facts.target, *moved, result, bad=False)


def _refused(name: str, now: float, facts: RefusedFacts) -> Past:
    code = str(facts.status) if facts.status else ""
    why = f"({facts.rule})" if facts.rule else ""
    # The details say it in words; with the error type of RFC 9209 before them, they would be cut on a terminal of 80 columns.
    result = " ".join(filter(None, (code, facts.details or facts.error, why))) or "failed"
    return Past(name, now - facts.when, facts.client, facts.user, facts.target, None, None, None, result, bad=True)


def matching(rows: Iterable[T], columns: Sequence[Column[T]], text: str) -> list[T]:
    """Returns the rows that have the text in one of their texts, in any case of its letters."""
    values = [column.value for column in columns if column.grows]
    wanted = text.lower()
    return [row for row in rows if any(wanted in value(row).lower() for value in values)] if wanted else list(rows)


def ordered(rows: Iterable[T], columns: Sequence[Column[T]], sort: Sort) -> list[T]:
    """Sorts the rows: texts from A on, numbers from the largest on; those that are not known come last."""
    column = next(column for column in columns if column.title == sort.title)
    down = column.right != sort.reverse
    value: Callable[[T], Any] = column.value
    known: list[T] = []
    unknown: list[T] = []
    for row in rows:
        (unknown if value(row) is None else known).append(row)
    return [*sorted(known, key=value, reverse=down), *unknown]
