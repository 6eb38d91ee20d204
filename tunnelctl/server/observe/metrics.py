"""Metrics: decisions, ends, bytes, and the duration of each phase of a set-up.

The numbers are in memory that a supervisor and its workers share, a row for each worker. The worker that serves a request adds them
up. A worker that replaces a dead one continues its counters, so that none ever falls. All combinations of labels are known
beforehand, so each number has a fixed place; an addition costs 0.1 µs.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import product
from time import monotonic
from typing import NamedTuple

from tunnelctl.events import SIDES
from tunnelctl.proto.refusal import REASONS, is_failed_login
from tunnelctl.server.observe.record import CLIENT_LEFT, TunnelRecord
from tunnelctl.server.observe.tally import Numbers, RuleCounters, shared_numbers
from tunnelctl.stream.accept import ConnectionCount
from tunnelctl.stream.relay import Outcome

OTHER = "other"  # counts what has no place of its own
# The error types of RFC 9209 section 2.3 that can occur with a decision.
ERRORS = (
    "", "dns_timeout", "dns_error", "destination_not_found", "destination_unavailable", "destination_ip_prohibited",
    "destination_ip_unroutable", "connection_refused", "connection_terminated", "connection_timeout", "connection_limit_reached",
    "tls_protocol_error", "tls_certificate_error", "tls_alert_received", "http_request_error", "http_request_denied",
    "http_upgrade_failed", "proxy_internal_error", "proxy_internal_response", "proxy_configuration_error", "proxy_loop_detected",
    OTHER,
)  # fmt: skip
STATUSES = ("200", *map(str, REASONS), str(CLIENT_LEFT), OTHER)
CLOSED_BY = tuple(SIDES.values())
CAUSES = ("eof", "reset", "gone", "idle", "half-closed", "malformed", "lifetime", "cut", "drained", OTHER)
PHASES = ("tls", "head", "auth", "dns", "connect", OTHER)
OUTCOMES = ("opened", "refused", "failed")  # status 200; below 500: malformed or not allowed; from 500 on: something failed
BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)  # seconds


class Family(NamedTuple):
    """One metric, with a value for each combination of labels."""

    name: str
    kind: str  # "counter", "gauge" or "histogram"
    help: str
    labels: tuple[str, ...] = ()
    values: tuple[tuple[str, ...], ...] = ()  # the possible ones, for each label

    def combinations(self) -> list[tuple[str, ...]]:
        return list(product(*self.values))

    @property
    def width(self) -> int:
        """Number of places that one combination takes: for a histogram, its buckets, one for larger values, and the sum."""
        return len(BUCKETS) + 2 if self.kind == "histogram" else 1


FAMILIES = (
    Family("tunnelctl_connections", "gauge", "Connections from clients that are open."),
    Family("tunnelctl_tunnels", "gauge", "Tunnels that are open or being opened."),
    Family("tunnelctl_dials", "gauge", "Name lookups and connects under way."),
    Family("tunnelctl_log_records_lost", "counter", "Records of the access log that could not be written."),
    Family("tunnelctl_worker_restarts", "counter", "Workers that took the place of one that had died."),
    Family("tunnelctl_failed_logins", "counter", "Requests with wrong credentials."),
    Family("tunnelctl_accept_failures", "counter", "Times that clients had to wait, because descriptors or memory had run out."),
    Family("tunnelctl_bytes", "counter", "Bytes moved: sent is from client to target.", ("direction",), (("sent", "received"),)),
    Family("tunnelctl_requests", "counter", "Answers to requests.", ("status", "error"), (STATUSES, ERRORS)),
    Family("tunnelctl_closed", "counter", "Tunnels that have ended.", ("closed_by", "cause"), (CLOSED_BY, CAUSES)),
    Family("tunnelctl_setup_seconds", "histogram", "How long a phase of a set-up took.", ("phase", "outcome"), (PHASES, OUTCOMES)),
)


# Metrics that have no place in the rows: `prometheus` has their values from elsewhere.
BUILD = Family("tunnelctl_build_info", "gauge", "1; the labels have the versions.", ("version", "python"))
STARTED = Family("process_start_time_seconds", "gauge", "When the program was started, in seconds since 1970.")
CERTIFICATE = Family(
    "tunnelctl_certificate_expiration_timestamp_seconds",
    "gauge",
    "Until when the certificate of the server is valid, in seconds since 1970. Only with TLS.",
)
RULES = Family(
    "tunnelctl_rule_decisions",
    "counter",
    "Tunnels that a rule has granted or refused, or would have refused (reported).",
    ("rule", "verdict"),
)
MOST_TUNNELS = Family("tunnelctl_max_tunnels", "gauge", "The cap on open tunnels. Only where there is one.")
DRAINING = Family("tunnelctl_draining", "gauge", "1 while open tunnels may finish after a stop signal; else 0.")
RELOADED = Family(
    "tunnelctl_last_reload_successful",
    "gauge",
    "1 if the last reading of the files succeeded; 0 if it did not, so that an earlier version is in force.",
)
ALL = (*FAMILIES, BUILD, STARTED, CERTIFICATE, RULES, MOST_TUNNELS, DRAINING, RELOADED)


def _places() -> tuple[dict[str, dict[tuple[str, ...], int]], int]:
    places: dict[str, dict[tuple[str, ...], int]] = {}
    free = 0
    for family in FAMILIES:
        combinations = family.combinations()
        places[family.name] = {labels: free + number * family.width for number, labels in enumerate(combinations)}
        free += len(combinations) * family.width
    return places, free


PLACES, _FREE = _places()
BEAT = _FREE  # when the worker's loop last turned, on the monotonic clock; not exported
_ROW = _FREE + 1

_CONNECTIONS, _TUNNELS, _DIALS, _LOST, RESTARTS, _FAILED_LOGINS, _FAILURES = (PLACES[family.name][()] for family in FAMILIES[:7])
_SENT, _RECEIVED = PLACES["tunnelctl_bytes"].values()
_REQUESTS, _CLOSED, _SETUP = (PLACES[name] for name in ("tunnelctl_requests", "tunnelctl_closed", "tunnelctl_setup_seconds"))
_GAUGES = (_CONNECTIONS, _TUNNELS, _DIALS)
_FIRST = [{phase: _SETUP[phase, outcome] for phase in PHASES} for outcome in OUTCOMES]  # by outcome, then by phase
_SUM = len(BUCKETS) + 1  # its place in a histogram


class SharedCounters:
    """A row of numbers for each process, shared with every process forked from this one."""

    def __init__(self, rows: int) -> None:
        self.rows: list[Numbers] = shared_numbers(rows, _ROW)
        self.rules = RuleCounters(rows)

    def total(self, place: int) -> float:
        """Returns the sum over all rows."""
        return sum(row[place] for row in self.rows)

    def heartbeat(self, number: int) -> None:
        """Records that this worker's loop is turning."""
        self.rows[number][BEAT] = monotonic()

    def silence(self, number: int) -> float:
        """Returns the seconds since this worker's last beat."""
        return monotonic() - self.rows[number][BEAT]

    def samples(self, family: Family) -> Iterator[tuple[tuple[str, ...], list[float]]]:
        """Yields the labels and the numbers of a family; combinations of labels only if they have occurred."""
        for labels, place in PLACES[family.name].items():
            numbers = [self.total(place + offset) for offset in range(family.width)]
            if any(numbers) or not labels:
                yield labels, numbers


