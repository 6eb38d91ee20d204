"""The most recent warnings and reloads of a running program, for its status page."""

from __future__ import annotations

from collections import deque
from time import time

from tunnelctl.control.snapshot import Note
from tunnelctl.events import Event, Explained, Trace, Warning
from tunnelctl.stream.events import Reloaded

LAST = 20  # of each kind


class Journal:
    """A Trace that keeps the last events of each kind, and passes all of them on."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._reloads, self._warnings = deque[Note](maxlen=LAST), deque[Note](maxlen=LAST)

    def __call__(self, event: Event, /) -> None:
        self.note(event)
        self._trace(event)

    def note(self, event: Event, /) -> None:
        """Keeps an event without passing it on."""
        told, cause = (event.event, event.error) if isinstance(event, Explained) else (event, None)
        if isinstance(told, Warning):
            self._warnings.append(Note(time(), told.text if cause is None else f"{told.text}: {cause}"))
        elif isinstance(told, Reloaded):
            self._reloads.append(Note(time(), f"{told.what}: {told.now}"))

    @property
    def reloads(self) -> list[Note]:
        """The last reloads, the newest last."""
        return list(self._reloads)

    @property
    def warnings(self) -> list[Note]:
        """The last warnings, the newest last."""
        return list(self._warnings)
