"""Builds long lists in slices, so that the tunnels of the process wait for one slice at a time while it calls `make`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from tunnelctl.engine.kernel import checkpoint

T = TypeVar("T")
U = TypeVar("U")

# Items: at most 10 µs each, so 5 ms. There is one slice a turn of the loop, which may take 10 ms beside bulk transfers; other
# workers, which have a second, answer for 5,000 tunnels in 20 turns.
SLICE = 500


async def in_slices(make: Callable[[T], U], items: Sequence[T]) -> list[U]:
    """Returns the result of `make` for each item."""
    made: list[U] = []
    for start in range(0, len(items), SLICE):
        made += map(make, items[start : start + SLICE])
        await checkpoint()
    return made
