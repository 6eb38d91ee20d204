"""The recent history of one process: the last tunnels that ended, the last refusals, and counts.

Each decision and each end costs it one append; the words are made when somebody looks.
"""

from __future__ import annotations

from collections import deque
from time import monotonic, time

from tunnelctl.control.snapshot import EndedFacts, Recent, RefusalCount, RefusedFacts
from tunnelctl.events import SIDES
from tunnelctl.proto.refusal import is_failed_login
from tunnelctl.server.observe.access_log import system_name
from tunnelctl.server.observe.record import TunnelRecord
from tunnelctl.stream.relay import Outcome

LAST = 100  # of each kind
LOGIN_REQUIRED = 407
MOST_REASONS = 1000  # a rule is in the policy, so their number is limited; but each reload may bring others


class Activity:
    """The memory of one process."""

    def __init__(self) -> None:
        self.opening: dict[str, TunnelRecord] = {}  # the requests that are not decided yet, by the id of the tunnel
        self.moved = [0, 0]  # bytes of the tunnels that have ended
        self._ended: deque[tuple[float, TunnelRecord, float, Outcome]] = deque(maxlen=LAST)
        self._refused: deque[tuple[float, TunnelRecord, int, str, str]] = deque(maxlen=LAST)
        self._reasons: dict[tuple[int, str, str], list[float]] = {}  # their number, and when the last one was
        self._failed_logins = 0

    def on_refusal(self, record: TunnelRecord, status: int, error: str, details: str) -> None:
        """Notes a refusal."""
        now, wrong = monotonic(), is_failed_login(status, details)
        if wrong or status != LOGIN_REQUIRED:  # most clients ask without a login first: that would leave no place for the others
            self._refused.append((now, record, status, error, details))
        key = status, error, record.rule
        if key not in self._reasons and len(self._reasons) >= MOST_REASONS:
            key = status, error, ""
        number = self._reasons.setdefault(key, [0, now])
        number[0] += 1
        number[1] = now
        if wrong:
            self._failed_logins += 1

    def on_end(self, record: TunnelRecord, seconds: float, outcome: Outcome) -> None:
        """Notes the end of a tunnel."""
        self._ended.append((monotonic(), record, seconds, outcome))
        self.moved[0] += record.moved[0]
        self.moved[1] += record.moved[1]

    def recent(self) -> Recent:
        """Describes all of it."""
        today = time() - monotonic()  # makes a time of day of a moment
        return Recent(
            [_ended(today, *one) for one in self._ended],
            [_refused(today, *one) for one in self._refused],
            [RefusalCount(*key, int(number), today + last) for key, (number, last) in self._reasons.items()],
            [],
            self._failed_logins,
            0,
        )


def _ended(today: float, when: float, record: TunnelRecord, seconds: float, outcome: Outcome) -> EndedFacts:
    moved, error = (record.moved[0], record.moved[1]), system_name(outcome.error)
    return EndedFacts(
        today + when, record.client, record.user, record.target, seconds, *moved, SIDES[outcome.ended_by], outcome.cause, error
    )


def _refused(today: float, when: float, record: TunnelRecord, status: int, error: str, details: str) -> RefusedFacts:
    return RefusedFacts(today + when, record.client, record.user, record.target, status, error, record.rule, details)
