"""Feeding a machine: whole, octet by octet, with something behind it, or cut as one likes; the outcome must be the same."""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, Protocol

from hypothesis import HealthCheck, settings

from tunnelctl.errors import TunnelctlError
from tunnelctl.proto.http1.head import HeadError

# For every property here: bounded, and no deadline a slow machine could miss. No database, so that a run leaves nothing behind.
bounded = settings(max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])

TRAILING = b"\x00SSH-2.0-behind\r\n\r\n\n"


class Machine(Protocol):
    def feed(self, data: bytes) -> Any: ...


def feed_all(machine: Machine, pieces: Iterable[bytes]) -> Any:
    """The outcome, or what was raised as (type, text), or None if there is none yet. Stops feeding at the outcome."""
    for piece in pieces:
        try:
            outcome = machine.feed(piece)
        except (TunnelctlError, HeadError) as error:
            return type(error), str(error)
        if outcome is not None:
            return outcome
    return None


def octets(data: bytes) -> Sequence[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def cut(data: bytes, at: Iterable[int]) -> Sequence[bytes]:
    """`data` in pieces, cut at the given offsets wherever they lie in it."""
    bounds = [0, *sorted(i for i in set(at) if 0 < i < len(data)), len(data)]
    return [data[a:b] for a, b in pairwise(bounds)]


def three_ways(make: Callable[[], Machine], data: bytes, trailing: bytes = TRAILING) -> Any:
    """The outcome of `data`, which has to be the same whole, octet by octet, and with `trailing` behind it.

    An outcome with leftover has exactly what was behind: nothing the first two times, `trailing` the third.
    """
    whole = feed_all(make(), [data])
    assert feed_all(make(), octets(data)) == whole
    if whole is None:
        return None
    followed = feed_all(make(), [data + trailing])
    if hasattr(whole, "leftover"):
        assert whole.leftover == b""
        assert followed.leftover == trailing
        followed = followed._replace(leftover=b"")
    assert followed == whole
    return whole
