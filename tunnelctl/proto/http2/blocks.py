"""Decodes header blocks (RFC 7541), within limits, and remembers the last ones: clients repeat themselves."""

from __future__ import annotations

import re

from hpack import Decoder, HPACKError, OversizedHeaderListError

from tunnelctl.proto.http2.budget import MAX_FIELDS_SIZE
from tunnelctl.proto.http2.fields import Rejected, Request, parse_request
from tunnelctl.proto.http2.frame import ConnectionFault, ErrorCode

_UPDATES = re.compile(rb"(?:[\x20-\x3e]|\x3f[\x80-\xff]*[\x00-\x7f]){3}")  # of the size of the table

# Blocks that are remembered: 0.3 µs in place of 11, and of 15 for a request. And the octets of each, encoded and decoded: one of
# the former may refer to 4 KiB in the table. What a connection remembers takes up to 80 KiB.
_REMEMBERED, _REMEMBERED_SIZE, _REMEMBERED_DECODED = 16, 256, 1024


class Block:
    """A header block: its fields, and what they mean as a request. Fields that are malformed are judged anew each time."""

    __slots__ = ("_request", "fields")

    def __init__(self, fields: list[tuple[bytes, bytes]]) -> None:
        self.fields = fields
        self._request: Request | Rejected | None = None

    def request(self) -> Request | Rejected:
        """Judges the fields as those of a request. Raises Malformed."""
        if self._request is None:
            self._request = parse_request(self.fields)
        return self._request


class BlockDecoder:
    """The decoder of one direction of a connection."""

    __slots__ = ("_decoder", "_known", "_newest", "_sizes")

    def __init__(self) -> None:
        self._decoder = Decoder(MAX_FIELDS_SIZE)
        self._known: dict[bytes, Block] = {}  # what a block means, as long as the table stays as it is
        # What every change of the table changes: its newest entry, as an object, or the number of entries, or the limit.
        self._newest: object = None
        self._sizes = (0, self._decoder.header_table.maxsize)

    def decode(self, block: bytes) -> Block:
        """Decodes a block. Even one that nobody reads must be, for the table that later blocks refer to (RFC 9113 section 4.3)."""
        known = self._known.get(block)
        return known if known is not None else self._decode(block)

    def _decode(self, block: bytes) -> Block:
        if _UPDATES.match(block):  # section 4.2 of RFC 7541 permits two; 16 KiB of them would take 50 ms
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, "more than two updates of the table's size in a header block")
        try:
            decoded = Block([(field[0], field[1]) for field in self._decoder.decode(block, raw=True)])
        except OversizedHeaderListError:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "the decoded header block is too long") from None
        except HPACKError:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, "the header block cannot be decoded") from None
        self._remember(block, decoded)
        return decoded

    def _remember(self, block: bytes, decoded: Block) -> None:
        """Remembers a block that has left the table alone; forgets all of them when one has changed it."""
        table = self._decoder.header_table
        entries = table.dynamic_entries
        newest, sizes = entries[0] if entries else None, (len(entries), table.maxsize)
        same = newest is self._newest and sizes == self._sizes
        if not same or len(self._known) == _REMEMBERED:
            self._known.clear()
        if same and len(block) <= _REMEMBERED_SIZE and _size(decoded.fields) <= _REMEMBERED_DECODED:
            self._known[block] = decoded
        self._newest, self._sizes = newest, sizes


def _size(fields: list[tuple[bytes, bytes]]) -> int:
    """The octets of decoded fields (RFC 9113 section 6.5.2)."""
    return sum(len(name) + len(value) + 32 for name, value in fields)
