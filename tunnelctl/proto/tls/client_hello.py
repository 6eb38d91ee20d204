"""The ClientHello at the beginning of a tunnel: shows whether it is TLS, and the name of the server. Nothing is decrypted.

RFC 8446 sections 4.1.2 and 5.1, RFC 6066 section 3. A reader that is laxer than the server behind it can be deceived, by a second
name for instance. So octets that break the grammar are no ClientHello. Parts that are merely unknown (GREASE of RFC 8701, new key
shares, new extensions) are ignored.

With Encrypted ClientHello (RFC 9849) only the outer name is readable, and that is the one reported.
"""

from typing import NamedTuple

from tunnelctl.errors import AddressError
from tunnelctl.proto.address import MAX_NAME, parse_host

# Octets read for it, record headers included: as many as a relay buffers per direction, and as Go's TLS accepts for any handshake
# message. Browsers send 2 KiB with a post-quantum key share; session tickets can add some.
MAX_HELLO = 1 << 16

NO_TLS = "no TLS"
MALFORMED = "a malformed ClientHello"
TOO_LONG = f"a ClientHello longer than {MAX_HELLO >> 10} KiB"
ENDED = "the end before a ClientHello"

HANDSHAKE, CLIENT_HELLO = 22, 1  # the type of the record, and of the message in it
RECORD_HEAD, MESSAGE_HEAD = 5, 4  # octets
_MAX_RECORD = 1 << 14
_SERVER_NAME, _ECH = 0, 0xFE0D


class ClientHello(NamedTuple):
    """A ClientHello that was read. name: in canonical form if it is a valid host name, "" if there is none."""

    name: str
    ech: bool = False


class NoClientHello(NamedTuple):
    """The absence of a ClientHello. what: the fault, or what came instead"""

    what: str


class ClientHelloReader:
    """Reads the octets of one client up to the end of its ClientHello. The caller keeps the octets.

    taken: octets that were read; left: those of the record's content that have not been read
    """

    def __init__(self) -> None:
        self._head = bytearray()  # of a record, as far as received
        self._message = bytearray()
        self.left = self.taken = 0

    def feed(self, data: bytes) -> ClientHello | NoClientHello | None:
        """Returns the outcome, or None as long as more octets are needed. Must not be called again after an outcome."""
        rest = memoryview(data)
        while rest:
            size = min(len(rest), self._wanted(), MAX_HELLO - self.taken)
            piece, rest = rest[:size], rest[size:]
            self.taken += size
            outcome = self._record_head(piece) if not self.left else self._content(piece)
            if outcome is not None:
                return outcome
            if self.taken == MAX_HELLO:
                return NoClientHello(TOO_LONG)
        return None

    def _wanted(self) -> int:
        """Returns how many octets can be taken before the next decision."""
        if not self.left:
            return 1 if len(self._head) < 2 else RECORD_HEAD - len(self._head)
        return min(self.left, self._length() - len(self._message))

    def _length(self) -> int:
        """Returns the length of the message with its head, as far as that is known."""
        if len(self._message) < MESSAGE_HEAD:
            return MESSAGE_HEAD
        return MESSAGE_HEAD + int.from_bytes(self._message[1:MESSAGE_HEAD], "big")

    def _record_head(self, piece: memoryview) -> NoClientHello | None:
        head = self._head
        head += piece
        # The minor version is ignored (RFC 8446 section 5.1). A hello of SSL 2 begins with a length, and is no TLS.
        if head[0] != HANDSHAKE or (len(head) > 1 and head[1] != 3):
            return NoClientHello(MALFORMED if self._message else NO_TLS)
        if len(head) == RECORD_HEAD:
            self.left = int.from_bytes(head[3:], "big")
            if not 0 < self.left <= _MAX_RECORD:
                return NoClientHello(MALFORMED if self._message else NO_TLS)
            head.clear()
        return None

    def _content(self, piece: memoryview) -> ClientHello | NoClientHello | None:
        self.left -= len(piece)
        message = self._message
        message += piece
        if message[0] != CLIENT_HELLO:
            return NoClientHello(MALFORMED)
        if self._length() > MAX_HELLO:
            return NoClientHello(TOO_LONG)
        return None if len(message) < self._length() else parse_hello(bytes(message[MESSAGE_HEAD:]))


def parse_hello(content: bytes) -> ClientHello | NoClientHello:
    """Parses the content of a ClientHello: the message without its head."""
    try:
        return _parse(_Octets(content))
    except _Broken:
        return NoClientHello(MALFORMED)


class _Broken(Exception):
    """Raised for octets that break the grammar."""


class _Octets:
    """A cursor over octets, which are taken from the front."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        if len(taken) < size:
            raise _Broken
        self._at += size
        return taken

    def rest(self) -> bytes:
        return self.take(len(self._data) - self._at)

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int, least: int = 0) -> "_Octets":
        """Takes a vector that begins with its length in `size` octets."""
        length = self.number(size)
        if length < least:
            raise _Broken
        return _Octets(self.take(length))


def _parse(hello: _Octets) -> ClientHello:
    hello.take(2 + 32)  # legacy_version, random
    hello.vector(1)  # legacy_session_id
    hello.vector(2, least=2)  # cipher_suites
    hello.vector(1, least=1)  # legacy_compression_methods
    extensions: dict[int, _Octets] = {}
    if hello:  # before TLS 1.3 a hello may omit them
        block = hello.vector(2)
        while block:
            kind = block.number(2)
            if kind in extensions:  # RFC 8446 section 4.2
                raise _Broken
            extensions[kind] = block.vector(2)
    if hello:
        raise _Broken
    name = _server_name(extensions[_SERVER_NAME]) if _SERVER_NAME in extensions else ""
    return ClientHello(name, _ECH in extensions)


def _server_name(extension: _Octets) -> str:
    """Returns the only name, of the only defined type. Several are an error: servers differ in which of them they use."""
    names = extension.vector(2)
    if names.number(1) != 0:
        raise _Broken
    name = names.vector(2, least=1)
    if names or extension:
        raise _Broken
    text = name.rest()
    if len(text) > MAX_NAME + 1:
        raise _Broken
    try:
        return parse_host(text.decode("ascii"))
    except (UnicodeDecodeError, AddressError):  # no valid host name: reported as received, and equal to none
        return text.decode("ascii", "backslashreplace")
