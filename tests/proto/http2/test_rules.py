"""The rules of HTTP/2 in tests/CONFORMANCE.md, as far as octets show them. A test is named after its rule: rule 13 is R13 there.

Each case runs all at once, octet by octet, and with a frame after it.
"""

import pytest
from hpack import Decoder

from tests.proto.http2.wire import (
    ACK,
    CONNECT,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    LARGEST,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    TARGET,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    arrived,
    block,
    client,
    credit,
    data,
    frames,
    goaway,
    headers,
    joined,
    number,
    octets_of,
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
from tunnelctl.proto.http2.budget import MAX_INTERIM
from tunnelctl.proto.http2.events import (
    ConnectionFailed,
    DataReceived,
    EndReceived,
    GoAwayReceived,
    PingAcknowledged,
    RequestReceived,
    ResetReceived,
    ResponseReceived,
    SettingsAcknowledged,
    SettingsReceived,
    StreamFailed,
    WindowOpened,
)
from tunnelctl.proto.http2.fields import Rejected
from tunnelctl.proto.http2.frame import ErrorCode
from tunnelctl.proto.http2.machine import MAX_FRAME, Machine
from tunnelctl.proto.http2.window import WindowBudget

SCHEME, PATH = (":scheme", "https"), (":path", "/")
SMALL = 65535
FIRST_STREAM = 256 << 10


def opened() -> Machine:
    """Returns a server with one tunnel."""
    machine = server()
    received(machine, headers(1))
    machine.respond(1, 200)
    machine.output.clear()
    return machine


def tunnel() -> Machine:
    """Returns a client with one tunnel."""
    machine = client()
    received(machine, response(1))
    return machine


def code_of(events: list) -> tuple[type, int]:
    """Returns what kind of failure the last event is, and its code."""
    return type(events[-1]), events[-1].code


def malformed(fields) -> bool:
    """Whether a request is a stream error of type PROTOCOL_ERROR, after which the connection lives on."""
    (event,) = three_ways(server, headers(1, fields))
    if isinstance(event, StreamFailed):
        assert event.code == ErrorCode.PROTOCOL_ERROR
        machine = server()
        received(machine, headers(1, fields))
        assert [(each.kind, each.stream, each.payload) for each in sent(machine)] == [(RST_STREAM, 1, number(1))]
        assert isinstance(received(machine, headers(3))[0], RequestReceived)
        return True
    assert isinstance(event, RequestReceived)
    return False


# -- request and answer ------------------------------------------------------------------------------------------------------------


def test_rule_1_a_request_has_method_and_authority():
    (event,) = three_ways(server, headers(1))
    assert (event.stream, event.request.target) == (1, TARGET)
    machine = client(requests=0)
    assert machine.request(TARGET, ()) == 1
    (head,) = sent(machine)
    assert (head.kind, head.flags, head.stream) == (HEADERS, END_HEADERS, 1)
    assert Decoder().decode(head.payload, raw=True) == [(b":method", b"CONNECT"), (b":authority", b"example.com:443")]


@pytest.mark.parametrize(
    "fields",
    [
        [*CONNECT, SCHEME],
        [*CONNECT, PATH],
        [*CONNECT, SCHEME, PATH],
        CONNECT[:1],
        CONNECT[1:],
        [],
        [(":method", ""), CONNECT[1]],
        [*CONNECT, (":status", "200")],
        [(":method", "GET"), PATH],
        [(":method", "GET"), SCHEME],
        [(":method", "GET"), SCHEME, (":path", "")],
    ],
)
def test_rule_1_anything_else_is_malformed(fields):
    assert malformed(fields)


def test_rule_1_another_method_gets_the_refusal_of_http_1_1():
    for method, status in (("GET", 405), ("HEAD", 405), ("BREW", 501)):
        (event, end) = three_ways(server, headers(1, [(":method", method), SCHEME, CONNECT[1], PATH], end=True))
        assert isinstance(event.request, Rejected)
        assert (event.request.refusal.status, event.request.to_head) == (status, method == "HEAD")
        assert end == EndReceived(1)


@pytest.mark.parametrize(
    "authority",
    ["example.com", "example.com:", "example.com:0", "a@example.com:443", "[::1]", "0x7f.1:443", "", "m\xfcnchen:443"],
)
def test_rule_2_an_authority_without_a_usable_target_gets_400(authority):
    (event,) = three_ways(server, headers(1, [CONNECT[0], (":authority", authority)]))
    assert event.request.refusal.status == 400


def test_rule_2_a_host_that_differs_is_malformed():
    assert malformed([*CONNECT, ("host", "example.org:443")])
    assert malformed([*CONNECT, ("host", "example.com:443"), ("host", "example.org:443")])
    assert malformed([(":method", "GET"), SCHEME, PATH, CONNECT[1], ("host", "b")])
    assert not malformed([*CONNECT, ("host", "example.com:443")])
    assert malformed([CONNECT[0], ("host", "example.com:443")])


@pytest.mark.parametrize(
    "field",
    [
        ("A", "b"),
        ("a b", "c"),
        ("a:", "c"),
        ("", "c"),
        ("\xe4", "c"),
        (":method", "CONNECT"),
        (":unknown", "x"),
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("keep-alive", "5"),
        ("proxy-connection", "close"),
        ("te", "gzip"),
    ],
)
def test_rule_3_names_are_in_lower_case_and_no_field_is_of_the_connection(field):
    assert malformed([*CONNECT, field])


def test_rule_3_pseudo_fields_come_first_and_once():
    assert malformed([CONNECT[0], ("a", "b"), CONNECT[1]])
    assert malformed([*CONNECT, CONNECT[1]])
    assert not malformed([*CONNECT[::-1], ("te", "trailers"), ("a", "b"), ("a", "c")])


@pytest.mark.parametrize("value", ["a\0", "a\rb", "a\nb", " a", "a ", "\ta", "a\t", "\r\nhost: x"])
def test_rule_4_values_have_no_line_ends_and_no_blanks_around_them(value):
    assert malformed([*CONNECT, ("a", value)])


@pytest.mark.parametrize("name", ["Proxy-Authorization", "authorization", "cookie"])
def test_rule_4_secrets_are_never_indexed(name):
    machine = client(requests=0)
    for _ in range(2):
        machine.request(TARGET, ((name, "Basic c2VjcmV0"), ("x-other", "y")))
    decoder = Decoder()
    for each in sent(machine):
        fields = {field[0]: field for field in decoder.decode(each.payload, raw=True)}
        assert not fields[name.lower().encode()].indexable
        assert fields[b"x-other"].indexable
    assert not any(name.lower().encode() == key for key, _ in decoder.header_table.dynamic_entries)
    assert "c2VjcmV0" not in repr(received(server(), headers(1, [*CONNECT, ("proxy-authorization", "Basic c2VjcmV0")])))


def test_rule_5_any_2xx_opens_the_tunnel_and_101_is_no_answer():
    for status in (200, 204, 299):
        (event,) = three_ways(client, headers(1, [(":status", str(status)), ("content-length", "5")]))
        assert event == ResponseReceived(1, event.response)
        assert event.response.status == status
    for invalid in ("101", "20", "2000", "099", "abc", "+20", ""):
        (event,) = three_ways(client, headers(1, [(":status", invalid)]))
        assert code_of([event]) == (StreamFailed, ErrorCode.PROTOCOL_ERROR)


def test_rule_5_a_2xx_of_ours_is_a_status_and_nothing_else():
    machine = server()
    received(machine, headers(1))
    machine.respond(1, 200)
    (head,) = sent(machine)
    assert (head.kind, head.flags) == (HEADERS, END_HEADERS)
    assert Decoder().decode(head.payload, raw=True) == [(b":status", b"200")]


def test_rule_6_interim_responses_are_skipped_up_to_a_cap():
    interim = response(1, 103)
    assert [type(event) for event in three_ways(client, interim * MAX_INTERIM + response(1))] == [ResponseReceived]
    (fault,) = three_ways(client, interim * (MAX_INTERIM + 1))
    assert code_of([fault]) == (StreamFailed, ErrorCode.PROTOCOL_ERROR)
    (fault,) = three_ways(client, response(1, 103, end=True))
    assert code_of([fault]) == (StreamFailed, ErrorCode.PROTOCOL_ERROR)


def test_rule_6_a_refusal_is_a_response_and_the_connection_lives_on():
    refusal = headers(1, [(":status", "407"), ("proxy-authenticate", "Basic")]) + data(1, b"log in", end=True)
    head, body, end = three_ways(client, refusal)
    assert head.response.fields == (("proxy-authenticate", "Basic"),)
    assert (octets_of(body), end) == (b"log in", EndReceived(1))
    machine = client()
    received(machine, refusal)
    assert machine.request(TARGET, ()) == 3
    assert isinstance(received(machine, response(3))[0], ResponseReceived)


def test_rule_6_a_refusal_without_a_body_ends_at_once():
    head, end = three_ways(client, response(1, 503, end=True))
    assert (head.response.status, end) == (503, EndReceived(1))


def test_rule_6_trailers_end_a_refusal():
    refusal = response(1, 502) + data(1, b"no")
    events = three_ways(client, refusal + headers(1, [("a", "b")], end=True))
    assert events[-1] == EndReceived(1)
    assert code_of(three_ways(client, refusal + headers(1, [(":status", "200")], end=True))) == (StreamFailed, 1)
    assert code_of(three_ways(client, refusal + headers(1, [("a", "b")]))) == (StreamFailed, 1)


def test_rule_6_http_1_1_required_reaches_the_caller():
    assert three_ways(client, rst_stream(1, 13)) == [ResetReceived(1, ErrorCode.HTTP_1_1_REQUIRED)]


def test_rule_7_early_data_on_a_refused_stream_is_dropped_and_credited():
    machine = server(max_streams=0, budget=WindowBudget(0))
    for stream in range(1, 41, 2):
        assert received(machine, headers(stream) + data(stream, bytes(15_000)) + data(stream, bytes(15_000), end=True)) == []
    found = sent(machine)
    assert [each.payload for each in found if each.kind == RST_STREAM] == [number(ErrorCode.REFUSED_STREAM)] * 20
    assert 600_000 - SMALL // 2 <= credit(found)[0] <= 600_000


def test_rule_7_a_refusal_ends_the_stream():
    machine = server()
    received(machine, headers(1))
    machine.respond(1, 403, (("proxy-status", "x"),), ended=True)
    assert [each.flags for each in sent(machine)] == [END_HEADERS | END_STREAM]
    assert received(machine, data(1, b"early", end=True))[-1] == EndReceived(1)
    assert machine.streams == 0


# -- tunnel ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "head"),
    [(opened, headers(1)), (opened, headers(1, [("a", "b")], end=True)), (tunnel, response(1)), (tunnel, headers(1))],
)
def test_rule_8_a_second_head_and_trailers_are_stream_errors(make, head):
    events = three_ways(make, head)
    assert [code_of(events)] == [(StreamFailed, ErrorCode.PROTOCOL_ERROR)]


