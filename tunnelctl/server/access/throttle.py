"""Throttling of wrong logins by client network: first delayed, then refused before any password is hashed.

Each network has a token bucket. Each wrong login takes a token, and waits longer for its response; without a token, logins are
refused until there is one again. This makes guessing slow, and a flood costs no more than its responses. A larger group of
networks, such as an IPv6 site, also has a bucket, of more tokens: otherwise its owner would have a new bucket with each of 65,536
networks. Users of one network share its bucket. A password that was right before needs no token (users.Kept), so that an attacker
locks out nobody who has logged in before.
"""

from collections.abc import Callable
from math import ceil
from time import monotonic

from tunnelctl.engine.limiter import Owner
from tunnelctl.server.process.shared_counters import SharedTimes, key_of

BURST = 10  # wrong logins that a network has at once
REFILL_SECONDS = 6.0  # for one more token
GROUP_FACTOR = 4  # by which a group has more tokens, and a faster refill
FIRST_DELAY, LONGEST_DELAY = 0.1, 2.0  # seconds of delay after a wrong login: doubled with each, up to the longest

MAX_NETWORKS = 1 << 13  # whose buckets are kept; fuller ones are forgotten first: IPv6 has more networks than any memory


class TooManyWrongLogins(Exception):
    """Logins from this network are refused unchecked for `seconds`."""

    def __init__(self, seconds: int) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class _Buckets:
    """Token buckets by name. There is no lock: of two tokens that processes take at the same moment, one may remain."""

    def __init__(self, burst: int, refill: float, clock: Callable[[], float]) -> None:
        self._burst, self._refill, self._clock = burst, refill, clock
        self._full_at = SharedTimes(MAX_NETWORKS)  # when a bucket is full again, which determines its number of tokens

    def wait(self, name: str) -> float:
        """Returns the seconds until there is a token; 0 or less if there is one."""
        return (self._missing(name) - self._burst + 1) * self._refill

    def take(self, name: str) -> float:
        """Takes a token; returns how many were missing before."""
        missing = self._missing(name)
        self._full_at.set(key_of("bucket", name), self._clock() + min(missing + 1, self._burst) * self._refill)
        return missing

    def _missing(self, name: str) -> float:
        """Returns how many tokens are missing from the bucket."""
        return max(0.0, (self._full_at.get(key_of("bucket", name)) - self._clock()) / self._refill)


class LoginThrottle:
    """The buckets of all networks with recent wrong logins, shared by all workers forked later."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._networks = _Buckets(BURST, REFILL_SECONDS, clock)
        self._groups = _Buckets(BURST * GROUP_FACTOR, REFILL_SECONDS / GROUP_FACTOR, clock)

    def admit(self, owner: Owner) -> None:
        """Raises TooManyWrongLogins if the network, or its group, has no token."""
        wait = max(self._networks.wait(owner.name), self._groups.wait(owner.group))
        if wait > 0:
            raise TooManyWrongLogins(max(1, ceil(wait)))

    def wrong(self, owner: Owner) -> float:
        """Takes a token; returns the delay of the response in seconds."""
        self._groups.take(owner.group)
        return float(min(FIRST_DELAY * 2 ** self._networks.take(owner.name), LONGEST_DELAY))
