"""The kernel: resumes a coroutine when its descriptor is ready, its deadline expires or its children have ended.

The rules that everything else relies on:

1. A task runs until it parks. Whatever a task does between two parks is atomic to the others.
2. A task parks in one place at a time, and cancellation can end every park except the join at the end of a nursery (there it
   cancels the children instead, whose end ends the join). So a descriptor, an event or a thread needs no cancel operation: it
   wakes the task, or the task has left.
3. Cancellation is a level, not an edge: as long as a cancelled scope encloses a task, each of its parks raises `Cancelled`.
   A task that has already been woken keeps the reason; cancellation takes effect at its next park. Nothing that was read is lost.
4. Scopes form a chain from each task to the root, through the nursery that the task was started in. Cancelling a scope walks down
   from its task through the nurseries opened inside it; there are no other lists.
5. A turn runs every ready task once. Tasks that move bulk data (`mark_bulk`) come last and share BULK_SECONDS; those that get no
   time wait for the next turn. So a keystroke waits for one such share, however many bulk transfers there are.
"""

from __future__ import annotations

import os
import select
from _heapq import heapify, heappop, heappush
from math import inf
from time import monotonic

from tunnelctl.engine.poller import EpollPoller, Interest, Poller, PollPoller

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing costs more to import than this whole engine
    from collections import deque
    from collections.abc import Callable, Coroutine, Generator
    from types import TracebackType
    from types import coroutine as coroutine
    from typing import Any, Literal, ParamSpec, Self, TypeVar, TypeVarTuple

    P = ParamSpec("P")
    T = TypeVar("T")
    Ts = TypeVarTuple("Ts")
else:
    from _collections import deque  # without `collections`, which takes 6 % of the start of `connect`

    def coroutine(generator: object) -> object:
        """Does as types.coroutine. `types` takes 1 % of the start of `connect`."""
        code = generator.__code__
        generator.__code__ = code.replace(co_flags=code.co_flags | 0x100)  # CO_ITERABLE_COROUTINE
        return generator


# Seconds. The pollers take milliseconds in a C int and reject more, so the loop waits in pieces for a deadline a month away.
MAX_WAIT = 86400.0

# Seconds that all bulk tasks together get in one turn; at least one of them runs. The cost of a turn itself (epoll_wait, some
# 10 µs) is little of that. A keystroke needs two to four turns to its target and back. 2 ms moved 4 % less, 16 ms no more.
BULK_SECONDS = 0.006


class Cancelled(BaseException):
    """Raised by a park in a cancelled scope. Only the kernel handles it: catch it only to clean up, and re-raise it."""


class TooSlowError(Exception):
    """Raised when the deadline of `fail_after` has expired."""


class ClosedResourceError(Exception):
    """Raised when a task waits on a descriptor that this program has closed."""


class BusyResourceError(Exception):
    """Raised when another task already waits for the same thing, or when a resource is exhausted."""


class QueueFullError(BusyResourceError):
    """Raised when too many tasks of one owner already wait: that owner is the cause, not the others."""


class Task:
    """A coroutine and its state."""

    __slots__ = ("bulk", "cancel", "coro", "joining", "nursery", "parked", "scope")

    def __init__(self, coro: Coroutine[Any, Any, Any], scope: CancelScope | None, nursery: Nursery | None) -> None:
        self.coro = coro
        self.scope = scope  # the innermost scope that encloses it now
        self.nursery = nursery  # where it was started; None for the main task
        self.parked = False
        self.joining = False  # parked at the end of a nursery: only its children wake it
        self.cancel = False  # the next step throws Cancelled into it
        self.bulk = False  # it moves bulk data: see rule 5

    def cancelled(self, before: float = inf) -> bool:
        """Whether an enclosing scope has been cancelled, earlier than cancellation number `before`."""
        scope = self.scope
        while scope is not None:
            if scope._cancelled and scope._cancelled < before:
                return True
            scope = scope._parent
        return False


