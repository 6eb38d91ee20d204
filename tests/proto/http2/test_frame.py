"""The octets of the frames that we send, and numbers in those that we receive."""

import pytest
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    WindowUpdateFrame,
)

from tests.proto.http2.wire import ACK, frames, number
from tunnelctl.proto.http2 import frame
from tunnelctl.proto.http2.frame import ConnectionFault, ErrorCode, StreamFault


def parsed(octets: bytes) -> Frame:
    """Parses a frame with hyperframe, which knows nothing of ours."""
    found, length = Frame.parse_frame_header(memoryview(octets)[:9])
    assert length == len(octets) - 9
    found.parse_body(memoryview(octets)[9:])
    return found


def test_frames_are_what_hyperframe_reads():
    update = parsed(frame.window_update(5, frame.LARGEST_WINDOW))
    assert isinstance(update, WindowUpdateFrame)
    assert (update.stream_id, update.window_increment) == (5, frame.LARGEST_WINDOW)
    reset = parsed(frame.rst_stream(frame.LARGEST_STREAM, ErrorCode.CONNECT_ERROR))
    assert isinstance(reset, RstStreamFrame)
    assert (reset.stream_id, reset.error_code) == (frame.LARGEST_STREAM, 10)
    for ack in (False, True):
        ping = parsed(frame.ping(b"12345678", ack))
        assert isinstance(ping, PingFrame)
        assert (ping.opaque_data, set(ping.flags)) == (b"12345678", {"ACK"} if ack else set())
    away = parsed(frame.goaway(frame.LARGEST_STREAM, ErrorCode.ENHANCE_YOUR_CALM, b"reason"))
    assert isinstance(away, GoAwayFrame)
    assert (away.last_stream_id, away.error_code, away.additional_data) == (frame.LARGEST_STREAM, 11, b"reason")


def test_a_header_has_the_length_in_three_octets():
    data = parsed(frame.header(7, frame.DATA, 0, 3) + bytes(7))
    assert isinstance(data, DataFrame)
    assert (data.stream_id, data.data, set(data.flags)) == (3, bytes(7), set())
    assert frame.header(frame.LARGEST_FRAME, 9, 255, 1) == b"\xff\xff\xff\x09\xff\x00\x00\x00\x01"


@pytest.mark.parametrize("length", [0, 1, 99, 100, 101, 200, 201])
@pytest.mark.parametrize("ended", [False, True])
def test_a_header_block_is_cut_into_frames(length, ended):
    block = bytes(range(256))[:length]
    found = frames(frame.headers(7, block, 100, ended))
    assert b"".join(each.payload for each in found) == block
    assert len(found) == max(1, -(-length // 100))
    assert {each.stream for each in found} == {7}
    first, *others = [parsed(frame.header(len(each.payload), each.kind, each.flags, 7) + each.payload) for each in found]
    assert isinstance(first, HeadersFrame)
    assert ("END_STREAM" in first.flags) == ended
    assert all(isinstance(each, ContinuationFrame) for each in others)
    assert [("END_HEADERS" in each.flags) for each in [first, *others]] == [False] * len(others) + [True]


def test_the_reserved_bit_of_a_number_is_ignored_and_an_error_code_has_all_bits():
    payload = memoryview(number((1 << 32) - 1) + number((1 << 32) - 2))
    assert frame.number(payload) == frame.LARGEST_WINDOW
    assert (frame.error_code(payload), frame.error_code(payload, 4)) == ((1 << 32) - 1, (1 << 32) - 2)
    assert frame.unpack_header(b"x" + frame.header(5, frame.PING, ACK, 9), 1) == (5 << 8 | frame.PING, ACK, 9)


def test_error_codes_have_the_names_of_the_rfc():
    assert [frame.name_of(code) for code in (0, 10, 13, 14, 1 << 31)] == [
        "NO_ERROR",
        "CONNECT_ERROR",
        "HTTP_1_1_REQUIRED",
        "error 0xe",
        "error 0x80000000",
    ]


def test_faults_say_what_they_are():
    assert str(ConnectionFault(ErrorCode.PROTOCOL_ERROR, "why")) == "PROTOCOL_ERROR: why"
    assert str(StreamFault(3, ErrorCode.STREAM_CLOSED, "why")) == "STREAM_CLOSED on stream 3: why"
