"""The only entry into the event loop from outside: a pipe that threads and signal handlers write to, and the kernel reads.

Threads and signals are in one module with it, because `connect` needs all three, and each module costs its start 0.4 million
instructions (callgrind; 0.3 % of the whole).
"""

from __future__ import annotations

import os
from _thread import allocate_lock, start_new_thread

from tunnelctl.engine.kernel import BusyResourceError, Kernel, Task, Waitable, current_kernel, park
from tunnelctl.engine.poller import IN
from tunnelctl.engine.sync import Event

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections import deque
    from collections.abc import AsyncIterator, Callable
    from types import FrameType
    from typing import Any, TypeVar

    from tunnelctl.engine.limiter import FairLimiter, Owner

    T = TypeVar("T")
else:  # what those modules are made of, without `enum` and `collections`, which take 20 % of the start of `connect`
    import _signal as signal
    from _collections import deque

# A thread may hang in the C library for any length of time (a name server that never responds), and nothing can end it, so the
# number of running threads is bounded. Stack is virtual until used: 256 of them cost little.
MAX_THREADS = 256


class _Job:
    """A function that runs in a thread, and its result."""

    __slots__ = ("done", "error", "place", "task", "value")

    def __init__(self, task: Task, place: tuple[FairLimiter, Owner] | None = None) -> None:
        """place: what the owner returns to the limiter when the thread has finished, whether or not a task still waits"""
        self.task: Task | None = task  # None once the task has left
        self.place = place
        self.done = False
        self.value: Any = None
        self.error: BaseException | None = None

    def return_place(self) -> None:
        """Called in the loop, once."""
        if self.place is not None:
            limiter, owner = self.place
            limiter.release(owner)


class _Turn:
    """The queue entry of a task that waits until fewer than `most` threads are running.

    Not a `limiter.Semaphore`: it counts all threads, whoever started them, and `connect` does without the import of limiter.
    """

    __slots__ = ("come", "most")

    def __init__(self, most: int) -> None:
        self.come, self.most = Event(), most


