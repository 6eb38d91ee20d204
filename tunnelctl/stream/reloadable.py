"""Settings read from files at start and on SIGHUP: the rules, users and certificate of `serve`; everything in `forward`.

Each is taken whole or not at all: a file with one mistake changes nothing. Each step of a session (handshake, login, rules) uses
the version in force when the step begins; open tunnels are not judged again.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Generic, TypeVar

from tunnelctl import events
from tunnelctl.engine.kernel import BusyResourceError, Nursery, move_on_after, sleep
from tunnelctl.engine.sync import Event
from tunnelctl.engine.wakeup import SignalReceiver, to_thread
from tunnelctl.errors import TunnelctlError
from tunnelctl.events import Trace, explained
from tunnelctl.stream.events import Reloaded
from tunnelctl.stream.service_manager import reloading

T = TypeVar("T")

LATE_SECONDS = 0.5  # between looks whether a late reading has ended
READ_SECONDS = 10.0  # enough to read the files on a busy machine; a read that takes longer is treated as hanging


class Reloadable(Generic[T]):
    """A setting and its current version, `current`."""

    def __init__(
        self,
        what: str,
        load: Callable[[], T],
        current: T,
        describe: Callable[[T], str] = str,
        warn: Callable[[Trace], None] = lambda _: None,
    ) -> None:
        """
        what: its name in messages; load: reads it, or raises TunnelctlError; current: the version that was loaded first
        describe: summarises it for messages; warn: reports problems of a version that is in force nevertheless
        """
        self._what, self._load, self._describe, self.warn = what, load, describe, warn
        self.current = current
        self.failed = False  # whether the last reading found a mistake or did not end, so that an earlier version is in force

    def __str__(self) -> str:
        """Summarises the current version for messages."""
        return self._describe(self.current)

    def reload(self, trace: Trace) -> None:
        """Replaces the current version by one read anew. Keeps it, with a warning, if there is a mistake in the files."""
        try:
            self.current = self._load()
        except TunnelctlError as error:
            self.failed = True
            trace(explained(events.Warning(f"the old {self._what} stays in force"), error))
        except OSError as error:  # a file disappeared while it was being read
            self.failed = True
            trace(events.Warning(f"the old {self._what} stays in force: {error}"))
        else:
            self.failed = False
            trace(Reloaded(self._what, str(self)))
            self.warn(trace)


def load_reloadable(
    what: str, load: Callable[[], T], describe: Callable[[T], str] = str, warn: Callable[[Trace], None] = lambda _: None
) -> Reloadable[T]:
    """Loads the first version of a setting. Raises what `load` raises."""
    return Reloadable(what, load, load(), describe, warn)


def counted(number: int, thing: str) -> str:
    """Returns the number with its noun, as in `3 rules`."""
    return f"{number} {thing}{'s' * (number != 1)}"


class FileReload:
    """Reads several settings again, in a thread that the caller provides: if a file system hangs, so does the thread, forever."""

    def __init__(self, several: Iterable[Reloadable[Any]], trace: Trace) -> None:
        self._several, self._trace = tuple(several), trace
        self.busy = False

    def begin(self) -> bool:
        """Must be called before the thread starts, which then calls `run`. False, with a warning, if another still reads."""
        if self.busy:
            text = "the files are still being read after an earlier SIGHUP: send another one later"
            self._trace(events.Warning(text))
            return False
        self.busy = True
        return True

    def run(self) -> None:
        """Reads each setting. They are independent: a mistake in one does not keep the others from being replaced."""
        try:
            for one in self._several:
                one.reload(self._trace)
        finally:
            self.busy = False

    def give_up(self, why: str) -> None:
        """Ends the attempt, with a warning, when no thread could be started."""
        self.busy = False
        self._mark_failed()
        self._trace(events.Warning(f"no file was read again: {why}"))

    def warn_late(self) -> None:
        """Warns that the thread has not finished within READ_SECONDS."""
        self._mark_failed()
        text = f"reading the files again takes longer than {READ_SECONDS:g} s: what was read before stays in force until it ends"
        self._trace(events.Warning(text))

    def _mark_failed(self) -> None:
        for one in self._several:
            one.failed = True


class Reloader:
    """Reads the files again after each signal, beside the sessions of a program."""

    def __init__(self, files: FileReload, notify: Callable[[str], None], after: Callable[[], Awaitable[None]]) -> None:
        """notify: tells the service manager of a state; after: called once the files have been read"""
        self._files, self._notify, self._after = files, notify, after
        self._due = Event()  # set when a signal requires a reload
        self._late = False  # whether `_finish_late` runs

    async def run(self, hangups: SignalReceiver) -> None:
        """Runs until it is cancelled."""
        async with Nursery() as nursery:
            nursery.start_soon(self._receive, hangups)
            await self._reload(nursery)

    async def _receive(self, hangups: SignalReceiver) -> None:
        """Notes each signal. Any number of signals during a reload cause just one more."""
        async for _ in hangups:
            self._due.set()

    async def _reload(self, nursery: Nursery) -> None:
        while True:
            await self._due.wait()
            self._due = Event()
            self._notify(reloading())
            await self._read_again()
            await self._after()
            self._notify("READY=1")
            if self._files.busy and not self._late:
                nursery.start_soon(self._finish_late)

    async def _finish_late(self) -> None:
        """Waits for the end of a reading that took too long, which no event tells, and then does what follows it."""
        self._late = True
        while self._files.busy:
            await sleep(LATE_SECONDS)
        self._late = False
        await self._after()

    async def _read_again(self) -> None:
        """Reads the files again. A long file takes a second; a file system that hangs must not block later signals."""
        files = self._files
        if not files.begin():
            return
        try:
            with move_on_after(READ_SECONDS) as scope:
                await to_thread(files.run)
        except BusyResourceError as error:
            files.give_up(str(error))
        if scope.cancelled_caught:
            files.warn_late()
