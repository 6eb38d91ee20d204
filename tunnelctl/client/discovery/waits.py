"""The pending steps of the search: for the live rows on a terminal, and for the line after Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import NamedTuple


class Awaited(NamedTuple):
    """Something that is waited for.

    word: `settings`, `wpad`, `pac` or `proxy`; name: of what has not answered, "" for the path without a proxy; what: that it was
    asked for, or ""; seconds: since then
    """

    word: str
    name: str
    what: str
    seconds: float


class Waits:
    """All that is waited for now, several proxies among them."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._begun: dict[object, Awaited] = {}  # with the time of its begin in place of the seconds

    @contextmanager
    def on(self, word: str, name: str, what: str = "") -> Iterator[None]:
        """Notes a wait as long as the body runs. The arguments are as in Awaited."""
        key = object()
        self._begun[key] = Awaited(word, name, what, self._clock())
        try:
            yield
        finally:
            del self._begun[key]

    def now(self) -> list[Awaited]:
        """Returns what is waited for, in the order in which it began."""
        return [wait._replace(seconds=self._clock() - wait.seconds) for wait in self._begun.values()]


def words_for(waits: Sequence[Awaited]) -> str:
    """Returns in words what had not come when a signal ended the search."""
    names = dict.fromkeys(wait.name or "the path without a proxy" for wait in waits)
    verb = "had not been read" if any(wait.word == "settings" for wait in waits) else "had not answered"
    return f"{' and '.join(names)} {verb}" if names else "the search had not ended"