class CancelScope:
    """A block that can be ended from outside, or by a deadline (a time of `current_time`)."""

    __slots__ = ("_cancelled", "_deadline", "_nursery", "_parent", "_task", "_timer", "cancelled_caught")

    def __init__(self, deadline: float = inf) -> None:
        self.cancelled_caught = False
        self._cancelled = 0  # 0: not cancelled; otherwise its ordinal among this run's cancellations
        self._deadline = deadline
        self._timer = -inf  # the time for which the heap holds an entry; inf without one, and -inf outside the block
        self._parent: CancelScope | None = None
        self._task: Task | None = None
        self._nursery: Nursery | None = None

    @property
    def deadline(self) -> float:
        return self._deadline

    def reschedule(self, when: float) -> None:
        """Moves the deadline."""
        # Postponing it, the usual case (bytes moved, so the idle limit restarts), costs no heap operation: the existing entry
        # expires first and is then pushed again.
        self._deadline = when
        timer = self._timer
        if when < timer:
            _kernel.arm(self)
            if timer != inf:
                _kernel.disarmed()

    def __enter__(self) -> Self:
        task = self._task = _kernel.task
        self._parent = task.scope
        task.scope = self
        self._timer = inf
        if self._deadline != inf:
            _kernel.arm(self)
        if self._cancelled:
            self._cancelled = _kernel.count_cancellation()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> bool:
        task = self._task
        assert task is not None
        task.scope = self._parent
        self._task = None
        timer, self._timer = self._timer, -inf
        if timer != inf:
            _kernel.disarmed()
        if not self._cancelled:
            return False
        _kernel.cancelled_scopes -= 1
        # If an outer scope was cancelled before this one, the exception belongs to that scope. Catching it here, and relying on
        # the next park, would let `while True: await sleep(0)` run forever: each sleep has a scope, whose own deadline ends it.
        self.cancelled_caught = kind is Cancelled and not (_kernel.cancelled_scopes and task.cancelled(before=self._cancelled))
        return self.cancelled_caught

    def cancel(self) -> None:
        """Ends every park inside the scope, now and from now on; harmless when repeated or after the block."""
        if not self._cancelled:
            if self._task is None:
                self._cancelled = -1  # __enter__ assigns the number
            else:
                self._cancelled = _kernel.count_cancellation()
                _deliver(self._task, self._parent)


def _deliver(task: Task, outside: CancelScope | None) -> None:
    """Wakes `task` with Cancelled, and every task that it started in the scopes inside `outside`."""
    scope = task.scope
    while scope is not outside and scope is not None:
        if scope._nursery is not None:
            for child in tuple(scope._nursery._tasks):
                _deliver(child, scope)
        scope = scope._parent
    if task.parked and not task.joining:
        task.cancel = True
        _kernel.wake(task)


class Nursery:
    """Tasks that end together: the block ends once all of them have ended, and the first error cancels the others.

    The block raises that first error. Errors that siblings raise during their cancellation are its consequence, and are attached to
    it as notes.
    """

    __slots__ = ("_error", "_parent", "_tasks", "cancel_scope")

    def __init__(self) -> None:
        self.cancel_scope = CancelScope()
        self._tasks: set[Task] = set()
        self._error: BaseException | None = None
        self._parent: Task | None = None

    async def __aenter__(self) -> Nursery:
        self.cancel_scope.__enter__()
        self.cancel_scope._nursery = self
        self._parent = _kernel.task
        return self

    def start_soon(self, fn: Callable[[*Ts], Coroutine[Any, Any, Any]], *args: *Ts) -> None:
        """Starts `fn(*args)` as a task of this nursery; it first runs in the next turn."""
        if self._parent is None:
            raise RuntimeError("nobody would wait for this task: its nursery is not open")
        task = Task(fn(*args), self.cancel_scope, self)
        self._tasks.add(task)
        _kernel.ready.append(task)

    async def __aexit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> bool:
        if exc is not None:
            self._note(exc)
        while self._tasks:  # another task may be started before the parent runs again
            await self._join()
        error = self._error
        # Break reference cycles: nursery and scope refer to each other, and an error refers to the frames it passed.
        self._error = self._parent = self.cancel_scope._nursery = None
        if self.cancel_scope.__exit__(None if error is None else type(error), error, None):
            return True
        if error is None or error is exc:
            return False
        try:
            raise error
        finally:
            del error, exc

    async def _join(self) -> None:
        task = _kernel.task
        task.joining = True
        await park()
        task.joining = False

    def _ended(self, task: Task, error: BaseException | None) -> None:
        self._tasks.discard(task)
        if error is not None:
            self._note(error)
        if not self._tasks and self._parent is not None and self._parent.joining:
            _kernel.wake(self._parent)  # a parent that joins another nursery goes on doing so

    def _note(self, error: BaseException) -> None:
        if isinstance(error, Cancelled):
            # It comes from this scope or an outer one, so the siblings receive it anyway. Cancelling here as well would make
            # this nursery swallow an exception that belongs to an outer scope.
            if self._error is None:
                self._error = error
            return
        if self._error is None or isinstance(self._error, Cancelled):
            self._error = error
        else:
            self._error.add_note(f"and, while that was handled: {error!r}")
        self.cancel_scope.cancel()


