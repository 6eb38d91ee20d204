"""The reader: frames out of octets, wherever these are cut; only as many frames in a turn; and nothing held of DATA."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proto.feeding import bounded, cut
from tests.proto.http2.wire import (
    CONTINUATION,
    HEADERS,
    PING,
    PREFACE,
    PUSH_PROMISE,
    data,
    finely,
    raw,
)
from tunnelctl.proto.http2.frame import ConnectionFault, ErrorCode
from tunnelctl.proto.http2.reader import FRAMES_A_TURN, FrameReader


class Recorder(FrameReader):
    """A reader that writes down what it is told; adjacent pieces of data are joined."""

    def __init__(self, preface: bytes = b"", max_frame: int = 1 << 16) -> None:
        super().__init__(preface, max_frame)
        self.seen: list[tuple] = []

    def feed(self, octets: bytes) -> None:
        self._read(octets)
        while self.more:
            self._read(b"")

    def _on_frame(self, kind, flags, stream, payload):
        self.seen.append((kind, flags, stream, bytes(payload)))

    def _on_unknown(self, kind):
        self.seen.append(("unknown", kind))

    def _on_data_begin(self, stream, length, octets, flags):
        self.seen.append(("begin", stream, length, octets, flags))

    def _on_data(self, stream, data):
        assert len(data) > 0
        if self.seen[-1][0] == "data":
            data = self.seen.pop()[2] + bytes(data)
        self.seen.append(("data", stream, bytes(data)))

    def _on_data_end(self, stream, flags):
        self.seen.append(("end", stream, flags))


def seen(octets: bytes, preface: bytes = b"") -> list[tuple]:
    """Returns what a reader makes of the octets, which must be the same at once and in pieces."""
    whole, pieces = Recorder(preface), Recorder(preface)
    whole.feed(octets)
    for piece in finely(octets):
        pieces.feed(piece)
    assert pieces.seen == whole.seen
    assert pieces._rest == whole._rest
    return whole.seen


def fault(octets: bytes, preface: bytes = b"") -> ErrorCode:
    """Returns the code with which a reader fails, which must be the same at once and in pieces."""
    codes = []
    for pieces in ([octets], finely(octets)):
        reader = Recorder(preface)
        with pytest.raises(ConnectionFault) as caught:
            for piece in pieces:
                reader.feed(piece)
        codes.append(caught.value.code)
    assert codes[0] == codes[1]
    return codes[0]


def test_a_run_of_equal_frames_may_be_cut_anywhere():
    octets = data(1, b"a" * 40) * 3 + data(1, b"b" * 41) + data(3, b"c" * 40)
    whole = Recorder()
    whole.feed(octets)
    for at in range(len(octets)):
        cut = Recorder()
        cut.feed(octets[:at])
        cut.feed(octets[at:])
        assert (cut.seen, cut._rest) == (whole.seen, b"")


def test_frames_of_every_kind():
    octets = raw(PING, 0, b"12345678", 1) + raw(PING, 1 << 31 | 5, b"") + raw(99, 3, b"xyz", 7) + raw(99, 3) + raw(PING, 7, b"a")
    assert seen(octets) == [(PING, 1, 0, b"12345678"), (PING, 0, 5, b""), ("unknown", 99), ("unknown", 99), (PING, 0, 7, b"a")]


@pytest.mark.parametrize("padding", [None, 0, 1, 255])
@pytest.mark.parametrize("size", [0, 1, 300])
def test_data_with_and_without_padding(size, padding):
    length = size + (0 if padding is None else 1 + padding)
    flags = 1 | (0 if padding is None else 8)
    expected = [("begin", 3, length, size, flags), *([("data", 3, b"x" * size)] if size else []), ("end", 3, flags)]
    frame = data(3, b"x" * size, end=True, padding=padding)
    assert seen(frame) == expected
    assert seen(frame + raw(PING, 0, b"z")) == [*expected, (PING, 0, 0, b"z")]
    if length:
        assert ("end", 3, flags) not in seen(frame[:-1])


def test_data_is_passed_on_as_it_comes_and_never_held():
    reader = Recorder()
    reader.feed(data(1, bytes(1000))[:500])
    assert reader.seen == [("begin", 1, 1000, 1000, 0), ("data", 1, bytes(491))]
    assert reader._rest == b""
    reader = Recorder()
    reader.feed(raw(99, 1, bytes(1000))[:500])
    assert reader._rest == b"", "nor is an unknown frame"


def test_padded_data_waits_for_its_pad_length():
    reader = Recorder()
    frame = data(1, b"x", padding=2)
    reader.feed(frame[:9])
    assert reader.seen == []
    assert reader._rest == frame[:9]
    reader.feed(frame[9:10])
    assert reader.seen == [("begin", 1, 4, 1, 8)]
    reader.feed(frame[10:11])
    reader.feed(frame[11:])
    assert reader.seen[1:] == [("data", 1, b"x"), ("end", 1, 8)]


def test_sizes():
    assert fault(raw(0, 1, b"", length=(1 << 16) + 1)) == ErrorCode.FRAME_SIZE_ERROR
    assert fault(raw(99, 1, b"", length=(1 << 24) - 1)) == ErrorCode.FRAME_SIZE_ERROR
    assert seen(raw(0, 1, b"", length=1 << 16)) == [("begin", 1, 1 << 16, 1 << 16, 0)]
    for kind in (HEADERS, PUSH_PROMISE, CONTINUATION):
        assert fault(raw(kind, 1, b"", length=16_385)) == ErrorCode.ENHANCE_YOUR_CALM
        assert seen(raw(kind, 1, bytes(16_384))) == [(kind, 0, 1, bytes(16_384))]
    assert seen(raw(99, 1, bytes(20_000))) == [("unknown", 99)]
    assert fault(raw(0, 1, b"", 8)) == ErrorCode.FRAME_SIZE_ERROR
    assert fault(raw(0, 1, b"\x05xxxx", 8)) == ErrorCode.PROTOCOL_ERROR


def test_the_preface_is_checked_octet_by_octet():
    assert seen(PREFACE + raw(PING, 0, b"x"), PREFACE) == [(PING, 0, 0, b"x")]
    assert seen(PREFACE[:-1], PREFACE) == []
    for place in range(len(PREFACE)):
        assert fault(PREFACE[:place] + b"\0", PREFACE) == ErrorCode.PROTOCOL_ERROR


def test_a_turn_has_only_so_many_frames():
    reader = Recorder()
    reader._read(raw(PING, 0, b"x") * FRAMES_A_TURN)
    assert len(reader.seen) == FRAMES_A_TURN
    assert not reader.more
    reader = Recorder()
    frames = [raw(PING, number, b"x") for number in range(2 * FRAMES_A_TURN)] + [data(9, b"y"), raw(99, 1)]
    reader._read(b"".join(frames) + raw(PING, 77, b"incomplete")[:-1])
    assert (len(reader.seen), reader.more) == (FRAMES_A_TURN, True)
    reader._read(b"e")  # what comes meanwhile is joined to what is left
    assert (len(reader.seen), reader.more) == (2 * FRAMES_A_TURN, True)
    reader._read(b"")
    assert reader.seen[-5:-1] == [("begin", 9, 1, 1, 0), ("data", 9, b"y"), ("end", 9, 0), ("unknown", 99)]
    assert reader.seen[-1] == (PING, 0, 77, b"incomplete")
    assert not reader.more


@pytest.mark.parametrize("rest", [1, 8, 9, 10])
def test_after_a_turn_it_says_that_there_is_more_and_at_worst_there_is_nothing_to_do(rest):
    reader = Recorder()
    reader._read(raw(PING, 0, b"x") * FRAMES_A_TURN + raw(PING, 1, b"12")[:rest])
    before = len(reader.seen)
    assert reader.more == (rest >= 9)
    reader._read(b"")
    assert (len(reader.seen), reader.more) == (before, False)
    reader._read(raw(PING, 1, b"12")[rest:])
    assert reader.seen[-1] == (PING, 0, 1, b"12")


def test_frames_that_go_on_do_not_count():
    reader = Recorder()
    for _ in range(FRAMES_A_TURN):
        reader._read(b"x" if reader._data_left else data(1, bytes(2000))[:10])
    assert not reader.more


FRAME = st.one_of(
    st.builds(raw, st.sampled_from([1, 4, 6, 9, 10, 255]), st.integers(0, 9), st.binary(max_size=40), st.integers(0, 255)),
    st.builds(data, st.integers(0, 9), st.binary(max_size=40), st.booleans(), st.one_of(st.none(), st.integers(0, 50))),
)


@bounded
@given(st.lists(FRAME, max_size=20).map(b"".join), st.sets(st.integers(1, 800)))
def test_frames_mean_the_same_wherever_they_are_cut(octets, at):
    whole, pieces = Recorder(), Recorder()
    whole.feed(octets)
    for piece in cut(octets, at):
        pieces.feed(piece)
    assert pieces.seen == whole.seen
    assert whole._rest == pieces._rest == b""


@bounded
@given(st.binary(max_size=200), st.sets(st.integers(1, 200)))
def test_any_octets_are_frames_or_a_fault(octets, at):
    outcomes = []
    for pieces in ([octets], cut(octets, at), finely(octets)):
        reader, code = Recorder(), None
        try:
            for piece in pieces:
                reader.feed(piece)
        except ConnectionFault as error:
            code = error.code
        outcomes.append((reader.seen, code))
    assert outcomes[0] == outcomes[1] == outcomes[2]
