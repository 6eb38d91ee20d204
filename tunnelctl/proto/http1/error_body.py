"""The body of a refusal: an excerpt of it for a message, and its end if the connection is kept for the next request.

The reader is liberal where it only feeds a message: it follows the framing as far as that makes sense, and ends the excerpt where
it makes none. Whether the connection can be kept is judged strictly: a request sent in the middle of a body gets no response.
"""

from tunnelctl.proto import headers as header
from tunnelctl.proto.headers import Fields

# Octets, framing included, that are drained to keep a connection. Error pages with pictures in them have some MiB; anything with
# more than this is no page.
MAX_BODY = 16 << 20
_MAX_LINE = 1024  # octets of the line before a chunk or in its trailer: the size has 16 digits at most, extensions are a few words


class BodyReader:
    """Collects content framed by RFC 9112 section 6.3: chunked, Content-Length, or until the peer closes."""

    def __init__(self, fields: Fields, limit: int, empty: bool = False, drain: bool = False) -> None:
        """Keeps at most `limit` octets. `empty`: the status rules out content, whatever the fields declare.

        drain: read on to the end of the body, if it has one within MAX_BODY
        """
        self.content = b""
        self._limit = limit
        self._chunked = _is_chunked(fields)
        length = None if header.get(fields, "transfer-encoding") is not None else _content_length(fields)
        self._left = 0 if self._chunked else limit if length is None else length  # octets until the next decision
        # Of two framings one is wrong, and a neighbour may have chosen the other one (RFC 9112 section 6.3).
        framed = length is not None or (self._chunked and header.get(fields, "content-length") is None)
        self._drain = drain and (empty or (framed and self._left <= MAX_BODY))
        self._room = MAX_BODY
        self._line = b""
        self._in_trailer = self._broken = self._behind = False
        self._ended = empty or not (self._left or self._chunked)

    @property
    def drained(self) -> bool:
        """Whether the body has come to the end that its framing declares, with nothing after it."""
        return self._drain and self._ended and not (self._broken or self._behind)

    def feed(self, data: bytes) -> bool:
        """Takes octets, possibly none. Returns True once nothing more needs to be read."""
        self._room -= len(data)
        while data and not self._complete():
            data = self._take(data) if self._left else self._read_line(data)
        self._behind = bool(data)
        return self._complete() or (self._drain and self._room < 0)

    def _complete(self) -> bool:
        return self._ended or (not self._drain and len(self.content) >= self._limit)

    def _take(self, data: bytes) -> bytes:
        piece = data[: self._left]
        self.content += piece[: self._limit - len(self.content)]
        self._left -= len(piece)
        self._ended = not (self._left or self._chunked)
        return data[len(piece) :]

    def _read_line(self, data: bytes) -> bytes:
        line, newline, rest = data.partition(b"\n")
        self._line += line
        if len(self._line) > _MAX_LINE:
            self._break()
        elif newline:
            line, self._line = self._line.strip(), b""
            if self._in_trailer:
                self._ended = not line
            elif line:  # an empty line ends the chunk before it
                self._start_chunk(line.partition(b";")[0].strip())
        return rest

    def _start_chunk(self, size: bytes) -> None:
        if not size or len(size) > 16 or size.strip(b"0123456789abcdefABCDEF"):
            self._break()
            return
        self._left = int(size, 16)
        if self._left == 0:  # the trailer and the empty line after it are no part of the content
            self._in_trailer, self._ended = self._drain, not self._drain

    def _break(self) -> None:
        self._ended = self._broken = True


def stays_open(version: str, fields: Fields) -> bool:
    """Whether the peer will read another request on this connection (RFC 9112 section 9.3).

    Proxy-Connection is not a standard field, but older proxies send it when they require NTLM.
    """
    values = header.get_all(fields, "connection") + header.get_all(fields, "proxy-connection")
    options = {option.strip(header.BLANKS).lower() for option in ",".join(values).split(",")}
    if version == "HTTP/1.0":  # a Transfer-Encoding is unknown there: its framing is faulty (section 6.1)
        return "keep-alive" in options and "close" not in options and header.get(fields, "transfer-encoding") is None
    return "close" not in options


def _is_chunked(fields: Fields) -> bool:
    codings = ",".join(header.get_all(fields, "transfer-encoding"))
    return codings.rpartition(",")[2].strip(header.BLANKS).lower() == "chunked"


def _content_length(fields: Fields) -> int | None:
    """Returns the length, or None if the field is missing, is no number, or has different values."""
    lengths = {value.strip(header.BLANKS) for value in ",".join(header.get_all(fields, "content-length")).split(",")}
    length = lengths.pop()
    return int(length) if not lengths and length.isascii() and length.isdigit() and len(length) <= 18 else None