class Waitable(Interest):
    """A receiver of a descriptor's events: see `descriptor`."""

    __slots__ = ()

    def on_event(self, bits: int) -> None:
        """Records what has become ready and wakes the waiting tasks."""
        raise NotImplementedError


class Kernel:
    """The state of one `run`."""

    def __init__(self, poller: Poller) -> None:
        self.poller = poller
        self.now = monotonic()
        self.ready: deque[Task] = deque()
        self.bulk: deque[Task] = deque()  # ready as well, for the time that a turn leaves
        self.descriptors: dict[int, Waitable] = {}
        self.cancelled_scopes = 0  # cancelled and not yet left; at 0, a park need not check its scopes
        self._cancellations = 0
        self.task: Task = None  # type: ignore[assignment]  # the running task
        self.wakeup: object = None  # the entry for threads and signals, created on first use
        self.lookups: object = None  # the limiter of name lookups, likewise
        self.on_close: list[Callable[[], None]] = []
        self.value: Any = None  # the main task's result; else `error` is set
        self.error: BaseException | None = None
        self._timers: list[tuple[float, int, CancelScope]] = []
        self._sequence = 0
        self._stale = 0

    def wake(self, task: Task) -> None:
        """Makes a parked task ready. A task that is not parked has been woken already, and keeps its reason."""
        if task.parked:
            task.parked = False
            (self.bulk if task.bulk else self.ready).append(task)

    def count_cancellation(self) -> int:
        self.cancelled_scopes += 1
        self._cancellations += 1
        return self._cancellations

    def arm(self, scope: CancelScope) -> None:
        self._sequence += 1
        scope._timer = scope._deadline
        heappush(self._timers, (scope._deadline, self._sequence, scope))

    def disarmed(self) -> None:
        """Counts a stale entry. Once a quarter of the heap is stale, removes those: each keeps its scope, 200 bytes in all."""
        self._stale += 1
        if self._stale > 256 and self._stale * 4 > len(self._timers):
            self._timers = [entry for entry in self._timers if entry[2]._timer == entry[0]]
            heapify(self._timers)
            self._stale = 0

    def loop(self, main: Task) -> None:
        """Runs until the main task has ended: events, then deadlines, then one step of each ready task."""
        ready, step, wait, descriptors = self.ready, self._step, self.poller.wait, self.descriptors
        while main.coro is not None:
            for fd, bits in wait(self._timeout()):
                descriptor = descriptors.get(fd)
                if descriptor is not None:
                    descriptor.on_event(bits)
            self.now = monotonic()
            if self._timers and self._timers[0][0] <= self.now:
                self._strike()
            # Only the tasks that are ready now: those that they wake run after the next poll, so a task that never parks for
            # long cannot starve the others.
            for _ in range(len(ready)):
                step(ready.popleft())
            if self.bulk:
                self._run_bulk(monotonic() + BULK_SECONDS)

    def _run_bulk(self, until: float) -> None:
        """Runs one step of each bulk task until the time is up; the next turn begins with those that are left."""
        for _ in range(len(self.bulk)):
            self._step(self.bulk.popleft())
            if monotonic() >= until:
                break

    def _timeout(self) -> float | None:
        if self.ready or self.bulk:
            return 0
        if not self._timers:
            return None
        left = self._timers[0][0] - monotonic()
        # Compared by hand: 0.04 µs, where min() and max() took 0.5 in every turn.
        return 0 if left < 0 else left if left < MAX_WAIT else MAX_WAIT

    def _strike(self) -> None:
        while self._timers and self._timers[0][0] <= self.now:
            when, _, scope = heappop(self._timers)
            if scope._timer != when:
                self._stale = max(0, self._stale - 1)
            elif scope._deadline == inf:
                scope._timer = inf
            elif scope._deadline > self.now:
                self.arm(scope)
            else:
                scope._timer = inf
                scope.cancel()

    def _step(self, task: Task) -> None:
        self.task = task
        try:
            if task.cancel:
                task.cancel = False
                again = task.coro.throw(Cancelled())
            else:
                again = task.coro.send(None)
        except StopIteration as stop:
            self._end(task, stop.value, None)
        except BaseException as error:
            self._end(task, None, error)
        else:
            if self.cancelled_scopes and not task.joining and task.cancelled():
                task.cancel = True
                self.ready.append(task)
            elif again:
                (self.bulk if task.bulk else self.ready).append(task)
            else:
                task.parked = True

    def _end(self, task: Task, value: object, error: BaseException | None) -> None:
        task.coro = None  # type: ignore[assignment]
        if task.nursery is not None:
            task.nursery._ended(task, error)
        else:
            self.value, self.error = value, error


