"""Where local ports are opened, and where they lead: from the text of -L and -D to listeners."""

from __future__ import annotations

import socket
from collections.abc import Mapping

from tunnelctl.errors import AddressError, UsageProblem
from tunnelctl.namedtuple import NamedTuple
from tunnelctl.proto.address import Address, parse_authority, shown, unbracketed
from tunnelctl.stream.listen import UNIX, ListenAddress, bound_address, close_listener, listen, parse_listen
from tunnelctl.stream.service_manager import INHERITED, inherited_socket

LOOPBACK = "127.0.0.1"
LOCAL_HINT = "write [BIND:]PORT:HOST:HOSTPORT or /PATH:HOST:HOSTPORT, for example 5432:db.example.com:5432"
DYNAMIC_HINT = "write [BIND:]PORT or /PATH, for example 1080"


class Local(NamedTuple):
    """A local port to be opened."""

    place: str  # what parse_listen reads, or INHERITED and which one
    target: Address | None  # None: whoever connects says where to (a dynamic port)


class Door(NamedTuple):
    """A local port that is open."""

    listener: socket.socket
    address: ListenAddress
    target: Address | None

    def close(self) -> None:
        """Closes it. A path that we have made goes; an inherited one is its owner's."""
        close_listener(self.address, self.listener)


def parse_local(text: str) -> Local:
    """The value of -L. Raises AddressError."""
    place, target = _split_target(text)
    if not place:
        raise AddressError(f"-L {shown(text)}", "the local port or the target is missing", LOCAL_HINT)
    try:
        return Local(_place(place), parse_authority(unbracketed(target)))
    except AddressError as error:
        raise AddressError(f"-L {shown(text)}", f"{error.what}: {error.cause}", error.hint or LOCAL_HINT) from None


def parse_dynamic(text: str) -> Local:
    """The value of -D. Raises AddressError."""
    try:
        return Local(_place(text), None)
    except AddressError as error:
        raise AddressError(f"-D {shown(text)}", f"{error.what}: {error.cause}", error.hint or DYNAMIC_HINT) from None


def _split_target(text: str) -> tuple[str, str]:
    """The two halves; the target is the last two parts, where a part may be an IPv6 address in brackets."""
    host, _, port = text.rpartition(":")
    at = host.rfind(":[") if host.endswith("]") else host.rfind(":")
    return ("", "") if at < 0 else (host[:at], f"{host[at + 1 :]}:{port}")


def _place(text: str) -> str:
    """A place in the form of parse_listen, and judged by it."""
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


def open_doors(locals_: list[Local], keepalive: float, environ: Mapping[str, str]) -> list[Door]:
    """Opens all of them, or none: raises ListenError or UsageProblem."""
    fixed = [local.place for local in locals_ if not local.place.endswith(":0")]
    if len(set(fixed)) < len(fixed):
        raise UsageProblem("-L and -D", "the same local port is named twice")
    doors: list[Door] = []
    try:
        for local in locals_:
            doors.append(_open(local, keepalive, environ))
    except BaseException:
        close_doors(doors)
        raise
    return doors


def refuse_strangers(doors: list[Door], login: bool, open_proxy: bool) -> None:
    """Raises UsageProblem where other machines would reach a port without a login: they would use the proxy with ours.

    login: whether a dynamic port requires one
    """
    for door in doors:
        if door.address.private or open_proxy or (login and door.target is None):
            continue
        ways_out = "listen on 127.0.0.1, or give --open-proxy if something else keeps strangers out"
        what = f"cannot listen on {door.address}"
        if door.target is None:
            cause = "no login is required there, so it would be an open proxy"
            raise UsageProblem(what, cause, f"give --users FILE, {ways_out}")
        raise UsageProblem(what, "other machines could use it, and a -L port cannot require a login", ways_out)


def close_doors(doors: list[Door]) -> None:
    """Closes those that are open."""
    for door in doors:
        door.close()


def _open(local: Local, keepalive: float, environ: Mapping[str, str]) -> Door:
    inherited = local.place.startswith(INHERITED)
    if inherited:
        listener = inherited_socket(local.place.removeprefix(INHERITED), environ)
    else:
        listener = listen(parse_listen(local.place), keepalive)
    return Door(listener, bound_address(listener)._replace(inherited=inherited), local.target)
