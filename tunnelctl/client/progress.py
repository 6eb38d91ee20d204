"""The output of --progress, for one tunnel or many: bytes in each direction, and their rates. It only reads counters."""

from collections.abc import Callable, Sequence

from tunnelctl.engine.kernel import current_time, sleep
from tunnelctl.trace import Trace

SECONDS = 0.5


async def report(trace: Trace, connections: Callable[[], int], moved: Callable[[], Sequence[int]]) -> None:
    """Reports twice a second until cancelled. Rates are in bytes per second."""
    begun = when = current_time()
    before = tuple(moved())
    while True:
        await sleep(SECONDS)
        now, sums = current_time(), tuple(moved())
        rates = [(new - old) / (now - when) for new, old in zip(sums, before, strict=True)]
        facts = {"sent": sums[0], "received": sums[1], "sending": rates[0], "receiving": rates[1]}
        trace("progress", connections=connections(), elapsed=now - begun, **facts)
        before, when = sums, now
