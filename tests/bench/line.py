"""A line to a distant host, as a process: `python -m tests.bench.line MILLISECONDS`, the time of a round trip. Linux, as root.

What is sent to FAR comes back half a round trip later as if FAR had sent it, from the same port to the same port. So a program that
listens on NEAR is reached at FAR, over a true round trip for each handshake, window and acknowledgement. netem, which delays as
well, is a kernel module that many machines lack. Exchanging the two addresses of a packet leaves its checksums right.
"""

import fcntl
import os
import select
import socket
import struct
import sys
import time
from collections import deque

# Of a block for measurements between networks (RFC 2544): no machine has them.
NEAR, FAR = "198.18.0.1", "198.18.0.2"
_MASK = "255.255.255.252"
_NAME = b"line"
_MTU = 9_000  # few packets, so that a part of one core can carry them; a window of 64 KiB still holds some
_QUEUE = 10_000  # packets: no window is as large, so none is lost
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000  # linux/if_tun.h
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 0x0001  # linux/sockios.h, linux/if.h
_SIOCSIFADDR, _SIOCSIFNETMASK, _SIOCSIFMTU, _SIOCSIFTXQLEN = 0x8916, 0x891C, 0x8922, 0x8943
_SOURCE, _DESTINATION, _REST = slice(12, 16), slice(16, 20), slice(20, None)  # of an IPv4 packet (RFC 791)


def open_line() -> int:
    """The descriptor of a new interface, non-blocking: reads and writes are of one packet each."""
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", _NAME, _IFF_TUN | _IFF_NO_PI))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFADDR, _with_address(NEAR))
        fcntl.ioctl(any_socket, _SIOCSIFNETMASK, _with_address(_MASK))
        fcntl.ioctl(any_socket, _SIOCSIFMTU, struct.pack("16si20x", _NAME, _MTU))
        fcntl.ioctl(any_socket, _SIOCSIFTXQLEN, struct.pack("16si20x", _NAME, _QUEUE))
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH22x", _NAME, _IFF_UP))
    return tun


def _with_address(address: str) -> bytes:
    return struct.pack("16sH2x4s16x", _NAME, socket.AF_INET, socket.inet_aton(address))


def carry(tun: int, seconds: float) -> None:
    """Sends each packet back after `seconds`, for ever."""
    under_way = deque[tuple[float, bytes]]()
    while True:
        wait = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
        if select.select([tun], [], [], wait)[0]:
            under_way.append((time.monotonic() + seconds, _returned(os.read(tun, 1 << 16))))
        while under_way and under_way[0][0] <= time.monotonic():
            os.write(tun, under_way.popleft()[1])


def _returned(packet: bytes) -> bytes:
    return packet[: _SOURCE.start] + packet[_DESTINATION] + packet[_SOURCE] + packet[_REST]


if __name__ == "__main__":
    line = open_line()
    print(FAR, flush=True)
    carry(line, float(sys.argv[1]) / 2e3)
