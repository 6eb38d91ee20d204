"""PROXY headers as load balancers send them."""

import struct

from tunnelctl.proto.proxy_protocol import SIGNATURE

V1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n"
V2 = SIGNATURE + b"\x21\x11" + struct.pack("!H", 12) + bytes([192, 0, 2, 7, 198, 51, 100, 1]) + struct.pack("!HH", 4711, 443)
LOCAL = SIGNATURE + b"\x20\x00\x00\x00"
