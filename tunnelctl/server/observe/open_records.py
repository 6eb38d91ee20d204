"""Records of open tunnels, at intervals of time or bytes, so that a long one is in the log before its end, even after a crash."""

from collections.abc import Mapping
from math import inf
from time import monotonic

from tunnelctl.server.observe.access_log import AccessLog
from tunnelctl.server.observe.record import TunnelRecord


class OpenTunnelReporter:
    """Checks the open tunnels, and writes the records that are due."""

    def __init__(self, log: AccessLog, accounts: Mapping[str, TunnelRecord], seconds: float, size: int) -> None:
        """seconds, size: the time, or the bytes in both directions together, after which a tunnel's next record is due; 0 is off"""
        self._log, self._accounts = log, accounts
        self._seconds, self._size = seconds or inf, size or inf
        self._noted: dict[str, tuple[float, int]] = {}  # for each tunnel seen before: time and bytes at its last record

    def tick(self) -> None:
        """Writes a record of each tunnel that is due."""
        now, noted = monotonic(), self._noted
        self._noted = {}
        for session, record in self._accounts.items():
            moved = sum(record.moved)
            when, before = noted.get(session, (record.opened, 0))
            if now - when >= self._seconds or moved - before >= self._size:
                self._log.interim(record, now - record.opened)
                when, before = now, moved
            self._noted[session] = when, before
