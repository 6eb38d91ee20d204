"""Receive windows: credit follows consumption, and growth follows need and is bounded by a budget."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proto.feeding import bounded
from tests.proto.http2.wire import credit, frames
from tunnelctl.proto.http2.frame import ConnectionFault, ErrorCode
from tunnelctl.proto.http2.settings import DEFAULT_WINDOW
from tunnelctl.proto.http2.window import (
    BUDGET,
    FIRST_CONNECTION_WINDOW,
    FIRST_STREAM_WINDOW,
    LARGEST_CONNECTION_WINDOW,
    SHARE,
    STEP,
    STEPS,
    TURN,
    Credit,
    ReceiveWindow,
    WindowBudget,
)


def test_a_window_is_credited_in_halves():
    window = ReceiveWindow(100, 0.0)
    assert window.take(100)
    assert not window.give(49)
    assert window.give(1)
    assert window.announce() == 50
    assert (window.left, window.owed) == (50, 0)
    assert window.give(50)
    assert window.announce() == 50
    assert not window.take(101)


def test_a_window_that_the_peer_waits_for_limits_the_speed():
    window = ReceiveWindow(100, 0.0)
    found = []
    for now, round_trip in ((1.0, 0.0), (1.05, 0.1), (1.25, 0.1)):  # 0: a round trip that is unknown
        assert window.take(50)
        assert window.give(50)
        assert window.announce() == 50
        found.append(window.limits_speed(now, round_trip))
    assert found == [False, True, False]
    assert window.grow(300) == 200
    assert (window.size, window.left) == (300, 300)


def test_a_window_limits_the_speed_if_all_of_it_comes_just_after_each_round_trip():
    window = ReceiveWindow(100, 0.0)
    assert window.take(100)
    assert window.give(100)
    window.announce()
    assert window.limits_speed(0.101, 0.1)


def test_a_large_window_is_credited_in_steps_and_judged_by_half_of_it():
    """What is not announced yet would limit the speed as a smaller window does."""
    window = ReceiveWindow(8 * STEP, 0.0)
    assert window.take(8 * STEP)
    assert not window.give(STEP - 1)
    assert window.give(1)
    assert window.announce() == STEP
    judged = [window.limits_speed(0.01, 0.1)]
    for place in range(3):
        assert window.give(STEP)
        assert window.announce() == STEP
        judged.append(window.limits_speed(0.02 * place, 0.1))
    assert judged == [False, False, False, True]
    assert window.used == 0


def test_the_largest_windows_are_credited_an_eighth_at_a_time():
    window = ReceiveWindow(4 * STEPS * STEP, 0.0)
    assert not window.give(4 * STEP - 1)
    assert window.give(1)


def test_a_window_lasts_for_a_turn_of_the_loop_if_the_round_trip_is_shorter():
    found = []
    for now in (TURN / 2, TURN * 2):
        window = ReceiveWindow(100, 0.0)
        assert window.give(50)
        window.announce()
        found.append(window.limits_speed(now, TURN / 10))
    assert found == [True, False]


def test_credit_of_a_stream_takes_that_of_the_connection_along():
    """Which costs no write of its own then."""
    connection = Credit(WindowBudget(), 0.0)
    connection.first()
    connection.arrived(FIRST_STREAM_WINDOW)
    stream = ReceiveWindow(FIRST_STREAM_WINDOW, 0.0)
    stream.take(FIRST_STREAM_WINDOW)
    assert connection.consumed(1, stream, 1000, 0.5) == b""
    half = FIRST_STREAM_WINDOW // 2
    assert credit(frames(connection.consumed(1, stream, half, 0.5))) == {0: 1000 + half, 1: 1000 + half}


def test_the_window_of_a_connection_is_large_from_the_beginning_if_the_budget_has_it():
    budget = WindowBudget(FIRST_CONNECTION_WINDOW)
    one, other = Credit(budget, 0.0), Credit(budget, 0.0)
    assert one.first_stream_window == FIRST_STREAM_WINDOW
    assert credit(frames(one.first())) == {0: FIRST_CONNECTION_WINDOW - DEFAULT_WINDOW}
    assert other.first_stream_window == DEFAULT_WINDOW
    assert other.first() == b""
    one.release()
    other.release()
    assert budget.left == FIRST_CONNECTION_WINDOW


def test_a_window_that_is_full_of_what_is_held_grows_to_a_limit():
    budget = WindowBudget()
    connection = Credit(budget, 0.0)
    connection.first()
    held, announced = 0, FIRST_CONNECTION_WINDOW
    while held < LARGEST_CONNECTION_WINDOW - 65_536:
        held += 65_536
        announced += credit(frames(connection.arrived(65_536))).get(0, 0)
    assert announced == LARGEST_CONNECTION_WINDOW == BUDGET - budget.left
    assert connection.arrived(65_536) == b""
    with pytest.raises(ConnectionFault) as caught:
        connection.arrived(1)
    assert caught.value.code == ErrorCode.FLOW_CONTROL_ERROR
    connection.release()
    assert budget.left == BUDGET


def test_a_stream_grows_within_its_share_and_takes_the_connection_with_it():
    connection = Credit(WindowBudget(), 0.0)
    connection.first()
    connection.round_trip = 1.0
    stream = ReceiveWindow(FIRST_STREAM_WINDOW, 0.0)
    for _ in range(5000):
        connection.arrived(32_768)
        assert stream.take(32_768)
        connection.consumed(1, stream, 32_768, 0.5)
    assert stream.size * SHARE == LARGEST_CONNECTION_WINDOW


def test_a_stream_grows_by_itself_where_the_connection_is_large_enough():
    connection = Credit(WindowBudget(), 0.0)
    connection.first()
    for _ in range(30):
        connection.arrived(65_536)  # held, so that the window of the connection grows
    connection.round_trip = 1.0
    stream = ReceiveWindow(FIRST_STREAM_WINDOW, 0.0)
    stream.take(FIRST_STREAM_WINDOW // 2)
    updates = credit(frames(connection.consumed(1, stream, FIRST_STREAM_WINDOW // 2, 0.5)))
    assert updates == {0: FIRST_STREAM_WINDOW // 2, 1: FIRST_STREAM_WINDOW // 2 + FIRST_STREAM_WINDOW}
    assert stream.size == 2 * FIRST_STREAM_WINDOW


def test_without_a_budget_a_stream_does_not_grow_beyond_its_share():
    connection = Credit(WindowBudget(FIRST_CONNECTION_WINDOW), 0.0)
    connection.first()
    connection.round_trip = 1.0
    stream = ReceiveWindow(FIRST_STREAM_WINDOW, 0.0)
    updates = b""
    for _ in range(100):
        updates += connection.arrived(32_768)
        assert stream.take(32_768)
        updates += connection.consumed(1, stream, 32_768, 0.5)
    assert stream.size == FIRST_STREAM_WINDOW
    assert credit(frames(updates)) == {0: 25 << 17, 1: 25 << 17}


def test_a_stream_that_is_slow_does_not_grow():
    connection = Credit(WindowBudget(), 0.0)
    connection.first()
    connection.round_trip = 0.01
    stream = ReceiveWindow(FIRST_STREAM_WINDOW, 0.0)
    for step in range(100):
        connection.arrived(32_768)
        stream.take(32_768)
        connection.consumed(1, stream, 32_768, float(step))
    assert stream.size == FIRST_STREAM_WINDOW


ACTS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 70_000), st.booleans(), st.floats(0, 0.2)),
    max_size=120,
)


@bounded
@given(st.integers(0, 3 * FIRST_CONNECTION_WINDOW), st.sampled_from([0.0, 0.05, 1.0]), ACTS)
def test_credit_never_exceeds_consumption_and_growth(size, round_trip, steps):
    """A peer that obeys is never at fault, and never has more to send than the windows are large; the budget comes back exactly."""
    budget = WindowBudget(size)
    connection = Credit(budget, 0.0)
    first_stream = connection.first_stream_window
    announced = DEFAULT_WINDOW + credit(frames(connection.first())).get(0, 0)
    connection.round_trip = round_trip
    streams = {number: ReceiveWindow(first_stream, 0.0) for number in (1, 3, 5, 7)}
    may_send = {0: announced, **dict.fromkeys(streams, first_stream)}
    held = dict.fromkeys(streams, 0)
    now, consumed = 0.0, 0
    for place, count, arrives, pause in steps:
        number, now = 2 * place + 1, now + pause
        if arrives:
            count = min(count, may_send[0], may_send[number])
            updates = connection.arrived(count)
            assert streams[number].take(count)
            held[number] += count
            may_send[0] -= count
            may_send[number] -= count
        else:
            count = min(count, held[number])
            held[number] -= count
            consumed += count
            updates = connection.consumed(number, streams[number], count, now)
        for stream, increment in credit(frames(updates)).items():
            assert increment > 0
            may_send[stream] += increment
        own = connection._window
        assert may_send[0] + sum(held.values()) + own.owed == own.size <= LARGEST_CONNECTION_WINDOW
        assert own.owed < min(own.size / 2, max(STEP, own.size / STEPS))
        for stream, window in streams.items():
            assert may_send[stream] + held[stream] + window.owed == window.size
            assert window.size == first_stream or window.size * SHARE <= own.size
    assert 0 <= budget.left <= size
    connection.release()
    assert budget.left == size
