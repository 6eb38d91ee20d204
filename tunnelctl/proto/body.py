"""An excerpt of a response body: enough of a proxy's error page to show why it refused.

Liberal, because it only feeds a message: the framing is followed as far as it makes sense, and where it makes none, the
excerpt ends.
"""

from tunnelctl.proto import fields as header
from tunnelctl.proto.fields import Fields

_MAX_SIZE_LINE = 1024  # octets of the line before a chunk: the size has 16 digits at most, extensions are a few words


class BodyReader:
    """Collects content framed by RFC 9112 section 6.3: chunked, Content-Length, or until the peer closes."""

    def __init__(self, fields: Fields, limit: int, empty: bool = False) -> None:
        """At most `limit` octets are kept. `empty`: the status says that there is no content, whatever the fields say."""
        self.content = b""
        self._limit = limit
        self._chunked = _is_chunked(fields)
        self._left = 0 if self._chunked else _content_length(fields, default=limit)  # octets until the next decision
        self._size_line = b""
        self._ended = empty

    def feed(self, data: bytes) -> bool:
        """Takes octets, possibly none; returns whether the excerpt is complete."""
        while data and not self._complete():
            data = self._take(data) if self._left else self._read_size(data)
        return self._complete()

    def _complete(self) -> bool:
        return self._ended or len(self.content) >= self._limit or not (self._left or self._chunked)

    def _take(self, data: bytes) -> bytes:
        piece = data[: min(self._left, self._limit - len(self.content))]
        self.content += piece
        self._left -= len(piece)
        return data[len(piece) :]

    def _read_size(self, data: bytes) -> bytes:
        line, newline, rest = data.partition(b"\n")
        self._size_line += line
        if newline:
            size = self._size_line.partition(b";")[0].strip()
            self._size_line = b""
            if size:  # an empty line is the end of the chunk before
                self._left = int(size, 16) if len(size) <= 16 and not size.strip(b"0123456789abcdefABCDEF") else 0
                self._ended = self._left == 0
        else:
            self._ended = len(self._size_line) > _MAX_SIZE_LINE
        return rest


def _is_chunked(fields: Fields) -> bool:
    codings = ",".join(header.get_all(fields, "transfer-encoding"))
    return codings.rpartition(",")[2].strip(header.BLANKS).lower() == "chunked"


def _content_length(fields: Fields, default: int) -> int:
    """`default` where the field is missing, no number, or says different things."""
    lengths = {value.strip(header.BLANKS) for value in ",".join(header.get_all(fields, "content-length")).split(",")}
    length = lengths.pop()
    return int(length) if not lengths and length.isascii() and length.isdigit() and len(length) <= 18 else default
