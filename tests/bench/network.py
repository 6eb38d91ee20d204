"""A network of our own: a loopback interface, the line of line.py, and nothing else that opens connections.

A machine that runs containers, or has run them, may track connections (netfilter), those on loopback included, and remembers each
for two minutes after its end. A table of 262,144 was full after half a minute of short tunnels. From then on, the packets of new
connections were dropped, and all proxies answered with timeouts.

Nor does TCP pace itself in it. BBR, the default of some kernels, sends by a timer. On loopback, that timer took more CPU time than
all else: with 64 streams, a GiB took socat 1.4 s with it and 0.8 s without, `forward` 0.45 and 0.17 s, a loop of splice(2) in C
0.36 and 0.13 s. And how often it is set depends on what BBR takes for the bandwidth: samples of one program differed by a factor
of 3.
"""

import contextlib
import ctypes
import os
import socket
import struct
from fcntl import ioctl
from pathlib import Path

CLONE_NEWNET = 0x40000000  # linux/sched.h; os.unshare is there from Python 3.12 on
SIOCSIFFLAGS, IFF_UP = 0x8914, 1

CONGESTION_CONTROL = Path("/proc/sys/net/ipv4/tcp_congestion_control")  # of the network that the reader is in
UNPACED = ("cubic", "reno")  # the default of Linux; what every namespace may choose, and much the same where nothing is lost

_libc = ctypes.CDLL(None, use_errno=True)
_of_the_machine: int | None = None  # the network that was left


def isolate() -> str:
    """Moves this process into a network of its own, with all that it starts from now on. Returns in which network it is then."""
    global _of_the_machine
    machine = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    if _libc.unshare(CLONE_NEWNET):
        os.close(machine)
        return f"the machine's: {os.strerror(ctypes.get_errno())}; congestion control: {congestion_control()}"
    _of_the_machine = machine
    with socket.socket() as any_socket:
        ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
    stop_pacing()
    return f"a namespace of its own; congestion control: {congestion_control()}"


def isolated() -> bool:
    """Whether this process is in a network of its own."""
    return _of_the_machine is not None


def stop_pacing() -> None:
    """Chooses what does not pace, if the kernel permits it: `congestion_control` says what is chosen then."""
    for name in UNPACED:
        with contextlib.suppress(OSError):
            CONGESTION_CONTROL.write_text(name)
            return


def congestion_control() -> str:
    return CONGESTION_CONTROL.read_text().strip()


def rejoin() -> None:
    """Moves a process that was just forked back into the network of the machine, for what it has to load from there."""
    if _of_the_machine is not None and _libc.setns(_of_the_machine, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
