"""Announces `serve` once it accepts connections: the targets and clients that it allows, the next proxies, the admin pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from tunnelctl.control.pages import ANNOUNCED
from tunnelctl.events import Event, Trace
from tunnelctl.proto.address import HTTP_PORT
from tunnelctl.proto.proxy_url import parse_proxy_list
from tunnelctl.server.events import Listening, Serving
from tunnelctl.server.options import ServeOptions
from tunnelctl.server.policy.rules import DEFAULT_ALLOW, Policy, Rule
from tunnelctl.stream.events import Admin
from tunnelctl.stream.listen import ListenAddress

ANY_ADDRESS = ("0.0.0.0", "::")


class Announcement(NamedTuple):
    """The settings in force at the start, and the addresses."""

    options: ServeOptions
    bound: Sequence[ListenAddress]
    policy: Policy
    users: int | None  # their number; None: no logins
    certificate: str  # its validity, in words; "" without TLS
    admin: ListenAddress | None

    def tell(self, trace: Trace) -> None:
        """Reports all of it to `trace`."""
        options, policy = self.options, self.policy
        trace(
            Serving(
                allow=[] if policy.allow is DEFAULT_ALLOW else _targets(policy.allow),
                deny=_targets(policy.deny),
                report=_targets(policy.report),
                policy=options.policy or "",
                reach=reach(self.bound),
                personal=policy.is_personal,
                networks=[*map(str, policy.admitted_networks(logins=bool(self.users is not None or options.client_ca)))],
                users=self.users,
                client_ca=options.client_ca or "",
                proxies=[",".join(map(str, parse_proxy_list(text))) for text in options.reach.proxy],
                certificate=self.certificate,
                plain_http=options.plain_http,
                port_80=any(rule.covers_port(HTTP_PORT) for rule in policy.allow),
                workers=options.workers,
                access_log=options.access_log or "",
                url=url(self.bound, "https" if self.certificate else "http"),
            )
        )
        if self.admin is not None:
            trace(Admin(str(self.admin), list(ANNOUNCED)))


def _targets(rules: tuple[Rule, ...]) -> list[str]:
    return [rule.target for rule in rules]


def reach(bound: Sequence[ListenAddress]) -> str:
    """Returns where clients can connect from: a unix socket, this machine, or the network."""
    if all(address.path for address in bound):
        return "socket"
    return "machine" if all(address.private for address in bound) else "network"


def url(bound: Sequence[ListenAddress], scheme: str) -> str:
    """Returns the URL of this proxy for the settings of a client, or "" if none of its addresses fits into one."""
    usable = (address for address in bound if not address.path and address.host not in ANY_ADDRESS)
    first = next(usable, None)
    return "" if first is None else f"{scheme}://{first}"


def announcing(trace: Trace, listeners: int, tell: Callable[[Trace], None]) -> Trace:
    """Returns a trace that calls `tell` after it has reported the last listener: by then all of them listen."""
    left = listeners

    def told(event: Event, /) -> None:
        nonlocal left
        trace(event)
        if isinstance(event, Listening):
            left -= 1
            if left == 0:
                tell(trace)

    return told
