"""The same octets for ours, for h2 and for libnghttp2: what they accept, what is an error, of what kind and with which code.

Every difference is a fault of ours, or is judged below by the text of RFC 9113. With FUZZ_SECONDS in the environment the test goes
on for that long, with new seeds.
"""

import os
import time
from collections.abc import Callable, Iterator
from random import Random
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.proto.feeding import bounded
from tests.proto.http2.generator import Generator
from tests.proto.http2.oracles import H2, NGH2, Ours, Verdict
from tests.proto.http2.wire import (
    ACK,
    END_HEADERS,
    GOAWAY,
    HEADERS,
    LARGEST,
    PING,
    PRIORITY,
    RST_STREAM,
    WINDOW_UPDATE,
    Sent,
    frames,
    raw,
)

SEEDS = 1000
RARE = (
    165,
    177,
    182,
    184,
    660,
    790,
    874,
    1159,
    3594,
    1795914126903,
    1795914498590,
)  # seeds above 150 that meet a judgement which none below does
KINDS = ["DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE", "PING", "GOAWAY", "WINDOW_UPDATE", "CONTINUATION"]


class Difference(NamedTuple):
    """One frame of which two machines make something else, and the frames before it."""

    frame: Sent
    before: list[Sent]
    ours: Verdict
    theirs: Verdict
    peer: type

    @property
    def kind(self) -> str:
        return KINDS[self.frame.kind] if self.frame.kind < len(KINDS) else "unknown"

    @property
    def faults(self) -> tuple[str, str]:
        return self.ours.fault or "ok", self.theirs.fault or "ok"


class Judged(NamedTuple):
    """A difference in which ours is right, or both are: the RFC leaves it open."""

    kinds: str
    ours: str
    theirs: str  # alternatives are separated by commas
    why: str
    when: Callable[[Difference], bool] = lambda difference: True

    def covers(self, difference: Difference) -> bool:
        ours, theirs = difference.faults
        return (
            difference.kind in self.kinds.split()
            and (self.ours == ANY or ours in self.ours.split(", "))
            and theirs in self.theirs.split(", ")
            and self.when(difference)
        )


def after_goaway(difference: Difference) -> bool:
    return any(each.kind == GOAWAY for each in difference.before)


def incomplete(difference: Difference) -> bool:
    return difference.frame.kind == HEADERS and not difference.frame.flags & END_HEADERS


def to_h2(difference: Difference) -> bool:
    return difference.peer is H2


def to_nghttp2(difference: Difference) -> bool:
    return difference.peer is NGH2


def on_known_stream(difference: Difference) -> bool:
    """Whether the stream of the frame may be closed: it is no higher than one that has occurred, or than those of a client."""
    return difference.frame.stream & LARGEST <= max([7, *(each.stream & LARGEST for each in difference.before)])


def of_wrong_size(difference: Difference) -> bool:
    """Whether the size of the frame is wrong, whatever else is."""
    size = len(difference.frame.payload)
    fixed = {PRIORITY: 5, RST_STREAM: 4, PING: 8, WINDOW_UPDATE: 4}.get(difference.frame.kind)
    return size != fixed if fixed is not None else size < 8 or size % 6 != 0


def ends_in_silence(difference: Difference) -> bool:
    """Whether we drop the frame."""
    return difference.ours.seen == () and on_known_stream(difference)


ANY = "*"
CLOSED, PROTOCOL = "connection STREAM_CLOSED", "connection PROTOCOL_ERROR"
FLOW, SIZE = "connection FLOW_CONTROL_ERROR", "connection FRAME_SIZE_ERROR"

