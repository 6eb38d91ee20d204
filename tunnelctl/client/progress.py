"""What --progress tells, of one tunnel or of many: bytes each way, and how fast they go. It only looks at counters."""

from collections.abc import Callable, Sequence

from tunnelctl.engine.kernel import current_time, sleep
from tunnelctl.trace import Trace

SECONDS = 0.5


async def report(trace: Trace, connections: Callable[[], int], moved: Callable[[], Sequence[int]]) -> None:
    """Tells twice a second, until it is cancelled; rates are in bytes a second."""
    begun = when = current_time()
    before = tuple(moved())
    while True:
        await sleep(SECONDS)
        now, sums = current_time(), tuple(moved())
        rates = [(new - old) / (now - when) for new, old in zip(sums, before, strict=True)]
        facts = {"sent": sums[0], "received": sums[1], "sending": rates[0], "receiving": rates[1]}
        trace("progress", connections=connections(), elapsed=now - begun, **facts)
        before, when = sums, now
