"""Wrong logins, by client network: slowed down, and then refused before any password is hashed.

A token bucket for each network. Each wrong login takes a token and waits longer for its answer; without a token, a login is turned
away until there is one again. Guessing is slow then, and a flood costs no more than its answers. A larger group of networks, as a
site with IPv6 has them, has a bucket too, of more tokens: else its owner would have a new one with each of 65,536 networks. Users
of one network share its bucket: a password that was right before is known without it (users.Kept), so an attacker keeps nobody out
who was in.
"""

from collections.abc import Callable
from math import ceil
from time import monotonic

from tunnelctl.engine.limiter import Owner
from tunnelctl.server.process.shared_counters import SharedTimes, key_of

BURST = 10  # wrong logins that a network has at once
REFILL_SECONDS = 6.0  # for one more
GROUP_FACTOR = 4  # by which a group has more of them, at once and in time
FIRST_DELAY, LONGEST_DELAY = 0.1, 2.0  # seconds that the answer to a wrong login waits: doubled with each, up to the longest

MAX_NETWORKS = 1 << 13  # whose buckets are known; the fullest is forgotten, for IPv6 has more networks than any memory


class TooManyWrongLogins(Exception):
    """No login from this network is looked at for `seconds`."""

    def __init__(self, seconds: int) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class _Buckets:
    """By name. Nothing is locked: of two tokens that two processes take at the same moment, one may remain."""

    def __init__(self, burst: int, refill: float, clock: Callable[[], float]) -> None:
        self._burst, self._refill, self._clock = burst, refill, clock
        self._full_at = SharedTimes(MAX_NETWORKS)  # when a bucket is full again, which tells how many tokens it has

    def wait(self, name: str) -> float:
        """Seconds until there is a token; 0 or less where there is one."""
        return (self._missing(name) - self._burst + 1) * self._refill

    def take(self, name: str) -> float:
        """Takes a token; how many were missing before."""
        missing = self._missing(name)
        self._full_at.set(key_of("bucket", name), self._clock() + min(missing + 1, self._burst) * self._refill)
        return missing

    def _missing(self, name: str) -> float:
        """How many tokens are missing from the bucket."""
        return max(0.0, (self._full_at.get(key_of("bucket", name)) - self._clock()) / self._refill)


class LoginThrottle:
    """The buckets of all networks that had a wrong login lately, for all workers that are forked afterwards."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._networks = _Buckets(BURST, REFILL_SECONDS, clock)
        self._groups = _Buckets(BURST * GROUP_FACTOR, REFILL_SECONDS / GROUP_FACTOR, clock)

    def admit(self, owner: Owner) -> None:
        """Raises TooManyWrongLogins where the network, or its group, has no token."""
        wait = max(self._networks.wait(owner.name), self._groups.wait(owner.group))
        if wait > 0:
            raise TooManyWrongLogins(max(1, ceil(wait)))

    def wrong(self, owner: Owner) -> float:
        """Takes a token; how many seconds the answer is to wait."""
        self._groups.take(owner.group)
        return float(min(FIRST_DELAY * 2 ** self._networks.take(owner.name), LONGEST_DELAY))
