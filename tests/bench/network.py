"""A network of our own: a loopback interface, and nothing else that opens connections.

A machine that runs containers, or has run them, may track connections (netfilter), those on loopback included, and remembers each
for two minutes after its end. A table of 262,144 was full after half a minute of short tunnels. From then on, the packets of new
connections were dropped, and all proxies answered with timeouts.
"""

import ctypes
import os
import socket
import struct
from fcntl import ioctl

CLONE_NEWNET = 0x40000000  # linux/sched.h; os.unshare is there from Python 3.12 on
SIOCSIFFLAGS, IFF_UP = 0x8914, 1

_libc = ctypes.CDLL(None, use_errno=True)
_of_the_machine: int | None = None  # the network that was left


def isolate() -> str:
    """Moves this process into a network of its own, with all that it starts from now on. Returns in which network it is then."""
    global _of_the_machine
    machine = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    if _libc.unshare(CLONE_NEWNET):
        os.close(machine)
        return f"the machine's: {os.strerror(ctypes.get_errno())}"
    _of_the_machine = machine
    with socket.socket() as any_socket:
        ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
    return "a namespace of its own, with loopback only"


def rejoin() -> None:
    """Moves a process that was just forked back into the network of the machine, for what it has to load from there."""
    if _of_the_machine is not None and _libc.setns(_of_the_machine, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
