"""The hellos of a TLS client: its ClientHello, and the second one that a server may request.

A server that misses something in a ClientHello responds with HelloRetryRequest, and uses the client's second hello (RFC 8446
sections 4.1.2 and 4.1.4). The client can force that: an empty list of key shares is enough (section 4.2.8). OpenSSL's server takes
the server name from the second hello. So a client that is judged by the first alone can name an allowed host there, and another
host in the second.

A client need not wait for the HelloRetryRequest. Between its hellos it may send records of other types, which servers skip:
ChangeCipherSpec, early data (section 4.2.10), alerts. So the watch looks for a second hello until the server has responded with
something else, or until a record has come that no server would skip. After such a record, a server treats a hello as an error, and
likewise a third hello.

No client needs many records before it has a response. One that sends more than MAX_SKIPPED is treated as hiding a second hello
behind them: if the search ended without a verdict, that hello would pass unread.
"""

from collections.abc import Iterator

from tunnelctl.proto.tls.client_hello import (
    CLIENT_HELLO,
    ENDED,
    HANDSHAKE,
    MALFORMED,
    MAX_HELLO,
    MESSAGE_HEAD,
    RECORD_HEAD,
    TOO_LONG,
    ClientHello,
    ClientHelloReader,
    NoClientHello,
    parse_hello,
)

Hello = ClientHello | NoClientHello

_SKIPPED = frozenset({20, 21, 23})  # ChangeCipherSpec, alerts, application data
_KINDS = _SKIPPED | {HANDSHAKE}
_MAX_RECORD = (1 << 14) + 2048  # of ciphertext in TLS 1.2 (RFC 5246 section 6.2.3); TLS 1.3 allows less
_NO_RECORD = -1

# Records that either side may send before the response. OpenSSL and BoringSSL skip 32 empty ones in a row and, by default, 16 KiB
# of early data: this allows for that much in pieces of 16 octets. Reading all of them takes a few milliseconds.
MAX_SKIPPED = 1024
TOO_MANY = f"more than {MAX_SKIPPED} records after a ClientHello"

_SERVER_HELLO = 2
_RANDOM = slice(MESSAGE_HEAD + 2, MESSAGE_HEAD + 2 + 32)  # in a ServerHello, after its head and the version
# A HelloRetryRequest is a ServerHello with this random: SHA-256 of "HelloRetryRequest" (RFC 8446 section 4.1.3).
_RETRY = bytes.fromhex("CF21AD74E59A6111BE1D8C021E65B891C2A211167ABB8C5E079E09E2C8A8339C")


class HelloWatch:
    """Follows both directions of a tunnel for as long as the client may still send a hello.

    pending: how many of the client's octets, the last ones fed, may belong to an incomplete hello
    over: no further hello can come; nothing must be fed after that
    """

    def __init__(self) -> None:
        self._first: ClientHelloReader | None = ClientHelloReader()
        self._records = _Records()
        self._message = bytearray()  # a second hello, as far as received
        self._heads = self._skipped = 0  # records after the first hello: handshake records, and others
        self._answer = _ServerAnswer()
        self._fed = self._cleared = 0  # octets of the client: all, and those before any incomplete hello
        self.over = False

    @property
    def pending(self) -> int:
        return self._fed - self._cleared

    @property
    def begun(self) -> bool:
        """True while a hello is due: the first, or the rest of one."""
        return not self.over and (self._first is not None or self.pending > 0)

    def feed_client(self, data: bytes) -> list[Hello]:
        """Takes octets of the client; returns the hellos that they complete, or what came instead."""
        self._fed += len(data)
        found: list[Hello] = []
        rest = memoryview(data)
        if self._first is not None:
            before = self._first.taken
            hello = self._first.feed(data)
            if hello is None:
                return []
            found.append(hello)
            rest = rest[self._first.taken - before :]
            self._records = _Records(HANDSHAKE, self._first.left)
            self._first, self._cleared = None, self._fed - len(rest)
            if isinstance(hello, NoClientHello):
                self._stop()
        if not self.over:
            found += self._follow(rest)
            self._settle()
        return found

    def feed_server(self, data: bytes | memoryview) -> None:
        """Takes octets of the server that go to the client. Ignores those before the first hello is complete: no response to it."""
        if self._first is None and not self.over:
            self._answer.feed(memoryview(data))
            self._settle()

    def end(self) -> list[Hello]:
        """Ends the watch at the client's EOF. Returns ENDED if a hello is still missing or incomplete."""
        awaited = self._first is not None or bool(self._message)
        self._stop()
        return [NoClientHello(ENDED)] if awaited else []

    def _follow(self, data: memoryview) -> Iterator[Hello]:
        """Reads the octets after the first hello, up to those that end the watch."""
        base = self._fed - len(data) - self._records.taken
        for kind, piece in self._records.feed(data):
            if kind == HANDSHAKE:
                yield from self._handshake(piece)
            elif self._message:  # RFC 8446 section 5.1: no other record comes between the parts of a message
                yield NoClientHello(MALFORMED)
                self._stop()
            elif kind == _NO_RECORD:
                self._stop()
            else:
                self._cleared = base + self._records.taken
                yield from self._skip(piece)
            if self.over:
                return
        if not self._message and self._records.may_be_skipped:
            self._cleared = self._fed

    def _skip(self, piece: memoryview) -> Iterator[Hello]:
        """Takes a piece of a record that holds no hello."""
        if not piece:  # the head of the record
            self._skipped += 1
            if self._skipped > MAX_SKIPPED:
                yield NoClientHello(TOO_MANY)
                self._stop()

    def _handshake(self, piece: memoryview) -> Iterator[Hello]:
        """Takes a piece of a handshake record."""
        if not piece:  # the head of the record
            self._heads += 1
            if not self._records.left:  # RFC 8446 section 5.1: none is empty
                yield NoClientHello(MALFORMED)
                self._stop()
            return
        message = self._message
        message += piece
        length = MESSAGE_HEAD + int.from_bytes(message[1:MESSAGE_HEAD], "big") if len(message) >= MESSAGE_HEAD else MESSAGE_HEAD
        if message[0] != CLIENT_HELLO:
            self._stop()
        elif length + self._heads * RECORD_HEAD > MAX_HELLO:  # record heads count, as for the first hello
            yield NoClientHello(TOO_LONG)
            self._stop()
        elif len(message) >= length:
            yield parse_hello(bytes(message[MESSAGE_HEAD:length]))
            self._stop()

    def _settle(self) -> None:
        """Ends the watch if the server's response is no HelloRetryRequest. A hello that has begun is read to its end."""
        if self._answer.is_retry is False and not self.pending:
            self._stop()

    def _stop(self) -> None:
        self.over, self._cleared = True, self._fed
        self._message.clear()


