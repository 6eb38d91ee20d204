"""Local sockets that accept connections: from the text of a flag to a bound listener."""

from __future__ import annotations

import os
import socket
import stat
from errno import EADDRINUSE

from tunnelctl.errors import AddressError, ListenError, reason
from tunnelctl.namedtuple import NamedTuple
from tunnelctl.proto.address import parse_host, parse_port
from tunnelctl.stream.socket_stream import tune

# Connections that the kernel holds until they are accepted. A burst of a few thousand fits; net.core.somaxconn may cut it.
BACKLOG = 4096

UNIX = "unix:"


class ListenAddress(NamedTuple):
    """Where to listen: an address and a port (0: any that is free), or the path of a unix socket."""

    host: str
    port: int
    path: str = ""
    inherited: bool = False  # somebody else has opened it, and may go on to use it
    dual: bool = False  # IPv6, and IPv4 as well: systemd makes such a socket of ListenStream=PORT

    def __str__(self) -> str:
        if self.path:
            return UNIX + self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def shared(self) -> bool:
        """Whether several processes can only have it together: it cannot be bound a second time."""
        return bool(self.path) or self.inherited

    @property
    def private(self) -> bool:
        """Whether only this machine reaches it."""
        return bool(self.path) or self.host == "::1" or self.host.startswith("127.")


def parse_listen(text: str) -> ListenAddress:
    """ADDR:PORT, [V6]:PORT or unix:PATH. A name is refused: it could come to mean an outside address overnight."""
    if text.startswith(UNIX):
        if not text[len(UNIX) :]:
            raise AddressError(f"listening address `{text}`", "the path is missing", "write unix:PATH")
        return ListenAddress("", 0, text[len(UNIX) :])
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise AddressError(f"listening address `{text}`", "it is not ADDRESS:PORT", "for example 127.0.0.1:3128 or [::1]:3128")
    if ":" in host and not host.startswith("["):  # where the address ends and the port begins would be a guess
        raise AddressError(f"listening address `{text}`", "an IPv6 address needs brackets", "for example [::1]:3128")
    parsed = parse_host(host)
    if not parsed.replace(".", "").isdigit() and ":" not in parsed:
        hint = f"127.0.0.1:{port}" if parsed == "localhost" else "for example 127.0.0.1:3128 or [::1]:3128"
        raise AddressError(f"listening address `{text}`", "it must be an address, not a name", hint)
    return ListenAddress(parsed, 0 if port == "0" else parse_port(port))


def listen(address: ListenAddress, keepalive: float, share: bool = False, flag: str = "") -> socket.socket:
    """A bound, listening, non-blocking socket. Raises ListenError.

    keepalive: as for `tune`, which holds for what is accepted
    share: SO_REUSEPORT, so that several processes can each have a listener of their own there
    flag: what named the address, for a hint
    """
    try:
        return _listen_unix(address.path) if address.path else _listen_tcp(address, keepalive, share)
    except OSError as error:
        raise ListenError(f"cannot listen on {address}", reason(error), _hint(address, error, flag)) from error


def close_listener(address: ListenAddress, listener: socket.socket) -> None:
    """Closes it, and removes the file of one that we have made; one that is closed already is left alone.

    The file goes first: as soon as nobody listens there, another process may put its own in the place.
    """
    if listener.fileno() >= 0 and address.path and not address.inherited:
        try:
            os.unlink(address.path)
        except OSError:
            pass
    listener.close()


def bound_address(listener: socket.socket) -> ListenAddress:
    """Where a listener really listens: with the port that the kernel chose for 0."""
    name = listener.getsockname()
    if isinstance(name, str):
        return ListenAddress("", 0, name)
    dual = name[0] == "::" and not listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    return ListenAddress(plain(name[0]), name[1], dual=dual)


def plain(host: str) -> str:
    """An address that the kernel has told, as rules and caps know it: IPv4 that came through a socket for both kinds is IPv4."""
    return host.removeprefix("::ffff:") if "." in host else host


def _listen_tcp(address: ListenAddress, keepalive: float, share: bool) -> socket.socket:
    listener = _bind_tcp(address, share)
    try:
        tune(listener, keepalive)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _bind_tcp(address: ListenAddress, share: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            # [::] means IPv6 and nothing else; who wants both asks for both, and rules see no mapped addresses.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((address.host, address.port))
    except BaseException:
        listener.close()
        raise
    return listener


def reserve(address: ListenAddress) -> socket.socket:
    """Keeps the address of sockets that were made with `share`, while none of them listens. Raises ListenError.

    It is bound and does not listen, so it is dealt no connections. SO_REUSEADDR is taken away again: two sockets that have it and
    do not listen can be bound to one port, and whoever has the other one could then listen there.
    """
    try:
        keeper = _bind_tcp(address, share=True)
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    except OSError as error:
        raise ListenError(f"cannot listen on {address}", reason(error), _hint(address, error, "")) from error
    return keeper


def _listen_unix(path: str) -> socket.socket:
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    # The socket is made with the mode that the mask leaves; changing it afterwards would leave a moment for others.
    mask = os.umask(0o177)
    try:
        listener.bind(path)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    finally:
        os.umask(mask)
    return listener


def _remove_stale(path: str) -> None:
    """Removes a socket that nobody listens on any more; one that is in use, or another kind of file, makes bind fail."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except OSError:
        return
    # Non-blocking: one whose backlog is full would keep us waiting for as long as it accepts nobody. It is in use.
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        probe.connect(path)
    except ConnectionRefusedError:
        os.unlink(path)
    except OSError:
        pass
    finally:
        probe.close()


def _hint(address: ListenAddress, error: OSError, flag: str) -> str:
    if isinstance(error, PermissionError) and not address.path:
        return "ports below 1024 need a privilege; choose a higher one"
    if error.errno != EADDRINUSE:
        return ""
    if address.path:
        return f"{flag} unix:PATH names another one" if flag else "choose another path"
    return f"{flag} {address._replace(port=0)} takes a port that is free" if flag else "port 0 takes one that is free"