def test_rule_8_data_and_management_frames_may_follow():
    frames = data(1, b"a") + window_update(1, 5) + raw(PRIORITY, 1, bytes(5)) + raw(0xF0, 1, b"unknown") + rst_stream(1, 8)
    for make in (opened, tunnel):
        events = three_ways(make, frames)
        assert events == [arrived(1, b"a"), WindowOpened(1), ResetReceived(1, 8)]


def test_rule_8_data_before_the_response_is_an_error():
    assert [code_of(three_ways(client, data(1, b"x")))] == [(StreamFailed, ErrorCode.PROTOCOL_ERROR)]


@pytest.mark.parametrize("make", [opened, tunnel])
def test_rule_9_each_direction_ends_by_itself(make):
    assert three_ways(make, data(1, b"x") + data(1, end=True)) == [arrived(1, b"x"), EndReceived(1)]
    assert three_ways(make, data(1, b"x", end=True)) == [arrived(1, b"x"), EndReceived(1)]
    assert three_ways(make, data(1, end=True, padding=3)) == [EndReceived(1)]
    machine = make()
    received(machine, data(1, end=True))
    assert machine.is_open(1)
    assert machine.sendable(1) == SMALL
    assert machine.end(1) == raw(DATA, 1, b"", END_STREAM)
    assert not machine.is_open(1)
    machine = make()
    assert machine.end(1) == raw(DATA, 1, b"", END_STREAM)
    assert machine.end(1) == b""
    assert received(machine, data(1, b"x", end=True))[-1] == EndReceived(1)
    assert not machine.is_open(1)


