"""The user's choices: sort order, filter and page of the table of tunnels, as encoded in the query of the URL.

    ?sort=KEY&order=asc|desc&filter=WORDS&page=N

Anything that is not valid there is ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple
from urllib.parse import parse_qs, urlencode

from tunnelctl.control.snapshot import EndedFacts, RefusedFacts, TunnelFacts

ROWS = 200  # tunnels on one page: as many as a person can look through, and few enough to be rendered within milliseconds
MAX_FILTER = 200  # characters
MAX_FIELDS = 20  # of a query

ASCENDING, DESCENDING = "asc", "desc"

Key = Callable[[TunnelFacts], str | float]


def _known(number: float | None) -> float:
    return -1.0 if number is None else number


_TEXTS: dict[str, Key] = {
    "target": lambda tunnel: tunnel.target,
    "user": lambda tunnel: tunnel.user,
    "client": lambda tunnel: tunnel.client,
    "phase": lambda tunnel: tunnel.phase,
}
_NUMBERS: dict[str, Key] = {
    "seconds": lambda tunnel: tunnel.seconds,
    "idle": lambda tunnel: _known(tunnel.idle),
    "sent": lambda tunnel: tunnel.sent,
    "sent_rate": lambda tunnel: _known(tunnel.sent_rate),
    "received": lambda tunnel: tunnel.received,
    "received_rate": lambda tunnel: _known(tunnel.received_rate),
}
SORTS = _TEXTS | _NUMBERS


class View(NamedTuple):
    """The choice. By default the newest tunnels come first; page: from 1 on"""

    sort: str = "seconds"
    order: str = ASCENDING
    filter: str = ""
    page: int = 1

    def link(self, **changes: object) -> str:
        """Returns the query of a view that differs from this one; without `page`, it starts at the first."""
        wanted = {**self._replace(page=1)._asdict(), **changes}
        return "?" + urlencode({key: value for key, value in wanted.items() if value != View._field_defaults[key]})

    def sorted_by(self, key: str) -> str:
        """Returns the query of this view by another key; by the same, in the other order. The largest numbers come first."""
        if key == self.sort:
            return self.link(order=ASCENDING if self.order == DESCENDING else DESCENDING)
        return self.link(sort=key, order=DESCENDING if key in _NUMBERS else ASCENDING)


def parse(query: str) -> View:
    """Reads the query of a URL, as far as it is valid."""
    try:
        found = {key: values[-1] for key, values in parse_qs(query, max_num_fields=MAX_FIELDS).items()}
    except ValueError:  # too many fields
        return View()
    sort, order, page = found.get("sort", ""), found.get("order", ""), found.get("page", "")
    default = View()
    return View(
        sort if sort in SORTS else default.sort,
        order if order in (ASCENDING, DESCENDING) else default.order,
        found.get("filter", "").strip()[:MAX_FILTER],
        int(page) if page.isascii() and page.isdigit() and len(page) <= 6 and int(page) else 1,
    )


class Rows(NamedTuple):
    """The tunnels of one page. first: the number of tunnels before them; matching: of those on all pages; page: its number"""

    tunnels: list[TunnelFacts]
    first: int
    matching: int
    page: int

    @property
    def is_last(self) -> bool:
        return self.first + len(self.tunnels) >= self.matching


def select(tunnels: Iterable[TunnelFacts], view: View) -> Rows:
    """Returns the tunnels of the page that was asked for, or of the last one if there are fewer pages."""
    found = [tunnel for tunnel in tunnels if matches(view, tunnel)] if view.filter else list(tunnels)
    page = min(view.page, max(1, -(-len(found) // ROWS)))
    first = (page - 1) * ROWS
    found.sort(key=SORTS[view.sort], reverse=view.order == DESCENDING)
    return Rows(found[first : first + ROWS], first, len(found), page)


def matches(view: View, facts: TunnelFacts | EndedFacts | RefusedFacts) -> bool:
    """Whether each word of the filter is in one of the texts of a record, in whichever case."""
    texts = " ".join([value for value in facts if isinstance(value, str)]).lower()
    return all(word in texts for word in view.filter.lower().split())
