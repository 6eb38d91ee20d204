"""The configuration of `serve`: flags and files, parsed and loaded before anything is opened to clients."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

from tunnelctl.control.admin import parse_admin
from tunnelctl.errors import UsageProblem
from tunnelctl.proto import via
from tunnelctl.proto.network import Network
from tunnelctl.server.access.limits import CapLimits, parse_prefixes
from tunnelctl.server.access.proxy_header import parse_trusted
from tunnelctl.server.access.users import CredentialCache, Users, describe_users, load_users
from tunnelctl.server.observe.access_log import open_log
from tunnelctl.server.options import ServeOptions
from tunnelctl.server.policy.file import describe_policy, load_policy
from tunnelctl.server.policy.rules import Policy
from tunnelctl.server.process.file_switch import FileSwitch
from tunnelctl.server.service import Timeouts
from tunnelctl.server.upstream import Upstream
from tunnelctl.stream.listen import ListenAddress, bound_address, parse_listen
from tunnelctl.stream.relay import TimeLimits
from tunnelctl.stream.reloadable import Reloadable, load_reloadable
from tunnelctl.stream.service_manager import INHERITED, inherited_socket
from tunnelctl.stream.socket_stream import set_socket_options
from tunnelctl.stream.vanished import WATCHES

if TYPE_CHECKING:
    from tunnelctl.server.tls import ListenerTLS

# Where to listen, and the socket if a service manager has opened it.
Planned = tuple[ListenAddress, socket.socket | None]


def plan_listeners(options: ServeOptions, environ: Mapping[str, str], stack: ExitStack) -> list[Planned]:
    """Returns where to listen. stack: closes the sockets that a service manager has passed"""
    planned: list[Planned] = []
    for text in options.listen:
        planned.append(_plan(text, options, environ, stack, [listener for _, listener in planned if listener is not None]))
    return planned


def _plan(text: str, options: ServeOptions, environ: Mapping[str, str], stack: ExitStack, taken: list[socket.socket]) -> Planned:
    if not text.startswith(INHERITED):
        return parse_listen(text), None
    inherited = inherited_socket(text.removeprefix(INHERITED), environ)
    if inherited.fileno() in [other.fileno() for other in taken]:
        inherited.detach()  # the other entry closes it
        raise UsageProblem("", "the same inherited socket is named twice", "listener-twice", option="listen")
    stack.callback(inherited.close)
    address = bound_address(inherited)._replace(inherited=True)
    if not address.path:
        set_socket_options(inherited, options.reach.keepalive)
    return address, inherited


class Settings(NamedTuple):
    """The values of flags and files, ready for use; read before anything is opened to clients."""

    policy: Reloadable[Policy]
    users: Reloadable[Users] | None
    tls: Reloadable[ListenerTLS] | None
    reread: tuple[Reloadable[Any], ...]  # those of them that come from files
    switch: FileSwitch  # of those files
    most: CapLimits
    prefixes: tuple[int, int]  # prefix lengths of a client network, for IPv4 and IPv6
    trusted: tuple[Network, ...]
    timeouts: Timeouts
    admin: ListenAddress | None
    log_fd: int | None
    name: str  # of this proxy in Via; the workers share it
    upstream: Upstream | None = None


def read_settings(addresses: list[ListenAddress], options: ServeOptions) -> Settings:
    """Reads them. Raises the error of the first file or flag that is wrong. addresses: of the listeners"""
    files = options.policy, options.users, options.tls_cert, options.tls_key, options.client_ca
    switch = FileSwitch(path for path in files if path is not None)  # looks before the files are read
    policy = load_reloadable("policy", lambda: _load_policy(addresses, options), describe_policy)
    users, tls = _users(options.users), _tls(options)
    per_owner = options.max_per_client, options.max_per_user, options.max_per_target
    tunnel = TimeLimits(options.idle_timeout or inf, options.half_close_timeout or inf)
    phases = options.head_timeout or inf, options.dial_timeout or inf
    keepalive = 0.0 if WATCHES else options.reach.keepalive  # for the side of the target: see stream.vanished
    return Settings(
        policy=policy,
        users=users,
        tls=tls,
        reread=tuple(one for one in (policy if options.policy is not None else None, users, tls) if one is not None),
        switch=switch,
        most=CapLimits(options.max_tunnels, *per_owner, options.max_dials),
        prefixes=parse_prefixes(options.client_prefix),
        trusted=tuple(map(parse_trusted, options.proxy_protocol)),
        timeouts=Timeouts(*phases, keepalive, tunnel, options.max_lifetime or inf),
        admin=_admin(options),
        log_fd=open_log(options.access_log) if options.access_log is not None else None,
        name=via.name(os.urandom(via.NUMBER_BYTES)),
    )


def _load_policy(addresses: list[ListenAddress], options: ServeOptions) -> Policy:
    policy = load_policy(options.policy, options.allow, options.deny)
    _refuse_open_proxy(addresses, options, policy)
    return policy


def _refuse_open_proxy(addresses: list[ListenAddress], options: ServeOptions, policy: Policy) -> None:
    """Raises UsageProblem for a proxy that anybody can reach and use: soon the whole Internet would use it."""
    for address in addresses:
        if not (address.private or options.users or options.client_ca or options.open_proxy or policy.is_personal):
            cause = "no login is required there, so it would be an open proxy"
            raise UsageProblem(f"cannot listen on {address}", cause, "open-proxy", facts={"serve": True})


def _admin(options: ServeOptions) -> ListenAddress | None:
    if options.admin is None:
        return None
    import tunnelctl.server.observe.prometheus  # noqa: F401  (here, so that workers share its memory)

    return parse_admin(options.admin, options.open_admin)


def _users(path: str | None) -> Reloadable[Users] | None:
    if path is None:
        return None
    kept = CredentialCache()  # created before the workers, which share it
    return load_reloadable("users file", lambda: load_users(path, kept), describe_users)


def _tls(options: ServeOptions) -> Reloadable[ListenerTLS] | None:
    if not (options.tls_cert or options.tls_key or options.client_ca):
        return None
    from tunnelctl.server.tls import describe_certificate, load_tls, warn_of_dates  # loads ssl

    def describe(_: ListenerTLS) -> str:
        return describe_certificate(options.tls_cert)

    return load_reloadable("certificate", lambda: load_tls(options), describe, partial(warn_of_dates, options))