@pytest.mark.parametrize("make", [opened, tunnel])
def test_rule_10_a_reset_comes_after_the_bytes_before_it(make):
    assert three_ways(make, data(1, b"x") + rst_stream(1, 10)) == [arrived(1, b"x"), ResetReceived(1, 10)]
    machine = make()
    machine.reset(1, ErrorCode.CONNECT_ERROR)
    assert [(each.kind, each.payload) for each in sent(machine)] == [(RST_STREAM, number(10))]
    assert machine.streams == 0


@pytest.mark.parametrize("frame", [window_update(1, 1), window_update(1, 0), rst_stream(1), raw(PRIORITY, 1, bytes(5))])
def test_rule_11_late_frames_on_a_closed_stream_are_no_error(frame):
    def closed() -> Machine:
        machine = opened()
        received(machine, data(1, end=True))
        machine.end(1)
        return machine

    assert three_ways(closed, frame) == []
    assert three_ways(lambda: closed_by_reset(opened), frame) == []
    assert three_ways(lambda: closed_by_reset(tunnel), frame) == []


def closed_by_reset(make) -> Machine:
    machine = make()
    received(machine, rst_stream(1))
    return machine


@pytest.mark.parametrize("make", [opened, tunnel])
def test_rule_11_data_and_headers_on_a_closed_stream_are(make):
    for frame in (data(1, b"x"), data(1, end=True), headers(1, [("a", "b")])):
        events = three_ways(lambda: closed_by_reset(make), frame)
        assert [code_of(events)] == [(ConnectionFailed, ErrorCode.STREAM_CLOSED)]


@pytest.mark.parametrize("frame", [data(1, b"x"), data(1, end=True), headers(1, [("a", "b")], end=True)])
def test_rule_11_after_end_stream_there_is_nothing_but_management(frame):
    for make in (opened, tunnel):
        events = three_ways(make, data(1, end=True) + window_update(1, 1) + frame)
        assert events[1] == WindowOpened(1)
        assert code_of(events) == (StreamFailed, ErrorCode.STREAM_CLOSED)


def test_rule_11_frames_on_an_idle_stream_are_connection_errors():
    for frame in (data(3), rst_stream(3), window_update(3, 1), window_update(2, 1), rst_stream(2), data(2), headers(2)):
        for make in (opened, tunnel):
            assert [code_of(three_ways(make, frame))] == [(ConnectionFailed, ErrorCode.PROTOCOL_ERROR)]
    assert [code_of(three_ways(tunnel, response(3)))] == [(ConnectionFailed, ErrorCode.PROTOCOL_ERROR)]


