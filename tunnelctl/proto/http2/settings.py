"""SETTINGS: the parameters of each end, and which values are valid (RFC 9113 section 6.5.2, RFC 8441 section 3)."""

from __future__ import annotations

from struct import Struct

from tunnelctl.namedtuple import NamedTuple
from tunnelctl.proto.http2 import frame
from tunnelctl.proto.http2.frame import ConnectionFault, ErrorCode

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = range(1, 7)
ENABLE_CONNECT_PROTOCOL = 8

_NAMES = {
    HEADER_TABLE_SIZE: "header_table_size",
    ENABLE_PUSH: "enable_push",
    MAX_CONCURRENT_STREAMS: "max_concurrent_streams",
    INITIAL_WINDOW_SIZE: "initial_window_size",
    MAX_FRAME_SIZE: "max_frame_size",
    MAX_HEADER_LIST_SIZE: "max_header_list_size",
    ENABLE_CONNECT_PROTOCOL: "enable_connect_protocol",
}
_NUMBERS = {name: number for number, name in _NAMES.items()}
_ENTRY = Struct(">HI")

MAX_ENTRIES = 32  # in one frame: there are seven parameters
UNLIMITED = (1 << 32) - 1
DEFAULT_WINDOW = 65535


class Settings(NamedTuple):
    """The parameters of one end. The defaults are those of the RFC, in force until a SETTINGS frame changes them."""

    header_table_size: int = 4096
    enable_push: int = 1
    max_concurrent_streams: int = UNLIMITED
    initial_window_size: int = DEFAULT_WINDOW
    max_frame_size: int = frame.DEFAULT_FRAME
    max_header_list_size: int = UNLIMITED
    enable_connect_protocol: int = 0

    def render(self) -> bytes:
        """Returns the SETTINGS frame with everything that differs from the defaults."""
        changed = [(name, value) for name, value in self._asdict().items() if value != getattr(_DEFAULTS, name)]
        payload = b"".join(_ENTRY.pack(_NUMBERS[name], value) for name, value in changed)
        return frame.header(len(payload), frame.SETTINGS, 0, 0) + payload

    def updated(self, payload: memoryview, from_server: bool) -> Settings:
        """Returns the parameters after the peer's frame. Raises ConnectionFault for an invalid one. Unknown ones are ignored."""
        if len(payload) % _ENTRY.size:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS is no multiple of 6 octets long")
        if len(payload) > MAX_ENTRIES * _ENTRY.size:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"more than {MAX_ENTRIES} parameters in one SETTINGS")
        changed: dict[str, int] = {}
        for identifier, value in _ENTRY.iter_unpack(payload):
            if (name := _NAMES.get(identifier)) is not None:
                _check(identifier, value, changed.get(name, getattr(self, name)), from_server)
                changed[name] = value
        return self._replace(**changed)


_DEFAULTS = Settings()


def _check(identifier: int, value: int, before: int, from_server: bool) -> None:
    if identifier == INITIAL_WINDOW_SIZE and value > frame.LARGEST_WINDOW:
        raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE is above 2^31-1")
    if identifier == MAX_FRAME_SIZE and not frame.DEFAULT_FRAME <= value <= frame.LARGEST_FRAME:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "MAX_FRAME_SIZE is out of range")
    if identifier == ENABLE_PUSH and value > (0 if from_server else 1):  # a server must not enable what only it can use
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "ENABLE_PUSH has an invalid value")
    if identifier == ENABLE_CONNECT_PROTOCOL and (value > 1 or value < before):  # RFC 8441 section 3: never back to 0
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "ENABLE_CONNECT_PROTOCOL has an invalid value")
