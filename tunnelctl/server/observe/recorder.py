"""Records each decision and each end once, for the access log, the metrics, and -v."""

from __future__ import annotations

from time import monotonic

from tunnelctl.events import SIDES, Trace
from tunnelctl.server import events
from tunnelctl.server.observe.access_log import AccessLog, system_name
from tunnelctl.server.observe.record import TunnelRecord
from tunnelctl.stream.relay import Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tunnelctl.server.observe.activity import Activity
    from tunnelctl.server.observe.metrics import Metrics
    from tunnelctl.server.observe.tally import RuleTally


class Recorder:
    """Records each decision and each end, once and only here."""

    def __init__(
        self,
        log: AccessLog | None,
        trace: Trace,
        verbose: bool = False,
        metrics: Metrics | None = None,
        activity: Activity | None = None,
        tally: RuleTally | None = None,
    ) -> None:
        """verbose: trace each decision and end"""
        self.log, self._trace, self._verbose = log, trace, verbose
        self.metrics, self.activity, self.tally = metrics, activity, tally
        self.open: dict[str, TunnelRecord] = {}  # the open tunnels, by id

    @property
    def lost(self) -> int:
        """Records that the access log has dropped since this process began."""
        return self.log.dropped if self.log is not None else 0

    def on_request(self, record: TunnelRecord) -> None:
        """Notes a request that is being decided. `on_decision` has to follow."""
        if self.activity is not None:
            self.activity.opening[record.tunnel] = record

    def forget(self, record: TunnelRecord) -> None:
        """Drops a request that ended without a decision, because of a fault of ours."""
        if self.activity is not None:
            self.activity.opening.pop(record.tunnel, None)

    def on_decision(self, record: TunnelRecord, status: int, error: str, details: str = "") -> None:
        """Records the response to a request: 200, or the status, error type and details of a refusal."""
        record.enter("answer")
        if status == 200:
            self.open[record.tunnel] = record
        if self.log is not None:
            if status == 200:
                self.log.opened(record, status)
            else:
                self.log.refused(record, status, error, details)
        if self.metrics is not None:
            self.metrics.on_decision(record, status, error, details)
        if self.tally is not None:
            self.tally.on_decision(record, status)
        if self.activity is not None:
            self.activity.opening.pop(record.tunnel, None)
            if status != 200:
                self.activity.on_refusal(record, status, error, details)
        if self._verbose:
            self._trace(_opened(record, status) if status == 200 else _refused(record, status, error, details))
        if status == 200:  # reported, and no longer needed: otherwise each of thousands of tunnels would keep it
            record.phases.clear()
            record.local = ""

    def on_end(self, record: TunnelRecord, outcome: Outcome, idle: float | None = None) -> None:
        """Records the end of a tunnel that was granted. idle: seconds since its last byte, None if unknown"""
        del self.open[record.tunnel]
        seconds = monotonic() - record.opened
        if self.log is not None:
            self.log.closed(record, seconds, idle, outcome)
        if self.metrics is not None:
            self.metrics.on_end(record, outcome)
        if self.tally is not None:
            self.tally.on_end(record)
        record.relay = None
        if self.activity is not None:
            self.activity.on_end(record, seconds, outcome)
        if self._verbose:
            self._trace(_closed(record, seconds, idle, outcome))


def _who(record: TunnelRecord) -> tuple[str, str, str, str, str, str]:
    return record.connection, record.tunnel, record.client, record.user, record.method, record.target


def _opened(record: TunnelRecord, status: int) -> events.Opened:
    ends = record.address, record.local
    return events.Opened(*_who(record), *ends, status, record.rule, list(record.reports), dict(record.phases))


def _refused(record: TunnelRecord, status: int, error: str, details: str) -> events.Refused:
    reports, phases = list(record.reports), dict(record.phases)
    return events.Refused(*_who(record), status, record.rule, reports, error, details, record.phases[-1][0], phases)


def _closed(record: TunnelRecord, seconds: float, idle: float | None, outcome: Outcome) -> events.Closed:
    moved, error = (record.moved[0], record.moved[1]), system_name(outcome.error)
    seen = record.seen
    found = (seen.what, seen.name, seen.cut_by, list(seen.reports)) if seen is not None else (None, None, None, None)
    return events.Closed(*_who(record), seconds, *moved, idle, SIDES[outcome.ended_by], outcome.cause, error, record.phase, *found)
