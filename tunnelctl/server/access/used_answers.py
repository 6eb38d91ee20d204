"""Digest responses used so far, at any worker: each is valid once.

There are two tables, the current one and the one before it: together they reach back for the lifetime of a nonce. When the current
table is full, the older one is emptied early, and nonces that it may have known are refused.
"""

import mmap

from tunnelctl.proto.auth.digest_server import NONCE_SECONDS
from tunnelctl.server.process.shared_counters import MASK, LockTimeoutError, SharedLock, SharedTable

SLOTS = 1 << 16  # of a table: 32,768 responses in 300 s, 109 new tunnels a second; beyond, early turns make clients respond twice
LIFE = int(NONCE_SECONDS * 1000)  # milliseconds

_CURRENT, _SINCE, _FORGOTTEN = range(3)


class UsedAnswers:
    """The used responses. Created before the workers, which share it."""

    def __init__(self, slots: int = SLOTS) -> None:
        self._lock = SharedLock()
        self._tables = SharedTable(slots, 1), SharedTable(slots, 1)
        # Which table is current, since when, and a time: nonces made up to then are refused.
        self._state = memoryview(mmap.mmap(-1, 24)).cast("Q")

    def first_use(self, number: int, made: int, now: int) -> bool:
        """Marks a response as used; returns whether it was unused before. See proto.digest_server.FirstUse."""
        try:
            with self._lock.hold():
                return self._add(number & MASK or 1, made, now)
        except LockTimeoutError:  # the client responds to a new challenge, without prompting its user
            return False

    def _add(self, key: int, made: int, now: int) -> bool:
        if any(table.count(key) for table in self._tables):
            return False
        if now - self._state[_SINCE] >= LIFE or self._tables[self._state[_CURRENT]].full:
            self._turn(now)
        return made > self._state[_FORGOTTEN] and self._tables[self._state[_CURRENT]].add(key, 0, 1)

    def _turn(self, now: int) -> None:
        """Empties the older table, and makes it the current one."""
        state = self._state
        if now - state[_SINCE] < LIFE:  # the responses in the older table could still be replayed
            state[_FORGOTTEN] = state[_SINCE]
        state[_CURRENT] = 1 - state[_CURRENT]
        self._tables[state[_CURRENT]].clear()
        state[_SINCE] = now
