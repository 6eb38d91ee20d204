"""Polls the processes, each in its own thread, so that one that hangs delays neither the others nor the screen."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from math import inf
from time import monotonic
from typing import Protocol

from tunnelctl.cli.top.processes import Answer
from tunnelctl.control.snapshot import Recent, Status, Tunnels
from tunnelctl.errors import TunnelctlError

DEADLINE = 1.0  # seconds for all the answers of one process at one look
GRACE = 0.5  # seconds beyond it: a process may send its answer so slowly that the one who reads it never gives up


class Instance(Protocol):
    """A running process: `control.instances` finds them."""

    @property
    def name(self) -> str: ...
    def status(self, seconds: float) -> Status: ...
    def tunnels(self, seconds: float) -> Tunnels: ...
    def recent(self, seconds: float) -> Recent: ...


def ask(instance: Instance, with_recent: bool) -> Answer:
    """Asks one process, within the deadline. An error becomes an answer as well."""
    start = monotonic()

    def left() -> float:
        return max(0.1, round(start + DEADLINE - monotonic(), 1))  # errors show it

    try:
        status, tunnels = instance.status(left()), instance.tunnels(left())
        recent = instance.recent(left()) if with_recent else None
    except TunnelctlError as error:
        return Answer(instance.name, monotonic(), error.cause)
    return Answer(instance.name, monotonic(), "", status, tunnels, recent)


def ask_all(instances: Sequence[Instance], with_recent: bool) -> list[Answer]:
    """Asks all processes at the same time, and returns their answers in the order given."""
    heard = threading.Event()
    poll = Poll(heard.set)
    poll.ask(instances, with_recent)
    answers: dict[str, Answer] = {}
    while len(answers) < len(instances):
        heard.wait(GRACE)
        heard.clear()
        answers.update((answer.name, answer) for answer in poll.answers())
    return [answers[instance.name] for instance in instances]


def _due(asked: float) -> float:
    """When the answer to a question that was asked then is overdue."""
    return asked + DEADLINE + GRACE


class Poll:
    """The questions that are under way. heard: called in a thread after each answer"""

    def __init__(self, heard: Callable[[], object]) -> None:
        self._heard = heard
        self._answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._asked: dict[str, float] = {}  # when each question was asked that has no answer yet

    def ask(self, instances: Iterable[Instance], with_recent: bool) -> None:
        """Asks each process, except those that have not answered the last question yet."""
        for instance in instances:
            if instance.name not in self._asked:
                self._asked[instance.name] = monotonic()
                # A daemon: quitting waits for no answer.
                threading.Thread(target=self._ask, args=(instance, with_recent), daemon=True).start()

    def _ask(self, instance: Instance, with_recent: bool) -> None:
        self._answers.put(ask(instance, with_recent))
        self._heard()

    def due(self) -> float:
        """Returns when the next answer will be overdue, on the monotonic clock; inf if none is awaited, or all are overdue."""
        now = monotonic()
        return min((when for when in map(_due, self._asked.values()) if when >= now), default=inf)

    def answers(self) -> list[Answer]:
        """Returns the answers that have come since the last call, and one for each process whose answer is overdue."""
        found = []
        while not self._answers.empty():
            answer = self._answers.get()
            del self._asked[answer.name]
            found.append(answer)
        now = monotonic()
        late = [name for name, when in self._asked.items() if _due(when) < now]
        return [*found, *(Answer(name, now, f"no answer within {DEADLINE:g} s") for name in late)]
