"""The machine, by the rules of HTTP/2 in tests/CONFORMANCE.md, which the tests name, and by the faults that it once had."""

from tests.proto.http2.wire import client, credit, data, headers, received, response, sent, server
from tunnelctl.proto.http2.events import DataReceived, StreamFailed
from tunnelctl.proto.http2.frame import ErrorCode
from tunnelctl.proto.http2.window import WindowBudget

# -- faults that it once had -------------------------------------------------------------------------------------------------------


SMALL = 65535  # the window of a connection for which there is no budget: it never grows


def test_the_rest_of_a_frame_of_a_stream_that_was_reset_is_dropped_and_credited_once():
    """A stream reset between two pieces of a DATA frame: the whole frame counts, and the first piece is the caller's to credit."""
    machine = server(budget=WindowBudget(0))
    for number in range(1, 41, 2):
        frame = data(number, bytes(30_000))
        (_, piece) = received(machine, headers(number) + frame[: 9 + 10_000])
        assert len(piece.data) == 10_000
        machine.reset(number, ErrorCode.CANCEL)
        assert received(machine, frame[9 + 10_000 :]) == []
        machine.consumed(number, 10_000, 0.0)
    announced = credit(sent(machine))
    assert set(announced) == {0}
    assert 20 * 30_000 - SMALL // 2 <= announced[0] <= 20 * 30_000


def test_data_that_violates_a_rule_is_credited_once():
    machine = server(budget=WindowBudget(0))
    for number in range(1, 41, 2):
        events = received(machine, headers(number, end=True) + data(number, bytes(30_000), padding=9))
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