class _Wakeup(Waitable):
    """The pipe. Its bytes are signal numbers, or 0 for "a thread has finished"."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        os.set_blocking(self.writer, False)
        self.lock = allocate_lock()
        self.open = True
        self.finished: deque[_Job] = deque()
        self.threads = 0
        self.waiting: deque[_Turn] = deque()  # for a thread, in order of arrival
        self.promised = 0  # turns granted, but not yet taken
        self.receivers: dict[int, SignalReceiver] = {}
        self.previous_fd: int | None = None  # the interpreter's previous wakeup descriptor, once ours is set
        self.fd = self.reader
        kernel.poller.add(self)
        kernel.descriptors[self.fd] = self
        kernel.on_close.append(self.close)

    def finish(self, job: _Job) -> None:
        """Reports a finished job, from its thread. The lock keeps a late one from writing to a reused descriptor number."""
        with self.lock:
            self.finished.append(job)
            if self.open:
                try:
                    os.write(self.writer, b"\0")
                except BlockingIOError:  # the pipe is full, so the loop is awake anyway
                    pass

    def wanted(self) -> int:
        return IN

    def on_event(self, bits: int) -> None:
        """Handles finished threads and signals. No task waits on the pipe itself."""
        numbers = os.read(self.reader, 65536)  # a whole pipe's capacity, since an edge comes only once
        while self.finished:
            job = self.finished.popleft()
            self.threads -= 1
            job.done = True
            job.return_place()
            if job.task is not None:
                self.kernel.wake(job.task)
        self.grant_turns()
        for number in numbers:
            if number in self.receivers:
                self.receivers[number].deliver(number)

    def grant_turns(self) -> None:
        """Promises free threads to waiting tasks."""
        while self.waiting and self.threads + self.promised < self.waiting[0].most:
            self.promised += 1
            self.waiting.popleft().come.set()

    async def wait_turn(self, most: int) -> None:
        """Waits, behind earlier tasks, until fewer than `most` threads are running. The caller must then start one at once."""
        if not self.waiting and self.threads + self.promised < most:
            return
        turn = _Turn(most)
        self.waiting.append(turn)
        try:
            await turn.come.wait()
        except BaseException:
            if turn.come.is_set():
                self.promised -= 1
            else:
                self.waiting.remove(turn)
            self.grant_turns()  # passes on its promised thread, and lets the next in the queue advance
            raise
        self.promised -= 1

    def listen(self) -> None:
        """Makes the interpreter report signals to the pipe for the rest of the run, since receivers come and go in any order."""
        if self.previous_fd is None:
            self.previous_fd = signal.set_wakeup_fd(self.writer, warn_on_full_buffer=False)

    def close(self) -> None:
        if self.previous_fd is not None:
            signal.set_wakeup_fd(self.previous_fd)
        with self.lock:
            self.open = False
            os.close(self.reader)
            os.close(self.writer)


def _wakeup() -> _Wakeup:
    kernel = current_kernel()
    if kernel.wakeup is None:
        kernel.wakeup = _Wakeup(kernel)
    wakeup = kernel.wakeup
    assert isinstance(wakeup, _Wakeup)
    return wakeup


async def to_thread(
    fn: Callable[..., T],
    *args: object,
    limiter: FairLimiter | None = None,
    owner: Owner | None = None,
    begun: Callable[[], None] = lambda: None,
    most: int | None = None,
) -> T:
    """Runs `fn(*args)` in a thread and returns its result or raises its error. Cancellation abandons the thread.

    limiter, owner: takes a place for the owner first, and returns it when the thread has finished: an abandoned thread still
    holds its place. begun: called once the place is taken and the thread has started
    most: waits its turn until fewer than this many threads of all kinds are running; None: does not wait

    Raises BusyResourceError when MAX_THREADS are running, the system grants no further one, or too many tasks wait.
    """
    if most is not None:
        await _wakeup().wait_turn(most)
    place = None
    if limiter is not None and owner is not None:
        await limiter.acquire(owner)
        place = limiter, owner
    job = _Job(current_kernel().task, place)
    _start(job, fn, args)
    begun()
    try:
        while not job.done:
            await park()
    finally:
        job.task = None  # once cancelled, it may be parked elsewhere when the thread finishes
    if job.error is not None:
        try:
            raise job.error
        finally:
            job.error = None  # or the error would keep itself alive, through its traceback and this job
    return job.value  # type: ignore[no-any-return]


def _start(job: _Job, fn: Callable[..., T], args: tuple[object, ...]) -> None:
    wakeup, why = _wakeup(), f"{MAX_THREADS} threads are already under way"
    if wakeup.threads < MAX_THREADS:
        try:
            # Not threading.Thread: the import costs 2 ms, and the interpreter would wait at exit for a lookup that never ends.
            start_new_thread(_work, (wakeup, job, fn, args))
        except RuntimeError:
            why = "the system grants no further thread"
        else:
            wakeup.threads += 1
            return
    job.return_place()
    wakeup.grant_turns()
    raise BusyResourceError(why)


def _work(wakeup: _Wakeup, job: _Job, fn: Callable[..., T], args: tuple[object, ...]) -> None:
    try:
        job.value = fn(*args)
    except BaseException as error:
        job.error = error
    wakeup.finish(job)


class SignalReceiver:
    """An endless iterator over signals as they arrive."""

    def __init__(self) -> None:
        self._arrived: deque[int] = deque()
        self._event = Event()

    def deliver(self, number: int) -> None:
        """Adds a signal; called when its number comes through the pipe."""
        self._arrived.append(number)
        self._event.set()

    def __aiter__(self) -> AsyncIterator[int]:
        return self

    async def __anext__(self) -> int:
        while not self._arrived:
            self._event = Event()
            await self._event.wait()
        return self._arrived.popleft()


class open_signal_receiver:  # trio's name: it reads as a verb where it is used
    """Receives these signals, in place of their previous handlers, until the block ends.

    A signal that is ignored stays ignored: nohup, and a shell's `&`, shield a process by that.
    """

    def __init__(self, *numbers: int) -> None:
        self._numbers = numbers
        self._wakeup = _wakeup()
        self._before: dict[int, tuple[Callable[[int, FrameType | None], Any] | int | None, SignalReceiver | None]] = {}

    def __enter__(self) -> SignalReceiver:
        receiver = SignalReceiver()
        self._wakeup.listen()
        for number in self._numbers:
            if signal.getsignal(number) is not signal.SIG_IGN:
                # The handler does nothing, but without one no byte would arrive in the pipe.
                handler = signal.signal(number, lambda *_: None)
                self._before[number] = handler, self._wakeup.receivers.get(number)
                self._wakeup.receivers[number] = receiver
        return receiver

    def __exit__(self, *_: object) -> None:
        for number, (handler, outer) in self._before.items():
            signal.signal(number, handler)
            if outer is None:
                del self._wakeup.receivers[number]
            else:
                self._wakeup.receivers[number] = outer
