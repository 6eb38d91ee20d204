"""The status of `serve`. With several workers, the one that serves the request collects the responses of all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Coroutine
from time import monotonic, time
from typing import Any, NamedTuple

from tunnelctl import __version__
from tunnelctl.control.journal import Journal
from tunnelctl.control.rates import Rate, Rates
from tunnelctl.control.slices import in_slices
from tunnelctl.control.snapshot import (
    CertificateFacts,
    ListenerFacts,
    Recent,
    RefusalCount,
    RuleCount,
    Status,
    TunnelFacts,
    Tunnels,
    WorkerFacts,
    recent_from,
    to_json,
)
from tunnelctl.server.observe.activity import LAST, Activity
from tunnelctl.server.observe.record import TunnelRecord
from tunnelctl.server.observe.recorder import Recorder
from tunnelctl.server.process.worker_ipc import WorkerQueries
from tunnelctl.stream.accept import ConnectionCount

DAY = 86400  # seconds
STATUS, TUNNELS, RECENT = b"s", b"t", b"r"  # what a worker asks the others for


class Program(NamedTuple):
    """The facts about the program that do not change. started: seconds since 1970"""

    name: str
    pid: int
    started: float
    listeners: list[ListenerFacts]
    route: list[str]


class _Sums(NamedTuple):
    """The numbers of one worker."""

    number: int
    pid: int
    connections: int
    tunnels: int
    sent: int
    received: int


class ServerOverview:
    """The overview of one process, whose number is `me`."""

    def __init__(
        self,
        program: Program,
        counts: ConnectionCount,
        recorder: Recorder,
        activity: Activity,
        journal: Journal,
        queries: WorkerQueries,
        me: int,
        silence: Callable[[int], float],
        certificate: Callable[[], float | None] = lambda: None,
    ) -> None:
        """
        silence: the seconds since the loop of a worker last turned
        certificate: until when the certificate of the server is valid; None without TLS
        """
        self._certificate = certificate
        self._program, self._counts, self._recorder, self._activity = program, counts, recorder, activity
        self._journal, self._queries, self._me, self._silence = journal, queries, me, silence
        self._rates = Rates()

    def helpers(self) -> list[Callable[[], Coroutine[None, None, None]]]:
        """Returns the tasks that the others depend on."""
        if not self._queries.count:
            return []
        return [lambda: self._queries.answer(self._me, self._answer, self._journal)]

    async def status(self) -> Status:
        workers = sorted([self._sums(), *(_Sums(*answer) for answer in await self._ask(STATUS) if answer is not None)])
        program, journal = self._program, self._journal
        return Status(
            command="serve",
            name=program.name,
            pid=program.pid,
            version=__version__,
            started=program.started,
            now=time(),
            listeners=program.listeners,
            route=program.route,
            draining=self._counts.draining.is_set(),
            connections=sum(one.connections for one in workers),
            tunnels=sum(one.tunnels for one in workers),
            sent=sum(one.sent for one in workers),
            received=sum(one.received for one in workers),
            workers=[WorkerFacts(one.number, one.pid, self._silence(one.number)) for one in workers if self._queries.count],
            certificate=_certificate(self._certificate(), time()),
            reloads=journal.reloads,
            warnings=journal.warnings,
        )

    async def tunnels(self) -> Tunnels:
        found = await self._tunnels()
        answers = await self._queries.ask(self._me, TUNNELS)
        lines = [line for answer in answers if answer is not None for line in answer.splitlines()]
        return Tunnels(found + await in_slices(lambda line: TunnelFacts(*json.loads(line)), lines), answers.count(None))

    async def recent(self) -> Recent:
        answers = await self._ask(RECENT)
        known = [self._recent(), *(recent_from(answer) for answer in answers if answer is not None)]
        return merged(known)._replace(silent_workers=answers.count(None))

    async def _answer(self, question: bytes) -> bytes:
        """Answers another worker. The tunnels are lines, so that their reader can do something else between two of them."""
        if question == TUNNELS:
            return b"\n".join(await in_slices(_dumped, await self._tunnels()))
        return _dumped(self._sums() if question == STATUS else to_json(self._recent()))

    async def _ask(self, question: bytes) -> list[Any]:
        return [None if answer is None else json.loads(answer) for answer in await self._queries.ask(self._me, question)]

    def _recent(self) -> Recent:
        tally = self._recorder.tally
        return self._activity.recent()._replace(rules=[] if tally is None else tally.counts())

    def _sums(self) -> _Sums:
        moved = [*map(sum, zip(self._activity.moved, *(record.moved for record in self._recorder.open.values()), strict=False))]
        open_ = len(self._recorder.open) + len(self._activity.opening)
        return _Sums(self._me, os.getpid(), self._counts.connections, open_, moved[0], moved[1])

    async def _tunnels(self) -> list[TunnelFacts]:
        now, open_ = monotonic(), self._recorder.open
        rates = self._rates.look({name: (record.moved[0], record.moved[1]) for name, record in open_.items()})
        opening = [_facts(record, _age(record, now), Rate()) for record in self._activity.opening.values()]
        granted = await in_slices(lambda one: _facts(one[1], now - one[1].opened, rates[one[0]]), list(open_.items()))
        return granted + opening


def merged(several: list[Recent]) -> Recent:
    """Merges what several workers say."""
    counts: dict[tuple[int, str, str], RefusalCount] = {}
    for one in (count for recent in several for count in recent.refusals):
        key = one.status, one.error, one.rule
        before = counts.get(key, one._replace(number=0))
        counts[key] = one._replace(number=before.number + one.number, last=max(before.last, one.last))
    rules: dict[str, RuleCount] = {}
    for rule in (rule for recent in several for rule in recent.rules):
        sums = rules.get(rule.rule, RuleCount(rule.rule, 0, 0))
        rules[rule.rule] = RuleCount(rule.rule, sums.granted + rule.granted, sums.refused + rule.refused)
    return Recent(
        sorted((one for recent in several for one in recent.ended), key=lambda one: one.when)[-LAST:],
        sorted((one for recent in several for one in recent.refused), key=lambda one: one.when)[-LAST:],
        list(counts.values()),
        list(rules.values()),
        sum(recent.failed_logins for recent in several),
        0,
    )


def _certificate(ends: float | None, now: float) -> CertificateFacts | None:
    return None if ends is None else CertificateFacts(ends, int((ends - now) // DAY))


def _facts(record: TunnelRecord, seconds: float, rate: Rate) -> TunnelFacts:
    idle = None if record.relay is None else record.relay.idle
    return TunnelFacts(
        connection=record.connection,
        tunnel=record.tunnel,
        client=record.client,
        user=record.user,
        target=record.target,
        address=record.address,
        phase=record.phase,
        seconds=round(seconds, 3),
        sent=record.moved[0],
        received=record.moved[1],
        idle=rate.idle if idle is None else round(idle, 3),
        sent_rate=rate.sent,
        received_rate=rate.received,
        method=record.method,
    )


def _age(record: TunnelRecord, now: float) -> float:
    """Returns the seconds since the request."""
    return now - record.since + sum(seconds for _, seconds in record.phases)


def _dumped(content: object) -> bytes:
    return json.dumps(content).encode()
