"""Records of tunnels that go on: every so many seconds, or bytes. A crash, or a month, must not keep a long one out of the log."""

from collections.abc import Mapping
from math import inf
from time import monotonic

from tunnelctl.server.observe.access_log import AccessLog
from tunnelctl.server.observe.record import Account


class Interim:
    """Looks at the open tunnels now and then, and has those written that are due."""

    def __init__(self, log: AccessLog, accounts: Mapping[str, Account], seconds: float, size: int) -> None:
        """seconds, size: what must have passed, or moved in both directions together, since the last record; 0 is off"""
        self._log, self._accounts = log, accounts
        self._seconds, self._size = seconds or inf, size or inf
        self._noted: dict[str, tuple[float, int]] = {}  # of each tunnel seen before: when its last record was, and its bytes then

    def look(self) -> None:
        """Writes a record of each tunnel that is due."""
        now, noted = monotonic(), self._noted
        self._noted = {}
        for session, account in self._accounts.items():
            moved = sum(account.moved)
            when, before = noted.get(session, (account.opened, 0))
            if now - when >= self._seconds or moved - before >= self._size:
                self._log.open(account, now - account.opened)
                when, before = now, moved
            self._noted[session] = when, before