def test_rule_11_late_headers_keep_the_table_of_the_decoder_right():
    """Section 4.3: a block is decoded even if its stream has been reset or refused."""
    machine = opened()
    machine.reset(1, ErrorCode.CANCEL)
    indexing = b"\x40\x03x-a\x03one"
    assert received(machine, raw(HEADERS, 1, indexing, END_HEADERS)) == []
    (event,) = received(machine, raw(HEADERS, 3, block(CONNECT) + b"\xbe", END_HEADERS))
    assert event.request.fields == (("x-a", "one"),)
    machine = server(max_streams=1)
    received(machine, headers(1))
    assert received(machine, raw(HEADERS, 3, block(CONNECT) + indexing, END_HEADERS)) == []
    received(machine, rst_stream(1))
    (event,) = received(machine, raw(HEADERS, 5, block(CONNECT) + b"\xbe", END_HEADERS))
    assert event.request.fields == (("x-a", "one"),)


def test_rule_12_no_error_after_the_end_is_told_from_a_failure():
    events = three_ways(tunnel, data(1, end=True) + rst_stream(1, 0))
    assert events == [EndReceived(1), ResetReceived(1, ErrorCode.NO_ERROR)]


# -- flow control ------------------------------------------------------------------------------------------------------------------


def test_rule_13_windows_start_at_65535():
    machine = opened()
    assert (machine.sendable(1), machine.window_of(1), machine.send_window) == (SMALL, SMALL, SMALL)
    machine.spend(1, 65_000)
    assert (machine.sendable(1), machine.window_of(1)) == (535, 535)
    received(machine, window_update(1, 10))
    assert (machine.sendable(1), machine.window_of(1)) == (535, 545)
    received(machine, window_update(0, 20))
    assert machine.sendable(1) == 545


def test_rule_13_a_smaller_initial_window_may_make_a_window_negative():
    machine = opened()
    machine.spend(1, 60_000)
    received(machine, settings((4, 1000)))
    assert (machine.sendable(1), machine.window_of(1)) == (0, 0)
    received(machine, window_update(1, 59_000) + headers(3))
    assert machine.window_of(1) == 0
    assert machine.window_of(3) == 1000
    assert machine.send_window == 5535, "the window of the connection is no matter of SETTINGS"
    assert received(machine, settings((4, 1001))) == [SettingsReceived(), WindowOpened(1), WindowOpened(3)]
    assert machine.window_of(1) == 1


def test_rule_13_a_larger_initial_window_must_not_overflow_a_window():
    assert code_of(three_ways(opened, window_update(1, LARGEST - SMALL) + settings((4, SMALL + 1)))) == (ConnectionFailed, 3)
    assert not isinstance(three_ways(opened, window_update(1, LARGEST - SMALL) + settings((4, SMALL)))[-1], ConnectionFailed)
    assert not isinstance(three_ways(opened, settings((4, LARGEST)))[-1], ConnectionFailed)


