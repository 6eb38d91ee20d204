"""A peer that vanishes: its socket drops whatever arrives, as a cut cable would. No acknowledgement, no reset, no FIN leaves it."""

import ctypes
import socket
import struct

SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27  # asm-generic/socket.h
_DROP = struct.pack("HBBI", 0x06, 0, 0, 0)  # struct sock_filter (linux/filter.h): BPF_RET, zero bytes of the packet are kept


def make_deaf(sock: socket.socket) -> None:
    program = ctypes.create_string_buffer(_DROP)
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", 1, ctypes.addressof(program)))


def let_hear(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
