"""The head of a message, request or response: everything up to and including its empty line. One reader for both ends.

The result does not depend on how the octets were cut into reads: whatever is wrong is reported by the order of the octets in
the stream, first the start line, then the fields, then the size. Feeding octet by octet costs the same in sum as feeding at
once, because each octet is looked at once.

Two grammars. `strict` is the server's: CRLF and nothing else ends a line, and what neighbours in a chain could read
differently (a lone LF, a bare CR, NUL, a folded line, a blank before the colon) is refused as soon as it is seen. The liberal
one is the client's: real proxies send lone LF, folded lines and lines that are no fields; nothing there decides anything
about the tunnel but the status.
"""

from __future__ import annotations

from tunnelctl.proto.fields import BLANKS, Field, Fields, is_token
from tunnelctl.record import NamedTuple


class Limits(NamedTuple):
    """Bounds of one head. max_line is for the start line without its line end and is enforced by the strict reader."""

    max_bytes: int
    max_fields: int
    max_line: int


# RFC 9112 section 3 wants 8000 octets for the request line; h11 caps the head at 16 KiB as well, Squid at 64, Apache at 100
# fields. A CONNECT has half a dozen fields and some 300 octets. The product with the number of waiting clients is what counts.
SERVER_LIMITS = Limits(max_bytes=16384, max_fields=100, max_line=8192)
# Gateways with several authentication schemes and cookies were seen with 64 KiB and hundreds of fields; one head, one process.
CLIENT_LIMITS = Limits(max_bytes=262144, max_fields=4000, max_line=262144)

_TEXT = bytes(octet for octet in range(256) if octet >= 0x20 and octet != 0x7F) + b"\t"
_CR, _LF = b"\r\n"


class Head(NamedTuple):
    """A complete head. raw: its octets with the empty line; leftover: what came behind it and belongs to what follows."""

    start_line: bytes
    fields: Fields
    raw: bytes
    leftover: bytes


class HeadError(Exception):
    """The head breaks the grammar. These never leave the protocol layer: the machine above gives them their meaning."""


class LineTooLong(HeadError):
    """The start line is longer than Limits.max_line."""


class HeadTooLarge(HeadError):
    """The head has more octets or fields than Limits allows."""