def test_rule_14_padding_counts_and_dropped_data_is_credited():
    machine = opened()
    for _ in range(2 * (1 << 20) // 288):  # the window of the stream takes 910 of these frames
        received(machine, data(1, b"x" * 32, padding=255))
        machine.consumed(1, 32, 0.0)
    found = credit(sent(machine))
    assert found[0] > 1 << 20
    assert found[1] > 1 << 20


def test_rule_14_the_windows_hold_the_peer_to_what_was_announced():
    machine = server(budget=WindowBudget(0))
    received(machine, headers(1) + headers(3))
    size = SMALL // 2
    assert not any(
        isinstance(each, ConnectionFailed) for each in received(machine, data(1, bytes(size)) + data(3, bytes(size + 1)))
    )
    events = received(machine, data(3, b"x"))
    assert code_of(events) == (ConnectionFailed, ErrorCode.FLOW_CONTROL_ERROR)


def test_rule_14_a_stream_that_exceeds_its_window_is_reset():
    frame = data(1, bytes(1 << 14))
    events = three_ways(opened, frame * 16 + data(1, end=True))
    assert events[-1] == EndReceived(1)
    events = three_ways(opened, frame * 16 + data(1, b"x"))
    assert code_of(events) == (StreamFailed, ErrorCode.FLOW_CONTROL_ERROR)


@pytest.mark.parametrize(
    ("frame", "failure"),
    [
        (window_update(1, 0), (StreamFailed, 1)),
        (window_update(0, 0), (ConnectionFailed, 1)),
        (window_update(1, LARGEST - SMALL + 1), (StreamFailed, 3)),
        (window_update(0, LARGEST - SMALL + 1), (ConnectionFailed, 3)),
        (window_update(1, LARGEST), (StreamFailed, 3)),
        (window_update(1, 1 << 31), (StreamFailed, 1)),  # the reserved bit does not count
    ],
)
def test_rule_15_an_increment_of_0_and_a_window_above_the_largest_are_errors(frame, failure):
    for make in (opened, tunnel):
        assert [code_of(three_ways(make, frame))] == [failure]


def test_rule_15_the_largest_window_is_valid():
    both = window_update(1, LARGEST - SMALL) + window_update(0, LARGEST - SMALL)
    assert three_ways(opened, both) == [WindowOpened(1), WindowOpened(0)]
    machine = opened()
    received(machine, both)
    assert machine.sendable(1) == LARGEST


def test_rule_16_frames_are_taken_whatever_a_stream_holds():
    """Nothing is consumed here, and PING, SETTINGS and WINDOW_UPDATE are answered all the same."""
    machine = opened()
    received(machine, headers(3) + data(1, bytes(1 << 14)) * 16)
    events = received(machine, raw(PING, 0, b"12345678") + settings() + window_update(0, 1) + data(3, b"key"))
    assert [type(event) for event in events] == [SettingsReceived, WindowOpened, DataReceived]
    assert [each.kind for each in sent(machine)] == [PING, SETTINGS]


def test_a_run_of_data_counts_up_to_the_frame_that_exceeds_the_window_of_the_connection():
    machine = server(budget=WindowBudget(0))
    received(machine, headers(1) + headers(3) + data(1, bytes(1 << 14)) * 2)
    *before, failure = received(machine, data(3, bytes(1 << 14)) * 3)
    assert [len(octets_of(event)) for event in before] == [1 << 14]
    assert (type(failure), failure.code) == (ConnectionFailed, ErrorCode.FLOW_CONTROL_ERROR)


def test_rule_17_credit_follows_consumption_in_halves_of_a_window():
    machine = opened()
    received(machine, data(1, bytes(1 << 14)) * 10)
    assert sent(machine) == [], "what has arrived is not credited"
    machine.consumed(1, (1 << 17) - 1, 0.0)
    assert sent(machine) == []
    machine.consumed(1, 1, 0.0)
    assert credit(sent(machine)) == {0: 1 << 17, 1: 1 << 17}


# -- connection --------------------------------------------------------------------------------------------------------------------


def test_rule_18_both_ends_begin_with_the_preface_and_settings():
    one = Machine(True, WindowBudget(), 0.0)
    other = Machine(False, WindowBudget(), 0.0, 100)
    assert one.output.startswith(PREFACE)
    assert frames(bytes(one.output[len(PREFACE) :]))[0].kind == SETTINGS
    assert frames(bytes(other.output))[0].kind == SETTINGS
    assert received(other, bytes(one.output)) == [SettingsReceived(), WindowOpened(0)]
    assert received(one, bytes(other.output)) == [SettingsReceived(), WindowOpened(0), SettingsAcknowledged()]


@pytest.mark.parametrize("octets", [b"GET / HTTP/1.1\r\n", PREFACE[:-1] + b"x", b"\x16\x03\x01", b"\0" * 24])
def test_rule_18_another_preface_is_a_connection_error(octets):
    def new() -> Machine:
        return Machine(False, WindowBudget(), 0.0, 100)

    assert [code_of(three_ways(new, octets))] == [(ConnectionFailed, ErrorCode.PROTOCOL_ERROR)]


@pytest.mark.parametrize(
    "frame", [headers(1), raw(PING, 0, bytes(8)), raw(SETTINGS, 0, b"", ACK), raw(0xF0, 0), data(1), window_update(0, 1), goaway(0)]
)
def test_rule_18_another_first_frame_than_settings_is_a_connection_error(frame):
    def new() -> Machine:
        machine = Machine(False, WindowBudget(), 0.0, 100)
        received(machine, PREFACE)
        return machine

    assert [code_of(three_ways(new, frame))] == [(ConnectionFailed, ErrorCode.PROTOCOL_ERROR)]
    assert [code_of(three_ways(lambda: Machine(True, WindowBudget(), 0.0), frame))] == [
        (ConnectionFailed, ErrorCode.PROTOCOL_ERROR)
    ]


def test_rule_18_each_settings_is_acknowledged_and_an_acknowledgement_is_not():
    machine = server()
    events = received(machine, settings((3, 7)) + settings((5, 1 << 20)) + raw(SETTINGS, 0, b"", ACK))
    assert events == [SettingsReceived(), SettingsReceived(), SettingsAcknowledged()]
    assert sent(machine) == [(SETTINGS, ACK, 0, b"")] * 2
    assert (machine.peer.max_concurrent_streams, machine.peer.max_frame_size) == (7, 1 << 20)
    assert received(machine, raw(SETTINGS, 0, b"", ACK)) == [], "we have sent only one"


def test_rule_18_the_acknowledgement_measures_the_round_trip():
    machine = client()
    assert machine.round_trip == 0
    received(machine, raw(SETTINGS, 0, b"", ACK), 0.25)
    assert machine.round_trip == 0.25
    machine.measured(0.5)
    assert machine.round_trip == 0.25, "the least: more is time in queues"
    machine.measured(0.125)
    assert machine.round_trip == 0.125


def test_the_round_trip_is_measured_again_before_a_window_grows_twice():
    machine = client()
    received(machine, response(1))
    machine.measured(1.0)
    window = machine._streams[1].window

    def pass_on(count, now):
        for _ in range(0, count, 16_384):
            received(machine, data(1, bytes(16_384)), now)
            machine.consumed(1, 16_384, now)
        return [frame for frame in sent(machine) if frame.kind == PING]

    first = window.size
    (ping,) = pass_on(first // 2, 0.1)
    assert window.size == 2 * first
    assert pass_on(4 * first, 0.2) == []
    assert window.size == 2 * first
    assert received(machine, raw(PING, 0, ping.payload, ACK), 0.3) == []
    assert machine.round_trip == pytest.approx(0.2)
    assert len(pass_on(2 * first, 0.35)) == 1
    assert window.size == 4 * first


def test_rule_19_unknown_frames_settings_and_flags_are_ignored():
    unknown = raw(10, 0, b"alt-svc") + raw(0xFF, 5, bytes(60_000), 0xFF) + raw(16, 0) + settings((9, 1), (0xFFFF, 0xFFFFFFFF))
    assert three_ways(opened, unknown) == [SettingsReceived()]
    assert three_ways(opened, raw(PING, 0, bytes(8), 0xF0)) == []
    assert three_ways(opened, raw(DATA, 1, b"x", 0xF6)) == [arrived(1, b"x")]
    assert three_ways(opened, raw(DATA, 1 | 1 << 31, b"x")) == [arrived(1, b"x")], "the reserved bit"


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        ((2, 2), 1),
        ((4, 1 << 31), 3),
        ((5, 16383), 1),
        ((5, 1 << 24), 1),
        ((8, 2), 1),
    ],
)
def test_rule_19_a_setting_out_of_range_is_a_connection_error(entry, code):
    for make in (server, client):
        assert [code_of(three_ways(make, settings(entry)))] == [(ConnectionFailed, code)]


