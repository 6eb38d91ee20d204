"""What there is to tell of one connection, and those who are told: the access log, the metrics, and what -v shows."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

from tunnelctl.server.observe.access_log import AccessLog
from tunnelctl.server.policy.inspection import Seen
from tunnelctl.stream.relay import Outcome
from tunnelctl.trace import Trace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tunnelctl.server.observe.metrics import Metrics


class Account:
    """The facts of one connection, as far as they are known; empty until then.

    `phase` is where it stands: "tls", "head", "login", "lookup", "dial", "answer", "tunnel". `phases` has those behind it, each
    with the seconds that it took.
    """

    __slots__ = (
        "address", "client", "id", "local", "moved", "opened", "phase", "phases", "reports", "rule", "seen", "since", "target",
        "user",
    )  # fmt: skip

    def __init__(self, session: str, client: str) -> None:
        """session: what joins its records; client: address and port"""
        self.id, self.client = session, client
        self.user = self.target = self.rule = ""
        self.address = self.local = ""  # the two ends of the connection to the target
        self.phase, self.since = "head", monotonic()
        self.phases: list[tuple[str, float]] = []
        self.reports: tuple[str, ...] = ()  # the report rules that would have refused it
        self.seen: Seen | None = None  # what the tunnel carries, where a rule asked for that
        self.opened = 0.0  # when the tunnel was granted
        self.moved: Sequence[int] = (0, 0)  # bytes from client to target, and back

    def enter(self, phase: str) -> None:
        """The next phase begins."""
        now = monotonic()
        self.phases.append((self.phase, now - self.since))
        self.phase, self.since = phase, now


SIDES = {"left": "client", "right": "target", "": "proxy"}
DRAINED = Outcome(0, 0, "", "drained", None)  # ended from outside, because this process ends
LIFETIME = DRAINED._replace(cause="lifetime")
CUT = DRAINED._replace(cause="cut")  # a rule ended it
GONE = DRAINED._replace(ended_by="left", cause="gone")  # the client left before it had its answer

# In records and metrics, the status of a request whose client left before anything was decided: it is sent none. nginx's number.
CLIENT_LEFT = 499


class Books:
    """Where each decision and each end is entered, once."""

    def __init__(self, log: AccessLog | None, trace: Trace, verbose: bool = False, metrics: Metrics | None = None) -> None:
        """verbose: trace each decision and end"""
        self.log, self.metrics, self._trace, self._verbose = log, metrics, trace, verbose
        self.open: dict[str, Account] = {}  # the tunnels that are open now, by id

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
