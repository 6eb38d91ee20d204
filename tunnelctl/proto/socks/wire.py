"""The part of SOCKS that both ends share: numbers, incremental reading, and the meaning of replies (RFC 1928, RFC 1929)."""

from __future__ import annotations

from collections.abc import Generator

VERSION_4, VERSION_5 = 4, 5
LOGIN_VERSION = 1  # of the negotiation in RFC 1929

CONNECT = 1

# RFC 1928 section 3: methods
NO_LOGIN, PASSWORD, NONE_ACCEPTABLE = 0, 2, 0xFF
# RFC 1928 section 5: kinds of addresses
IPV4, NAME, IPV6 = 1, 3, 4
# RFC 1928 section 6: replies
GRANTED, FAILED, NOT_ALLOWED, NO_NETWORK, NO_HOST, NOT_ACCEPTED, EXPIRED, NO_COMMAND, NO_ADDRESS_TYPE = range(9)
# of version 4
GRANTED_4, FAILED_4, NO_IDENT_4, WRONG_USER_4 = range(90, 94)

# A user name or a password is 1 to 255 octets (RFC 1929 section 2). The texts of version 4 have no length field. They get the same
# limit; otherwise a client could fill our memory.
MAX_TEXT = 255

# RFC 9209 error types as replies. A type that is not listed says too little about the target: a general failure. In the other
# direction, a reply maps to the first type listed for it: the one that claims least.
REPLIES = {
    "connection_refused": NOT_ACCEPTED,
    "destination_unavailable": NO_HOST,
    "destination_not_found": NO_HOST,
    "dns_error": NO_HOST,
    "destination_ip_unroutable": NO_NETWORK,
    "http_request_denied": NOT_ALLOWED,
    "destination_ip_prohibited": NOT_ALLOWED,
    "connection_timeout": EXPIRED,
    "dns_timeout": EXPIRED,
    "connection_read_timeout": EXPIRED,
    "connection_write_timeout": EXPIRED,
    "http_response_timeout": EXPIRED,
}

# A step of a dialogue: it yields a number of octets, at least one, and is sent exactly that many.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias, TypeVar

    T = TypeVar("T")
    Dialogue: TypeAlias = Generator[int, bytes, T]


class Speaker:
    """One end of a dialogue: feeds it the octets that it waits for, and keeps its output."""

    __slots__ = ("_buffer", "_dialogue", "_output", "_wanted")

    def __init__(self, dialogue: Dialogue[object]) -> None:
        self._buffer = self._output = b""
        self._begin(dialogue)

    def _begin(self, dialogue: Dialogue[object]) -> None:
        """Starts a dialogue, which will read the octets in the buffer first."""
        self._dialogue = dialogue
        self._wanted = next(dialogue)

    @property
    def wanted(self) -> int:
        """The number of octets that may be read next without reading past the dialogue."""
        return self._wanted - len(self._buffer)

    def take_output(self) -> bytes:
        """Returns octets to send now. Each octet is returned once."""
        output, self._output = self._output, b""
        return output

    def _advance(self, data: bytes) -> None:
        """Continues the dialogue. Raises StopIteration with its result at its end; the buffer then holds the octets after it."""
        self._buffer += data
        while len(self._buffer) >= self._wanted:
            piece, self._buffer = self._buffer[: self._wanted], self._buffer[self._wanted :]
            self._wanted = self._dialogue.send(piece)


def error_type(reply: int) -> str | None:
    """Returns the RFC 9209 error type for a reply of version 5, or None."""
    return next((kind for kind, known in REPLIES.items() if known == reply), None)
