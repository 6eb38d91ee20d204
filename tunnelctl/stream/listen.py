"""Local sockets that accept connections: from the text of a flag to a bound listener."""

from __future__ import annotations

import os
import socket
import stat
import struct
import sys
from array import array
from errno import EADDRINUSE, EADDRNOTAVAIL

from tunnelctl.engine.resolver import with_port
from tunnelctl.errors import AddressError, ListenError, reason
from tunnelctl.namedtuple import NamedTuple
from tunnelctl.proto.address import parse_host, parse_port
from tunnelctl.stream.socket_stream import set_socket_options

# Connections that the kernel holds until they are accepted. A burst of a few thousand fits; net.core.somaxconn may cut it.
BACKLOG = 4096

UNIX = "unix:"

# SO_REUSEPORT distributes new connections over the sockets of one port. Elsewhere, one of these sockets gets all of them.
DISTRIBUTES = sys.platform == "linux"

# A classic BPF program (Linux, Documentation/networking/filter.rst). For a TCP socket, the packet begins with the TCP header.
_NO_SYN = array(
    "B",
    b"".join(
        struct.pack("HBBI", *instruction)
        for instruction in (
            (0x30, 0, 0, 13),  # load the byte of the flags
            (0x54, 0, 0, 0x12),  # keep SYN and ACK of them
            (0x15, 0, 1, 0x02),  # if SYN is alone, which begins a connection,
            (0x06, 0, 0, 0),  # discard the packet;
            (0x06, 0, 0, 0xFFFFFFFF),  # else take all of it
        )
    ),
)
_INSTRUCTION = 8  # bytes of one
_SO_ATTACH_FILTER = 26  # <asm-generic/socket.h>


class ListenAddress(NamedTuple):
    """An address and a port to listen on (0: any free port), or the path of a unix socket."""

    host: str
    port: int
    path: str = ""
    inherited: bool = False  # another process has opened it, and may go on using it
    dual: bool = False  # IPv6 and IPv4 together, as systemd makes of ListenStream=PORT

    def __str__(self) -> str:
        if self.path:
            return UNIX + self.path
        return with_port(self.host, self.port)

    @property
    def shared(self) -> bool:
        """Whether processes can use it only by sharing one socket: a second one cannot be bound there, or would get nothing."""
        return bool(self.path) or self.inherited or not DISTRIBUTES

    @property
    def private(self) -> bool:
        """Whether only this machine can reach it."""
        return bool(self.path) or self.host == "::1" or self.host.startswith("127.")


def parse_listen(text: str) -> ListenAddress:
    """Parses ADDR:PORT, [V6]:PORT or unix:PATH. Refuses a name, which could resolve to an outside address overnight."""
    if text.startswith(UNIX):
        if not text[len(UNIX) :]:
            raise AddressError(f"listening address `{text}`", "the path is missing", "listen-path")
        return ListenAddress("", 0, text[len(UNIX) :])
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise AddressError(f"listening address `{text}`", "it is not ADDRESS:PORT", "listen-format")
    if ":" in host and not host.startswith("["):  # where the address ends and the port begins would be a guess
        raise AddressError(f"listening address `{text}`", "an IPv6 address needs brackets", "listen-brackets")
    parsed = parse_host(host)
    if not parsed.replace(".", "").isdigit() and ":" not in parsed:
        facts = {"localhost": parsed == "localhost", "port": port}
        raise AddressError(f"listening address `{text}`", "it must be an address, not a name", "listen-name", facts=facts)
    return ListenAddress(parsed, 0 if port == "0" else parse_port(port))


def listen(address: ListenAddress, keepalive: float, share: bool = False, option: str = "") -> socket.socket:
    """Opens a bound, listening, non-blocking socket. Raises ListenError.

    keepalive: as for `set_socket_options`; accepted sockets inherit it
    share: sets SO_REUSEPORT, so that several processes can each have a listener of their own there
    option: the field of the options record that has the address
    """
    try:
        return _listen_unix(address.path) if address.path else _listen_tcp(address, keepalive, share)
    except OSError as error:
        raise _listen_error(address, error, option) from error


