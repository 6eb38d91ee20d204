"""Receive windows: what the peer may still send, what we owe it, and how much memory all of them may take.

A window bounds what a stalled reader holds, so credit follows consumption: a WINDOW_UPDATE is due when bytes have left for the
sink, and for half a window at a time. It also bounds the speed to one window a round trip, so it grows where that is the limit: at
50 ms, 64 KiB is 10 Mbit/s and 4 MiB is 671.

The connection's window is credited on consumption as well. Streams together hold at most that much, so only these windows are
charged to the budget of the process; a stream's window is a share within it.
"""

from __future__ import annotations

FIRST_STREAM_WINDOW = 256 << 10  # announced in SETTINGS: no round trip of growth for the first 256 KiB
FIRST_CONNECTION_WINDOW = 1 << 20
LARGEST_CONNECTION_WINDOW = 16 << 20
SHARE = 4  # a stream's window is at most this part of the connection's: a few stalled streams do not stall the others

BUDGET = 256 << 20  # bytes of all connection windows of a process; above it none grows, and new ones keep the RFC's 64 KiB


class WindowBudget:
    """The bytes that all connections of a process may have to hold."""

    __slots__ = ("left",)

    def __init__(self, size: int = BUDGET) -> None:
        self.left = size

    def reserve(self, size: int) -> bool:
        """Reserves as much; False if there is not that much left."""
        if size > self.left:
            return False
        self.left -= size
        return True

    def release(self, size: int) -> None:
        """Returns what was reserved."""
        self.left += size


class ReceiveWindow:
    """One window. `left` is what the peer may still send; the rest is held, or consumed and not yet announced (`owed`)."""

    __slots__ = ("left", "owed", "since", "size")

    def __init__(self, size: int, now: float) -> None:
        self.size = self.left = size
        self.owed = 0
        self.since = now  # when credit was last announced

    def take(self, count: int) -> bool:
        """Counts bytes that have arrived; False if the peer was not allowed to send them."""
        self.left -= count
        return self.left >= 0

    def give(self, count: int) -> int:
        """Counts bytes that have been consumed. Returns the increment to announce, 0 as long as it is less than half a window."""
        self.owed += count
        if self.owed * 2 < self.size:
            return 0
        increment, self.owed = self.owed, 0
        self.left += increment
        return increment

    def limits_speed(self, now: float, round_trip: float) -> bool:
        """Whether half the window was consumed within a round trip, as of this announcement: the peer has to wait for credit."""
        before, self.since = self.since, now
        return now - before < round_trip

    def grow(self, size: int) -> int:
        """Enlarges the window; returns the increment to announce."""
        increment = size - self.size
        self.size, self.left = size, self.left + increment
        return increment
