"""The head of a message, request or response: everything up to and including its empty line. One reader serves both ends.

The result does not depend on how the octets were split into reads. Faults are reported in a fixed order: the start line, then
octets that no line may contain, then the size, then malformed field lines. Feeding octet by octet costs as much in total as feeding
at once, because each octet is examined once.

There are two grammars. `strict` is the server's: only CRLF ends a line. It refuses all that neighbours in a chain could read
differently: a lone LF, a bare CR and NUL as soon as they arrive, a folded line and a blank before the colon once the head is
complete. Only in a head that declares HTTP/1.0 does a lone LF end a line too, the start line included. The last word of that line
is the version, so the first LF settles the grammar. The liberal grammar is the client's: real proxies send lone LF, folded lines
and lines that are no fields. Of such a head only the status decides anything about the tunnel.
"""

from __future__ import annotations

from tunnelctl.namedtuple import NamedTuple
from tunnelctl.proto.headers import BLANKS, TEXT, Field, Fields, is_token


class Limits(NamedTuple):
    """Bounds of one head. max_line is for the start line without its line end; only the strict reader enforces it."""

    max_bytes: int
    max_fields: int
    max_line: int


# RFC 9112 section 3 recommends 8000 octets for the request line; h11 caps the head at 16 KiB as well, Squid at 64, Apache at 100
# fields. A CONNECT has half a dozen fields and some 300 octets. The product with the number of waiting clients is what counts.
SERVER_LIMITS = Limits(max_bytes=16384, max_fields=100, max_line=8192)
# Gateways with several authentication schemes and cookies were seen to send 64 KiB and hundreds of fields; one head, one process.
CLIENT_LIMITS = Limits(max_bytes=262144, max_fields=4000, max_line=262144)

_CR, _LF = b"\r\n"
# The end of a request line of HTTP/1.0, up to its LF. corkscrew ends this line with a lone LF when it logs in, and RFC 9112 section
# 2.2 allows a server to accept that. Smuggling needs a second request after the first: here one head is read, and tunnel bytes
# follow it, or nothing.
_HTTP_1_0 = (b" HTTP/1.0", b" HTTP/1.0\r")


class Head(NamedTuple):
    """A complete head. raw: its octets with the empty line; leftover: octets after it, which are no part of it."""

    start_line: bytes
    fields: Fields
    raw: bytes
    leftover: bytes


class HeadError(Exception):
    """Raised for a head that breaks the grammar. Never leaves the protocol layer: the state machine above interprets it."""


class LineTooLong(HeadError):
    """The start line is longer than Limits.max_line."""


class HeadTooLarge(HeadError):
    """The head has more octets or fields than Limits allows."""


