"""A peer that vanishes: its socket drops all incoming packets, like a cut cable, and so sends no acknowledgement, reset or FIN."""

import ctypes
import socket
import struct

SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27  # asm-generic/socket.h
_DROP = struct.pack("HBBI", 0x06, 0, 0, 0)  # struct sock_filter (linux/filter.h): BPF_RET, keeps zero bytes of the packet


def make_deaf(sock: socket.socket) -> None:
    program = ctypes.create_string_buffer(_DROP)
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", 1, ctypes.addressof(program)))


def let_hear(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
