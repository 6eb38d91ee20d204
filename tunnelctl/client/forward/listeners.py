"""Local ports and where they lead: from the text of a forward spec to listeners."""

from __future__ import annotations

import socket
from collections.abc import Mapping

from tunnelctl.client.services import parse_target
from tunnelctl.errors import AddressError, UsageProblem
from tunnelctl.namedtuple import NamedTuple
from tunnelctl.proto.address import Address, shown
from tunnelctl.stream.listen import UNIX, ListenAddress, bound_address, close_listener, listen, parse_listen
from tunnelctl.stream.service_manager import INHERITED, inherited_socket

LOOPBACK = "127.0.0.1"


class ForwardSpec(NamedTuple):
    """A local port to open."""

    place: str  # text for parse_listen, or INHERITED and which one
    target: Address | None  # None: each client names its own (a dynamic port)
    same_user: bool = False  # whether it requires no login, and serves only processes of this user


class LocalListener(NamedTuple):
    """An open local port."""

    listener: socket.socket
    address: ListenAddress
    target: Address | None
    same_user: bool = False

    def close(self) -> None:
        """Closes the port. Removes a path that we created; an inherited one belongs to its owner."""
        close_listener(self.address, self.listener)


def parse_local(text: str) -> ForwardSpec:
    """Parses the spec of a port that leads to one target. Raises AddressError."""
    place, target = _split_target(text)
    if not place:
        raise AddressError(shown(text), "the local port or the target is missing", "local-spec", option="local")
    try:
        return ForwardSpec(_place(place), parse_target(target))
    except AddressError as error:
        raise AddressError(shown(text), str(error), "local-spec-part", option="local", inner=error) from None


def parse_dynamic(text: str) -> ForwardSpec:
    """Parses the spec of a dynamic port. Raises AddressError."""
    try:
        return ForwardSpec(_place(text), None)
    except AddressError as error:
        raise AddressError(shown(text), str(error), "dynamic-spec", option="dynamic", inner=error) from None


def _split_target(text: str) -> tuple[str, str]:
    """Splits off the target, which is the last two parts; a part may be an IPv6 address in brackets."""
    host, _, port = text.rpartition(":")
    at = host.rfind(":[") if host.endswith("]") else host.rfind(":")
    return ("", "") if at < 0 else (host[:at], f"{host[at + 1 :]}:{port}")


def _place(text: str) -> str:
    """A place in the form of parse_listen, which validates it."""
    if text.startswith(INHERITED):
        return text
    if text.startswith(("/", "./")):
        text = UNIX + text
    elif text.isdigit():
        text = f"{LOOPBACK}:{text}"
    elif text.startswith("*:"):
        text = f"0.0.0.0{text[1:]}"
    parse_listen(text)
    return text


def open_listeners(locals_: list[ForwardSpec], keepalive: float, environ: Mapping[str, str]) -> list[LocalListener]:
    """Opens all of them, or none: raises ListenError or UsageProblem."""
    fixed = [local.place for local in locals_ if not local.place.endswith(":0")]
    if len(set(fixed)) < len(fixed):
        raise UsageProblem("local ports", "the same local port is named twice", "local-port-twice")
    local_listeners: list[LocalListener] = []
    try:
        for local in locals_:
            local_listeners.append(_open(local, keepalive, environ))
    except BaseException:
        close_local_listeners(local_listeners)
        raise
    return local_listeners


def refuse_strangers(local_listeners: list[LocalListener], login: bool, open_proxy: bool) -> None:
    """Raises UsageProblem if other machines could reach a port without a login: they would use the proxy with our credentials.

    login: whether a dynamic port requires one
    """
    for local_listener in local_listeners:
        if local_listener.address.private or open_proxy or (login and local_listener.target is None):
            continue
        what = f"cannot listen on {local_listener.address}"
        if local_listener.target is None:
            cause = "no login is required there, so it would be an open proxy"
            raise UsageProblem(what, cause, "open-proxy")
        raise UsageProblem(
            what, "other machines could use it, and a port that leads to one target cannot require a login", "open-local-port"
        )


def close_local_listeners(local_listeners: list[LocalListener]) -> None:
    """Closes the listeners."""
    for local_listener in local_listeners:
        local_listener.close()


def _open(local: ForwardSpec, keepalive: float, environ: Mapping[str, str]) -> LocalListener:
    inherited = local.place.startswith(INHERITED)
    if inherited:
        listener = inherited_socket(local.place.removeprefix(INHERITED), environ)
    else:
        listener = listen(parse_listen(local.place), keepalive)
    return LocalListener(listener, bound_address(listener)._replace(inherited=inherited), local.target, local.same_user)
