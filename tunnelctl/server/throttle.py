"""Wrong logins, by client network: slowed down, and then refused before any password is hashed.

A token bucket for each network. Each wrong login takes a token and waits longer for its answer; without a token, a login is turned
away until there is one again. Guessing is slow then, and a flood costs no more than its answers. Users of one network share its
bucket: a password that was right before is known without it (users.Kept), so an attacker keeps nobody out who was in.
"""

from collections.abc import Callable
from math import ceil
from time import monotonic

BURST = 10  # wrong logins that a network has at once
REFILL_SECONDS = 6.0  # for one more
FIRST_DELAY, LONGEST_DELAY = 0.1, 2.0  # seconds that the answer to a wrong login waits: doubled with each, up to the longest

MAX_NETWORKS = 8192  # with a bucket that is not full; the oldest is forgotten, for IPv6 has more networks than any memory


class TooManyWrongLogins(Exception):
    """No login from this network is looked at for `seconds`."""

    def __init__(self, seconds: int) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class LoginThrottle:
    """The buckets of all networks that had a wrong login lately."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._full_at: dict[str, float] = {}  # when the bucket of a network is full again, which tells how many tokens it has

    def admit(self, network: str) -> None:
        """Raises TooManyWrongLogins where the network has no token."""
        missing = self._missing(network)
        if missing > BURST - 1:
            raise TooManyWrongLogins(max(1, ceil((missing - BURST + 1) * REFILL_SECONDS)))

    def wrong(self, network: str) -> float:
        """Takes a token; how many seconds the answer is to wait."""
        missing = self._missing(network)
        self._full_at.pop(network, None)
        self._full_at[network] = self._clock() + min(missing + 1, BURST) * REFILL_SECONDS
        if len(self._full_at) > MAX_NETWORKS:
            del self._full_at[next(iter(self._full_at))]
        return float(min(FIRST_DELAY * 2**missing, LONGEST_DELAY))

    def _missing(self, network: str) -> float:
        """How many tokens are missing from the bucket."""
        return max(0.0, (self._full_at.get(network, 0.0) - self._clock()) / REFILL_SECONDS)
