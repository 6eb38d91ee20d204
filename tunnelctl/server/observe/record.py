"""The record of one tunnel: its facts, as far as they are known."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import Protocol

from tunnelctl.server.policy.inspection import FirstBytes
from tunnelctl.stream.relay import Outcome


class Moving(Protocol):
    """The source of the byte counts of a tunnel."""

    @property
    def idle(self) -> float | None:
        """Seconds since the last byte; None without a limit."""
        ...


class TunnelRecord:
    """The facts of one request and its tunnel; each is empty until it is known.

    `phase` is the current one: "tls", "head", "auth", "dns", "connect", "answer", "tunnel". `phases` has the completed ones, each
    with its duration in seconds.
    """

    __slots__ = (
        "address", "client", "connection", "local", "method", "moved", "opened", "phase", "phases", "relay", "reports", "rule",
        "seen", "since", "target", "tunnel", "user",
    )  # fmt: skip

    def __init__(self, connection: str, tunnel: str, client: str) -> None:
        """connection, tunnel: their ids, which join the records; client: address and port"""
        self.connection, self.tunnel, self.client = connection, tunnel, client
        self.user = self.method = self.target = self.rule = ""
        self.address = self.local = ""  # the two ends of the connection to the target
        self.phase, self.since = "head", monotonic()
        self.phases: list[tuple[str, float]] = []
        self.reports: tuple[str, ...] = ()  # the report rules that would have refused it
        self.seen: FirstBytes | None = None  # what the tunnel carries, if a rule required an inspection
        self.opened = 0.0  # when the tunnel was granted
        self.moved: Sequence[int] = (0, 0)  # bytes from client to target, and back
        self.relay: Moving | None = None  # while it moves bytes

    def enter(self, phase: str) -> None:
        """Begins the next phase."""
        now = monotonic()
        self.phases.append((self.phase, now - self.since))
        self.phase, self.since = phase, now


DRAINED = Outcome(0, 0, "", "drained", None)  # ended from outside, because this process stops
LIFETIME = DRAINED._replace(cause="lifetime")
CUT = DRAINED._replace(cause="cut")  # a rule ended it
GONE = DRAINED._replace(ended_by="left", cause="gone")  # the client left before it had its response

# The status, in records and metrics, of a request whose client left before any decision: no response is sent. nginx's number.
CLIENT_LEFT = 499