class _Records:
    """Cuts octets into TLS records: pieces of content, each with the type of its record; _NO_RECORD for octets that are none."""

    def __init__(self, kind: int = 0, left: int = 0) -> None:
        """kind, left: type of the record in whose middle the octets begin, and how many of its octets are to come"""
        self._kind, self.left = kind, left
        self._head = bytearray()  # of the next one, as far as received
        self.taken = 0

    @property
    def may_be_skipped(self) -> bool:
        """True if the record that has begun is of a type that holds no hello, and between two records."""
        kind = self._head[0] if self._head else self._kind if self.left else 0
        return kind != HANDSHAKE

    def feed(self, data: memoryview) -> Iterator[tuple[int, memoryview]]:
        """Yields the pieces, an empty one for the head of each record. `taken` counts the octets up to the end of a piece.

        Nothing after _NO_RECORD has a meaning.
        """
        while data:
            size = min(len(data), self.left or RECORD_HEAD - len(self._head))
            piece, data = data[:size], data[size:]
            self.taken += size
            if self.left:
                self.left -= size
                yield self._kind, piece
            elif not self._take_head(piece):
                yield _NO_RECORD, data[:0]
            elif not self._head:
                yield self._kind, data[:0]

    def _take_head(self, piece: memoryview) -> bool:
        """Takes a piece of a head. Returns whether it is that of a record, as far as received."""
        head = self._head
        head += piece
        if head[0] not in _KINDS or (len(head) > 1 and head[1] != 3):
            return False
        if len(head) == RECORD_HEAD:
            self._kind, self.left = head[0], int.from_bytes(head[3:], "big")
            head.clear()
        return self.left <= _MAX_RECORD


class _ServerAnswer:
    """Reads the response to a ClientHello. is_retry: whether it is a HelloRetryRequest; None as long as that is not known."""

    def __init__(self) -> None:
        self._records = _Records()
        self._message = bytearray()
        self._heads = 0  # of records; no server sends many before it responds
        self.is_retry: bool | None = None

    def feed(self, data: memoryview) -> None:
        """Takes octets of the server; ignores those after the response."""
        for kind, piece in self._records.feed(data) if self.is_retry is None else ():
            if kind == HANDSHAKE:
                self._message += piece
            elif kind == _NO_RECORD or self._message:
                self.is_retry = False
            self._heads += not piece
            if self._heads > MAX_SKIPPED or (self._message and self._message[0] != _SERVER_HELLO):
                self.is_retry = False
            elif len(self._message) >= _RANDOM.stop:
                self.is_retry = self._message[_RANDOM] == _RETRY
            if self.is_retry is not None:
                return