def test_rule_19_push_is_neither_accepted_nor_allowed():
    assert code_of(three_ways(client, settings((2, 1)))) == (ConnectionFailed, ErrorCode.PROTOCOL_ERROR)
    assert three_ways(client, settings((2, 0))) == [SettingsReceived()]
    assert three_ways(server, settings((2, 1), (2, 0))) == [SettingsReceived()]
    assert (2).to_bytes(2, "big") + number(0) in Machine(True, WindowBudget(), 0.0).output
    for make in (opened, tunnel):
        events = three_ways(make, raw(PUSH_PROMISE, 1, number(2) + block(CONNECT), END_HEADERS))
        assert code_of(events) == (ConnectionFailed, ErrorCode.PROTOCOL_ERROR)


@pytest.mark.parametrize(
    "frame",
    [
        raw(DATA, 1, b"", 0, length=MAX_FRAME + 1),
        raw(0xF0, 0, b"", 0, length=MAX_FRAME + 1),
        raw(DATA, 1, b"", PADDED),
        raw(PING, 0, bytes(7)),
        raw(PING, 0, bytes(9)),
        raw(PING, 0, bytes(9), ACK),
        raw(SETTINGS, 0, bytes(5)),
        raw(SETTINGS, 0, bytes(6), ACK),
        raw(RST_STREAM, 1, bytes(3)),
        raw(RST_STREAM, 1, bytes(5)),
        raw(WINDOW_UPDATE, 1, bytes(3)),
        raw(WINDOW_UPDATE, 0, bytes(5)),
        raw(PRIORITY, 1, bytes(6)),
        raw(GOAWAY, 0, bytes(7)),
    ],
)
def test_rule_20_a_frame_of_the_wrong_size_is_a_connection_error(frame):
    for make in (opened, tunnel):
        assert [code_of(three_ways(make, frame))] == [(ConnectionFailed, ErrorCode.FRAME_SIZE_ERROR)]


def test_rule_20_data_may_be_as_large_as_announced():
    (event,) = three_ways(opened, data(1, bytes(MAX_FRAME)))
    assert event.size == MAX_FRAME
    assert (5).to_bytes(2, "big") + number(MAX_FRAME) in Machine(False, WindowBudget(), 0.0, 1).output


@pytest.mark.parametrize(
    "frame",
    [
        raw(PING, 1, bytes(8)),
        raw(SETTINGS, 1),
        raw(GOAWAY, 1, bytes(8)),
        raw(PRIORITY, 0, bytes(5)),
        headers(0),
        data(0),
        rst_stream(0),
    ],
)
def test_rule_20_a_frame_on_the_wrong_kind_of_stream_is_a_connection_error(frame):
    for make in (opened, tunnel):
        assert [code_of(three_ways(make, frame))] == [(ConnectionFailed, ErrorCode.PROTOCOL_ERROR)]


def in_continuations(stream: int, pieces: list[bytes], flags: int = 0) -> bytes:
    frames = [raw(HEADERS if not place else CONTINUATION, stream, piece) for place, piece in enumerate(pieces)]
    frames[0] = frames[0][:4] + bytes([flags]) + frames[0][5:]
    frames[-1] = frames[-1][:4] + bytes([frames[-1][4] | END_HEADERS]) + frames[-1][5:]
    return b"".join(frames)