class Metrics:
    """One process's row, and the methods that change it."""

    def __init__(self, row: Numbers) -> None:
        self._row = row
        self._counted: dict[str, tuple[int, int]] = {}  # bytes of open tunnels that are in the sums already
        self._lost = 0  # lost records that are in the sum already
        self._failures = 0  # failures to accept that are in the sum already
        for place in _GAUGES:  # a dead predecessor's are void
            row[place] = 0

    def on_decision(self, record: TunnelRecord, status: int, error: str, details: str = "") -> None:
        """Counts a response, and the duration of each phase before it."""
        row = self._row
        row[_decision(status, error)] += 1
        if is_failed_login(status, details):
            row[_FAILED_LOGINS] += 1
        first = _FIRST[0 if status == 200 else 1 if status < 500 else 2]
        for phase, seconds in record.phases:
            place = first.get(phase) or first[OTHER]
            row[place + bisect_left(BUCKETS, seconds)] += 1
            row[place + _SUM] += seconds

    def on_end(self, record: TunnelRecord, outcome: Outcome) -> None:
        """Counts the end of a tunnel."""
        self._row[_end(outcome.ended_by, outcome.cause)] += 1
        self._move(record, self._counted.pop(record.tunnel, (0, 0)))

    def refresh(self, count: ConnectionCount, dials: int, tunnels: Iterable[TunnelRecord], lost: int) -> None:
        """Updates what is not counted as it happens: gauges, and the bytes of open tunnels.

        lost: records that the access log has dropped since this process began
        """
        row = self._row
        row[_CONNECTIONS], row[_TUNNELS], row[_DIALS] = count.connections, count.tunnels, dials
        for record in tunnels:
            self._move(record, self._counted.get(record.tunnel, (0, 0)))
            self._counted[record.tunnel] = record.moved[0], record.moved[1]
        row[_LOST] += lost - self._lost
        row[_FAILURES] += count.accept_failures - self._failures
        self._lost, self._failures = lost, count.accept_failures

    def _move(self, record: TunnelRecord, counted: tuple[int, int]) -> None:
        self._row[_SENT] += record.moved[0] - counted[0]
        self._row[_RECEIVED] += record.moved[1] - counted[1]


@cache  # the possible responses are known beforehand
def _decision(status: int, error: str) -> int:
    return _REQUESTS[_known(str(status), STATUSES), _known(error, ERRORS)]


@cache
def _end(ended_by: str, cause: str) -> int:
    return _CLOSED[SIDES[ended_by], _known(cause, CAUSES)]


def _known(text: str, names: tuple[str, ...]) -> str:
    return text if text in names else OTHER
