"""Events of `check`, in the order in which it reports them."""

from __future__ import annotations

from tunnelctl.events import Event
from tunnelctl.rare_events import Ignored


class Setting(Event):
    """With -v: a flag that something has set, and what did.

    name: of the flag
    origin: what has set it
    """

    name: str
    origin: str


class Waiting(Event):
    """A try of --wait has failed, and another one follows.

    cause: why it failed
    """

    cause: str


class Phase(Event):
    """A part of opening the tunnel.

    name: `route` (the choice of the proxies), `dns`, `connect`, `tls`, or `proxy` (asking one, a login included)
    detail: what came of it
    begin: seconds since the attempt began
    seconds: how long it took
    ok: whether it went well
    chain: for `tls` the names from the certificate up to the authority that vouches for it, if it was verified; else empty
    """

    name: str
    detail: str
    begin: float
    seconds: float
    ok: bool = True
    chain: tuple[str, ...] = ()


class HTTP2(Event):
    """The capabilities of the nearest proxy over HTTP/2, measured on a separate connection.

    offered: whether it speaks HTTP/2
    connects: whether it opened the tunnel there too; null if it was not asked
    streams: the tunnels that it allows on one connection; null if it sets no limit
    window: the bytes that it takes at first without acknowledging them
    frame: the largest frame that it accepts, in bytes
    round_trip: seconds to the proxy and back
    limit: the speed of one upload in Mbit/s that this window allows at that round trip; null if that is unknown
    seconds: how long opening a tunnel took on that connection
    cause: why HTTP/2 is not offered, or why no tunnel was opened in it; empty if one was
    """

    offered: bool
    connects: bool | None = None
    streams: int | None = None
    window: int = 0
    frame: int = 0
    round_trip: float = 0.0
    limit: float | None = None
    seconds: float = 0.0
    cause: str = ""


class Ends(Event):
    """Whether the ends of a tunnel come through the proxies, tried with a target of our own.

    half_close: whether one direction can end before the other; null if it is not known
    reset: whether a reset by the target arrives as a reset; null if it is not known
    cause: why it is not known; or empty
    """

    half_close: bool | None
    reset: bool | None
    cause: str


class Greeting(Event):
    """The target spoke first.

    text: the first bytes
    seconds: how long they took
    """

    text: bytes
    seconds: float


class Idle(Event):
    """With --idle: nothing moved in the tunnel.

    ok: whether it survived
    seconds: how long
    cause: why it did not; or empty
    """

    ok: bool
    seconds: float
    cause: str


class Certificate(Event):
    """With --tls: what the target showed.

    subject: of the certificate
    issuer: of the certificate
    expires: the end of its validity
    sha256: its fingerprint
    pin: the pin of its key
    trusted: whether it is trusted here
    public: whether browsers trust it
    direct: `same`, `other` or `unknown`: whether it is the same without the proxy
    expected: whether it is the one of --expect; null without
    """

    subject: str
    issuer: str
    expires: str
    sha256: str
    pin: str
    trusted: bool
    public: bool
    direct: str
    expected: bool | None


class Reply(Event):
    """With --get: what came of it.

    ok: whether a response arrived
    status: its status code; 0 without one
    line: its status line
    size: bytes of its content
    seconds: how long it took
    cause: why there is none; or empty
    """

    ok: bool
    status: int = 0
    line: str = ""
    size: int = 0
    seconds: float = 0.0
    cause: str = ""


class Address(Event):
    """An address of the first stop was tried by itself.

    address: the address
    ok: whether it accepts connections
    seconds: how long that took
    cause: why it does not; or empty
    """

    address: str
    ok: bool
    seconds: float
    cause: str


class Series(Event):
    """With --count: the times of all attempts, in seconds.

    count: how many were made
    failed: how many of them failed
    times: of those that did not fail
    min: the least; null where all failed, as are the others
    median: half of them took no longer
    p99: 99 of 100 took no longer
    max: the greatest
    """

    count: int
    failed: int
    times: list[float]
    min: float | None
    median: float | None
    p99: float | None
    max: float | None


class Attempt(Event):
    """With --watch: one attempt, without the phases that it went through.

    number: of the attempt, from 1
    ok: whether it opened a tunnel
    seconds: how long it took
    cause: why it did not; or empty
    """

    number: int
    ok: bool
    seconds: float
    cause: str


class Statistics(Event):
    """With --watch, at the end: the times of one phase over all attempts that came to it, in seconds.

    name: of the phase, or `tunnel` for whole attempts; a later one of the same name in an attempt has its number, as in `proxy 2`
    count: how often it began
    failed: how often it failed
    last: the time of the last one that did not fail; null where all failed, as are the others
    best: the least
    average: the mean
    worst: the greatest
    """

    name: str
    count: int
    failed: int
    last: float | None
    best: float | None
    average: float | None
    worst: float | None


class Interrupted(Event):
    """A signal such as Ctrl-C ended the command. What was found until then is reported, and the last object follows.

    phase: what was waited for: a phase, or the name of a further check
    text: the same in more words
    seconds: how long it had been waited for
    """

    phase: str
    text: str
    seconds: float


class Failure(Event):
    """The error that `connect` would end with.

    exit_status: the exit status
    what: what failed
    cause: why
    """

    exit_status: int
    what: str
    cause: str


class Finding(Event):
    """An explanation.

    name: one of those below
    text: a sentence
    hint: a next step; or empty
    """

    name: str
    text: str
    hint: str


class Verdict(Event):
    """The last object.

    ok: whether the path works and is what was expected
    exit_status: the exit status
    target: host and port
    via: the proxies
    seconds: how long opening the tunnel took
    """

    ok: bool
    exit_status: int
    target: str
    via: list[str]
    seconds: float


CHECK = (
    Ignored, Setting, Waiting, Phase, HTTP2, Ends, Greeting, Idle, Certificate, Reply, Address, Series, Attempt, Statistics,
    Interrupted, Failure, Finding, Verdict,
)  # fmt: skip
