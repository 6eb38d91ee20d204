"""Frames: their types, flags and error codes, and the octets of each frame that we send (RFC 9113 sections 4, 6 and 7)."""

from __future__ import annotations

from enum import IntEnum
from struct import Struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"  # section 3.4

HEADER_SIZE = 9
DEFAULT_FRAME = 16384  # octets of payload that every peer accepts (section 4.2)
LARGEST_FRAME = (1 << 24) - 1
LARGEST_WINDOW = (1 << 31) - 1
LARGEST_STREAM = (1 << 31) - 1

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

END_STREAM = ACK = 0x1  # ACK: of SETTINGS and PING
END_HEADERS = 0x4
PADDED = 0x8
WITH_PRIORITY = 0x20

# Length and type share the first four octets; flags; the stream.
_HEADER = Struct(">IBI")
unpack_header = _HEADER.unpack_from
_NUMBER = Struct(">I")


class ErrorCode(IntEnum):
    """The error codes of section 7, under the RFC's names."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


def name_of(code: int) -> str:
    """Returns the RFC's name of an error code, or the number of an unknown one."""
    return ErrorCode(code).name if code in ErrorCode._value2member_map_ else f"error {code:#x}"


class ConnectionFault(Exception):
    """The peer has violated the protocol so that the whole connection ends (section 5.4.1)."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(f"{code.name}: {reason}")
        self.code, self.reason = code, reason


class StreamFault(Exception):
    """The peer has violated the protocol on one stream (section 5.4.2)."""

    def __init__(self, stream: int, code: ErrorCode, reason: str) -> None:
        super().__init__(f"{code.name} on stream {stream}: {reason}")
        self.stream, self.code, self.reason = stream, code, reason


def header(length: int, kind: int, flags: int, stream: int) -> bytes:
    """Returns a frame header."""
    return _HEADER.pack(length << 8 | kind, flags, stream)


def headers(stream: int, block: bytes, size: int, ended: bool) -> bytes:
    """Returns a header block as HEADERS and as many CONTINUATION frames as it takes. size: the peer's limit for a frame"""
    if len(block) <= size:  # nearly always
        return header(len(block), HEADERS, END_HEADERS | END_STREAM if ended else END_HEADERS, stream) + block
    pieces = [block[at : at + size] for at in range(0, len(block), size)]
    frames, kind = bytearray(), HEADERS
    for place, piece in enumerate(pieces):
        flags = (END_HEADERS if place == len(pieces) - 1 else 0) | (END_STREAM if ended and kind == HEADERS else 0)
        frames += header(len(piece), kind, flags, stream) + piece
        kind = CONTINUATION
    return bytes(frames)


def window_update(stream: int, increment: int) -> bytes:
    """Returns a WINDOW_UPDATE frame."""
    return header(4, WINDOW_UPDATE, 0, stream) + _NUMBER.pack(increment)


def rst_stream(stream: int, code: int) -> bytes:
    """Returns an RST_STREAM frame."""
    return header(4, RST_STREAM, 0, stream) + _NUMBER.pack(code)


def ping(payload: bytes, ack: bool) -> bytes:
    """Returns a PING frame. payload: eight octets"""
    return header(8, PING, ACK if ack else 0, 0) + payload


def goaway(last: int, code: int, debug: bytes) -> bytes:
    """Returns a GOAWAY frame. last: the highest stream that may have been processed"""
    return header(8 + len(debug), GOAWAY, 0, 0) + _NUMBER.pack(last) + _NUMBER.pack(code) + debug


def number(payload: memoryview) -> int:
    """Returns the 31-bit number at the beginning of a payload, without the reserved bit."""
    return int(_NUMBER.unpack_from(payload)[0]) & LARGEST_WINDOW


def error_code(payload: memoryview, at: int = 0) -> int:
    """Returns the error code at that place in a payload."""
    return int(_NUMBER.unpack_from(payload, at)[0])
