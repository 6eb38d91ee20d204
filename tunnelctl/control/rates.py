"""The rates of open tunnels: the bytes moved between two snapshots."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic
from typing import NamedTuple

# A second look that soon gives the answer of the first: if several people look at once, the rate of each must mean something.
SHORTEST = 0.5  # seconds


class Rate(NamedTuple):
    """Bytes a second, and the seconds since a look has found no further byte; None at the first look at a tunnel."""

    sent: float | None = None
    received: float | None = None
    idle: float | None = None


class _Seen(NamedTuple):
    moved: tuple[int, int]
    changed: float  # when a look last found further bytes
    rate: Rate


class Rates:
    """The tunnels at the last look. It keeps nothing of those that have ended."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._when = 0.0
        self._seen: dict[str, _Seen] = {}

    def look(self, moved: Mapping[str, tuple[int, int]]) -> Mapping[str, Rate]:
        """Returns the rate of each tunnel. moved: the bytes in each direction, by the id of the tunnel"""
        now = self._clock()
        elapsed = now - self._when
        if elapsed >= SHORTEST or not self._seen:
            self._when = now
            self._seen = {name: _looked(self._seen.get(name), bytes_, now, elapsed) for name, bytes_ in moved.items()}
        return {name: self._seen[name].rate if name in self._seen else Rate() for name in moved}


def _looked(before: _Seen | None, moved: tuple[int, int], now: float, elapsed: float) -> _Seen:
    if before is None:
        return _Seen(moved, now, Rate())
    sent, received = moved[0] - before.moved[0], moved[1] - before.moved[1]
    changed = now if sent or received else before.changed
    return _Seen(moved, changed, Rate(sent / elapsed, received / elapsed, now - changed))
