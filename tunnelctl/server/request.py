"""A request for a tunnel, and its responder: all that a connection and a tunnel know of each other.

A connection reads requests in its own protocol and hands each one over as a `TunnelRequest`. The code that decides about it
(tunnelctl.server.tunnel) answers through the responder, and so knows neither the protocol nor whether the connection carries one
tunnel or many.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import NamedTuple

from tunnelctl.engine.limiter import Owner
from tunnelctl.proto.address import Address
from tunnelctl.proto.headers import Fields
from tunnelctl.proto.refusal import Refusal
from tunnelctl.server.observe.record import TunnelRecord
from tunnelctl.stream.base import Stream

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


class TunnelRequest(NamedTuple):
    """A well-formed request for a tunnel.

    fields: without the credentials, which are for this proxy alone
    authorization: the credentials, None without any
    deadline: the time of `current_time` until which the whole request, with its login, must be judged
    """

    target: Address
    fields: Fields
    authorization: str | None
    deadline: float
    record: TunnelRecord
    responder: Responder

    def __repr__(self) -> str:
        """Omits the credentials: a repr ends up in logs."""
        return f"TunnelRequest(target={self.target})"


class RefusedError(Exception):
    """A request ends with this refusal. rule: the reason for it, for the log"""

    def __init__(self, refusal: Refusal, rule: str = "") -> None:
        self.refusal, self.rule = refusal, rule
