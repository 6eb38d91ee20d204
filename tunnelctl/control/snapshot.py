"""The status of a running `forward`, `run` or `serve`. The names of the fields are the keys of its JSON.

    GET /status     Status
        /tunnels    Tunnels
        /recent     Recent

Times of day are seconds since 1970; durations are in seconds. All of it is a copy of one moment. The texts come from clients and
files, so whoever prints them has to escape them.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class ListenerFacts(NamedTuple):
    """A listener.

    address: address and port, or unix:PATH
    target: the target that it leads to; empty if its clients choose one
    """

    address: str
    target: str = ""


class WorkerFacts(NamedTuple):
    """A process of `serve --workers`.

    number: counted from 0
    pid: its process id
    silence: the seconds since its event loop last turned
    """

    number: int
    pid: int
    silence: float


class CertificateFacts(NamedTuple):
    """The certificate of the server.

    ends: until when it is valid
    days: the days that this leaves; below 0 if it has expired
    """

    ends: float
    days: int


class Note(NamedTuple):
    """A reload, a warning or a failure.

    when: the time
    text: what happened
    """

    when: float
    text: str


class Status(NamedTuple):
    """One running program.

    command: `forward`, `run` or `serve`
    name: the name of its control socket
    pid: its process id
    version: of tunnelctl
    started: when it began
    now: the time of this answer
    listeners: where it listens, and where that leads
    route: the proxies that its tunnels pass, nearest first, without passwords; with commas between those that are alternatives
    draining: whether it accepts nothing more
    connections: the open connections of clients
    tunnels: those that are open or being opened
    sent: bytes from clients to targets since the start, in tunnels that have ended too
    received: bytes in the other direction
    workers: its processes; empty if it is only one
    certificate: that of the server; null without TLS
    reloads: the last reloads of its files, the newest last
    warnings: its last warnings, the newest last
    last_failure: the last tunnel that `forward` or `run` could not open, and why; null if there was none
    """

    command: str
    name: str
    pid: int
    version: str
    started: float
    now: float
    listeners: list[ListenerFacts]
    route: list[str]
    draining: bool
    connections: int
    tunnels: int
    sent: int
    received: int
    workers: list[WorkerFacts]
    certificate: CertificateFacts | None
    reloads: list[Note]
    warnings: list[Note]
    last_failure: Note | None = None


class TunnelFacts(NamedTuple):
    """A tunnel that is open or being opened.

    connection, tunnel: their ids, as in the access log; client: address and port; user: "" without a login
    address: the address that was dialled, or the proxies that the tunnel passes; "" if not known yet
    phase: the part of its opening that goes on (`opening`, if it is not known which), or `tunnel`
    seconds: its age; sent, received: bytes; idle: seconds without a byte; None if not known yet
    sent_rate, received_rate: bytes a second since the last look; None at the first
    method: of its request; "" if it is not known
    """

    connection: str
    tunnel: str
    client: str
    user: str
    target: str
    address: str
    phase: str
    seconds: float
    sent: int
    received: int
    idle: float | None
    sent_rate: float | None
    received_rate: float | None
    method: str = ""


class Tunnels(NamedTuple):
    """All tunnels, and the number of workers that did not answer, whose tunnels are missing."""

    tunnels: list[TunnelFacts]
    silent_workers: int


class EndedFacts(NamedTuple):
    """A tunnel that has ended. closed_by, cause, error: as in the access log"""

    when: float
    client: str
    user: str
    target: str
    seconds: float
    sent: int
    received: int
    closed_by: str
    cause: str
    error: str


class RefusedFacts(NamedTuple):
    """A request that was refused, or that failed; not one that only lacked a login, as the first of most clients does.

    status, error, rule, details: as the client was told; 0 and "" if not known
    """

    when: float
    client: str
    user: str
    target: str
    status: int
    error: str
    rule: str
    details: str


class RefusalCount(NamedTuple):
    """The number of requests refused for one reason, and the time of the last one. rule: the rule that decided; "" if none did"""

    status: int
    error: str
    rule: str
    number: int
    last: float


class RuleCount(NamedTuple):
    """The numbers of tunnels that a rule has granted and refused."""

    rule: str
    granted: int
    refused: int


class Recent(NamedTuple):
    """Ended tunnels and refused requests: the most recent ones, newest last, and counts since the start."""

    ended: list[EndedFacts]
    refused: list[RefusedFacts]
    refusals: list[RefusalCount]
    rules: list[RuleCount]
    failed_logins: int
    silent_workers: int


def to_json(facts: object) -> Any:
    """Converts a record to what the json module can write."""
    if isinstance(facts, (TunnelFacts, EndedFacts, RefusedFacts)):  # there may be thousands, and nothing in them is a record
        return facts._asdict()
    if isinstance(facts, tuple) and hasattr(facts, "_asdict"):
        return {key: to_json(value) for key, value in facts._asdict().items()}
    if isinstance(facts, (list, tuple)):
        return [to_json(value) for value in facts]
    return facts


def status_from(answer: dict[str, Any]) -> Status:
    """Reads the answer of /status. Raises TypeError or KeyError if it is none."""
    certificate, failure = answer["certificate"], answer["last_failure"]
    lists = {
        "listeners": [ListenerFacts(**one) for one in answer["listeners"]],
        "workers": [WorkerFacts(**one) for one in answer["workers"]],
        "reloads": [Note(**one) for one in answer["reloads"]],
        "warnings": [Note(**one) for one in answer["warnings"]],
        "certificate": None if certificate is None else CertificateFacts(**certificate),
        "last_failure": None if failure is None else Note(**failure),
    }
    return Status(**{**answer, **lists})


def tunnels_from(answer: dict[str, Any]) -> Tunnels:
    """Reads the answer of /tunnels. Raises TypeError or KeyError if it is none."""
    return Tunnels([TunnelFacts(**one) for one in answer["tunnels"]], answer["silent_workers"])


def recent_from(answer: dict[str, Any]) -> Recent:
    """Reads the answer of /recent. Raises TypeError or KeyError if it is none."""
    return Recent(
        [EndedFacts(**one) for one in answer["ended"]],
        [RefusedFacts(**one) for one in answer["refused"]],
        [RefusalCount(**one) for one in answer["refusals"]],
        [RuleCount(**one) for one in answer["rules"]],
        answer["failed_logins"],
        answer["silent_workers"],
    )
