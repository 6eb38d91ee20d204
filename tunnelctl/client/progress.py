"""The output of --progress, for one tunnel or many: bytes in each direction, and their rates. It only reads counters."""

from collections.abc import Callable, Sequence

from tunnelctl.engine.kernel import current_time, sleep
from tunnelctl.events import Trace
from tunnelctl.rare_events import Progress

SECONDS = 0.5


async def report(trace: Trace, connections: Callable[[], int], moved: Callable[[], Sequence[int]]) -> None:
    """Reports twice a second until cancelled. Rates are in bytes per second."""
    begun = when = current_time()
    before = tuple(moved())
    while True:
        await sleep(SECONDS)
        now, sums = current_time(), tuple(moved())
        rates = [(new - old) / (now - when) for new, old in zip(sums, before, strict=True)]
        trace(Progress(connections(), now - begun, *sums, *rates))
        before, when = sums, now
