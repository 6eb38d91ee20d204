"""Which answers to Digest challenges were used, by whichever worker: each is good once.

There are two tables, the one that is written to and the one before it: together they go back as far as a nonce is good. A table
that is full takes the place of the other one early; then a nonce is refused that the lost table may have known.
"""

import mmap

from tunnelctl.proto.auth.digest_server import NONCE_SECONDS
from tunnelctl.server.process.shared_counters import MASK, LockTimeoutError, SharedLock, SharedTable

SLOTS = 1 << 16  # of a table: 32,768 answers in 300 s, 109 new tunnels a second, before early turns make clients answer twice
LIFE = int(NONCE_SECONDS * 1000)  # milliseconds

_CURRENT, _SINCE, _FORGOTTEN = range(3)


class UsedAnswers:
    """Made before the workers are, which share it."""

    def __init__(self, slots: int = SLOTS) -> None:
        self._lock = SharedLock()
        self._tables = SharedTable(slots, 1), SharedTable(slots, 1)
        # Which table is written to, since when, and up to when nonces were made that are not taken any more.
        self._state = memoryview(mmap.mmap(-1, 24)).cast("Q")

    def first_use(self, number: int, made: int, now: int) -> bool:
        """Whether this answer was not used before; it is now. See proto.digest_server.FirstUse."""
        try:
            with self._lock.hold():
                return self._add(number & MASK or 1, made, now)
        except LockTimeoutError:  # the client answers a new challenge, without asking its user
            return False

    def _add(self, key: int, made: int, now: int) -> bool:
        if any(table.count(key) for table in self._tables):
            return False
        if now - self._state[_SINCE] >= LIFE or self._tables[self._state[_CURRENT]].full:
            self._turn(now)
        return made > self._state[_FORGOTTEN] and self._tables[self._state[_CURRENT]].add(key, 0, 1)

    def _turn(self, now: int) -> None:
        """The older table is emptied and written to."""
        state = self._state
        if now - state[_SINCE] < LIFE:  # what it knows may come again
            state[_FORGOTTEN] = state[_SINCE]
        state[_CURRENT] = 1 - state[_CURRENT]
        self._tables[state[_CURRENT]].clear()
        state[_SINCE] = now
