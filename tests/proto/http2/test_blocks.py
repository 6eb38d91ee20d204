"""Header blocks, and the memory of those that a client repeats."""

import random

import pytest
from hpack import Decoder, Encoder

from tunnelctl.proto.address import Address
from tunnelctl.proto.http2.blocks import BlockDecoder
from tunnelctl.proto.http2.fields import Malformed, Request
from tunnelctl.proto.http2.frame import ConnectionFault, ErrorCode

CONNECT = [(":method", "CONNECT"), (":authority", "host.test:443")]


def plain(decoder: Decoder, block: bytes) -> list[tuple[bytes, bytes]]:
    return [(field[0], field[1]) for field in decoder.decode(block, raw=True)]


def test_a_repeated_block_means_the_same_as_long_as_the_table_is_the_same() -> None:
    encoder, decoder = Encoder(), BlockDecoder()
    first = encoder.encode(CONNECT)  # enters :authority into the table
    indexed = encoder.encode(CONNECT)
    assert len(indexed) < len(first)
    expected = [(b":method", b"CONNECT"), (b":authority", b"host.test:443")]
    assert [decoder.decode(block).fields for block in (first, indexed, indexed, indexed)] == [expected] * 4


def test_the_request_in_a_repeated_block_is_judged_once() -> None:
    encoder, decoder = Encoder(), BlockDecoder()
    encoder.encode(CONNECT)
    decoder.decode(Encoder().encode(CONNECT))
    indexed = encoder.encode(CONNECT)
    requests = [decoder.decode(indexed).request() for _ in range(2)]
    assert requests[0] is requests[1]
    assert isinstance(requests[0], Request)
    assert requests[0].target == Address("host.test", 443)


def test_a_malformed_block_that_is_repeated_stays_malformed() -> None:
    decoder = BlockDecoder()
    no_authority = b"\x02\x07CONNECT"  # :method, literal
    for _ in range(2):
        with pytest.raises(Malformed):
            decoder.decode(no_authority).request()


def test_an_index_is_read_anew_after_each_change_of_the_table() -> None:
    encoder, decoder = Encoder(), BlockDecoder()
    decoder.decode(encoder.encode([("a", "one")]))
    newest = b"\xbe"  # the first entry of the dynamic table
    assert [decoder.decode(newest).fields, decoder.decode(newest).fields] == [[(b"a", b"one")]] * 2
    decoder.decode(encoder.encode([("b", "two")]))
    assert decoder.decode(newest).fields == [(b"b", b"two")]


def test_an_equal_entry_that_evicts_another_one_counts_as_a_change() -> None:
    """With a table of two entries, the number of entries and the newest one stay equal, and the older one changes."""
    decoder, size = BlockDecoder(), 2 * (32 + 2)
    insert = lambda name: b"\x40\x01" + name + b"\x01x"  # noqa: E731  # literal with incremental indexing
    decoder.decode(b"\x3f" + bytes([size - 31]) + insert(b"b") + insert(b"a"))
    second = b"\xbf"
    assert [decoder.decode(second).fields, decoder.decode(second).fields] == [[(b"b", b"x")]] * 2
    decoder.decode(insert(b"a"))
    assert decoder.decode(second).fields == [(b"a", b"x")]


@pytest.mark.parametrize("seed", range(20))
def test_any_sequence_of_blocks_is_decoded_as_by_hpack_alone(seed: int) -> None:
    chance = random.Random(seed)
    encoder, decoder, oracle = Encoder(), BlockDecoder(), Decoder()
    for _ in range(300):
        resized = chance.random() < 0.1
        if resized:
            encoder.header_table_size = chance.choice([0, 80, 200, 4096])
        if resized or chance.random() < 0.5:
            fields = [(chance.choice("abcd"), chance.choice("xyz") * chance.randint(0, 3)) for _ in range(chance.randint(1, 4))]
            block = encoder.encode(fields)
        else:  # one without an effect on the table can be sent again
            block = b"\x00\x01" + chance.choice([b"p", b"q"]) + b"\x01r"
        assert decoder.decode(block).fields == plain(oracle, block)


def test_many_blocks_do_not_pile_up() -> None:
    decoder = BlockDecoder()
    for number in range(1000):
        decoder.decode(b"\x00\x01a\x04%04d" % number)
    assert len(decoder._known) <= 16


def test_a_short_block_with_much_in_it_is_not_kept() -> None:
    """An octet may refer to an entry of 4 KiB in the table."""
    encoder, decoder = Encoder(), BlockDecoder()
    decoder.decode(encoder.encode([("a", "b" * 2000)]))
    decoder.decode(encoder.encode(CONNECT))
    small, large = encoder.encode(CONNECT), encoder.encode([("a", "b" * 2000)])
    assert len(large) == 1
    for block in (small, large, large * 6, b"\x82" * 100):
        decoder.decode(block)
    assert [*decoder._known] == [small]


@pytest.mark.parametrize(
    ("block", "code"),
    [
        (b"\x20\x20\x20", ErrorCode.COMPRESSION_ERROR),
        (b"\xff\xff\xff\xff\x0f", ErrorCode.COMPRESSION_ERROR),
        (Encoder().encode([("a", "a" * 3000)] * 8, huffman=False), ErrorCode.ENHANCE_YOUR_CALM),
    ],
)
def test_a_bad_block_ends_the_connection(block: bytes, code: ErrorCode) -> None:
    with pytest.raises(ConnectionFault) as caught:
        BlockDecoder().decode(block)
    assert caught.value.code == code
