"""The memory of proxies that could not be reached, as a browser has it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

Choice = TypeVar("Choice", bound=Hashable)

# For so long one that failed comes after the others. Chromium's figure (net/docs/proxy.md, "Evaluating proxy lists"); as there, it
# is put off and not left out.
SECONDS = 300.0


class DeadProxies(Generic[Choice]):
    """What failed, and until when that counts. A choice is whatever one chooses from: a proxy, a chain."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until: dict[Choice, float] = {}

    def order(self, choices: Iterable[Choice]) -> list[Choice]:
        """The choices in their order, those that failed lately behind the others; in their order too, if all of them did."""
        now = self._clock()
        return sorted(choices, key=lambda choice: self._until.get(choice, now) > now)

    def failed(self, choice: Choice) -> None:
        """It could not be reached."""
        now = self._clock()
        self._until = {other: until for other, until in self._until.items() if until > now}
        self._until[choice] = now + SECONDS

    def worked(self, choice: Choice) -> None:
        """It could."""
        self._until.pop(choice, None)