class HeadReader:
    """Collects a head. After it has returned a Head or raised an error, the reader is spent."""

    __slots__ = ("_buffer", "_checked", "_limits", "_line_end", "_lone_lf", "_may_skip", "_strict")

    def __init__(self, limits: Limits, strict: bool) -> None:
        self._limits = limits
        self._strict = strict
        self._buffer = bytearray()
        self._checked = 0  # octets known to be good; never past a CR whose LF may come with the next read
        self._line_end = -1  # of the start line; -1 until it is complete
        self._lone_lf = False  # whether a lone LF ends a line in the strict grammar: in HTTP/1.0, known at the first LF
        self._may_skip = strict  # RFC 9112 section 2.2: a server should ignore at least one empty line; we ignore one

    def peek(self, count: int) -> bytes:
        """Returns the first octets received so far."""
        return bytes(self._buffer[:count])

    @property
    def start_line(self) -> bytes | None:
        """The start line once it is complete and has no forbidden octet, even if later octets are bad: it is judged first."""
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
        first_lf = buffer.find(b"\n", known) if self._line_end < 0 else -1
        if first_lf >= 0:
            self._lone_lf = buffer.endswith(_HTTP_1_0, 0, first_lf)
        end = self._find_end(known)
        stop = len(buffer) if end < 0 else end
        good, wrong = self._check_octets(min(stop, self._limits.max_bytes))
        if self._line_end < 0:
            self._find_start(first_lf, good)
        if wrong:
            raise HeadError(wrong)
        if stop > self._limits.max_bytes:
            raise HeadTooLarge(f"more than {self._limits.max_bytes} octets")
        return None if end < 0 else self._finish(stop)

    def _find_end(self, known: int) -> int:
        """Returns the offset after the empty line that ends the head; -1 until that has come."""
        if self._lone_lf:
            return _find_liberal_end(self._buffer, max(0, known - 2))
        empty_line = self._buffer.find(b"\r\n\r\n", max(0, known - 3))
        return -1 if empty_line < 0 else empty_line + 4

    def _check_octets(self, upto: int) -> tuple[int, str]:
        """Checks the octets not checked yet. Returns the offset up to which all are good, and the fault there or ""."""
        window = self._buffer[self._checked : upto]
        pending = window.endswith(b"\r")
        # Without text only line ends may be left: each LF, and a CR for each LF that needs one.
        pairs = window.count(b"\r\n")
        if len(window.translate(None, TEXT)) == (window.count(b"\n") if self._lone_lf else pairs) + pairs + pending:
            self._checked += len(window) - pending
            return upto, ""
        at, wrong = _find_wrong(window, self._lone_lf)
        return self._checked + at, wrong

    def _find_start(self, first_lf: int, good: int) -> None:
        """Records where the start line ends, if it is complete and has no fault. Raises LineTooLong."""
        complete = 0 <= first_lf < good
        line_end = first_lf - self._buffer.endswith(b"\r", 0, first_lf) if complete else -1
        if (line_end if complete else good - 1) > self._limits.max_line:  # less one: the last octet may be the CR
            raise LineTooLong(f"a start line of more than {self._limits.max_line} octets")
        self._line_end = line_end

    def _feed_liberal(self) -> Head | None:
        buffer = self._buffer
        end = _find_liberal_end(buffer, max(0, self._checked - 2))
        stop = len(buffer) if end < 0 else end
        if stop > self._limits.max_bytes:
            raise HeadTooLarge(f"more than {self._limits.max_bytes} octets")
        self._checked = stop
        if end < 0:
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
        # The first piece, before the end of the start line, and the last two, around the empty line, are empty.
        lines = raw[self._line_end :].decode("latin-1").replace("\r\n", "\n").split("\n")[1:-2]
        fields = []
        for line in lines:
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


def _find_liberal_end(buffer: bytearray, start: int) -> int:
    """Returns the end of a head in which a lone LF may end a line; -1 if its empty line does not lie after `start`."""
    crlf = buffer.find(b"\n\r\n", start)
    lone = buffer.find(b"\n\n", start, crlf + 1 if crlf >= 0 else len(buffer))
    return lone + 2 if lone >= 0 else crlf + 3 if crlf >= 0 else -1


def _find_wrong(window: bytes | bytearray, lone_lf: bool) -> tuple[int, str]:
    """Returns the offset and the name of the first fault, in a window that has one.

    lone_lf: whether a lone LF is allowed
    """
    at, previous = 0, 0
    while True:
        octet = window[at]
        if previous == _CR and octet != _LF:
            return at, "a bare CR"
        if octet == _LF and previous != _CR and not lone_lf:
            return at, "a lone LF"
        if octet not in TEXT and octet not in (_CR, _LF):
            return at, f"the control character 0x{octet:02x}"
        at, previous = at + 1, octet


def _name_bad_field(line: str) -> str:
    name, colon, _ = line.partition(":")
    if line[0] in BLANKS:
        return "a folded header line"
    if not colon:
        return "a header line without a colon"
    return "a blank before the colon of a header line" if name.endswith((" ", "\t")) else "a header line with an invalid name"
