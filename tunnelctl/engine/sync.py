"""A flag that tasks wait for, and a deadline that can be suspended."""

from __future__ import annotations

from math import inf
from time import monotonic

from tunnelctl.engine.kernel import Task, current_kernel, fail_after, move_on_after, park

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable
    from typing import TypeVar

    T = TypeVar("T")


class Event:
    """A flag that is set once: waiting tasks go on, and later waits do not park."""

    __slots__ = ("_set", "_waiting")

    def __init__(self) -> None:
        self._set = False
        self._waiting: dict[Task, None] = {}  # in order of arrival; empty, it takes 64 bytes where a set takes 216

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True
        kernel = current_kernel()
        for task in self._waiting:
            kernel.wake(task)

    async def wait(self) -> None:
        task = current_kernel().task
        self._waiting[task] = None
        try:
            while not self._set:
                await park()
        finally:
            del self._waiting[task]


class Deadline(fail_after):
    """The time limit of a block, which a step inside it can suspend."""

    __slots__ = ()

    async def paused(self, work: Awaitable[T]) -> T:
        """Awaits `work`. The time that it takes does not count."""
        left = self.deadline - monotonic()
        self.reschedule(inf)
        try:
            return await work
        finally:
            self.reschedule(monotonic() + left)

    async def at_most(self, seconds: float, work: Awaitable[T]) -> T | None:
        """Awaits `work` for `seconds`, or until this deadline if that is sooner. Returns None when the time is up.

        The time counts, but the deadline itself ends nothing meanwhile: the block goes on with what it has got.
        """
        when = self.deadline
        self.reschedule(inf)
        try:
            with move_on_after(min(seconds, when - monotonic())):
                return await work
            return None
        finally:
            self.reschedule(when)
