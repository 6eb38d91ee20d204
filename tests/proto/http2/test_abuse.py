"""What a peer may cost: each class of abuse in HTTP/2 by its number in tests/security/THREATS.md. Beyond it, the connection ends.

Legitimate use just below a limit passes, and a limit is reached in bounded time.
"""

import time
from math import inf

import pytest
from hpack import Encoder

from tests.proto.http2.wire import (
    ACK,
    CONNECT,
    CONTINUATION,
    DATA,
    END_HEADERS,
    HEADERS,
    LARGEST,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
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
from tunnelctl.proto.http2.budget import MAX_BLOCK, MAX_CONTINUATIONS, MAX_CONTROL, MAX_FIELDS_SIZE, TINY
from tunnelctl.proto.http2.events import (
    ConnectionFailed,
    DataReceived,
    EndReceived,
    RequestReceived,
    ResetReceived,
    SettingsReceived,
    StreamFailed,
    WindowOpened,
)
from tunnelctl.proto.http2.frame import ErrorCode
from tunnelctl.proto.http2.machine import Machine
from tunnelctl.proto.http2.settings import MAX_ENTRIES

CALM = ErrorCode.ENHANCE_YOUR_CALM


def in_turns(machine: Machine, frames: bytes, now: float = 0.0):
    """Takes the octets as a connection does, and sends what is due: whoever reads is not the one who floods."""
    events, more = [], True
    while more:
        if not machine.closed:
            machine.output.clear()
        events += machine.receive(frames, now)
        frames, more = b"", machine.more
    return events


def calmed(machine: Machine, events) -> bool:
    """Whether the connection has ended with ENHANCE_YOUR_CALM, which the peer is told."""
    if not machine.closed:
        return False
    assert isinstance(events[-1], ConnectionFailed)
    assert events[-1].code == CALM
    assert sent(machine)[-1].payload[4:8] == number(CALM)
    return True


def allowed(machine: Machine, frame: bytes, count: int, now: float = 0.0) -> None:
    """Requires that exactly as many of the frame are allowed: the next one ends the connection."""
    assert not calmed(machine, in_turns(machine, frame * count, now))
    assert calmed(machine, in_turns(machine, frame, now))


def opened(make=server) -> Machine:
    machine = make()
    received(machine, headers(1) if make is server else response(1))
    machine.output.clear()
    return machine


def test_v33_rapid_reset():
    """CVE-2023-44487: requests that are reset at once. A burst is allowed, and then a rate."""
    machine = server()
    first = in_turns(machine, b"".join(headers(stream) + rst_stream(stream) for stream in range(1, 2000, 2)))
    assert not machine.closed
    assert sum(isinstance(event, RequestReceived) for event in first) == 1000
    # Ten seconds later there are 330 more.
    assert not calmed(machine, in_turns(machine, b"".join(headers(s) + rst_stream(s) for s in range(2001, 2661, 2)), 10.0))
    assert calmed(machine, in_turns(machine, headers(2661) + rst_stream(2661), 10.0))
    assert machine.receive(headers(2663), 10.0) == []


def test_v33_refused_streams_count_as_resets():
    """A client that pays no heed to the limit costs as much as one that resets."""
    machine = server(max_streams=0)
    assert not calmed(machine, in_turns(machine, b"".join(headers(stream) for stream in range(1, 2000, 2))))
    assert calmed(machine, in_turns(machine, headers(2001)))


def test_v33_resets_of_a_server_end_what_the_client_has_opened_and_cost_nothing():
    machine = client(requests=2000)
    events = in_turns(machine, b"".join(rst_stream(stream) for stream in range(1, 4000, 2)))
    assert events == [ResetReceived(stream, 8) for stream in range(1, 4000, 2)]


def test_v34_a_request_with_protocol_is_malformed():
    (event,) = three_ways(server, headers(1, [*CONNECT, (":protocol", "websocket"), (":scheme", "https"), (":path", "/")]))
    assert (type(event), event.code) == (StreamFailed, ErrorCode.PROTOCOL_ERROR)


@pytest.mark.parametrize(
    "provocation",
    [
        lambda stream: headers(stream) + window_update(stream, 0),
        lambda stream: headers(stream) + window_update(stream, LARGEST),
        lambda stream: headers(stream, end=True) + data(stream, b"x" * TINY),
        lambda stream: headers(stream) + headers(stream),
        lambda stream: headers(stream, CONNECT[:1]),
    ],
    ids=["WINDOW_UPDATE 0", "overflow", "DATA after END_STREAM", "HEADERS twice", "malformed"],
)
def test_v37_resets_that_the_client_provokes(provocation):
    """CVE-2025-8671: mistakes on streams, each of which we answer with a reset."""
    machine = server()
    assert not calmed(machine, in_turns(machine, b"".join(provocation(stream) for stream in range(1, 201, 2))))
    assert not calmed(machine, in_turns(machine, b"".join(provocation(stream) for stream in range(201, 261, 2)), 10.0))
    assert calmed(machine, in_turns(machine, provocation(261), 10.0))


def test_v37_a_priority_of_the_wrong_size_ends_the_connection():
    (event,) = three_ways(opened, raw(PRIORITY, 1, bytes(4)))
    assert (type(event), event.code) == (ConnectionFailed, ErrorCode.FRAME_SIZE_ERROR)


def test_v37_a_server_that_makes_mistakes_is_bounded_too():
    machine = client(requests=101)
    assert not calmed(machine, in_turns(machine, b"".join(data(stream, b"x" * TINY) for stream in range(1, 201, 2))))
    assert calmed(machine, in_turns(machine, data(201, b"x" * TINY)))


@pytest.mark.parametrize("piece", [b"", b"\x82"], ids=["empty", "one octet"])
def test_v38_continuations_without_end(piece):
    """CVE-2024-27316: a block that never ends."""
    begin, one = raw(HEADERS, 1, block(CONNECT)), raw(CONTINUATION, 1, piece)
    last = raw(CONTINUATION, 1, b"", END_HEADERS)
    assert received(server(), begin + one * (MAX_CONTINUATIONS - 1) + last)
    for end in (one, last):
        (event,) = three_ways(server, begin + one * MAX_CONTINUATIONS + end)
        assert event == ConnectionFailed(CALM, "too many CONTINUATION frames")


def test_v38_how_long_a_block_is_under_way_is_known():
    """From its first octet on, whose frame need not be complete; a further CONTINUATION changes nothing."""
    machine, (begin, rest) = server(), (raw(HEADERS, 1, block(CONNECT)[:4]), block(CONNECT)[4:])
    for now, piece, since in [
        (1.0, begin[:3], inf),  # it may be any frame
        (2.0, begin[3:9], 2.0),
        (3.0, begin[9:], 2.0),
        (4.0, raw(CONTINUATION, 1, rest[:1]), 2.0),
        (5.0, raw(CONTINUATION, 1, rest[1:], END_HEADERS)[:-1], 2.0),
        (6.0, rest[-1:], inf),
        (7.0, raw(DATA, 1, b"abc")[:10], inf),
        (8.0, b"bc" + headers(3)[:-1], 8.0),
        (9.0, headers(3)[-1:] + raw(HEADERS, 5, block(CONNECT)), 9.0),  # another one has begun
    ]:
        machine.receive(piece, now)
        assert machine.block_since == since, now
    assert machine.streams == 2
    assert not machine.closed


def test_v38_a_block_is_no_longer_than_a_kerberos_ticket_requires():
    fields = block([*CONNECT, ("proxy-authorization", "Negotiate " + "A" * 12_000)])
    assert len(fields) < MAX_BLOCK
    (request,) = received(server(), raw(HEADERS, 1, fields[:8000]) + raw(CONTINUATION, 1, fields[8000:], END_HEADERS))
    assert len(request.request.authorization) == 12_010
    half = bytes(MAX_BLOCK // 2)
    (event,) = three_ways(server, raw(HEADERS, 1, half) + raw(CONTINUATION, 1, half) + raw(CONTINUATION, 1, b"\0", END_HEADERS))
    assert event == ConnectionFailed(CALM, "the header block is too long")


def test_v39_a_small_block_that_decodes_to_a_large_one():
    """CVE-2016-6581: one large field in the table, and an octet for each time that it is referred to."""
    encoder = Encoder()
    machine = server()
    large = [(b":method", b"CONNECT"), (b":authority", b"example.com:443"), (b"x", b"y" * 3900)]
    first, again = encoder.encode(large), encoder.encode(large)
    assert len(again) == 3
    assert isinstance(received(machine, raw(HEADERS, 1, first, END_HEADERS))[0], RequestReceived)
    fits = again + again[-1:] * (MAX_FIELDS_SIZE // 4000 - 1)
    assert isinstance(received(machine, raw(HEADERS, 3, fits, END_HEADERS))[0], RequestReceived)
    assert calmed(machine, received(machine, raw(HEADERS, 5, again + again[-1:] * 16_000, END_HEADERS)))


def test_v39_the_table_of_the_decoder_never_grows_beyond_what_was_announced():
    (event,) = three_ways(server, raw(HEADERS, 1, b"\x3f\xe2\x1f" + block(CONNECT), END_HEADERS))
    assert event == ConnectionFailed(ErrorCode.COMPRESSION_ERROR, "the header block cannot be decoded")


@pytest.mark.parametrize(
    "costly",
    [
        b"\x20" * MAX_BLOCK,
        b"\xff" * MAX_BLOCK,
        b"\x00\x7f" + b"\xff" * (MAX_BLOCK - 2),
        b"\x3f" + b"\x80" * (MAX_BLOCK - 1),
        b"\x82" * MAX_BLOCK,
        b"\x00\x01a\xff\xbb\x7e" + bytes(16_249),
    ],
    ids=["updates", "index", "length", "size", "indexed", "Huffman"],
)
def test_v40_a_block_that_is_slow_to_decode(costly):
    """Each takes some milliseconds at most, and ends the connection: here a second is allowed for, and 50 of them took 2.5 s."""
    begun = time.process_time()
    for _ in range(20):
        machine = server()
        (event,) = received(machine, raw(HEADERS, 1, costly, END_HEADERS))
        assert ErrorCode(event.code).name in ("ENHANCE_YOUR_CALM", "COMPRESSION_ERROR")
    assert time.process_time() - begun < 1


def test_v41_answers_that_the_peer_does_not_read():
    for frame in (raw(PING, 0, bytes(8)), settings()):
        machine = server()
        events = received(machine, frame * (MAX_CONTROL // 17))
        assert not machine.closed
        events = received(machine, frame * 8000)
        assert machine.closed
        assert events[-1] == ConnectionFailed(CALM, "the answers are not read")
        assert len(machine.output) < MAX_CONTROL + 100


@pytest.mark.parametrize(
    "frame",
    [
        raw(PING, 0, bytes(8)),
        raw(PING, 0, bytes(8), ACK),
        settings((3, 5)),
        raw(SETTINGS, 0, b"", ACK),
        raw(0xF0, 0),
        raw(PRIORITY, 1, bytes(5)),
    ],
    ids=["PING", "PING ACK", "SETTINGS", "SETTINGS ACK", "unknown", "PRIORITY"],
)
@pytest.mark.parametrize("make", [server, client])
def test_v41_frames_that_move_nothing(make, frame):
    machine = make()
    allowed(machine, frame, 9999)  # one of the handshake


def test_v41_settings_with_many_parameters():
    assert received(server(), settings(*[(3, 5)] * MAX_ENTRIES)) == [SettingsReceived()]
    (event,) = three_ways(server, settings(*[(0xF000, 5)] * (MAX_ENTRIES + 1)))
    assert event == ConnectionFailed(CALM, "more than 32 parameters in one SETTINGS")


def test_v42_empty_data():
    allowed(opened(), data(1), 1000)
    allowed(opened(), data(1, padding=0), 1000)
    allowed(opened(client), data(1), 1000)
    machine = opened()
    assert received(machine, data(1) * 1000 + data(1, end=True))[-1] == EndReceived(1), "an end is no empty DATA"


def test_v42_tiny_data():
    """A program that writes single octets as fast as it can is allowed for: 100,000 at once, and 20,000 a second."""
    machine = opened()
    frames = data(1, b"x") * 10_000
    for _ in range(10):
        in_turns(machine, frames)
        machine.consumed(1, 10_000, 0.0)
    assert not machine.closed
    in_turns(machine, frames, 1.0)
    in_turns(machine, frames, 1.0)
    assert calmed(machine, in_turns(machine, data(1, b"x"), 1.0))


def test_v42_keystrokes_are_free():
    machine = opened()
    frames = data(1, b"x" * 36) * 4000  # the smallest packet of ssh
    for _ in range(50):
        events = in_turns(machine, frames)
        machine.consumed(1, 36 * 4000, 0.0)
        assert sum(event.size for event in events) == 36 * 4000
    assert not machine.closed


def test_v43_tiny_window_updates():
    for make in (server, client):
        for stream in (0, 1):
            machine = opened(make)
            assert in_turns(machine, window_update(stream, 1) * 9999) == [WindowOpened(stream)] * 9999
            assert not calmed(machine, in_turns(machine, window_update(stream, 1) * 330, 1.0))
            assert calmed(machine, in_turns(machine, window_update(stream, 1), 1.0))


def test_window_updates_for_data_that_was_sent_are_no_abuse():
    """Bulk at 500 MB/s, credited in steps of 128 KiB for stream and connection, provokes 8,000 a second; keystrokes two each."""
    for size, count in ((1 << 17, 20_000), (1024, 20_000)):
        for make in (server, client):
            machine = opened(make)
            in_turns(machine, window_update(0, 1 << 20) + window_update(1, 1 << 20))
            for _ in range(count):
                machine.spend(1, size)
                in_turns(machine, window_update(0, size) + window_update(1, size))
            assert not machine.closed


def test_v44_windows_that_overflow():
    for stream, kind in ((0, ConnectionFailed), (1, StreamFailed)):
        events = three_ways(opened, window_update(stream, LARGEST - 65535) + window_update(stream, 1))
        assert (type(events[-1]), events[-1].code) == (kind, ErrorCode.FLOW_CONTROL_ERROR)
    events = three_ways(opened, window_update(1, LARGEST - 65535) + settings((4, 65536)))
    assert (type(events[-1]), events[-1].code) == (ConnectionFailed, ErrorCode.FLOW_CONTROL_ERROR)


def test_v45_slow_read_is_bounded_by_what_may_be_sent():
    """However large the windows of the peer are, the machine holds no data; its caller asks how much it may send, and counts it."""
    machine = opened()
    received(machine, window_update(0, LARGEST - 65535) + window_update(1, LARGEST - 65535))
    assert machine.sendable(1) == LARGEST
    machine.spend(1, LARGEST)
    assert (machine.sendable(1), machine.window_of(1)) == (0, 0)
    assert not machine.output


def test_v46_a_stream_that_the_peer_never_reads_leaves_the_others_alone():
    machine = server()
    received(machine, settings((4, 0)) + headers(1) + headers(3))
    assert machine.sendable(1) == machine.sendable(3) == 0
    received(machine, window_update(3, 10))
    assert (machine.sendable(1), machine.sendable(3)) == (0, 10)


def test_v46_a_tunnel_that_is_not_read_holds_its_share_of_the_window():
    machine = opened()
    received(machine, headers(3))
    events = received(machine, data(1, bytes(1 << 14)) * 17)
    assert (type(events[-1]), events[-1].code) == (StreamFailed, ErrorCode.FLOW_CONTROL_ERROR)
    assert sum(event.size for event in events[:-1]) == 16 << 14, "what came before the mistake counts"
    machine = opened()
    received(machine, headers(3) + data(1, bytes(1 << 14)) * 16)
    assert isinstance(received(machine, data(3, bytes(1 << 14)) * 16)[-1], DataReceived)
    assert credit(sent(machine)) == {}


def test_v47_streams_pile_up():
    machine = server(max_streams=100)
    events = received(machine, b"".join(headers(stream) for stream in range(1, 401, 2)))
    assert len(events) == machine.streams == 100
    refused = [each for each in sent(machine) if each.kind == RST_STREAM]
    assert [each.payload for each in refused] == [number(ErrorCode.REFUSED_STREAM)] * 100
    assert not machine.closed


def test_v47_what_is_remembered_of_closed_streams_is_bounded():
    machine = server()
    for stream in range(1, 20_000, 2):
        machine.receive(headers(stream), float(stream))
        machine.reset(stream, ErrorCode.CANCEL)
        machine.output.clear()
    assert machine.receive(data(19_999, b"late"), 20_000.0) == [], "the last ones are known"
    (event,) = machine.receive(data(1, b"very late"), 20_000.0)
    assert (type(event), event.code) == (ConnectionFailed, ErrorCode.STREAM_CLOSED)


def test_v48_fields_that_two_readers_could_read_differently():
    """V15 for HTTP/2: what is malformed is reset, and never turned into the text of HTTP/1.1."""
    for field in (
        ("host", "evil.example"),
        ("x\r\nhost", "a"),
        ("x", "a\r\nb: c"),
        (":authority", "evil.example:443"),
        ("transfer-encoding", "chunked"),
    ):
        (event,) = three_ways(server, headers(1, [*CONNECT, field]))
        assert (type(event), event.code) == (StreamFailed, ErrorCode.PROTOCOL_ERROR)
    (event,) = three_ways(server, headers(1, [*CONNECT, ("proxy-authorization", "a"), ("proxy-authorization", "b")]))
    assert event.request.refusal.status == 400


def test_v26_the_octets_of_an_incomplete_frame_are_bounded():
    """V26: what the machine holds is one frame that every peer accepts, and one header block."""
    machine = server()
    received(machine, raw(HEADERS, 1, bytes(10_000)) + raw(CONTINUATION, 1, b"", length=16_384) + bytes(16_000))
    assert not machine.closed
    assert len(machine._rest) + len(machine._block) <= 16_384 + 9 + MAX_BLOCK


@pytest.mark.parametrize(
    "frame",
    [
        data(1, b"x"),
        data(1, b"x" * 40),
        window_update(1, 1),
        raw(PING, 0, bytes(8)),
        raw(0xF0, 0, bytes(5)),
        raw(PRIORITY, 1, bytes(5)),
    ],
    ids=["one octet", "keystroke", "WINDOW_UPDATE", "PING", "unknown", "PRIORITY"],
)
def test_v42_time_is_linear_in_the_octets_that_arrive_at_once(frame):
    """Four times as many octets in one call take some four times as long, not sixteen."""

    def cost(count: int) -> float:
        machine = opened()
        begun = time.process_time()
        received(machine, frame * count)
        assert not machine.closed
        return time.process_time() - begun

    small, large = min(cost(900) for _ in range(3)), min(cost(3600) for _ in range(3))
    assert large < 8 * small + 0.05