JUDGED = [
    # Streams that are closed, and half-closed.
    Judged(
        "DATA HEADERS CONTINUATION",
        CLOSED,
        f"stream STREAM_CLOSED, {PROTOCOL}, ok",
        "5.1, closed: any such frame MAY be a connection error of type STREAM_CLOSED. h2 resets the stream again, "
        "nghttp2 drops the frame.",
        on_known_stream,
    ),
    Judged(
        "DATA HEADERS",
        "stream STREAM_CLOSED",
        f"{CLOSED}, {PROTOCOL}",
        "5.1, half-closed (remote): MUST be a stream error of type STREAM_CLOSED. 5.4.1 lets the others end the connection.",
    ),
    Judged(
        "DATA HEADERS",
        "ok",
        f"stream STREAM_CLOSED, {PROTOCOL}",
        "5.1, closed: after our RST_STREAM, any frame is processed minimally and dropped. h2 resets once more.",
        lambda d: to_h2(d) and ends_in_silence(d),
    ),
    Judged(
        "RST_STREAM",
        "ok",
        "ok",
        "5.1, closed: nghttp2 reports RST_STREAM on a closed stream; there is nothing to report.",
        lambda d: to_nghttp2(d) and ends_in_silence(d),
    ),
    Judged(
        "WINDOW_UPDATE",
        "ok",
        PROTOCOL,
        "5.1, closed: an increment of 0 is a stream error (6.9), and this stream is closed. h2 ends the connection.",
        lambda d: to_h2(d) and ends_in_silence(d),
    ),
    Judged(
        "RST_STREAM",
        PROTOCOL,
        "ok",
        "6.4: RST_STREAM on an idle stream is a connection error of type PROTOCOL_ERROR. h2 ignores it.",
        to_h2,
    ),
    Judged(
        " ".join([*KINDS, "unknown"]),
        ANY,
        f"{PROTOCOL}, connection ConnectionStateError",
        "6.8: the sender of a GOAWAY goes on with the streams that it has. h2 and ngh2 take nothing more.",
        after_goaway,
    ),
    Judged(
        "GOAWAY",
        "ok",
        "ok",
        "6.8: streams above the last number were not processed, and can be retried: we say so at once.",
        lambda d: any(each[:1] == ("reset",) and each[2] == 7 for each in d.ours.seen),
    ),
    Judged(
        "GOAWAY",
        "ok",
        PROTOCOL,
        "6.8 sets no rule for the last stream that a receiver could check. nghttp2 takes none that cannot be a push.",
        to_nghttp2,
    ),
    # A tunnel is no ordinary message.
    Judged(
        "HEADERS CONTINUATION",
        "stream PROTOCOL_ERROR",
        f"ok, {PROTOCOL}",
        "8.1.1: malformed is a stream error. h2's validation knows no CONNECT and is switched off, so it finds less, and ends the "
        "connection.",
        to_h2,
    ),
    Judged(
        "HEADERS",
        "stream PROTOCOL_ERROR",
        "ok",
        "8.5: no trailers in a tunnel. nghttp2 takes them if they end the stream.",
        lambda d: to_nghttp2(d) and bool(d.frame.flags & 1) and on_known_stream(d),
    ),
    Judged(
        "DATA",
        "stream PROTOCOL_ERROR",
        PROTOCOL,
        "8.1: DATA before the final response is malformed, a stream error (8.1.1); 5.4.1 lets the others end the connection.",
    ),
    Judged(
        "DATA",
        "stream PROTOCOL_ERROR",
        "ok",
        "8.1: the same. nghttp2 takes DATA without data.",
        lambda d: to_nghttp2(d) and not any(each[0] == "data" for each in d.theirs.seen),
    ),
    Judged(
        "HEADERS CONTINUATION",
        "stream REFUSED_STREAM",
        PROTOCOL,
        "5.1.2: MUST be a stream error of type PROTOCOL_ERROR or REFUSED_STREAM. Both end the connection.",
    ),
    Judged(
        "HEADERS",
        PROTOCOL,
        "ok",
        "5.1.1: streams of a client are odd, and a server opens none without push. h2 takes one.",
        lambda d: to_h2(d) and d.frame.stream % 2 == 0,
    ),
    Judged(
        "PUSH_PROMISE",
        PROTOCOL,
        "ok, stream CANCEL, stream PROTOCOL_ERROR, stream REFUSED_STREAM, connection COMPRESSION_ERROR",
        "6.5.2, 8.4: a client that has disabled push MUST treat it as a connection error. Theirs has not disabled it.",
    ),
    Judged(
        "HEADERS CONTINUATION",
        "ok",
        "stream PROTOCOL_ERROR",
        "8.1.1: a server may answer a malformed request: an authority without a usable target gets 400.",
        lambda d: to_nghttp2(d) and any(each[0] == "request" for each in d.ours.seen),
    ),
    # Header blocks.
    Judged(
        "CONTINUATION",
        PROTOCOL,
        "stream STREAM_CLOSED",
        "6.10: without HEADERS before it, a connection error of type PROTOCOL_ERROR. h2 looks at the stream first.",
        to_h2,
    ),
    Judged(
        "HEADERS",
        "ok",
        f"{CLOSED}, {PROTOCOL}, stream PROTOCOL_ERROR, connection COMPRESSION_ERROR",
        "4.3: a block is judged when it is complete. nghttp2 judges each field.",
        lambda d: to_nghttp2(d) and incomplete(d),
    ),
    Judged(
        "HEADERS CONTINUATION",
        "connection COMPRESSION_ERROR",
        f"{PROTOCOL}, {CLOSED}, stream STREAM_CLOSED",
        "4.3: a block that cannot be decoded MUST be COMPRESSION_ERROR, whatever else is wrong with its stream.",
    ),
    Judged(
        "HEADERS CONTINUATION",
        "connection COMPRESSION_ERROR",
        "ok, stream PROTOCOL_ERROR",
        "RFC 7541 4.2: at most two updates of the size of the table in a block. Neither counts them.",
        lambda d: b"\x20" * 3 in d.frame.payload,
    ),
    # The order of checks, where two things are wrong.
    Judged(
        "HEADERS DATA",
        SIZE,
        f"{PROTOCOL}, {CLOSED}, ok",
        "4.2: too small for its mandatory fields is FRAME_SIZE_ERROR. nghttp2 calls it padding, or looks at the stream "
        "first, and drops it.",
        lambda d: len(d.frame.payload) < 6,
    ),
    Judged(
        "DATA",
        PROTOCOL,
        f"{CLOSED}, ok",
        "6.1: more padding than payload is PROTOCOL_ERROR. nghttp2 looks at the stream first, and may drop it.",
        lambda d: bool(d.frame.flags & 8),
    ),
    Judged(
        "PING SETTINGS GOAWAY HEADERS PRIORITY PUSH_PROMISE RST_STREAM WINDOW_UPDATE unknown",
        PROTOCOL,
        SIZE,
        "6, 6.10: the wrong stream or an incomplete header block, and the wrong size.",
        of_wrong_size,
    ),
    Judged(
        "RST_STREAM",
        SIZE,
        PROTOCOL,
        "6.4: the wrong size, and stream 0.",
        lambda d: of_wrong_size(d) and d.frame.stream & LARGEST == 0,
    ),
    Judged(
        "PRIORITY",
        PROTOCOL,
        "ok",
        "6.3: PRIORITY on stream 0 is PROTOCOL_ERROR. nghttp2 ignores all of them.",
        lambda d: d.frame.stream == 0,
    ),
    # Windows.
    Judged(
        "WINDOW_UPDATE",
        "stream PROTOCOL_ERROR, stream FLOW_CONTROL_ERROR",
        f"{PROTOCOL}, {FLOW}",
        "6.9, 6.9.1: on a stream, an error of the stream. 5.4.1 lets the others end the connection.",
        lambda d: d.frame.stream != 0,
    ),
    Judged(
        "WINDOW_UPDATE", FLOW, PROTOCOL, "6.9.1: above 2^31-1 is FLOW_CONTROL_ERROR; h2 allows no increment of that size.", to_h2
    ),
    # SETTINGS.
    Judged(
        "SETTINGS",
        "ok",
        FLOW,
        "6.9.2: it changes the windows of streams that are open. h2 counts one that has been reset.",
        lambda d: to_h2(d) and any(each.kind == RST_STREAM for each in d.before),
    ),
    Judged(
        "SETTINGS",
        f"{PROTOCOL}, {FLOW}",
        f"ok, {FLOW}, {PROTOCOL}",
        "6.5.3: values are processed in the order in which they come, so each is checked, and the first wrong one "
        "counts. Theirs is the last one.",
        lambda d: len(d.frame.payload) > 6,
    ),
    Judged(
        "SETTINGS",
        SIZE,
        PROTOCOL,
        "6.5: an acknowledgement with a payload is FRAME_SIZE_ERROR.",
        lambda d: bool(d.frame.flags & ACK),
    ),
    Judged(
        "SETTINGS",
        "ok",
        PROTOCOL,
        "6.5.3 says nothing of an acknowledgement too many. We ignore it, at the cost of a budget.",
        lambda d: to_nghttp2(d) and bool(d.frame.flags & ACK),
    ),
    Judged(
        "SETTINGS",
        "ok",
        PROTOCOL,
        "6.5.2: unknown parameters are ignored. nghttp2 knows 9, of RFC 9218.",
        lambda d: to_nghttp2(d) and b"\x00\x09\x00\x00\x00\x09" in d.frame.payload,
    ),
    Judged(
        "unknown",
        "ok",
        f"{PROTOCOL}, {SIZE}",
        "4.1: frames of unknown type are ignored. h2 knows ALTSVC, nghttp2 others too.",
        lambda d: d.frame.kind in (10, 12, 16),
    ),
]


