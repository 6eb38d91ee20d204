"""Events that a machine reports about the octets received."""

from __future__ import annotations

from typing import NamedTuple

from tunnelctl.proto.http2.fields import Rejected, Request, Response


class RequestReceived(NamedTuple):
    """A client requests a tunnel, or something else. `EndReceived` follows if it has already ended its direction."""

    stream: int
    request: Request | Rejected


class ResponseReceived(NamedTuple):
    """A final response. What follows is the tunnel if the status is 2xx, and otherwise the body of a refusal."""

    stream: int
    response: Response


class DataReceived(NamedTuple):
    """Octets of a stream: views of those that the machine was given, in order."""

    stream: int
    pieces: list[memoryview]
    size: int  # octets in all


class EndReceived(NamedTuple):
    """The peer has ended its direction of a stream."""

    stream: int


class ResetReceived(NamedTuple):
    """The peer has reset a stream, or will not serve it (REFUSED_STREAM after its GOAWAY)."""

    stream: int
    code: int


class StreamFailed(NamedTuple):
    """The machine has reset a stream because of the peer's mistake."""

    stream: int
    code: int
    reason: str


class WindowOpened(NamedTuple):
    """The peer accepts more octets: on a stream, or on all of them (0)."""

    stream: int


class SettingsReceived(NamedTuple):
    """The peer has sent or changed its settings: see `Machine.peer`."""


class SettingsAcknowledged(NamedTuple):
    """The peer has acknowledged our settings."""


class PingAcknowledged(NamedTuple):
    """The peer has answered a PING of ours."""

    payload: bytes


class GoAwayReceived(NamedTuple):
    """The peer accepts no further streams. last: the highest that it may have processed"""

    last: int
    code: int
    debug: bytes


class ConnectionFailed(NamedTuple):
    """The machine has ended the connection because of the peer's mistake. A GOAWAY with this code is in its output."""

    code: int
    reason: str


Event = (
    RequestReceived
    | ResponseReceived
    | DataReceived
    | EndReceived
    | ResetReceived
    | StreamFailed
    | WindowOpened
    | SettingsReceived
    | SettingsAcknowledged
    | PingAcknowledged
    | GoAwayReceived
    | ConnectionFailed
)
