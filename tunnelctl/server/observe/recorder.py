"""Records each decision and each end once, for the access log, the metrics, and -v."""

from __future__ import annotations

from time import monotonic

from tunnelctl.server.observe.access_log import AccessLog
from tunnelctl.server.observe.record import SIDES, TunnelRecord
from tunnelctl.stream.relay import Outcome
from tunnelctl.trace import Trace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tunnelctl.server.observe.metrics import Metrics


class Recorder:
    """The one place where each decision and each end is recorded."""

    def __init__(self, log: AccessLog | None, trace: Trace, verbose: bool = False, metrics: Metrics | None = None) -> None:
        """verbose: trace each decision and end"""
        self.log, self.metrics, self._trace, self._verbose = log, metrics, trace, verbose
        self.open: dict[str, TunnelRecord] = {}  # the open tunnels, by id

    @property
    def lost(self) -> int:
        """Records that the access log has dropped since this process began."""
        return self.log.dropped if self.log is not None else 0

    def on_decision(self, record: TunnelRecord, status: int, error: str, details: str = "") -> None:
        """Records the response to a request: 200, or the status, error type and details of a refusal."""
        record.enter("answer")
        if status == 200:
            record.opened = record.since
            self.open[record.id] = record
        if self.log is not None:
            self.log.decision(record, status, error, details)
        if self.metrics is not None:
            self.metrics.on_decision(record, status, error)
        if self._verbose:
            who = {"client": record.client, "user": record.user, "target": record.target}
            said = {"address": record.address, "status": status, "rule": record.rule, "error": error, "details": details}
            self._trace("decision", **who, **said, reports=list(record.reports))
        if status == 200:  # reported, and no longer needed: otherwise each of thousands of tunnels would keep it
            record.phases.clear()
            record.local = ""

    def on_end(self, record: TunnelRecord, outcome: Outcome, idle: float | None = None) -> None:
        """Records the end of a tunnel that was granted. idle: seconds since its last byte, None if unknown"""
        del self.open[record.id]
        side, seconds = SIDES[outcome.ended_by], monotonic() - record.opened
        if self.log is not None:
            self.log.end(record, seconds, idle, side, outcome.cause, outcome.error)
        if self.metrics is not None:
            self.metrics.on_end(record, outcome)
        if self._verbose and record.seen is not None:
            seen = record.seen
            found = {"seen": seen.what, "sni": seen.name, "cut_by": seen.cut_by, "reports": list(seen.reports)}
            self._trace("inspected", client=record.client, target=record.target, **found)
        if self._verbose:
            sent, received = record.moved
            what = {"client": record.client, "target": record.target, "sent": sent, "received": received, "seconds": seconds}
            self._trace("closed", **what, ended_by=side, cause=outcome.cause)
