"""The state of each process in `top`: its last responses, and the rates between two of them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from tunnelctl.cli.render.instances import Listed
from tunnelctl.control.snapshot import Recent, Status, Tunnels

NOT_RUNNING = "not running"


class Answer(NamedTuple):
    """The responses of a process to one poll.

    when: seconds on the monotonic clock
    trouble: why it said nothing; "" if it answered
    recent: None if it was not asked
    """

    name: str
    when: float
    trouble: str = ""
    status: Status | None = None
    tunnels: Tunnels | None = None
    recent: Recent | None = None


class Process(NamedTuple):
    """A process that is followed.

    answer: its last one that was no trouble, or an empty one
    trouble: why the latest look brought nothing; "" if it brought an answer
    sent_rate, received_rate: bytes a second between the last two answers; None if there is only one
    """

    name: str
    answer: Answer
    trouble: str = ""
    sent_rate: float | None = None
    received_rate: float | None = None


Processes = Mapping[str, Process]  # by name


def listen_to(processes: Processes, answer: Answer) -> Processes:
    """Returns the processes after an answer of one of them."""
    before = processes.get(answer.name)
    return {**processes, answer.name: _after(before or Process(answer.name, Answer(answer.name, answer.when)), answer)}


def _after(before: Process, answer: Answer) -> Process:
    if answer.trouble:
        return before._replace(trouble=answer.trouble, sent_rate=None, received_rate=None)
    old, new = before.answer.status, answer.status
    if answer.recent is None:
        answer = answer._replace(recent=before.answer.recent)
    if old is None or new is None or old.pid != new.pid or new.now <= old.now:
        return Process(answer.name, answer)
    seconds = new.now - old.now
    return Process(answer.name, answer, "", (new.sent - old.sent) / seconds, (new.received - old.received) / seconds)


def only(processes: Processes, running: Iterable[str], wanted: Sequence[str]) -> Processes:
    """Returns the processes that still run. wanted: those that are shown even if they do not, in this order; with none, all are"""
    names = [*wanted] if wanted else sorted(running)
    there = set(running)
    kept = {name: processes.get(name) or Process(name, Answer(name, 0.0)) for name in names}
    return {name: process if name in there else _gone(name) for name, process in kept.items()}


def _gone(name: str) -> Process:
    return Process(name, Answer(name, 0.0), NOT_RUNNING)


def listed(process: Process, now: float) -> Listed:
    """Returns a process as the list shows it. now: seconds on the monotonic clock"""
    trouble = process.trouble
    silent = process.answer.tunnels.silent_workers if process.answer.tunnels is not None else 0
    if trouble and process.answer.status is not None:
        trouble += f"; last answer {now - process.answer.when:.0f} s ago"
    elif silent and not trouble:
        trouble = f"{silent} of its workers do not answer"
    return Listed(process.name, process.answer.status, trouble, process.sent_rate, process.received_rate)