def test_rule_21_a_header_block_may_come_in_pieces():
    fields = block(CONNECT)
    for pieces in ([fields[:1], fields[1:]], [b"", fields], [fields, b""], [fields[:3], b"", fields[3:9], fields[9:]]):
        request, end = three_ways(server, in_continuations(1, pieces, END_STREAM))
        assert request.request.target == TARGET
        assert end == EndReceived(1)


@pytest.mark.parametrize(
    "frame",
    [
        raw(CONTINUATION, 3, b"", END_HEADERS),
        headers(1),
        headers(3),
        data(1),
        settings(),
        raw(PING, 0, bytes(8)),
        raw(0xF0, 1),
        window_update(0, 1),
        rst_stream(1),
        raw(PRIORITY, 1, bytes(5)),
    ],
)
def test_rule_21_nothing_comes_between_the_pieces(frame):
    events = three_ways(server, raw(HEADERS, 1, block(CONNECT)) + frame)
    assert [code_of(events)] == [(ConnectionFailed, ErrorCode.PROTOCOL_ERROR)]


def test_rule_21_continuation_follows_only_an_incomplete_block():
    for before in (b"", headers(3)):
        events = three_ways(opened, before + raw(CONTINUATION, 3, block(CONNECT), END_HEADERS))
        assert code_of(events) == (ConnectionFailed, ErrorCode.PROTOCOL_ERROR)
    assert code_of(three_ways(opened, raw(CONTINUATION, 0, b"", END_HEADERS))) == (ConnectionFailed, ErrorCode.PROTOCOL_ERROR)


def test_rule_21_our_blocks_are_cut_to_what_the_peer_accepts():
    machine = client(requests=0)
    machine.request(TARGET, (("x", "~" * 40_000),))
    found = sent(machine)
    assert [(each.kind, each.flags) for each in found] == [
        (HEADERS, 0),
        *[(CONTINUATION, 0)] * (len(found) - 2),
        (CONTINUATION, END_HEADERS),
    ]
    assert max(len(each.payload) for each in found) == 16384
    assert len(list(Decoder().decode(b"".join(each.payload for each in found), raw=True))) == 3
    machine = server()
    received(machine, headers(1))
    machine.respond(1, 502, (("x", "~" * 20_000),), ended=True)
    first, *_, last = sent(machine)
    assert (first.flags, last.flags) == (END_STREAM, END_HEADERS)


def test_rule_21_a_block_that_cannot_be_decoded_is_a_connection_error():
    for bad in (b"\x80", b"\xff" * 20, b"\x40\x7f\xff\xff\xff\xff\x0f", b"\x88\x20", b"\x3f\xe2\x1f", b"\x00\x01a\x81\x00"):
        events = three_ways(server, raw(HEADERS, 1, bad, END_HEADERS))
        assert [code_of(events)] == [(ConnectionFailed, ErrorCode.COMPRESSION_ERROR)]


def test_rule_22_streams_are_odd_and_rise():
    request = three_ways(server, headers(5) + headers(LARGEST))
    assert [event.stream for event in request] == [5, LARGEST]
    assert code_of(three_ways(server, headers(5) + headers(3)))[0] is ConnectionFailed
    assert [code_of(three_ways(server, headers(4)))] == [(ConnectionFailed, ErrorCode.PROTOCOL_ERROR)]
    assert [code_of(three_ways(client, response(2)))] == [(ConnectionFailed, ErrorCode.PROTOCOL_ERROR)]


def test_rule_22_a_client_ends_with_the_largest_number():
    machine = client(requests=0)
    machine._next = LARGEST
    assert machine.accepts > 0
    assert machine.request(TARGET, ()) == LARGEST
    assert machine.accepts == 0
    assert received(machine, response(LARGEST))[0].stream == LARGEST
    assert received(machine, data(LARGEST, b"x", end=True))[-1] == EndReceived(LARGEST)


def test_rule_23_more_streams_than_announced_are_refused():
    def limited() -> Machine:
        return server(max_streams=2)

    assert [event.stream for event in three_ways(limited, headers(1) + headers(3) + headers(5) + headers(7))] == [1, 3]
    machine = limited()
    received(machine, headers(1) + headers(3) + headers(5))
    assert sent(machine) == [(RST_STREAM, 0, 5, number(ErrorCode.REFUSED_STREAM))]
    assert machine.streams == 2
    received(machine, rst_stream(1))
    assert received(machine, headers(7))[0].stream == 7
    assert (3).to_bytes(2, "big") + number(2) in Machine(False, WindowBudget(), 0.0, 2).output


def test_rule_23_a_stream_that_is_half_closed_counts():
    machine = server(max_streams=1)
    received(machine, headers(1, end=True))
    assert received(machine, headers(3)) == []
    machine.respond(1, 502, ended=True)
    assert received(machine, headers(5))[0].stream == 5


def test_rule_23_the_client_knows_how_many_it_may_have():
    assert Machine(True, WindowBudget(), 0.0).accepts > 100, "before SETTINGS it cannot know it"
    machine = client(handshake=settings((3, 7)))
    assert (machine.accepts, machine.streams) == (7, 1)