# The same examples each time: what nobody has judged yet is for the longer run to find, not for whoever changes something else.
repeatable = settings(bounded, derandomize="FUZZ_SECONDS" not in os.environ)


def differences(sequence: list[bytes], client: bool) -> Iterator[Difference]:
    """Yields the first difference to each of the two; after it, they are in different states."""
    single = [each for piece in sequence for each in frames(piece)]
    for peer in (H2, NGH2):
        ours, theirs = Ours(client), peer(client)
        for place, each in enumerate(single):
            octets = raw(each.kind, each.stream, each.payload, each.flags)
            one, other = ours.feed(octets), theirs.feed(octets)
            if one != other:
                yield Difference(each, single[:place], one, other, peer)
            if one != other or one.fault.startswith("connection"):
                break


def check(sequence: list[bytes], client: bool) -> None:
    for difference in differences(sequence, client):
        if not any(each.covers(difference) for each in JUDGED):
            pytest.fail(f"{difference.peer.__name__} for a {'client' if client else 'server'}: {difference}")


@pytest.mark.parametrize("client", [False, True], ids=["server", "client"])
def test_all_three_make_the_same_of_any_sequence_of_frames(client):
    first = int(time.time() * 1000) if (seconds := float(os.environ.get("FUZZ_SECONDS", "0"))) else 0
    end, seed = time.monotonic() + seconds, first
    while seed < first + SEEDS or time.monotonic() < end:
        try:
            check(Generator(seed, client).sequence(), client)
        except pytest.fail.Exception as failure:
            pytest.fail(f"seed {seed}: {failure}")
        seed += 1


def test_no_judgement_is_stale():
    """Each of them is met by some sequence, or it would hide what nobody has looked at."""
    met: set[int] = set()
    for seed in (*range(150), *RARE):
        for client in (False, True):
            for difference in differences(Generator(seed, client).sequence(), client):
                met.update(place for place, each in enumerate(JUDGED) if each.covers(difference))
    assert [each for place, each in enumerate(JUDGED) if place not in met] == []


@repeatable
@given(st.randoms(use_true_random=False), st.booleans())
def test_all_three_make_the_same_of_what_hypothesis_finds(random: Random, client: bool):
    check(Generator(random, client).sequence(), client)


FRAMES = st.lists(
    st.builds(
        raw,
        st.integers(0, 10),
        st.sampled_from([0, 1, 3, 2]),
        st.one_of(st.binary(max_size=8), st.sampled_from([bytes(4), bytes(5), bytes(6), bytes(8)])),
        st.sampled_from([0, 1, 4, 5, 8, 9, 12, 32, 36]),
    ),
    min_size=1,
    max_size=4,
)


@repeatable
@given(FRAMES, st.booleans())
def test_all_three_make_the_same_of_frames_of_octets(sequence, client):
    check([Generator(0, client).head(), *sequence], client)
