"""A request for a tunnel, and its responder: all that a connection and a tunnel know of each other.

A connection reads requests in its own protocol and hands each one over as a `TunnelRequest`. The code that decides about it
(tunnelctl.server.tunnel) answers through the responder, and so knows neither the protocol nor whether the connection carries one
tunnel or many.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import NamedTuple, Protocol

from tunnelctl.engine.limiter import Owner
from tunnelctl.proto.address import Address
from tunnelctl.proto.headers import Fields
from tunnelctl.proto.refusal import Refusal
from tunnelctl.server.observe.record import TunnelRecord
from tunnelctl.stream.base import Stream
from tunnelctl.stream.relay import Outcome, Relay, TimeLimits

CONNECT = "CONNECT"

# A part of serving a connection. It returns the next part, or None at the end.
Step = Coroutine[None, None, "Step | None"]


class Client(NamedTuple):
    """The client of a connection.

    host: its address, or that which a PROXY header names; name: the same with its port, for the log
    owner: whom its shares of lookups, logins and tunnels belong to; user: the name in its certificate, "" without one
    """

    host: str
    name: str
    owner: Owner
    user: str = ""


class Responder:
    """Answers one request. Exactly one of `grant` and `refuse` is called; `close` always, at the end.

    Every method may raise OSError: the client has left.
    """

    __slots__ = ()

    async def grant(self) -> tuple[Stream, bytes]:
        """Answers that the tunnel is established. Returns the client's end of it, and early data of the client."""
        raise NotImplementedError

    async def refuse(self, refusal: Refusal) -> None:
        """Answers with a refusal, and takes care that it arrives. What the client sends after its request is dropped (RFC 9931)."""
        raise NotImplementedError

    def refuse_nowait(self, refusal: Refusal) -> None:
        """Answers with a refusal, best effort and without waiting, because this process stops."""
        raise NotImplementedError

    def watch(self, gone: Callable[[], None], half_closed: Callable[[], None]) -> None:
        """Until `grant`, calls `gone` if the client leaves, and `half_closed` if it ends its direction."""
        raise NotImplementedError

    def close(self) -> None:
        """Ends what the request still holds open. Without an answer before, the client sees an abort or a closed connection."""
        raise NotImplementedError


class Carrier(Protocol):
    """Moves the bytes between the client and the target of a granted request, as the relay does, and closes the target's stream."""

    @property
    def moved(self) -> Sequence[int]:
        """Bytes from client to target, and back."""
        ...

    @property
    def idle(self) -> float | None:
        """Seconds since the last byte; None without a limit."""
        ...

    async def run(self) -> Outcome:
        """Returns at the end."""
        ...


# Makes one, of the client's stream, the target's, early data of each, and the limits.
Carry = Callable[[Stream, Stream, bytes, bytes, TimeLimits], Carrier]


class TunnelRequest(NamedTuple):
    """A well-formed request for a tunnel, or a plain http request, for which everything up to the answer is the same.

    fields: without the credentials, which are for this proxy alone
    authorization: the credentials, None without any
    deadline: the time of `current_time` until which the whole request, with its login, must be judged
    uris: for a plain http request, the texts that a Digest answer to it may have as its uri
    carry: makes what serves the client once the target is connected
    """

    target: Address
    fields: Fields
    authorization: str | None
    deadline: float
    record: TunnelRecord
    responder: Responder
    method: str = CONNECT
    uris: tuple[str, ...] = ()
    carry: Carry = Relay

    def __repr__(self) -> str:
        """Omits the credentials: a repr ends up in logs."""
        return f"TunnelRequest(target={self.target})"


class RefusedError(Exception):
    """A request ends with this refusal. rule: the reason for it, for the log"""

    def __init__(self, refusal: Refusal, rule: str = "") -> None:
        self.refusal, self.rule = refusal, rule
