"""Several tries at one tunnel: the ways that may lead there in turn, and all of them again while the user has patience."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from time import monotonic

from tunnelctl.client.hop import Tunnel, Way
from tunnelctl.client.tunnel import open_tunnel
from tunnelctl.client.way import Ways
from tunnelctl.engine.kernel import sleep
from tunnelctl.errors import MalformedAnswer, NameNotFound, NoAnswer, TimedOut, TunnelctlError, Unanswered, Unreachable
from tunnelctl.proto.address import Address
from tunnelctl.proto.fields import Fields
from tunnelctl.stream.contract import Stream
from tunnelctl.trace import Trace

FIRST_RETRY, LONGEST_RETRY = 0.5, 10.0  # seconds of pause before a retry: doubled each time, up to the longest
_NOT_REACHED = frozenset({502, 503, 504, 1, 3, 4, 5, 6})  # of HTTP, and the replies of SOCKS 5 (RFC 1928 section 6)
LEAST = 0.1  # seconds that every try has, however late it is

Opened = tuple[Tunnel, Way]
Take = Callable[[Way], Awaitable[Stream | None]]  # a connection to the nearest proxy of a way that stands already, if there is one


async def open_with_retries(
    ways: Ways, target: Address, retry: int, trace: Trace, take: Take | None = None, fields: Fields = ()
) -> Opened:
    """Opens a tunnel, trying again so often: while nothing of the user's has been sent, that repeats nothing.

    fields: of a request that is led on, for each HTTP proxy
    """
    until = monotonic() + ways.timeout
    try:
        found = [way._replace(fields=fields) for way in await ways.to(target, trace)]
        return await _open_again(ways, found, until, retry, trace, take)
    except TunnelctlError as error:
        # Only now that nothing is left to try: one that hangs up may be up again in a moment, and the next one may be asked.
        other = await error.inquire(until) if error.inquire is not None else None
        if other is None:
            raise
        raise other from error


async def _open_again(ways: Ways, found: Sequence[Way], until: float, retry: int, trace: Trace, take: Take | None) -> Opened:
    pause = FIRST_RETRY
    for attempt in range(1, retry + 1):
        try:
            return await _open_any(ways, found, until, trace, take)
        except Unreachable as error:
            # A proxy that answered has been reached, whatever became of its own attempt.
            if "code" in error.detail or monotonic() + pause >= until:
                raise
            trace("retry", attempt=attempt, delay=pause, cause=str(error))
        await sleep(pause)
        pause = min(2 * pause, LONGEST_RETRY)
    return await _open_any(ways, found, until, trace, take)


async def _open_any(ways: Ways, found: Sequence[Way], until: float, trace: Trace, take: Take | None) -> Opened:
    """The first way that works. Only one whose proxies cannot be reached is passed over: a refusal is an answer."""
    *others, last = found
    for place, way in enumerate(others):
        # One that leads nowhere, because packets are dropped, must leave some time to those behind it.
        share = (until - monotonic()) / (len(found) - place)
        try:
            tunnel = await _open(way, monotonic() + share, trace, take)
        except TunnelctlError as error:
            if not _is_passed_over(error):
                raise
            if not isinstance(error, Unanswered):  # one target that drops packets says nothing of the way to others
                ways.failed(way)
            trace("failover", cause=str(error), proxies=found[place + 1].via)
        else:
            ways.worked(way)
            return tunnel, way
    tunnel = await _open(last, until, trace, take)
    ways.worked(last)
    return tunnel, last


def _is_passed_over(error: TunnelctlError) -> bool:
    """Whether a proxy could not be reached: from here, or from the one before it, which then answered in its place."""
    if error.on_the_way and error.detail.get("code") in _NOT_REACHED:
        return True
    # The name of a proxy at work is mostly unknown at home.
    return isinstance(error, Unreachable | NameNotFound | NoAnswer) and "code" not in error.detail


async def _open(way: Way, until: float, trace: Trace, take: Take | None) -> Tunnel:
    if take is not None and (ready := await take(way)) is not None:
        try:
            return await open_tunnel(_limited(way, until), trace, ready)
        except TimedOut:
            raise
        except (Unreachable, MalformedAnswer) as error:
            # The proxy closed it in the same moment. Nothing of the user's has been sent, so asking again repeats nothing.
            if "code" in error.detail:
                raise
    return await open_tunnel(_limited(way, until), trace)


def _limited(way: Way, until: float) -> Way:
    return way._replace(timeout=max(LEAST, until - monotonic()))
