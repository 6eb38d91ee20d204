"""Sequences of frames from a seed: valid ones, and then such as a careless or hostile peer might send."""

from random import Random

from tests.proto.http2 import wire
from tests.proto.http2.wire import CONNECT, CONTINUATION, END_HEADERS, END_STREAM, HEADERS, LARGEST, PADDED, WITH_PRIORITY, raw

CODES = (0, 1, 7, 8, 10, 13, 99, (1 << 32) - 1)
INCREMENTS = (0, 1, 5, 65535, LARGEST - 65535, LARGEST, 1 << 31, (1 << 32) - 1)
BLOCKS = (
    [],
    CONNECT[:1],
    [*CONNECT, CONNECT[1]],
    [*CONNECT, ("A", "b")],
    [*CONNECT, ("a", "b\n")],
    [*CONNECT, ("connection", "close")],
    [*CONNECT, (":scheme", "https"), (":path", "/")],
    [*CONNECT, (":protocol", "websocket"), (":scheme", "https"), (":path", "/")],
    [("a", "b"), *CONNECT],
    [("a", "b")],
    [(":status", "200")],
    [(":status", "101")],
    [(":status", "103")],
    [(":status", "")],
)
RAW_BLOCKS = (
    b"",
    b"\x80",
    b"\xff" * 12,
    b"\x20",
    b"\x20\x20\x20",
    b"\x3f\xe2\x1f",
    b"\x00\x01a\x81\x00",
    b"\xbe",
    b"\x88\x20",
    b"\x40\x01a\x01b",
)
SETTINGS = (
    (1, 0),
    (1, 1 << 20),
    (2, 0),
    (2, 1),
    (2, 2),
    (3, 0),
    (4, 0),
    (4, LARGEST),
    (4, 1 << 31),
    (5, 16384),
    (5, 5),
    (6, 1),
    (8, 0),
    (8, 1),
    (9, 9),
)


class Generator:
    """Makes frames for one connection. client: whether the machine that receives them is a client"""

    def __init__(self, seed: int | Random, client: bool) -> None:
        self.random, self.client, self.next = Random(seed) if isinstance(seed, int) else seed, client, 1

    def sequence(self) -> list[bytes]:
        found = [self.valid() for _ in range(self.random.randrange(6))]
        for _ in range(self.random.randrange(1, 4)):
            found.append(self.odd())
            found += [self.valid() for _ in range(self.random.randrange(3))]
        return found

    def stream(self) -> int:
        return self.random.choice((1, 1, 3, 5, 7)) if self.client else self.random.randrange(1, max(self.next, 2), 2)

    def head(self, end: bool = False) -> bytes:
        if self.client:
            return wire.response(self.stream(), self.random.choice((200, 200, 103, 502)), end)
        self.next += 2
        return wire.headers(self.next - 2, end=end)

    def valid(self) -> bytes:
        kind = self.random.randrange(9)
        if kind < 3 or (self.next == 1 and not self.client):
            return self.head(self.random.random() < 0.2)
        if kind == 3:
            return wire.window_update(self.random.choice((0, self.stream())), self.random.randrange(1, 1000))
        if kind == 4:
            return wire.rst_stream(self.stream(), 8)
        if kind == 5:
            return self.random.choice(
                (raw(6, 0, b"12345678"), wire.settings((3, 10)), raw(2, self.stream(), bytes(5)), raw(99, 0, b"x"))
            )
        padding = self.random.choice((None, None, 0, 7))
        return wire.data(self.stream(), self.random.randbytes(self.random.choice((0, 1, 40))), self.random.random() < 0.3, padding)

    def odd(self) -> bytes:
        return self.random.choice(
            (self.wrong_stream, self.wrong_size, self.wrong_flags, self.wrong_fields, self.wrong_block, self.wrong_window,
             self.wrong_settings, self.continuations, self.leaving, self.late, self.garbled)
        )()  # fmt: skip

    def wrong_stream(self) -> bytes:
        kind, stream = self.random.choice((*range(10), 10, 16)), self.random.choice((0, 1, 2, 3, 9, 99, LARGEST, 1 << 31 | 1))
        payload = {
            0: b"x",
            1: wire.block(CONNECT),
            2: bytes(5),
            3: bytes(4),
            4: b"",
            5: wire.number(2),
            6: bytes(8),
            7: bytes(8),
            8: wire.number(1),
        }
        return raw(kind, stream, payload.get(kind, b""), END_HEADERS if kind in (1, 5, 9) else 0)

    def wrong_size(self) -> bytes:
        kind, size = self.random.choice((2, 3, 4, 6, 7, 8)), self.random.randrange(12)
        return raw(kind, 0 if kind in (4, 6, 7) else self.random.choice((self.stream(), self.stream(), 0)), bytes(size))

    def wrong_flags(self) -> bytes:
        payload = self.random.choice((b"", b"\0", b"\x05", b"\x01x", b"\x02xx", bytes(4), bytes(5), bytes(6), b"\x01" + bytes(6)))
        return raw(
            self.random.choice((0, 0, 1, 4, 6)),
            self.stream(),
            payload,
            self.random.choice((PADDED, PADDED | 1, WITH_PRIORITY, 0x29, 0x2D, 1)),
        )

    def wrong_fields(self) -> bytes:
        end = self.random.random() < 0.3
        stream = self.stream() if self.client or self.random.random() < 0.3 else self.next
        self.next = max(self.next, stream + 2)
        return wire.headers(stream, self.random.choice(BLOCKS), end)

    def wrong_block(self) -> bytes:
        stream = self.stream() if self.client else self.next
        self.next = max(self.next, stream + 2)
        return raw(
            HEADERS,
            stream,
            self.random.choice(RAW_BLOCKS) + (b"" if self.random.random() < 0.5 else wire.block(CONNECT)),
            END_HEADERS,
        )

    def wrong_window(self) -> bytes:
        return wire.window_update(self.random.choice((0, self.stream())), self.random.choice(INCREMENTS))

    def wrong_settings(self) -> bytes:
        if self.random.random() < 0.1:
            return raw(4, 0, self.random.choice((b"", bytes(6))), 1)
        return wire.settings(*self.random.choices(SETTINGS, k=self.random.randrange(1, 4)))

    def continuations(self) -> bytes:
        stream = self.stream() if self.client else self.next
        self.next = max(self.next, stream + 2)
        block = wire.response(1)[9:] if self.client else wire.block(CONNECT)
        at, flags = self.random.randrange(len(block) + 1), self.random.choice((0, END_STREAM))
        between = self.random.choice(
            (b"", b"", b"", raw(CONTINUATION, stream, b""), raw(6, 0, bytes(8)), raw(99, 0), wire.data(stream))
        )
        last = raw(CONTINUATION, self.random.choice((stream, stream, stream, stream + 2, 0)), block[at:], END_HEADERS)
        return raw(HEADERS, stream, block[:at], flags) + between + last

    def leaving(self) -> bytes:
        return wire.goaway(self.random.choice((0, 1, 3, 4, 99, LARGEST)), self.random.choice(CODES), b"bye")

    def late(self) -> bytes:
        stream = self.stream()
        after = self.random.choice((wire.data(stream, b"x"), self.head(), wire.window_update(stream, 1), wire.rst_stream(stream)))
        return self.random.choice((wire.rst_stream(stream, self.random.choice(CODES)), wire.data(stream, end=True))) + after

    def garbled(self) -> bytes:
        frame = bytearray(self.valid())
        frame[self.random.randrange(3, len(frame))] ^= 1 << self.random.randrange(8)
        return bytes(frame)