class HeadReader:
    """Collects a head. After a Head was returned or an error raised the reader is spent."""

    __slots__ = ("_buffer", "_checked", "_limits", "_line_end", "_may_skip", "_strict")

    def __init__(self, limits: Limits, strict: bool) -> None:
        self._limits = limits
        self._strict = strict
        self._buffer = bytearray()
        self._checked = 0  # octets known to be good; never past a CR whose LF may come with the next read
        self._line_end = -1  # of the start line; -1 until it is complete
        self._may_skip = strict  # RFC 9112 section 2.2: a server should ignore at least one empty line; we ignore one

    def peek(self, count: int) -> bytes:
        """The first octets of what has come so far."""
        return bytes(self._buffer[:count])

    @property
    def start_line(self) -> bytes | None:
        """The start line once it is complete and well-formed, even if what follows is not: it is judged first."""
        return None if self._line_end < 0 else bytes(self._buffer[: self._line_end])

    def feed(self, data: bytes) -> Head | None:
        """Takes the next octets; returns the Head once it is complete. Raises HeadError."""
        self._buffer += data
        return self._feed_strict() if self._strict else self._feed_liberal()

    def _feed_strict(self) -> Head | None:
        buffer = self._buffer
        if self._may_skip and len(buffer) >= 2:
            self._may_skip = False
            if buffer.startswith(b"\r\n"):
                del buffer[:2]
        known = self._checked
        empty_line = buffer.find(b"\r\n\r\n", max(0, known - 3))
        stop = len(buffer) if empty_line < 0 else empty_line + 4
        good, wrong = self._check_octets(min(stop, self._limits.max_bytes))
        if self._line_end < 0:
            self._find_start(known, good)
        if wrong:
            raise HeadError(wrong)
        if stop > self._limits.max_bytes:
            raise HeadTooLarge(f"more than {self._limits.max_bytes} octets")
        return None if empty_line < 0 else self._finish(stop)

    def _check_octets(self, upto: int) -> tuple[int, str]:
        """Looks at the octets not looked at yet; returns the offset up to which all is well, and what is wrong there or ""."""
        window = self._buffer[self._checked : upto]
        pending = window.endswith(b"\r")
        # With text taken away only line ends may be left: if all CRs and LFs are as many as the pairs need, all are in pairs.
        if len(window.translate(None, _TEXT)) == 2 * window.count(b"\r\n") + pending:
            self._checked += len(window) - pending
            return upto, ""
        at, wrong = _find_wrong(window)
        return self._checked + at, wrong

    def _find_start(self, known: int, good: int) -> None:
        line_end = self._buffer.find(b"\r\n", known, good)
        if (line_end if line_end >= 0 else good - 1) > self._limits.max_line:  # less one: the last octet may be the CR
            raise LineTooLong(f"a start line of more than {self._limits.max_line} octets")
        self._line_end = line_end

    def _feed_liberal(self) -> Head | None:
        buffer = self._buffer
        start = max(0, self._checked - 2)
        crlf = buffer.find(b"\n\r\n", start)
        lone = buffer.find(b"\n\n", start, crlf + 1 if crlf >= 0 else len(buffer))
        stop = lone + 2 if lone >= 0 else crlf + 3 if crlf >= 0 else len(buffer)
        if stop > self._limits.max_bytes:
            raise HeadTooLarge(f"more than {self._limits.max_bytes} octets")
        self._checked = stop
        if lone < 0 and crlf < 0:
            return None
        line_end = buffer.find(b"\n")
        self._line_end = line_end - buffer.startswith(b"\r", max(0, line_end - 1))
        return self._finish(stop)

    def _finish(self, stop: int) -> Head:
        raw = bytes(self._buffer[:stop])
        fields = self._strict_fields(raw) if self._strict else self._liberal_fields(raw)
        if len(fields) > self._limits.max_fields:
            raise HeadTooLarge(f"more than {self._limits.max_fields} fields")
        return Head(raw[: self._line_end], tuple(fields), raw, bytes(self._buffer[stop:]))

    def _strict_fields(self, raw: bytes) -> list[Field]:
        block = raw[self._line_end + 2 : -4]
        fields = []
        for line in block.decode("latin-1").split("\r\n") if block else ():
            name, colon, value = line.partition(":")
            if not is_token(name) or not colon:
                raise HeadError(_name_bad_field(line))
            fields.append((name, value.strip(BLANKS)))
        return fields

    def _liberal_fields(self, raw: bytes) -> list[Field]:
        if b"\0" in raw or raw.count(b"\r") != raw.count(b"\r\n"):
            raise HeadError("a NUL or a bare CR in it")
        fields: list[Field] = []
        for line in raw[self._line_end :].decode("latin-1").replace("\r", "").split("\n"):
            name, colon, value = line.partition(":")
            if line[:1] in (" ", "\t") and fields:
                # RFC 9112 section 5.2: a user agent replaces the fold by a space
                fields[-1] = (fields[-1][0], f"{fields[-1][1]} {line.strip(BLANKS)}".strip(BLANKS))
            elif colon and name.strip(BLANKS):
                fields.append((name.strip(BLANKS), value.strip(BLANKS)))
        return fields


def _find_wrong(window: bytes | bytearray) -> tuple[int, str]:
    """Offset and name of the first octet that shows something wrong, in a window that has something wrong in it."""
    at, previous = 0, 0
    while True:
        octet = window[at]
        if previous == _CR and octet != _LF:
            return at, "a bare CR"
        if octet == _LF and previous != _CR:
            return at, "a lone LF"
        if octet not in _TEXT and octet not in (_CR, _LF):
            return at, f"the control character 0x{octet:02x}"
        at, previous = at + 1, octet


def _name_bad_field(line: str) -> str:
    name, colon, _ = line.partition(":")
    if line[0] in BLANKS:
        return "a folded header line"
    if not colon:
        return "a header line without a colon"
    return "a blank before the colon of a header line" if name.endswith((" ", "\t")) else "a header line with an invalid name"