def ignore_new_clients(listener: socket.socket) -> None:
    """Makes the kernel discard the first packet of each further client, for as long as the listener is open (Linux, TCP).

    close() resets a client that connected after the last accept(). One whose SYN was lost sends another a second later, and reaches
    the successor, or is refused. Under load, restarts reset a client in 1 of 75 cases without this.
    """
    if sys.platform != "linux" or listener.family == socket.AF_UNIX:
        return
    where, size = _NO_SYN.buffer_info()
    try:
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", size // _INSTRUCTION, where))
    except OSError:  # a kernel without it, as gVisor's, or a container that forbids it
        pass


def close_listener(address: ListenAddress, listener: socket.socket) -> None:
    """Closes a listener, and removes the socket file if we made it. Leaves a closed listener alone.

    The file goes first: once nobody listens there, another process may create its own in the same place.
    """
    if listener.fileno() >= 0 and address.path and not address.inherited:
        try:
            os.unlink(address.path)
        except OSError:
            pass
    listener.close()


def bound_address(listener: socket.socket) -> ListenAddress:
    """The actual address of a listener, with the port that the kernel chose for 0."""
    name = listener.getsockname()
    if isinstance(name, str):
        return ListenAddress("", 0, name)
    dual = name[0] == "::" and not listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    return ListenAddress(plain(name[0]), name[1], dual=dual)


def plain(host: str) -> str:
    """Converts a kernel's address to the form of rules and caps: IPv4 through a dual-stack socket becomes plain IPv4."""
    return host.removeprefix("::ffff:") if "." in host else host


def _listen_tcp(address: ListenAddress, keepalive: float, share: bool) -> socket.socket:
    listener = _bind_tcp(address, share)
    try:
        set_socket_options(listener, keepalive)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _bind_tcp(address: ListenAddress, share: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            # [::] means IPv6 only; listening on both families takes two addresses, and rules see no mapped addresses.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((address.host, address.port))
    except BaseException:
        listener.close()
        raise
    return listener


def reserve(address: ListenAddress) -> socket.socket:
    """Reserves the address of sockets made with `share` while none of them listens. Raises ListenError.

    The socket is bound but does not listen, so it receives no connections. SO_REUSEADDR is removed again: two sockets that have it
    and do not listen can be bound to one port, and the owner of the other one could then listen there.
    """
    try:
        keeper = _bind_tcp(address, share=True)
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    except OSError as error:
        raise _listen_error(address, error) from error
    return keeper


def _listen_unix(path: str) -> socket.socket:
    remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.setblocking(False)
    # The umask restricts the mode from the start; a later chmod would leave others a moment to connect.
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


def remove_stale(path: str) -> bool:
    """Removes a socket that no process has any more, and returns True. A socket in use, or another kind of file, stays."""
    if not is_stale(path):
        return False
    os.unlink(path)
    return True


def is_stale(path: str) -> bool:
    """Whether there is a socket that no process has any more."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return False
    except OSError:
        return False
    # Of another type than the socket there: connect(2) tells whether a process has it (EPROTOTYPE), even before listen(2), or not
    # (ECONNREFUSED). It makes no connection that the process would have to accept, or that a full backlog would keep waiting.
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        probe.connect(path)
    except ConnectionRefusedError:
        return True
    except OSError:
        pass
    finally:
        probe.close()
    return False


def _listen_error(address: ListenAddress, error: OSError, option: str = "") -> ListenError:
    code = "cannot-listen"
    if isinstance(error, PermissionError) and not address.path:
        code = "port-privileged"
    elif error.errno == EADDRINUSE:
        code = "path-in-use" if address.path else "port-in-use"
    elif error.errno == EADDRNOTAVAIL:
        code = "not-our-address"
    facts = {"given": option, "any_port": str(address._replace(port=0))}
    return ListenError(f"cannot listen on {address}", reason(error), code, facts=facts)
