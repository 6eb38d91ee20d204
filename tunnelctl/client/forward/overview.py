"""The status of `forward` and `run`, for their private endpoint."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from time import monotonic, time
from typing import NamedTuple

from tunnelctl import __version__
from tunnelctl.client.forward.events import Closed, Failed
from tunnelctl.client.forward.session import LocalSession, Sessions
from tunnelctl.control.journal import Journal
from tunnelctl.control.rates import Rate, Rates
from tunnelctl.control.slices import in_slices
from tunnelctl.control.snapshot import (
    EndedFacts,
    ListenerFacts,
    Note,
    Recent,
    RefusalCount,
    RefusedFacts,
    Status,
    TunnelFacts,
    Tunnels,
)
from tunnelctl.events import Event, Explained, Trace

LAST = 100  # of each kind
MOST_REASONS = 1000  # error types that proxies have named; each proxy may choose others


class Program(NamedTuple):
    """The facts about the program that do not change. command: forward or run; started: seconds since 1970"""

    command: str
    name: str
    started: float
    listeners: list[ListenerFacts]


class Activity(Journal):
    """A Trace that keeps the last tunnels that ended, the last failures, and their number by reason."""

    def __init__(self, trace: Trace) -> None:
        super().__init__(trace)
        self._ended, self._refused = deque[EndedFacts](maxlen=LAST), deque[RefusedFacts](maxlen=LAST)
        self._reasons: dict[tuple[int, str], RefusalCount] = {}

    def note(self, event: Event, /) -> None:
        """Keeps an event without passing it on."""
        super().note(event)
        told = event.event if isinstance(event, Explained) else event
        if isinstance(told, Closed):
            self._ended.append(_ended(told))
        elif isinstance(told, Failed):
            self._refused.append(refused := _refused(told))
            self._count(refused)

    def _count(self, refused: RefusedFacts) -> None:
        key = refused.status, refused.error
        if key not in self._reasons and len(self._reasons) >= MOST_REASONS:
            key = 0, ""
        before = self._reasons.get(key, RefusalCount(*key, "", 0, 0.0))
        self._reasons[key] = before._replace(number=before.number + 1, last=refused.when)

    @property
    def last_failure(self) -> Note | None:
        """The last failure, in words."""
        if not self._refused:
            return None
        last = self._refused[-1]
        return Note(last.when, f"{last.target}: {last.details}" if last.target else last.details)

    def recent(self, failed_logins: int) -> Recent:
        """Describes all of it."""
        return Recent(list(self._ended), list(self._refused), list(self._reasons.values()), [], failed_logins, 0)


class ForwardOverview:
    """The overview of one `forward` or `run`."""

    def __init__(self, program: Program, sessions: Sessions, activity: Activity, route: Callable[[], list[str]]) -> None:
        """route: returns the proxies that tunnels pass now, as in Status"""
        self._program, self._sessions, self._activity, self._route = program, sessions, activity, route
        self._rates = Rates()

    async def status(self) -> Status:
        """Describes the program and its listeners."""
        program, sessions, activity = self._program, self._sessions, self._activity
        return Status(
            command=program.command,
            name=program.name,
            pid=os.getpid(),
            version=__version__,
            started=program.started,
            now=time(),
            listeners=program.listeners,
            route=self._route(),
            draining=sessions.draining.is_set(),
            connections=sessions.connections - sessions.queries,
            tunnels=len(sessions.open),
            sent=sessions.moved[0],
            received=sessions.moved[1],
            workers=[],
            certificate=None,
            reloads=activity.reloads,
            warnings=activity.warnings,
            last_failure=activity.last_failure,
        )

    async def tunnels(self) -> Tunnels:
        """Lists the tunnels that are open or being opened."""
        open_ = self._sessions.open
        rates = self._rates.look({name: (one.moved[0], one.moved[1]) for name, one in open_.items()})
        now = monotonic()
        return Tunnels(await in_slices(lambda one: _facts(one[1], now, rates[one[0]]), list(open_.items())), 0)

    async def recent(self) -> Recent:
        """Lists what has ended and what has failed."""
        return self._activity.recent(self._sessions.failed_logins)


def _facts(session: LocalSession, now: float, rate: Rate) -> TunnelFacts:
    idle = None if session.relay is None else session.relay.idle
    return TunnelFacts(
        connection=session.id,
        tunnel=session.id,
        client=session.client,
        user=session.user,
        target=session.target,
        address=", ".join(session.via),
        phase=session.phase,
        seconds=round(now - session.begun, 3),
        sent=session.moved[0],
        received=session.moved[1],
        idle=rate.idle if idle is None else round(idle, 3),
        sent_rate=rate.sent,
        received_rate=rate.received,
    )


def _ended(closed: Closed) -> EndedFacts:
    return EndedFacts(
        time(), closed.client, "", closed.target, closed.seconds, closed.sent, closed.received, closed.closed_by, closed.cause, ""
    )


def _refused(failed: Failed) -> RefusedFacts:
    details = f"{failed.what}: {failed.cause}"
    return RefusedFacts(time(), failed.client, "", failed.target, failed.code or 0, failed.error or "", "", details)
