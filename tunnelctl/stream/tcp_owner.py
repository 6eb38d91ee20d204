"""The user at the other end of a TCP connection on loopback.

Only unix sockets have credentials. For TCP, Linux lists the sockets of this network with their users in /proc/net/tcp and, for
sockets of IPv6, /proc/net/tcp6 (proc_pid_net(5)). A JVM connects to 127.0.0.1 with a socket of IPv6, from ::ffff:127.0.0.1.

Four things could make another user's connection look like ours; none of them gives an answer here:

- A socket that its process has closed. The kernel lists it with user 0, root, while it waits for the last packets. It has no inode.
- A connection that was reset, after which another process connects from the same port. So the connection is examined again at the
  end: while it is open, nobody else can have its addresses and ports.
- A user without a number in this user namespace (user_namespaces(7)). The kernel gives it the number of nobody.
- Text in the table that is not understood.

Reading the two tables takes 12 ms with 4,000 sockets, 240 ms with 24,000 on two busy cores, and 4 ms each with none: the kernel
walks through its hash table (Linux 6.18, 262,144 buckets). So it is done in a thread, for one connection at a time, which takes no
more than one core from the others.

macOS has no such table. There, lsof(8) lists the connections of the processes of this user: a connection is ours, or is unknown.
"""

from __future__ import annotations

import os
import socket
import sys

from tunnelctl.engine.kernel import BusyResourceError
from tunnelctl.engine.limiter import FairLimiter, Owner
from tunnelctl.engine.resolver import with_port
from tunnelctl.engine.wakeup import to_thread

TABLE, TABLE_IPV6 = "/proc/net/tcp", "/proc/net/tcp6"
MOST_BYTES = 1 << 24  # of a table that are read: some 110,000 sockets
_READ = 1 << 16

LSOF = "/usr/sbin/lsof"  # its place on macOS; not looked for elsewhere, since what it says decides who may use the port
_LSOF_SECONDS = 10.0

NOBODY = 65534  # the default of /proc/sys/kernel/overflowuid

LOOKUPS = 1  # at once
MOST_WAITING = 1024  # connections; any local user can make them

_EVERYBODY = Owner("", "")  # whose a connection is shows only afterwards


class TCPOwners:
    """Finds the owners of connections."""

    def __init__(self) -> None:
        self._limiter = FairLimiter(LOOKUPS, LOOKUPS, MOST_WAITING)

    async def uid_of_peer(self, accepted: socket.SocketType) -> int | None:
        """Returns the user id of the socket at the other end of a connection over IPv4 on loopback; None if it is not certain."""
        try:
            peer, own = accepted.getpeername(), accepted.getsockname()
            uid = await to_thread(look_up, peer, own, limiter=self._limiter, owner=_EVERYBODY)
            accepted.getpeername()  # raises an error unless the connection is still open
        except (OSError, BusyResourceError):
            return None
        return uid


def is_available() -> bool:
    """Whether this system has the table, and this user a number of its own there; or has lsof."""
    return os.geteuid() != NOBODY if os.access(TABLE, os.R_OK) else os.access(LSOF, os.X_OK)


def look_up(local: tuple[str, int], remote: tuple[str, int]) -> int | None:
    """Returns the user id of the socket with these two ends; None if there is none. Blocks."""
    if not os.access(TABLE, os.R_OK):
        return os.geteuid() if f"n{with_port(*local)}->{with_port(*remote)}" in _connections_of_this_user(remote[1]) else None
    pair = [_written(*local), _written(*remote)]
    for table, prefix in (TABLE_IPV6, _MAPPED), (TABLE, ""):
        uid = uid_in(_read(table), " ".join(prefix + end for end in pair).encode())
        if uid is not None:
            return uid
    return None


def _connections_of_this_user(port: int) -> list[str]:
    """Returns lines of lsof, one for each end that is open in a process of this user: `n127.0.0.1:49538->127.0.0.1:8080`."""
    import subprocess

    command = [LSOF, "-wnPa", "-u", str(os.geteuid()), "-i", f"TCP@127.0.0.1:{port}", "-Fn"]
    try:
        listed = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_LSOF_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return listed.stdout.decode(errors="replace").splitlines()


def uid_in(table: bytes, ends: bytes) -> int | None:
    """Returns the user id in the row of a table that has these two ends; None without such a row, or if that is not certain.

    A row: `  0: LOCAL REMOTE STATE TX:RX TIMER:WHEN RETRANSMITS UID TIMEOUT INODE …`.
    """
    start = table.find(b" " + ends + b" ")
    if start < 0:
        return None
    fields = table[start : table.find(b"\n", start)].split()
    if len(fields) < 9 or not (fields[6].isdigit() and fields[8].isdigit()):
        return None
    uid, inode = int(fields[6]), int(fields[8])
    return uid if inode and uid != NOBODY else None


def _written(host: str, port: int) -> str:
    """An end as the kernel writes it: the address is a number in the order of this machine, the port is not."""
    return f"{int.from_bytes(socket.inet_aton(host), sys.byteorder):08X}:{port:04X}"


_MAPPED = "0" * 16 + f"{int.from_bytes(bytes((0, 0, 255, 255)), sys.byteorder):08X}"  # ::ffff:, before an IPv4 address


def _read(path: str) -> bytes:
    """Returns a table, or its first MOST_BYTES. A kernel without IPv6 has only one table."""
    try:
        with open(path, "rb", buffering=0) as table:
            content = bytearray()
            while len(content) < MOST_BYTES and (part := table.read(_READ)):
                content += part
            return bytes(content)
    except OSError:
        return b""
