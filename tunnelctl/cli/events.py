"""Events of `selftest`."""

from __future__ import annotations

from typing import Any

from tunnelctl.events import Event


class Start(Event):
    """The program, the system and the proxy under test.

    tunnelctl: its version
    python: the version of the interpreter
    system: name and release
    proxy: where the proxy listens
    """

    tunnelctl: str
    python: str
    system: str
    proxy: str


class Check(Event):
    """A verdict. The keys after `seconds` are there where they apply.

    name: of the check
    title: what is to hold
    ok: whether it does
    seconds: how long it took
    cause: why it does not hold
    request: an object with the keys of the event `request`
    response: an object with the keys of the event `response`
    bytes: how many were moved
    bytes_per_second: how fast
    status: the status code of a refusal
    message: the words of a refusal
    """

    name: str
    title: str
    ok: bool
    seconds: float
    cause: str | None = None
    request: dict[str, Any] | None = None
    response: dict[str, Any] | None = None
    bytes: int | None = None
    bytes_per_second: int | None = None
    status: int | None = None
    message: str | None = None


class Summary(Event):
    """The last object.

    ok: whether all checks held
    held: how many did
    checks: how many were made
    seconds: how long all of them took
    """

    ok: bool
    held: int
    checks: int
    seconds: float


SELFTEST = (Start, Check, Summary)
