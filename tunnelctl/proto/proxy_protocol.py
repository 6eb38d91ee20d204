"""The PROXY protocol, versions 1 and 2: the header by which a load balancer that forwards bytes names their source.

Specified in HAProxy's doc/proxy-protocol.txt. Headers are parsed strictly, and their presence is never guessed (section 5 there):
a peer that may send such a header decides to which client every rule, cap and record applies.
"""

import ipaddress
from typing import NamedTuple

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V1_START = b"PROXY "
V1_MOST = 107  # octets of the longest line, with its line end

# Octets of the longest header accepted: addresses are 216 at most, the rest are TLVs, which may hold a certificate. The length
# field could announce 64 KiB.
MOST = 16 + 4096

# The block before the TLVs, by the octet of family and transport: the size of one address and of the whole block, in octets.
_STREAMS = {0x11: (4, 12), 0x21: (16, 36)}
_UNNAMED = {0x00, 0x31}  # unspecified, and a unix socket, whose address no rule can match


class HeaderError(Exception):
    """Raised for octets that are no header of this protocol; the text gives the reason."""


class Source(NamedTuple):
    """The source of a connection. `host` is empty if the header names none: the connection is the sender's own (a health check)."""

    size: int  # octets of the header
    host: str = ""
    port: int = 0


def parse_header(data: bytes) -> Source | None:
    """Returns the header at the beginning of `data`, or None while more octets are needed. Raises HeaderError."""
    if data.startswith(SIGNATURE):
        return _version_2(data)
    if data.startswith(V1_START):
        return _version_1(data)
    if SIGNATURE.startswith(data) or V1_START.startswith(data):
        return None
    raise HeaderError("it does not begin as one")


def _version_1(data: bytes) -> Source | None:
    line, end, _ = data[:V1_MOST].partition(b"\n")
    if not end:
        if len(data) >= V1_MOST:
            raise HeaderError("the line is too long")
        return None
    if not line.endswith(b"\r"):
        raise HeaderError("the line does not end in CR LF")
    size, words = len(line) + 1, line[:-1].decode("latin-1").split(" ")
    if words[1] == "UNKNOWN":  # the rest of the line is then ignored
        return Source(size)
    if len(words) != 6 or words[1] not in ("TCP4", "TCP6"):
        raise HeaderError("the line has not the words that it must have")
    version = 4 if words[1] == "TCP4" else 6
    host, _ = _address(words[2], version), _address(words[3], version)
    port, _ = _port(words[4]), _port(words[5])
    return Source(size, host, port)


def _address(text: str, version: int) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise HeaderError("an address is malformed") from None
    if address.version != version or "%" in text:
        raise HeaderError("an address is of the wrong kind")
    return _plain(address)


def _plain(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """Returns the address in the form of rules: IPv4-mapped IPv6, which a balancer with one socket for both sends, becomes IPv4."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6 and str(int(text)) == text and int(text) < 65536):
        raise HeaderError("a port is malformed")
    return int(text)


def _version_2(data: bytes) -> Source | None:
    if len(data) < 16:
        return None
    command, family, length = data[12], data[13], int.from_bytes(data[14:16], "big")
    size = 16 + length
    if command not in (0x20, 0x21):
        raise HeaderError("the version or the command is unknown")
    if size > MOST:
        raise HeaderError("it is too long")
    if len(data) < size:
        return None
    if command == 0x20 or family in _UNNAMED:  # LOCAL: the balancer itself, whatever the rest contains
        return Source(size)
    if family not in _STREAMS:
        raise HeaderError("the family or the transport is none that can be here")
    width, block = _STREAMS[family]
    if length < block:
        raise HeaderError("it is too short for its addresses")
    host = _plain(ipaddress.ip_address(data[16 : 16 + width]))
    port = 16 + 2 * width
    return Source(size, host, int.from_bytes(data[port : port + 2], "big"))
