"""Places that tasks wait for, dealt out so that no owner can take them from the others.

An owner is whoever the work is for: a client network, mostly. Each owner holds a bounded number of places and has a bounded
queue of its own; a place that becomes free goes to the owners with a queue in turn.
"""

from __future__ import annotations

from collections import deque
from math import inf

from tunnelctl.engine.kernel import QueueFullError, Task, current_kernel, park


class _Waiter:
    """A task in a queue."""

    __slots__ = ("granted", "task")

    def __init__(self, task: Task) -> None:
        self.task = task
        self.granted = False


class FairLimiter:
    """At most `places` are held at once, `per_owner` of them by one owner, for whom at most `waiting` tasks queue."""

    __slots__ = ("_free", "_held", "_per_owner", "_queues", "_waiting")

    def __init__(self, places: int, per_owner: int, waiting: float) -> None:
        self._free, self._per_owner, self._waiting = places, per_owner, waiting
        self._held: dict[str, int] = {}
        self._queues: dict[str, deque[_Waiter]] = {}  # of owners with somebody waiting; the next one to be served first

    async def acquire(self, owner: str) -> None:
        """Takes a place, waiting in turn for it. Raises QueueFullError where the owner's queue is full."""
        if self._free and owner not in self._queues and self._held.get(owner, 0) < self._per_owner:
            self._grant(owner)
            return
        if len(self._queues.get(owner, ())) >= self._waiting:
            raise QueueFullError(f"{self._waiting} wait already")
        waiter = _Waiter(current_kernel().task)
        self._queues.setdefault(owner, deque()).append(waiter)
        try:
            while not waiter.granted:
                await park()
        except BaseException:
            self._leave(owner, waiter)
            raise

    def release(self, owner: str) -> None:
        """Gives a place back; the next in turn gets it."""
        self._free += 1
        if self._held[owner] == 1:
            del self._held[owner]
        else:
            self._held[owner] -= 1
        self._deal()

    def _grant(self, owner: str) -> None:
        self._free -= 1
        self._held[owner] = self._held.get(owner, 0) + 1

    def _leave(self, owner: str, waiter: _Waiter) -> None:
        """A task gives up waiting."""
        if waiter.granted:
            self.release(owner)
            return
        queue = self._queues[owner]
        queue.remove(waiter)
        if not queue:
            del self._queues[owner]

    def _deal(self) -> None:
        """Hands free places to those who wait, an owner at a time."""
        while self._free and (owner := self._next()) is not None:
            queue = self._queues.pop(owner)
            waiter = queue.popleft()
            if queue:
                self._queues[owner] = queue  # behind the others
            self._grant(owner)
            waiter.granted = True
            current_kernel().wake(waiter.task)

    def _next(self) -> str | None:
        """The owner whose turn it is. Those that hold all they may are passed over, and there are few: they hold the places."""
        return next((owner for owner in self._queues if self._held.get(owner, 0) < self._per_owner), None)


class Semaphore:
    """Lets at most `places` tasks at a time into its block, the others in the order of their arrival."""

    __slots__ = ("_limiter",)

    def __init__(self, places: int) -> None:
        self._limiter = FairLimiter(places, places, inf)

    async def __aenter__(self) -> None:
        await self._limiter.acquire("")

    async def __aexit__(self, *_: object) -> None:
        self._limiter.release("")
