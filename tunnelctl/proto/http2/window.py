"""Receive windows: what the peer may still send, what we owe it, and how much memory all of them may take.

A window bounds what a stalled reader holds, so credit follows consumption: a WINDOW_UPDATE is due when bytes have left for the
sink, and for half a window at a time, or for less of a large one (STEP, STEPS). A window also bounds the speed to its size a round
trip, so it grows where that is the limit: at 50 ms, 64 KiB is 10 Mbit/s and 8 MiB is 1342.

The connection's window is credited on consumption as well. Streams together hold at most that much, so only these windows are
charged to the budget of the process; a stream's window is a share within it.
"""

from __future__ import annotations

from functools import cache

from tunnelctl.proto.http2.frame import ConnectionFault, ErrorCode, window_update
from tunnelctl.proto.http2.settings import DEFAULT_WINDOW

FIRST_STREAM_WINDOW = 256 << 10  # announced in SETTINGS: no round trip of growth for the first 256 KiB
FIRST_CONNECTION_WINDOW = 1 << 20
LARGEST_CONNECTION_WINDOW = 32 << 20
# A stream's window is at most this part of the connection's: a few stalled streams do not stall the others. So one stream has 8 MiB
# at most. That is as fast as TCP on most paths (Linux queues 4 MiB for sending), and at 40 ms it is enough for 1 Gbit/s.
SHARE = 4

# Credit is announced at the latest for as much. What is not announced yet limits the speed as a smaller window does: with credit
# for half of 4 MiB at a time, a path of 20 ms and 125 MB/s stood still for a fifth of the time. Each announcement is a write, so
# large windows have longer steps: an eighth.
STEP = 256 << 10
STEPS = 8

# Round trips in which half a window is consumed where the window may be what limits the peer. All of its data may be consumed at
# once, a little later than a round trip after the last credit. With 1, windows took two round trips to double, and some stayed at
# 256 KiB. The price: a window grows while it is less than 2 * PACE times what the path holds.
PACE = 1.5

# Seconds that a turn of the event loop may take with bulk. The window has to last for as much where the round trip is shorter: over
# TLS on loopback (0.2 ms), the window of a stream stayed at 1 MiB, two reads, and the sender waited for credit.
TURN = 0.001

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


@cache  # of the few sizes that windows have
def step_of(size: int) -> int:
    """Returns how much credit is owed before a window of this size announces it."""
    return min((size + 1) // 2, max(STEP, size // STEPS))


class ReceiveWindow:
    """One window. `left` is what the peer may still send; the rest is held, or consumed and not yet announced (`owed`)."""

    __slots__ = ("_step", "left", "owed", "since", "size", "used")

    def __init__(self, size: int, now: float) -> None:
        self.size = self.left = size
        self.owed, self._step = 0, step_of(size)
        self.used, self.since = 0, now  # bytes consumed since then; see `limits_speed`

    def take(self, count: int) -> bool:
        """Counts bytes that have arrived; False if the peer was not allowed to send them."""
        self.left -= count
        return self.left >= 0

    def give(self, count: int) -> bool:
        """Counts bytes that have been consumed. Returns whether it is time to announce what is owed."""
        self.owed += count
        return self.owed >= self._step

    def announce(self) -> int:
        """Returns the increment to announce: all that is owed."""
        increment, self.owed = self.owed, 0
        self.used += increment
        self.left += increment
        return increment

    def limits_speed(self, now: float, round_trip: float) -> bool:
        """Whether half the window was consumed within PACE round trips, as of this announcement: it may be what limits the peer."""
        if self.used * 2 < self.size:
            return False
        self.used, before, self.since = 0, self.since, now
        return round_trip > 0 and now - before < max(PACE * round_trip, TURN)

    def grow(self, size: int) -> int:
        """Enlarges the window; returns the increment to announce."""
        increment = size - self.size
        self.size, self.left, self._step = size, self.left + increment, step_of(size)
        return increment


class Credit:
    """The receive windows of one connection: its own, and the rules by which it and those of the streams grow.

    Every method returns the WINDOW_UPDATE frames that are due, b"" mostly.
    """

    __slots__ = ("_budget", "_window", "grew", "round_trip")

    def __init__(self, budget: WindowBudget, now: float) -> None:
        """budget: of the process; now: seconds on a monotonic clock"""
        self._budget, self._window = budget, ReceiveWindow(DEFAULT_WINDOW, now)
        self.round_trip = 0.0  # seconds; 0: unknown, and no window grows
        self.grew = False  # a window of a stream, by that: time to measure again

    def first(self) -> bytes:
        """Enlarges the window at the beginning, before any data waits for it (naiveproxy#92, curl#1102)."""
        return self._announce(self._enlarge(FIRST_CONNECTION_WINDOW))

    @property
    def first_stream_window(self) -> int:
        """The window of a new stream. With a budget that is used up, that of the RFC."""
        return FIRST_STREAM_WINDOW if self._budget.left >= FIRST_CONNECTION_WINDOW else DEFAULT_WINDOW

    def permits(self, count: int) -> bool:
        """Whether the peer may send so many octets of DATA now."""
        return self._window.left >= count

    def arrived(self, count: int) -> bytes:
        """Counts octets of DATA, padding included. Raises ConnectionFault if the peer was not allowed to send them."""
        window = self._window
        window.left -= count
        if window.left < 0:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "the window of the connection is exceeded")
        if window.left * SHARE >= window.size:
            return b""
        # What is held fills the window: streams that stall must not stall the others.
        return self._announce(self._enlarge(window.size * 2))

    def consumed(self, stream: int, window: ReceiveWindow | None, count: int, now: float) -> bytes:
        """Counts octets that have left for the sink. window: of their stream, None if that is closed"""
        own = self._window
        due, connection_due = window is not None and window.give(count), own.give(count)
        if not due and not connection_due:
            return b""
        increment = own.announce()  # also if it is only the stream's turn: it costs no write of its own then
        if own.limits_speed(now, self.round_trip):
            increment += self._enlarge(own.size * 2)
        updates = self._announce(increment)
        if window is None or not due:
            return updates
        increment = window.announce()
        if window.limits_speed(now, self.round_trip):
            if window.size * 2 * SHARE > own.size:
                updates += self._announce(self._enlarge(own.size * 2))
            if window.size * 2 * SHARE <= own.size:
                increment += window.grow(window.size * 2)
                self.grew = True
        return updates + window_update(stream, increment)

    def release(self) -> None:
        """Returns this connection's part of the budget. No window grows afterwards: what it reserved would never be returned."""
        self._budget.release(self._reserved)
        self._budget = WindowBudget(0)

    @property
    def _reserved(self) -> int:
        """The part of the budget that this connection has. The window of the RFC costs nothing."""
        return self._window.size if self._window.size > DEFAULT_WINDOW else 0

    def _enlarge(self, size: int) -> int:
        """Enlarges the window of the connection if the budget allows it; returns the increment."""
        size = min(size, LARGEST_CONNECTION_WINDOW)
        if size == self._window.size or not self._budget.reserve(size - self._reserved):
            return 0
        return self._window.grow(size)

    @staticmethod
    def _announce(increment: int) -> bytes:
        return window_update(0, increment) if increment else b""
