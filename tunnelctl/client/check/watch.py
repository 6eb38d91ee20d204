"""`check --watch`: repeats the attempt and keeps statistics of each phase, in memory that does not grow with the attempts."""

from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import count, islice
from time import monotonic

from tunnelctl.client.check.events import Attempt, Phase, Statistics
from tunnelctl.client.check.options import CheckOptions
from tunnelctl.client.check.probe import Awaited, PhaseTimer, ProbeResult
from tunnelctl.engine.kernel import CancelScope, Nursery, sleep
from tunnelctl.errors import TunnelctlError
from tunnelctl.events import Event, silent
from tunnelctl.status import ExitStatus
from tunnelctl.stream.tty_keys import wait_for_key

WHOLE = "tunnel"  # the row for whole attempts
MOST_ROWS = 40  # that are kept; a chain of ten proxies with a login for each has fewer
QUIT = b"q"


class Times:
    """The times of one phase: their number, sum and extremes."""

    def __init__(self) -> None:
        self.count = self.failed = 0
        self._sum = self._last = self._worst = 0.0
        self._best = float("inf")

    def add(self, seconds: float, ok: bool) -> None:
        self.count += 1
        if not ok:
            self.failed += 1
            return
        self._sum += seconds
        self._last, self._best, self._worst = seconds, min(self._best, seconds), max(self._worst, seconds)

    def statistics(self, name: str) -> Statistics:
        good = self.count - self.failed
        if not good:
            return Statistics(name, self.count, self.failed, None, None, None, None)
        return Statistics(name, self.count, self.failed, self._last, self._best, self._sum / good, self._worst)


class Watch:
    """The attempts so far, and the one in progress."""

    def __init__(
        self, options: CheckOptions, report: Callable[[Event], None], attempt: Callable[[PhaseTimer], Awaitable[ProbeResult]]
    ) -> None:
        self._options, self._report, self._attempt = options, report, attempt
        self._rows: dict[str, Times] = {}
        self._whole = Times()
        self._watch: PhaseTimer | None = None  # of the attempt in progress
        self._since = monotonic()
        self.error: TunnelctlError | None = None  # of the last attempt
        self.via: list[str] = []
        self.seconds = 0.0  # of the last attempt

    @property
    def attempts(self) -> int:
        """The number of attempts that have ended."""
        return self._whole.count

    async def run(self) -> None:
        """Makes attempts until the key is pressed, or as many as --count says."""
        async with Nursery() as nursery:
            nursery.start_soon(self._listen, nursery.cancel_scope)
            for number in islice(count(1), self._options.times if self._options.times > 1 else None):
                if number > 1:
                    self._watch, self._since = None, monotonic()
                    await sleep(self._options.interval)
                await self._once(number)
            nursery.cancel_scope.cancel()

    async def _listen(self, scope: CancelScope) -> None:
        await wait_for_key(QUIT)
        scope.cancel()

    async def _once(self, number: int) -> None:
        watch = self._watch = PhaseTimer(self._heed)
        gone = await self._attempt(watch)
        if gone.tunnel is not None:
            gone.tunnel.stream.close()
        error = self.error = gone.error
        self.seconds, self.via = watch.seconds, watch.via
        self._count(watch.phases, error is None)
        self._report(Attempt(number, error is None, watch.seconds, "" if error is None else str(error)))

    def _heed(self, event: Event, /) -> None:
        """Passes warnings on: the phases of each attempt go into the statistics."""
        (silent if isinstance(event, Phase) else self._report)(event)

    def _count(self, phases: list[Phase], ok: bool) -> None:
        seen: Counter[str] = Counter()
        for phase in phases:
            seen[phase.name] += 1
            failed = not ok and phase is phases[-1]  # what another phase follows was no failure: a 407 before the login
            name = phase.name if seen[phase.name] == 1 else f"{phase.name} {seen[phase.name]}"
            if name in self._rows or len(self._rows) < MOST_ROWS:
                self._rows.setdefault(name, Times()).add(phase.seconds, not failed)
        self._whole.add(self.seconds, ok)

    def awaited(self) -> Awaited:
        """The pending step, with the statistics so far."""
        statistics = self._statistics()
        if self._watch is None:
            return Awaited("waiting", "the next attempt; q or Ctrl-C ends", None, monotonic() - self._since, statistics)
        return self._watch.awaited()._replace(begin=None, statistics=statistics)

    def _statistics(self) -> tuple[Statistics, ...]:
        rows = (*self._rows.items(), (WHOLE, self._whole))
        return tuple(times.statistics(name) for name, times in rows if times.count)

    def finish(self) -> int:
        """Reports the statistics, and returns the exit status."""
        for statistics in self._statistics():
            self._report(statistics)
        return int(ExitStatus.OK if self.error is None else self.error.exit_status)