_kernel: Kernel = None  # type: ignore[assignment]  # set by run


@coroutine
def park() -> Generator[None, None, None]:
    """Waits until another task, a thread or a signal wakes this one (`Kernel.wake`); forever if none does."""
    yield


@coroutine
def checkpoint() -> Generator[bool, None, None]:
    """Lets other tasks run, and cancellation take effect, before the caller goes on."""
    yield True


def mark_bulk(bulk: bool) -> None:
    """Marks whether the running task moves bulk data. Takes effect from its next park on: see rule 5."""
    _kernel.task.bulk = bulk


def bulk_waiting() -> int:
    """The number of bulk tasks that are ready, and wait for their share of a turn."""
    return len(_kernel.bulk)


def current_time() -> float:
    """Seconds on the monotonic clock, as of the beginning of this turn."""
    return _kernel.now


def move_on_after(seconds: float) -> CancelScope:
    """A scope whose block is left after `seconds`; `cancelled_caught` tells whether that happened."""
    return CancelScope(monotonic() + seconds)


class fail_after(CancelScope):  # trio's name: it reads as a verb where it is used
    """A scope whose block raises TooSlowError after `seconds`."""

    __slots__ = ()

    def __init__(self, seconds: float) -> None:
        super().__init__(monotonic() + seconds)

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> Literal[False]:
        if super().__exit__(kind, exc, tb):
            raise TooSlowError
        return False


async def sleep(seconds: float) -> None:
    with move_on_after(seconds):
        await park()


def default_poller() -> Poller:
    """Returns the first of epoll, kqueue and poll that this system has, beginning with the one that `TUNNELCTL_POLLER` names."""
    name = os.environ.get("TUNNELCTL_POLLER")
    if name != "poll":
        if hasattr(select, "epoll") and name != "kqueue":
            return EpollPoller()
        if hasattr(select, "kqueue"):
            from tunnelctl.engine.kqueue import KqueuePoller

            return KqueuePoller()
    return PollPoller()


def run(fn: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """Runs `fn(*args)` and all tasks that it starts; returns its result or raises its error. A process has one kernel at a time."""
    global _kernel
    if _kernel is not None:
        raise RuntimeError("a kernel is already running in this process")
    kernel, root = Kernel(default_poller()), CancelScope()
    root._task = main = Task(fn(*args, **kwargs), root, None)
    kernel.ready.append(main)
    _kernel = kernel
    try:
        kernel.loop(main)
    except BaseException:  # Ctrl-C that hit the loop and none of its tasks: they clean up before the exception propagates
        root.cancel()
        kernel.loop(main)
        raise
    finally:
        for close in kernel.on_close:
            close()
        kernel.poller.close()
        kernel.descriptors.clear()  # a descriptor that is forgotten later needs no bookkeeping
        _kernel = root._task = None
    if kernel.error is not None:
        try:
            raise kernel.error
        finally:
            kernel.error = None  # or the error would keep itself alive, through its traceback and this frame
    value: T = kernel.value
    return value


def current_kernel() -> Kernel:
    """The kernel that runs the caller, for the engine's own modules."""
    return _kernel
