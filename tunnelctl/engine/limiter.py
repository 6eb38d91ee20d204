"""A limiter whose places are granted fairly: no owner can keep them from the others.

An owner is the party that the work is for, mostly a client network. Each owner holds a bounded number of places and has a bounded
queue of its own; the owners with a queue get free places in turn. Owners form groups, which take turns in the same way, as do the
owners within a group: a client with a thousand networks of one provider has one turn, not a thousand.
"""

from __future__ import annotations

from collections import Counter, deque
from math import inf

from tunnelctl.engine.kernel import BusyResourceError, QueueFullError, Task, current_kernel, park
from tunnelctl.namedtuple import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Owner(NamedTuple):
    """The party that work is for. An owner that belongs to no larger group is a group by itself."""

    group: str
    name: str


class _Waiter:
    """A task in a queue."""

    __slots__ = ("granted", "owner", "refused", "task")

    def __init__(self, task: Task, owner: Owner) -> None:
        self.task, self.owner = task, owner
        self.granted = self.refused = False


_Queues = dict[Owner, deque[_Waiter]]  # owners with waiting tasks, the next to be served first


class FairLimiter:
    """Grants at most `places` places at once, at most `per_owner` of them to one owner, for whom at most `waiting` tasks queue.

    One group holds at most `per_group` places. At most `in_all` tasks queue in total: one more displaces the last task of the
    group with the most waiting (see `_make_room`).
    """

    __slots__ = ("_free", "_groups", "_held", "_in_all", "_per_group", "_per_owner", "_queued", "_waiting")

    def __init__(self, places: int, per_owner: int, waiting: float, per_group: float = inf, in_all: float = inf) -> None:
        self._free, self._per_owner, self._waiting, self._per_group, self._in_all = places, per_owner, waiting, per_group, in_all
        self._held = Counter[Owner | str]()  # by owner, and by group
        self._groups: dict[str, _Queues] = {}  # groups with waiting tasks, the next to be served first
        self._queued = Counter[str]()  # by group

    async def acquire(self, owner: Owner) -> None:
        """Takes a place, waiting for its turn.

        Raises QueueFullError if the owner's queue is full, and BusyResourceError if too many tasks wait in total.
        """
        queue = self._groups.get(owner.group, {}).get(owner, ())
        if self._free and not queue and not self.has_its_share(owner):
            self._grant(owner)
            return
        if len(queue) >= self._waiting:
            raise QueueFullError(f"{self._waiting} wait already")
        if self._queued.total() >= self._in_all:
            self._make_room(owner)
        waiter = _Waiter(current_kernel().task, owner)
        self._groups.setdefault(owner.group, {}).setdefault(owner, deque()).append(waiter)
        self._queued[owner.group] += 1
        try:
            while not waiter.granted:
                if waiter.refused:
                    raise BusyResourceError("too many wait in all")
                await park()
        except BaseException:
            if waiter.granted:
                self.release(owner)
            elif not waiter.refused:
                self._leave(waiter)
            raise

    def release(self, owner: Owner) -> None:
        """Returns a place, which goes to the next in turn."""
        self._free += 1
        for holder in owner, owner.group:
            _decrease(self._held, holder)
        self._deal()

    def has_its_share(self, owner: Owner) -> bool:
        """Whether the owner, or its group, holds all the places that it may."""
        return self._held[owner] >= self._per_owner or self._held[owner.group] >= self._per_group

    def _grant(self, owner: Owner) -> None:
        self._free -= 1
        self._held[owner] += 1
        self._held[owner.group] += 1

    def _leave(self, waiter: _Waiter) -> None:
        """Removes a waiter from its queue."""
        owner = waiter.owner
        queues = self._groups[owner.group]
        queues[owner].remove(waiter)
        if not queues[owner]:
            del queues[owner]
        if not queues:
            del self._groups[owner.group]
        _decrease(self._queued, owner.group)

    def _make_room(self, owner: Owner) -> None:
        """Turns away the last task of the largest group. Raises BusyResourceError if the newcomer's group would become as large.

        So a group that fills the queue hinders only itself. Where every group has one task waiting, the newcomer is turned away.
        """
        longest, length = self._queued.most_common(1)[0]
        if length <= self._queued[owner.group] + 1:
            raise BusyResourceError("too many wait in all")
        last = max(self._groups[longest].values(), key=len)[-1]
        self._leave(last)
        last.refused = True
        current_kernel().wake(last.task)

    def _deal(self) -> None:
        """Grants free places to waiting tasks, a group at a time, and within a group an owner at a time."""
        while self._free and (owner := self._next()) is not None:
            queues = self._groups.pop(owner.group)
            queue = queues.pop(owner)
            waiter = queue[0]
            queues[owner] = queue  # behind the others
            self._groups[owner.group] = queues
            self._leave(waiter)
            self._grant(owner)
            waiter.granted = True
            current_kernel().wake(waiter.task)

    def _next(self) -> Owner | None:
        """The owner whose turn it is. Skips those that hold their full share; they are few, since they hold the places."""
        for group, queues in self._groups.items():
            if self._held[group] < self._per_group:
                for owner in queues:
                    if self._held[owner] < self._per_owner:
                        return owner
        return None


def _decrease(counter: Counter[Any], key: object) -> None:
    """Decrements a count, and deletes it at 0 to save memory."""
    counter[key] -= 1
    if not counter[key]:
        del counter[key]


_ANYBODY = Owner("", "")


class Semaphore:
    """Lets at most `places` tasks at a time into its block; the others wait in order of arrival."""

    __slots__ = ("_limiter",)

    def __init__(self, places: int) -> None:
        self._limiter = FairLimiter(places, places, inf)

    async def __aenter__(self) -> None:
        await self._limiter.acquire(_ANYBODY)

    async def __aexit__(self, *_: object) -> None:
        self._limiter.release(_ANYBODY)
