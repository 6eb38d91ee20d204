"""The machine as its callers use it, and faults that it once had. The rules are in test_rules.py, and abuse is in test_abuse.py."""

import gc
from typing import Any

import ngh2
import pytest
from hpack import Decoder

from tests.proto.http2.wire import (
    ACK,
    CONNECT,
    END_HEADERS,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    TARGET,
    WITH_PRIORITY,
    block,
    client,
    credit,
    data,
    headers,
    number,
    raw,
    received,
    response,
    rst_stream,
    sent,
    server,
    settings,
    three_ways,
    window_update,
)
from tunnelctl.proto.http2.budget import MAX_CONTROL
from tunnelctl.proto.http2.events import ConnectionFailed, DataReceived, RequestReceived, StreamFailed
from tunnelctl.proto.http2.frame import ErrorCode
from tunnelctl.proto.http2.window import WindowBudget

# -- faults that it once had -------------------------------------------------------------------------------------------------------


SMALL = 65535  # the window of a connection for which there is no budget: it never grows


def test_the_rest_of_a_frame_of_a_stream_that_was_reset_is_dropped_and_credited_once():
    """A stream reset between two pieces of a DATA frame: the whole frame counts, and the first piece is the caller's to credit."""
    machine = server(budget=WindowBudget(0))
    for stream in range(1, 41, 2):
        frame = data(stream, bytes(30_000))
        (_, piece) = received(machine, headers(stream) + frame[: 9 + 10_000])
        assert piece.size == 10_000
        machine.reset(stream, ErrorCode.CANCEL)
        assert received(machine, frame[9 + 10_000 :]) == []
        machine.consumed(stream, 10_000, 0.0)
    announced = credit(sent(machine))
    assert set(announced) == {0}
    assert 20 * 30_000 - SMALL // 2 <= announced[0] <= 20 * 30_000


def test_data_that_violates_a_rule_is_credited_once():
    machine = server(budget=WindowBudget(0))
    for stream in range(1, 41, 2):
        events = received(machine, headers(stream, end=True) + data(stream, bytes(30_000), padding=9))
        assert isinstance(events[-1], StreamFailed)
        assert not any(isinstance(event, DataReceived) for event in events)
    announced = credit(sent(machine))
    assert set(announced) == {0}
    assert 20 * 30_010 - SMALL // 2 <= announced[0] <= 20 * 30_010


def test_the_padding_of_dropped_data_is_credited():
    machine = client(budget=WindowBudget(0))
    received(machine, response(1))
    machine.reset(1, ErrorCode.CANCEL)
    for _ in range(9):
        assert received(machine, data(1, bytes(30_000), padding=255)) == []
    announced = credit(sent(machine))[0]
    assert 9 * 30_256 - SMALL // 2 <= announced <= 9 * 30_256


def test_the_usual_response_announces_a_new_size_of_the_table():
    """A decoder that has been promised a smaller table takes no block without the update (RFC 7541 section 4.2)."""
    machine = server(handshake=PREFACE + settings((1, 0)))
    peer = ngh2.Connection(ngh2.Role.CLIENT)
    peer.initiate_connection({1: 0})
    peer.send_request([(name.encode(), value.encode()) for name, value in CONNECT])
    received(machine, headers(1) + headers(3))
    peer.data_to_send()
    machine.respond(1, 200)
    machine.respond(3, 200)
    first, second = sent(machine)
    assert (first.payload, second.payload) == (b"\x20\x88", b"\x88")
    peer.receive_data(settings() + raw(SETTINGS, 0, flags=ACK) + raw(HEADERS, 1, first.payload, END_HEADERS))
    assert any(isinstance(event, ngh2.ResponseReceived) for event in peer.events())


def test_sizes_of_the_table_that_come_and_go_are_announced_as_two():
    machine = server()
    received(machine, headers(1) + b"".join(settings((1, size)) for size in (100, 4096, 50, 60, 4096, 200, 1 << 20)))
    machine.output.clear()
    machine.respond(1, 502, (("a", "b"),))
    (head,) = sent(machine)
    assert head.payload.startswith(bytes([0x3F, 50 - 31, 0x3F, 0xE1, 0x1F]))  # 50, and 4096
    assert Decoder().decode(head.payload, raw=True) == [(b":status", b"502"), (b"a", b"b")]


@pytest.mark.parametrize("update", [b"\x20", b"\x3e", b"\x3f\xe1\x1f"], ids=["0", "30", "4096"])
def test_a_header_block_has_two_updates_of_the_table_at_most(update):
    fields = block(CONNECT)
    (request,) = received(server(), raw(HEADERS, 1, update * 2 + fields, END_HEADERS))
    assert isinstance(request, RequestReceived)
    (fault,) = three_ways(server, raw(HEADERS, 1, update * 3 + fields, END_HEADERS))
    assert fault == ConnectionFailed(ErrorCode.COMPRESSION_ERROR, "more than two updates of the table's size in a header block")


