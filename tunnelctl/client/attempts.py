"""Several tries at one tunnel: the ways that may lead there in turn, and all of them again while the user has patience."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

from tunnelctl.client.hop import Tunnel, Way
from tunnelctl.client.tunnel import open_tunnel
from tunnelctl.client.way import Ways
from tunnelctl.engine.kernel import sleep
from tunnelctl.errors import Unreachable
from tunnelctl.proto.address import Address
from tunnelctl.trace import Trace

FIRST_RETRY, LONGEST_RETRY = 0.5, 10.0  # seconds of pause before a retry: doubled each time, up to the longest
LEAST = 0.1  # seconds that every try has, however late it is

Opened = tuple[Tunnel, Way]


async def open_with_retries(ways: Ways, target: Address, retry: int, trace: Trace) -> Opened:
    """Opens a tunnel, trying again so often: while nothing of the user's has been sent, that repeats nothing."""
    found = await ways.to(target, trace)
    until, pause = monotonic() + found[0].timeout, FIRST_RETRY
    for attempt in range(1, retry + 1):
        try:
            return await _open_any(ways, found, until, trace)
        except Unreachable as error:
            # A proxy that answered has been reached, whatever became of its own attempt.
            if "code" in error.detail or monotonic() + pause >= until:
                raise
            trace("retry", attempt=attempt, delay=pause, cause=str(error))
        await sleep(pause)
        pause = min(2 * pause, LONGEST_RETRY)
    return await _open_any(ways, found, until, trace)


async def _open_any(ways: Ways, found: Sequence[Way], until: float, trace: Trace) -> Opened:
    """The first way that works. Only one whose proxies cannot be reached is passed over: a refusal is an answer."""
    *others, last = found
    for place, way in enumerate(others):
        # One that leads nowhere, because packets are dropped, must leave some time to those behind it.
        share = (until - monotonic()) / (len(found) - place)
        try:
            tunnel = await open_tunnel(way._replace(timeout=max(LEAST, share)), trace)
        except Unreachable as error:
            if "code" in error.detail:
                raise
            ways.failed(way)
            trace("failover", cause=str(error), proxies=found[place + 1].via)
        else:
            ways.worked(way)
            return tunnel, way
    tunnel = await open_tunnel(last._replace(timeout=max(LEAST, until - monotonic())), trace)
    ways.worked(last)
    return tunnel, last
