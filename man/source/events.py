"""The events as the manual and the schema have them: read from the records of the program."""

from __future__ import annotations

import inspect
import re
from typing import NamedTuple

from tunnelctl.cli.events import SELFTEST
from tunnelctl.client.check.events import CHECK
from tunnelctl.client.discovery.events import DISCOVERY
from tunnelctl.client.forward.events import FORWARD
from tunnelctl.events import Event
from tunnelctl.rare_events import CONNECT, EVERYWHERE
from tunnelctl.server.events import ACCESS_LOG, SERVE

Kinds = tuple[type[Event], ...]

# The events by the command that has them; "" for those of every command.
EVENTS: dict[str, Kinds] = {
    "": EVERYWHERE,
    "connect": CONNECT,
    "forward": FORWARD,
    "serve": SERVE,
    "check": (*CHECK, *DISCOVERY),
    "selftest": SELFTEST,
}
EVERY_KIND: Kinds = tuple(dict.fromkeys(kind for kinds in EVENTS.values() for kind in kinds))

# What each record of the access log has besides the keys of its event.
LOG_KEYS = {
    "event": "one of the names below",
    "time": "seconds since 1970, with milliseconds",
    "timestamp": "the same as a date in UTC: `2026-11-28T16:21:49.123Z` (RFC 3339)",
}
LOGGED: Kinds = ACCESS_LOG


class Key(NamedTuple):
    """A key of an event. type: its annotation; sometimes: whether it can be absent"""

    name: str
    meaning: str
    type: str
    sometimes: bool


def meaning_of(kind: type) -> str:
    """Returns what has happened."""
    return " ".join(inspect.cleandoc(kind.__doc__ or "").partition("\n\n")[0].split())


def keys_of(kind: type) -> list[Key]:
    """Returns the keys of an event, or of another record. Raises KeyError if its docstring leaves one out."""
    meanings = _meanings(kind)
    return [
        Key(name, meanings[name], str(annotation), getattr(kind, name, "") is None)
        for name, annotation in inspect.get_annotations(kind).items()
    ]


def _meanings(kind: type) -> dict[str, str]:
    lines = inspect.cleandoc(kind.__doc__ or "").partition("\n\n")[2].replace("\n    ", " ").splitlines()
    return dict(re.fullmatch(r"(\w+): (.+)", line).groups() for line in lines if line)  # type: ignore[union-attr, misc]
