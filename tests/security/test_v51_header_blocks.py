"""V51: header blocks of HTTP/2 without end, and those that are much longer when they are decoded."""

from collections.abc import Iterator

import pytest
from hpack import Encoder

from tests.peers.http2 import Flag, Kind, frame
from tests.security.abuse import CALM, COMPRESSION_ERROR, Attacked, attacked, request

HEAD_SECONDS = 2


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    with attacked(tmp_path_factory.mktemp("blocks"), "--head-timeout", str(HEAD_SECONDS)) as running:
        yield running


BEGUN = frame(Kind.HEADERS, 1, b"\x82", 0)


@pytest.mark.parametrize("size", [0, 1, 16_000])
def test_continuation_without_end(size: int, scene: Attacked) -> None:
    """CVE-2024-27316: the block is never complete, so no request is ever counted."""
    with scene.beside_others(), scene.abuser() as abuser:
        assert abuser.flood(BEGUN + frame(Kind.CONTINUATION, 1, b"\x82" * size, 0) * 50, 1) == CALM


def test_a_block_that_is_indexed_over_and_over(scene: Attacked) -> None:
    """CVE-2016-6581: a field of 4 KB in the table, and 16,000 references to it, are 64 MB."""
    encoder = Encoder()
    field = encoder.encode([("x", "a" * 4000)], huffman=False)
    with scene.beside_others(), scene.abuser() as abuser:
        assert abuser.flood(frame(Kind.HEADERS, 1, field + b"\xbe" * 12_000, Flag.END_HEADERS), 1) == CALM


def test_a_block_of_updates_of_the_table(scene: Attacked) -> None:
    with scene.beside_others(), scene.abuser() as abuser:
        assert abuser.flood(frame(Kind.HEADERS, 1, b"\x20" * 16_000, Flag.END_HEADERS), 1) == COMPRESSION_ERROR


@pytest.mark.parametrize("count", [1, 2000])
def test_blocks_that_are_slow_to_decode(count: int, scene: Attacked) -> None:
    """The longest that is accepted, in Huffman's code, or in as many fields as fit. Others are served between two of them."""
    encoder = Encoder()
    fields = [
        (":method", "CONNECT"),
        (":authority", "10.0.0.1:1"),
        *((f"x{number}", "y" * (15_000 // count)) for number in range(count // 5 or 1)),
    ]
    block = encoder.encode(fields, huffman=True)[:16_000]
    with scene.beside_others(), scene.abuser() as abuser:
        for number in range(1, 400, 2):
            if not abuser.send(frame(Kind.HEADERS, number, block, Flag.END_HEADERS | Flag.END_STREAM)):
                break


@pytest.mark.parametrize("pace", ["silent", "dribbling", "with a tunnel before"])
def test_a_block_that_is_never_completed(pace: str, scene: Attacked) -> None:
    """The time limit for the first request counts on, whatever comes. A later block has as much, from its first octet on."""
    with scene.beside_others(), scene.abuser() as abuser:
        if pace == "with a tunnel before":
            abuser.send(request(scene.target.authority, 1))
            abuser.wait_for(Kind.HEADERS, 1)
            assert abuser.flood(frame(Kind.HEADERS, 3, b"\x82", 0), 1) == CALM
            scene.wait_for_decision(abuser, 429)
            assert scene.decisions(abuser) == [200, 429]
            return
        abuser.send(BEGUN)
        block = frame(Kind.CONTINUATION, 1, b"\x82" * 1000, 0)
        while not abuser.lost:
            if pace == "dribbling":
                piece, block = block[:1], block[1:]
                abuser.send(piece)
            abuser.pause(0.1)
        scene.wait_for_decision(abuser, 408)
        assert scene.decisions(abuser) == [408]
