"""A memory of proxies that could not be reached, as in browsers."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

Choice = TypeVar("Choice", bound=Hashable)

# For this long a proxy that failed comes after the others. Chromium's figure (net/docs/proxy.md, "Evaluating proxy lists"); as
# there, the proxy is tried last and not left out.
SECONDS = 300.0

# The same where `direct` comes after it. No browser goes around a proxy for long that is up again, and neither should a user who
# has just come back to the office; a proxy that drops packets delays one tunnel in this time.
BEFORE_DIRECT_SECONDS = 30.0


class DeadProxies(Generic[Choice]):
    """The choices that failed, and until when that counts. A choice is a proxy or a chain."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until: dict[Choice, float] = {}

    def order(self, choices: Iterable[Choice]) -> list[Choice]:
        """The choices in their order, with those that failed recently after the others; the order is unchanged if all failed."""
        now = self._clock()
        return sorted(choices, key=lambda choice: self._until.get(choice, now) > now)

    def failed(self, choice: Choice, seconds: float = SECONDS) -> None:
        """Records that the choice could not be reached. seconds: for how long that counts"""
        now = self._clock()
        self._until = {other: until for other, until in self._until.items() if until > now}
        self._until[choice] = now + seconds

    def worked(self, choice: Choice) -> None:
        """Records that the choice was reached."""
        self._until.pop(choice, None)
