"""The objects that all connections of one serving process share."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from tunnelctl.events import Trace
from tunnelctl.server.access.limits import PREFIXES, Caps
from tunnelctl.server.access.proxy_header import TrustedProxies
from tunnelctl.server.access.users import Users
from tunnelctl.server.observe.record import TunnelRecord
from tunnelctl.server.observe.recorder import Recorder
from tunnelctl.server.policy.rules import Policy
from tunnelctl.server.request import RefusedError, Responder
from tunnelctl.server.upstream import Upstream
from tunnelctl.stream.accept import ConnectionCount
from tunnelctl.stream.own_ports import OwnAddresses
from tunnelctl.stream.relay import TimeLimits
from tunnelctl.stream.reloadable import Reloadable

if TYPE_CHECKING:
    from tunnelctl.server.tls import ListenerTLS


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds for each phase; `inf` is no limit."""

    head: float
    dial: float
    keepalive: float
    tunnel: TimeLimits
    lifetime: float = inf  # of a tunnel


@dataclass(frozen=True, slots=True)
class Service:
    """Settings, counters and observers. Not a named tuple: its fields take 9 ns more to read, some 40 times a tunnel."""

    policy: Reloadable[Policy]
    users: Reloadable[Users] | None
    own: OwnAddresses
    caps: Caps
    counts: ConnectionCount
    timeouts: Timeouts
    recorder: Recorder
    trace: Trace
    tls: Reloadable[ListenerTLS] | None = None
    upstream: Upstream | None = None  # through the next proxy; None: directly to the targets
    prefixes: tuple[int, int] = PREFIXES  # prefix lengths of a client network, for IPv4 and IPv6
    trusted: TrustedProxies | None = None  # the load balancers that must send a PROXY header
    plain_http: bool = False  # whether requests for http:// URLs are served
    name: str = ""  # of this proxy in Via

    async def refuse(self, record: TunnelRecord, responder: Responder, error: RefusedError) -> None:
        """Records a refusal, and answers with it."""
        refusal, record.rule = error.refusal, error.rule
        self.recorder.on_decision(record, refusal.status, refusal.error, refusal.details)
        await responder.refuse(refusal)
