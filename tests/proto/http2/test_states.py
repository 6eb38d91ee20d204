"""The table of the states of a stream (RFC 9113 section 5.1)."""

from tunnelctl.proto.http2.states import NEXT, State, Step


def test_every_state_has_a_row_and_every_step_leads_to_one():
    assert set(NEXT) == set(State)
    assert all(isinstance(state, State) for row in NEXT.values() for state in row.values())


def test_a_stream_is_closed_when_both_directions_have_ended_in_any_order():
    for first, second in ((Step.SEND_END, Step.RECEIVE_END), (Step.RECEIVE_END, Step.SEND_END)):
        assert NEXT[NEXT[State.OPEN][first]][second] is State.CLOSED
        assert first not in NEXT[NEXT[State.OPEN][first]], "a direction ends once"


def test_a_reset_closes_a_stream_in_every_state_and_a_closed_one_stays_so():
    assert all(row[Step.RESET] is State.CLOSED for state, row in NEXT.items() if state is not State.CLOSED)
    assert NEXT[State.CLOSED] == {}
