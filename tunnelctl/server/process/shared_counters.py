"""Counts that several worker processes share, so that a limit over all of them is exact; and times, kept best effort.

The counts are a hash table in memory that all processes forked later share. Each process adds to its own column, so that the
counts of a killed worker can be removed. A POSIX record lock makes each step atomic; the kernel releases it when its holder dies.
(A worker killed inside a step, which takes a microsecond, may leave a count too high until all workers have ended.)
"""

import fcntl
import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile
from time import monotonic, sleep

MASK = (1 << 64) - 1
LOCK_SECONDS = 0.2  # time limit for the lock: other processes hold it for microseconds, unless stopped (SIGSTOP) inside a step
# For this long after a wait in vain, steps do not wait: each would block the loop, and the holder may be stopped forever.
IMPATIENT_SECONDS = 5.0
WAYS = 8  # slots of a table of times that a key may occupy


class LockTimeoutError(Exception):
    """Another process holds the lock."""


class SharedLock:
    """Excludes other processes, not other tasks of the same process: it is held only within one step of the event loop."""

    def __init__(self) -> None:
        self._file = _unnamed_file()
        self._impatient_until = 0.0

    def __del__(self) -> None:
        os.close(self._file)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Holds the lock within a `with` block. Raises LockTimeoutError rather than wait for long: the caller is the event loop."""
        self._acquire()
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)

    def _acquire(self) -> None:
        until = 0.0
        while True:
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                now = monotonic()
                until = until or now + LOCK_SECONDS
                if now < self._impatient_until:
                    raise LockTimeoutError from None
                if now > until:
                    self._impatient_until = now + IMPATIENT_SECONDS
                    raise LockTimeoutError from None
                sleep(0)
            else:
                self._impatient_until = 0.0
                return


def _unnamed_file() -> int:
    """Opens an empty file that this process and its children have alone: in memory, or outside Linux a temporary one."""
    if hasattr(os, "memfd_create"):
        memory: int = os.memfd_create("tunnelctl")
        return memory
    with TemporaryFile() as file:
        return os.dup(file.fileno())


class SharedTable:
    """The number of holders of each key, by process. Does not lock by itself: see SharedLock.

    Open addressing with linear probing; a key whose count falls to 0 leaves the table.
    """

    def __init__(self, slots: int, columns: int) -> None:
        """slots: a power of 2, twice the maximum number of keys; columns: one for each process. A slot takes 8 + 4·columns bytes;
        the kernel provides only the pages in use."""
        self._mask, self._most = slots - 1, slots // 2
        self._keys = memoryview(mmap.mmap(-1, 8 * slots)).cast("Q")
        self._counts = [memoryview(mmap.mmap(-1, 4 * slots)).cast("I") for _ in range(columns)]
        self._used = memoryview(mmap.mmap(-1, 8)).cast("Q")
        # The holders of the key in a slot. With one column, that is the number itself, at a tenth of the cost of a sum.
        self._total: Callable[[int], int] = self._counts[0].__getitem__ if columns == 1 else self._sum

    @property
    def full(self) -> bool:
        """True if there is no room for another key."""
        return self._used[0] >= self._most

    def count(self, key: int) -> int:
        """Returns the number of its holders, over all columns."""
        return self._total(self._find(key))

    def add(self, key: int, column: int, most: int) -> bool:
        """Counts one more holder in a column. Returns False if there are `most` holders already, or the table is full."""
        slot = self._find(key)
        if not self._keys[slot]:
            if self.full or not most:
                return False
            self._keys[slot] = key
            self._used[0] += 1
        elif self._total(slot) >= most:
            return False
        self._counts[column][slot] += 1
        return True

    def remove(self, key: int, column: int) -> None:
        """Undoes one `add`. Does nothing if the table was cleared meanwhile."""
        slot = self._find(key)
        if self._counts[column][slot]:
            self._counts[column][slot] -= 1
            if not self._total(slot):
                self._delete(slot)

    def clear(self) -> None:
        """Removes every key."""
        for column in self._counts:
            column[:] = memoryview(bytes(column.nbytes)).cast("I")
        self._keys[:] = memoryview(bytes(self._keys.nbytes)).cast("Q")
        self._used[0] = 0

    def clear_column(self, column: int) -> None:
        """Removes the counts of a process that has ended."""
        held = self._counts[column]
        held[:] = memoryview(bytes(held.nbytes)).cast("I")
        for slot in [slot for slot, key in enumerate(self._keys.tolist()) if key]:
            while self._keys[slot] and not self._total(slot):  # deleting may move another key here
                self._delete(slot)

    def _find(self, key: int) -> int:
        """Returns the slot of the key, or the empty one where it belongs."""
        keys, slot = self._keys, key & self._mask
        while keys[slot] != key and keys[slot]:
            slot = (slot + 1) & self._mask
        return slot

    def _sum(self, slot: int) -> int:
        return sum(column[slot] for column in self._counts)

    def _delete(self, hole: int) -> None:
        """Empties a slot and closes the gap, so that a search from its home slot finds every key (Knuth, volume 3, 6.4, R)."""
        keys, mask = self._keys, self._mask
        slot = hole
        while True:
            keys[hole] = 0
            for column in self._counts:
                column[hole] = 0
            while True:
                slot = (slot + 1) & mask
                if not keys[slot]:
                    self._used[0] -= 1
                    return
                # A key may move back to the hole unless its home slot lies behind the hole.
                if (slot - (keys[slot] & mask)) & mask >= (slot - hole) & mask:
                    break
            keys[hole] = keys[slot]
            for column in self._counts:
                column[hole] = column[slot]
            hole = slot


class SharedTimes:
    """A time for each key, for a bounded number of keys: a new key takes a free slot, or that with the earliest time.

    A key has WAYS possible slots, and nothing is ever moved, so there is no lock: of two times that processes set at the same
    moment, one may be lost.
    """

    def __init__(self, slots: int) -> None:
        """slots: a power of 2, at least WAYS. Each takes 16 bytes; the kernel provides only the pages in use"""
        self._mask = slots - WAYS
        self._keys = memoryview(mmap.mmap(-1, 8 * slots)).cast("Q")
        self._times = memoryview(mmap.mmap(-1, 8 * slots)).cast("d")

    def get(self, key: int) -> float:
        """Returns the time of the key, 0 if it is unknown."""
        slot = self._find(key)
        return 0.0 if slot is None else self._times[slot]

    def set(self, key: int, time: float) -> None:
        """Sets the time of the key, or replaces it."""
        slot = self._find(key)
        if slot is None:
            slot = min(self._places(key), key=self._times.__getitem__)
            self._keys[slot] = key
        self._times[slot] = time

    def _find(self, key: int) -> int | None:
        places = self._places(key)
        keys = self._keys[places.start : places.stop].tolist()
        return places[keys.index(key)] if key in keys else None

    def _places(self, key: int) -> range:
        first = key & self._mask
        return range(first, first + WAYS)


def key_of(kind: str, name: str) -> int:
    """Returns a key for a name. Python keys its string hash with a secret that forked processes share: nobody can aim at a slot."""
    return hash((kind, name)) & MASK or 1
