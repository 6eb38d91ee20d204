"""Records each decision and each end once, for the access log, the metrics, and -v."""

from __future__ import annotations

from time import monotonic

from tunnelctl.server.observe.access_log import AccessLog
from tunnelctl.server.observe.record import SIDES, Account
from tunnelctl.stream.relay import Outcome
from tunnelctl.trace import Trace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tunnelctl.server.observe.metrics import Metrics


class Books:
    """The one place where each decision and each end is recorded."""

    def __init__(self, log: AccessLog | None, trace: Trace, verbose: bool = False, metrics: Metrics | None = None) -> None:
        """verbose: trace each decision and end"""
        self.log, self.metrics, self._trace, self._verbose = log, metrics, trace, verbose
        self.open: dict[str, Account] = {}  # the open tunnels, by id

    @property
    def lost(self) -> int:
        """Records that the access log has dropped since this process began."""
        return self.log.dropped if self.log is not None else 0

    def decided(self, account: Account, status: int, error: str, details: str = "") -> None:
        """Records the response to a request: 200, or the status, error type and details of a refusal."""
        account.enter("answer")
        if status == 200:
            account.opened = account.since
            self.open[account.id] = account
        if self.log is not None:
            self.log.decision(account, status, error, details)
        if self.metrics is not None:
            self.metrics.decided(account, status, error)
        if self._verbose:
            who = {"client": account.client, "user": account.user, "target": account.target}
            said = {"address": account.address, "status": status, "rule": account.rule, "error": error, "details": details}
            self._trace("decision", **who, **said, reports=list(account.reports))
        if status == 200:  # reported, and no longer needed: otherwise each of thousands of tunnels would keep it
            account.phases.clear()
            account.local = ""

    def ended(self, account: Account, outcome: Outcome, idle: float | None = None) -> None:
        """Records the end of a tunnel that was granted. idle: seconds since its last byte, None if unknown"""
        del self.open[account.id]
        side, seconds = SIDES[outcome.ended_by], monotonic() - account.opened
        if self.log is not None:
            self.log.end(account, seconds, idle, side, outcome.cause, outcome.error)
        if self.metrics is not None:
            self.metrics.ended(account, outcome)
        if self._verbose and account.seen is not None:
            seen = account.seen
            found = {"seen": seen.what, "sni": seen.name, "cut_by": seen.cut_by, "reports": list(seen.reports)}
            self._trace("inspected", client=account.client, target=account.target, **found)
        if self._verbose:
            sent, received = account.moved
            what = {"client": account.client, "target": account.target, "sent": sent, "received": received, "seconds": seconds}
            self._trace("closed", **what, ended_by=side, cause=outcome.cause)