def test_nothing_is_left_to_do_after_the_caller_has_failed_the_connection():
    """A caller that goes on as long as `more` is true would go on for ever."""
    machine = server()
    received(machine, headers(1))
    machine.receive(data(1, bytes(100)) * 600, 0.0)
    assert machine.more
    machine.fail(ErrorCode.SETTINGS_TIMEOUT, "no acknowledgement")
    assert not machine.more
    assert machine.receive(b"", 0.0) == []
    assert machine.receive(raw(PING, 0, bytes(8)), 0.0) == []


def test_a_connection_fails_once():
    machine = server()
    received(machine, raw(PING, 0))
    machine.fail(ErrorCode.INTERNAL_ERROR, "again")
    machine.begin_shutdown()
    machine.finish_shutdown()
    assert [each.payload[:8] for each in sent(machine)] == [number(0) + number(ErrorCode.FRAME_SIZE_ERROR)]


def test_the_last_stream_of_a_goaway_never_rises():
    """Section 6.8: the client may already have retried the streams above it elsewhere."""
    machine = server()
    received(machine, headers(1) + headers(3))
    machine.finish_shutdown()
    received(machine, headers(5) + headers(7))
    machine.finish_shutdown()
    machine.begin_shutdown()
    machine.fail(ErrorCode.INTERNAL_ERROR, "")
    frames = sent(machine)
    assert [each.payload for each in frames if each.kind == RST_STREAM] == [number(ErrorCode.REFUSED_STREAM)] * 2
    assert [each.payload[:4] for each in frames if each.kind == GOAWAY] == [number(3)] * 3


def test_a_machine_keeps_none_of_the_octets_that_it_has_passed_on():
    """A view holds what it is a view of: 64 KiB for each idle connection."""
    machine = server()
    octets: Any = bytearray(headers(1) + data(1, b"x" * 1000))
    machine.receive(octets, 0.0).pop().pieces.pop().release()
    gc.collect()
    octets.append(0)  # BufferError if a view is left


@pytest.mark.parametrize("kind", [HEADERS, SETTINGS, PING, GOAWAY])
def test_a_frame_that_would_have_to_be_held_is_no_longer_than_what_every_peer_accepts(kind):
    """The verdict must not depend on how much of it has arrived."""
    frame = raw(kind, 1 if kind == HEADERS else 0, bytes(16385), END_HEADERS if kind == HEADERS else 0)
    (fault,) = three_ways(server, frame)
    assert fault == ConnectionFailed(ErrorCode.ENHANCE_YOUR_CALM, "a frame of 16385 octets that is not DATA")
    (fault,) = three_ways(server, frame[:9])
    assert fault.code == ErrorCode.ENHANCE_YOUR_CALM


def reset_by_us(make):
    """Returns a machine that has reset stream 1, of which the peer does not know yet."""
    machine = make()
    received(machine, headers(1) if make is server else b"")
    machine.reset(1, ErrorCode.CANCEL)
    machine.output.clear()
    return machine


@pytest.mark.parametrize(
    ("make", "frame"),
    [
        (server, headers(1)),
        (client, response(1)),
        (client, rst_stream(1)),
        (server, raw(PING, 0, bytes(8), ACK)),
        (client, raw(SETTINGS, 0, b"", ACK)),
    ],
    ids=["HEADERS", "response", "RST_STREAM", "PING acknowledged", "SETTINGS acknowledged"],
)
def test_frames_that_ask_for_nothing_have_a_budget_too(make, frame):
    machine = reset_by_us(make)
    events = received(machine, frame * 5000)
    assert not machine.closed
    events = received(machine, frame * 6000)
    assert events[-1] == ConnectionFailed(ErrorCode.ENHANCE_YOUR_CALM, "too many frames that move no data")


@pytest.mark.parametrize(
    "last", [data(1, b"x", end=True), headers(1, end=True), rst_stream(1)], ids=["DATA", "HEADERS", "RST_STREAM"]
)
def test_a_stream_that_both_ends_have_ended_is_forgotten(last):
    """A stream that we have reset may have sent more, but nothing once it has ended: such a flood would cost its sender nothing."""
    assert three_ways(lambda: reset_by_us(server), data(1, b"x") + last + window_update(1, 1)) == []
    (fault,) = three_ways(lambda: reset_by_us(server), data(1, b"x") + last + data(1, end=True))
    assert fault == ConnectionFailed(ErrorCode.STREAM_CLOSED, "DATA on stream 1, which is closed")


