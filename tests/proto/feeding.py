"""Feeds a state machine: all at once, octet by octet, with trailing data, or cut anywhere; the outcome must be the same."""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, Protocol

from hypothesis import HealthCheck, settings

from tunnelctl.errors import TunnelctlError
from tunnelctl.proto.http1.head import HeadError

# For every property test here: a limited number of examples, and no deadline that a slow computer could miss.
# No database, so that a run leaves no files.
bounded = settings(max_examples=60, database=None, suppress_health_check=[HealthCheck.too_slow])

TRAILING = b"\x00SSH-2.0-behind\r\n\r\n\n"


class Machine(Protocol):
    def feed(self, data: bytes) -> Any: ...


def feed_all(machine: Machine, pieces: Iterable[bytes]) -> Any:
    """Returns the outcome, an error as (type, text), or None if there is none yet. Stops feeding at the outcome."""
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
    """Cuts `data` into pieces at those of the given offsets that lie within it."""
    bounds = [0, *sorted(i for i in set(at) if 0 < i < len(data)), len(data)]
    return [data[a:b] for a, b in pairwise(bounds)]


def three_ways(make: Callable[[], Machine], data: bytes, trailing: bytes = TRAILING) -> Any:
    """Returns the outcome of `data`, which must be the same for all at once, octet by octet, and with `trailing` after it.

    The leftover of an outcome that has one must be empty the first two times and `trailing` the third.
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
