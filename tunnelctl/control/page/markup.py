"""HTML from texts that may be hostile: clients choose targets and user names, and proxies send reasons.

All text on the page goes through `text` or `plain`. What is not printable is shown as an escape, marked up, so that a newline, a
terminal escape or a bidirectional override cannot make one name look like another; `ascii` spells them as our error messages do.
A lone surrogate, which UTF-8 cannot encode, is one of those.
"""

from __future__ import annotations

from html import escape
from time import gmtime, strftime

from tunnelctl.control.units import span

NAME = 52  # characters of a name that a cell shows; hosts are rarely longer
MAX_TEXT = 1000  # characters in a tooltip: 200 rows of hostile names must not make the page huge


def plain(value: str) -> str:
    """Returns a text for an attribute or a title, where markup has no place."""
    value = value[:MAX_TEXT]
    return escape(value if value.isprintable() else "".join(map(_visible, value)))


def text(value: str, limit: int = NAME) -> str:
    """Returns a text as HTML. One that is longer than the limit is cut in the middle, as both ends of a host name matter: the whole
    is in its tooltip."""
    if len(value) <= limit and value.isprintable():
        return escape(value)
    pieces = [*map(_visible, value[:MAX_TEXT])]
    if sum(map(len, pieces)) <= limit:
        return _joined(pieces)
    first, last = _fitting(pieces, limit * 2 // 3), _fitting(pieces[::-1], limit // 3)
    return f'<span title="{plain(value)}">{_joined(pieces[:first])}…{_joined(pieces[len(pieces) - last :])}</span>'


def _visible(character: str) -> str:
    return character if character.isprintable() else ascii(character)[1:-1]


def _joined(pieces: list[str]) -> str:
    """Marks the escapes, which are longer than a character: a name may contain a backslash of its own."""
    return "".join(f"<i>{piece}</i>" if len(piece) > 1 else escape(piece) for piece in pieces)


def _fitting(pieces: list[str], limit: int) -> int:
    """Returns how many of the first pieces fit into a number of characters."""
    width = 0
    for number, piece in enumerate(pieces):
        width += len(piece)
        if width > limit:
            return number
    return len(pieces)


def moment(when: float, now: float) -> str:
    """Returns a time as its distance from now; the date is in its tooltip. Both in seconds since 1970."""
    date = gmtime(when)
    stamps = strftime("%Y-%m-%dT%H:%M:%SZ", date), strftime("%Y-%m-%d %H:%M:%S UTC", date)
    return f'<time datetime="{stamps[0]}" title="{stamps[1]}">{span(now - when)} ago</time>'


def day(when: float) -> str:
    """Returns a date."""
    return strftime("%Y-%m-%d", gmtime(when))


def counted(number: int, one: str, many: str = "") -> str:
    """Returns a number with its noun: 1 tunnel, 5,000 tunnels."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