def test_rule_24_streams_above_the_last_of_a_goaway_were_not_processed():
    events = three_ways(lambda: client(3), response(1) + goaway(1, 0, b"bye"))
    assert events[1:] == [GoAwayReceived(1, 0, b"bye"), ResetReceived(3, 7), ResetReceived(5, 7)]
    machine = client(3)
    received(machine, goaway(LARGEST))
    assert (machine.streams, machine.accepts) == (3, 0)
    assert received(machine, goaway(3)) == [GoAwayReceived(3, 0, b""), ResetReceived(5, 7)]
    assert received(machine, response(1))[0].stream == 1, "those below go on"
    assert machine.goaway.last == 3


def test_rule_24_a_goaway_of_the_client_leaves_its_streams():
    assert three_ways(opened, goaway(0, 0) + data(1, b"x")) == [GoAwayReceived(0, 0, b""), arrived(1, b"x")]


def test_rule_24_the_server_shuts_down_in_two_steps():
    machine = opened()
    machine.begin_shutdown()
    machine.ping(b"shutdown")
    assert sent(machine) == [(GOAWAY, 0, 0, number(LARGEST) + number(0)), (PING, 0, 0, b"shutdown")]
    events = received(machine, headers(3) + raw(PING, 0, b"shutdown", ACK))
    assert [type(event) for event in events] == [RequestReceived, PingAcknowledged]
    machine.finish_shutdown()
    assert sent(machine) == [(GOAWAY, 0, 0, number(3) + number(0))]
    assert received(machine, headers(5)) == []
    assert sent(machine) == [(RST_STREAM, 0, 5, number(ErrorCode.REFUSED_STREAM))]
    assert received(machine, data(3, b"x") + data(1, b"y"))[0].stream == 3


def test_rule_25_ping_is_answered_with_its_octets():
    machine = opened()
    assert received(machine, raw(PING, 0, b"12345678")) == []
    assert sent(machine) == [(PING, ACK, 0, b"12345678")]
    machine.ping(b"abcdefgh")
    assert sent(machine) == [(PING, 0, 0, b"abcdefgh")]
    assert three_ways(opened, raw(PING, 0, b"abcdefgh", ACK)) == [PingAcknowledged(b"abcdefgh")]


@pytest.mark.parametrize(("payload", "octets"), [(0, 0), (1, 0), (0, 255), (300, 255), (5, 1)])
def test_rule_26_padding_is_stripped(payload, octets):
    events = three_ways(opened, data(1, b"x" * payload, end=True, padding=octets))
    assert events == [*([arrived(1, b"x" * payload)] if payload else []), EndReceived(1)]


@pytest.mark.parametrize("payload", [b"\x01", b"\x02x", b"\xff" + bytes(254)])
def test_rule_26_padding_as_long_as_the_payload_is_a_connection_error(payload):
    assert [code_of(three_ways(opened, raw(DATA, 1, payload, PADDED)))] == [(ConnectionFailed, ErrorCode.PROTOCOL_ERROR)]


def test_rule_27_priorities_are_ignored():
    priorities = (
        raw(PRIORITY, 1, number(1) + b"\x10")
        + raw(PRIORITY, 99, bytes(5))
        + raw(PRIORITY, 2, bytes(5))
        + raw(16, 0, number(1) + b"u=1")
    )
    assert three_ways(opened, priorities) == []
    (event,) = three_ways(server, raw(HEADERS, 1, number(1) + b"\x10" + block(CONNECT), END_HEADERS | WITH_PRIORITY))
    assert event.request.target == TARGET
    assert not malformed([*CONNECT, ("priority", "u=0, i")])


def test_rule_28_inadequate_security_is_said_in_a_goaway():
    """Which TLS is adequate is known where TLS is: this is how it ends the connection."""
    machine = server()
    machine.fail(ErrorCode.INADEQUATE_SECURITY, "TLS 1.1")
    assert sent(machine) == [(GOAWAY, 0, 0, number(0) + number(12) + b"TLS 1.1")]
    assert machine.closed


@pytest.mark.parametrize("rest", [[], [SCHEME, PATH]])
def test_rule_29_protocol_is_malformed_as_long_as_we_do_not_announce_it(rest):
    """V34: the authority of such a request names the proxy, and is never dialled."""
    assert malformed([*CONNECT, (":protocol", "connect-udp"), *rest])
    assert (8).to_bytes(2, "big") + number(1) not in Machine(False, WindowBudget(), 0.0, 1).output


def test_rule_29_the_announcement_of_the_peer_is_known_and_never_taken_back():
    machine = client()
    received(machine, settings((8, 1)))
    assert machine.peer.enable_connect_protocol == 1
    assert received(machine, settings((3, 5))) == [SettingsReceived()]
    assert code_of(received(machine, settings((8, 0)))) == (ConnectionFailed, ErrorCode.PROTOCOL_ERROR)
    assert code_of(joined(received(client(), settings((8, 1), (8, 0))))) == (ConnectionFailed, ErrorCode.PROTOCOL_ERROR)
