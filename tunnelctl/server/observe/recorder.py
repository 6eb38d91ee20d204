"""Enters each decision and each end once, for those that report them: the access log, the metrics, and -v."""

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
    """Where each decision and each end is entered, once."""

    def __init__(self, log: AccessLog | None, trace: Trace, verbose: bool = False, metrics: Metrics | None = None) -> None:
        """verbose: trace each decision and end"""
        self.log, self.metrics, self._trace, self._verbose = log, metrics, trace, verbose
        self.open: dict[str, Account] = {}  # the tunnels that are open now, by id

    @property
    def lost(self) -> int:
        """Records that the access log has dropped since this process began."""
        return self.log.dropped if self.log is not None else 0

    def decided(self, account: Account, status: int, error: str, details: str = "") -> None:
        """Enters the answer to a request: 200, or the status, error type and details of a refusal."""
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
        if status == 200:  # told, and of no more use: what is kept is kept for each of thousands
            account.phases.clear()
            account.local = ""

    def ended(self, account: Account, outcome: Outcome, idle: float | None = None) -> None:
        """The end of a tunnel that was granted. idle: seconds since its last byte, None where that is not known"""
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