@pytest.mark.parametrize("last", [rst_stream(1), data(1, end=True)], ids=["reset", "ended both ways"])
def test_nothing_is_sent_on_a_closed_stream(last):
    """The tunnel is still being dialled when its client leaves: whoever dials learns of it later."""
    machine = server()
    received(machine, headers(1))
    if last != rst_stream(1):
        machine.respond(1, 200)
        machine.end(1)
    received(machine, last)
    machine.output.clear()
    machine.respond(1, 200)
    machine.respond(1, 502, ended=True)
    machine.reset(1, ErrorCode.CONNECT_ERROR)
    assert machine.end(1) == b""
    assert (machine.sendable(1), machine.window_of(1)) == (0, 0)
    machine.consumed(1, 5, 0.0)
    assert not machine.output


@pytest.mark.parametrize("stream", [1, 2, 7])
def test_a_priority_of_the_wrong_size_resets_no_idle_stream(stream):
    """RST_STREAM on an idle stream would be our mistake (section 6.4)."""
    machine = server()
    received(machine, headers(1))
    (fault,) = received(machine, raw(PRIORITY, stream, bytes(4)))
    assert fault == ConnectionFailed(ErrorCode.FRAME_SIZE_ERROR, "PRIORITY is not 5 octets long")
    assert [each.kind for each in sent(machine)] == [GOAWAY]


@pytest.mark.parametrize(
    ("flags", "payload", "code"),
    [
        (PADDED, b"", ErrorCode.FRAME_SIZE_ERROR),
        (WITH_PRIORITY, bytes(4), ErrorCode.FRAME_SIZE_ERROR),
        (PADDED | WITH_PRIORITY, bytes(5), ErrorCode.FRAME_SIZE_ERROR),
        (PADDED, b"\x02\x88", ErrorCode.PROTOCOL_ERROR),
        (PADDED | WITH_PRIORITY, b"\x01" + bytes(5), ErrorCode.PROTOCOL_ERROR),
    ],
)
def test_headers_too_short_for_their_flags_are_told_from_too_much_padding(flags, payload, code):
    """Section 4.2 for octets that are missing, section 6.2 for padding that exceeds the rest."""
    (fault,) = three_ways(server, raw(HEADERS, 1, payload, flags | END_HEADERS))
    assert fault.code == code


@pytest.mark.parametrize("flags", [PADDED, WITH_PRIORITY, PADDED | WITH_PRIORITY])
def test_headers_may_be_all_padding_but_for_their_fields(flags):
    fields = block(CONNECT)
    before = (b"\x05" if flags & PADDED else b"") + (bytes(5) if flags & WITH_PRIORITY else b"")
    frame = raw(HEADERS, 1, before + fields + (bytes(5) if flags & PADDED else b""), flags | END_HEADERS)
    (request,) = three_ways(server, frame)
    assert isinstance(request, RequestReceived)


def test_no_window_grows_after_the_budget_was_returned():
    """A sink that takes the last octets late would reserve what nobody returns."""
    budget = WindowBudget()
    before = budget.left
    machine = server(budget=budget)
    machine.measured(1.0)
    received(machine, headers(1) + data(1, bytes(60_000)) * 4)
    machine.release()
    for _ in range(40):
        machine.consumed(1, 60_000, 0.0)
    assert budget.left == before
    machine.release()
    assert budget.left == before


def test_many_requests_of_ours_are_no_flood_of_the_peer():
    """A client may have queued more requests than a peer may cause answers, when the peer's SETTINGS and PING arrive."""
    machine = client(requests=0)
    for _ in range(2000):
        machine.request(TARGET, (("proxy-authorization", "x" * 100),))
    assert len(machine.output) > MAX_CONTROL
    received(machine, settings() + raw(PING, 0, bytes(8)))
    assert not machine.closed
    received(machine, raw(PING, 0, bytes(8)) * 5000)
    assert machine.closed


@pytest.mark.parametrize("whole", [True, False])
def test_what_stalled_streams_hold_enlarges_the_window_of_the_connection(whole):
    """Otherwise four streams whose sinks take nothing would stop all others."""
    machine = server(budget=WindowBudget())
    sent(machine)
    for stream in (1, 3, 5, 7):
        received(machine, headers(stream))
        for _ in range(13):
            frame = data(stream, bytes(16_384))
            for piece in [frame] if whole else [frame[:5000], frame[5000:]]:
                received(machine, piece)
    assert credit(sent(machine)).get(0, 0) >= 1 << 20
