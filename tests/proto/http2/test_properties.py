"""What holds for any octets, and for our two ends back to back: documented events only, and accounts that balance."""

from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from tests.proto.feeding import bounded, cut
from tests.proto.http2.generator import Generator
from tests.proto.http2.wire import (
    LARGEST,
    PREFACE,
    TARGET,
    client,
    credit,
    data,
    finely,
    frames,
    headers,
    in_pieces,
    joined,
    octets_of,
    raw,
    received,
    server,
    settings,
    window_update,
)
from tunnelctl.proto.http2 import events
from tunnelctl.proto.http2.events import ConnectionFailed, DataReceived, EndReceived, RequestReceived, ResponseReceived
from tunnelctl.proto.http2.frame import ErrorCode
from tunnelctl.proto.http2.machine import Machine
from tunnelctl.proto.http2.window import BUDGET, WindowBudget

CUTS = st.sets(st.integers(1, 600))
SEQUENCES = st.tuples(st.integers(0, 1 << 32), st.booleans())


def new(is_client: bool) -> Machine:
    return client(4) if is_client else server(5)


def balanced(machine: Machine) -> None:
    """Requires of all windows what must always hold."""
    assert machine.send_window <= LARGEST
    own = machine._credit._window
    assert own.left + own.owed <= own.size <= LARGEST
    assert own.owed * 2 < own.size
    for known in machine._streams.values():
        assert known.send_window <= LARGEST
        assert known.window.left + known.window.owed <= known.window.size


@bounded
@given(SEQUENCES, st.binary(max_size=40), CUTS)
def test_octets_mean_the_same_wherever_they_are_cut(chosen, garbage, at):
    seed, is_client = chosen
    octets = b"".join(Generator(seed, is_client).sequence()) + garbage
    whole, pieces, single = (new(is_client) for _ in range(3))
    expected = joined(received(whole, octets))
    assert joined(in_pieces(pieces, cut(octets, at))) == expected
    assert joined(in_pieces(single, finely(octets))) == expected
    assert whole.output == pieces.output == single.output
    assert whole.closed == any(isinstance(event, ConnectionFailed) for event in expected)


@bounded
@given(st.binary(max_size=400), st.booleans(), st.booleans(), CUTS)
def test_any_octets_lead_to_documented_events_only(octets, is_client, greeted, at):
    machine = new(is_client) if greeted else Machine(is_client, WindowBudget(), 0.0, 5)
    known = get_args(events.Event)
    for event in in_pieces(machine, cut(octets, at)):
        assert isinstance(event, known)
    if not machine.closed:
        balanced(machine)
    frames(bytes(machine.output).removeprefix(PREFACE))  # whole


@bounded
@given(SEQUENCES, st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(0, 70_000)), max_size=30))
def test_windows_and_the_budget_balance_whatever_both_sides_do(chosen, acts):
    """Credit announced is what was consumed and what the windows have grown by, and the budget comes back exactly."""
    seed, is_client = chosen
    budget = WindowBudget()
    machine = client(4, budget) if is_client else server(5, budget)
    machine.measured(0.05)
    sequence, held, now = iter(Generator(seed, is_client).sequence() * 3), {}, 0.0
    first = machine._credit._window.size
    arrived = announced = 0
    for act, place, count in acts:
        stream, now = 2 * place + 1, now + 0.01
        if act < 3:
            octets = next(sequence, b"")
            arrived += sum(len(each.payload) for each in frames(octets) if each.kind == 0)
            for event in received(machine, octets, now):
                if isinstance(event, DataReceived):
                    held[event.stream] = held.get(event.stream, 0) + event.size
        elif act == 3:
            machine.reset(stream, ErrorCode.CANCEL)
        elif act == 4:
            machine.end(stream)
        consumed = min(count, held.get(stream, 0))
        machine.consumed(stream, consumed, now)
        held[stream] = held.get(stream, 0) - consumed
        if machine.closed:
            break
        balanced(machine)
        announced += credit(frames(bytes(machine.output))).get(0, 0)
        machine.output.clear()
        own = machine._credit._window
        assert announced + own.owed + sum(held.values()) == arrived + own.size - first, "each octet of DATA is credited once"
        assert budget.left == BUDGET - own.size
    machine.release()
    assert budget.left == BUDGET


@bounded
@given(st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=300), st.booleans()), max_size=20), CUTS)
def test_our_two_ends_understand_each_other(writes, at):
    one, other = Machine(True, WindowBudget(), 0.0), Machine(False, WindowBudget(), 0.0, 10)
    for _ in range(4):
        one.request(TARGET, (("user-agent", "x"),))
    assert not any(isinstance(event, ConnectionFailed) for event in in_pieces(other, cut(bytes(one.output), at)))
    one.output.clear()
    assert other.streams == 4
    for stream in (1, 3, 5, 7):
        other.respond(stream, 200)
    opened = [event for event in in_pieces(one, cut(bytes(other.output), at)) if isinstance(event, ResponseReceived)]
    assert [event.stream for event in opened] == [1, 3, 5, 7]
    other.output.clear()
    octets, expected, ended = b"", dict.fromkeys((1, 3, 5, 7), b""), set()
    for place, payload, end in writes:
        stream = 2 * place + 1
        if stream in ended:
            continue
        assert one.sendable(stream) >= len(payload)
        one.spend(stream, len(payload))
        octets += data(stream, payload)
        expected[stream] += payload
        if end:
            octets += one.end(stream)
            ended.add(stream)
    found, ends = dict.fromkeys((1, 3, 5, 7), b""), set()
    for event in in_pieces(other, cut(octets, at)):
        if isinstance(event, DataReceived):
            found[event.stream] += octets_of(event)
        elif isinstance(event, EndReceived):
            ends.add(event.stream)
    assert (found, ends) == (expected, ended)


@bounded
@given(
    st.lists(st.tuples(st.sampled_from([0, 1, 3]), st.integers(1, LARGEST)), max_size=12),
    st.lists(st.integers(0, LARGEST), max_size=4),
)
def test_no_window_of_ours_exceeds_the_largest(updates, sizes):
    machine = server()
    received(machine, headers(1) + headers(3))
    for stream, increment in updates:
        received(machine, window_update(stream, increment))
        for size in sizes[:1]:
            received(machine, settings((4, size)))
        if not machine.closed:
            balanced(machine)
            assert all(0 <= machine.sendable(number) <= LARGEST for number in (1, 3))


@bounded
@given(st.lists(st.integers(0, 300), max_size=12), CUTS)
def test_no_frame_is_lost_between_turns(sizes, at):
    """More frames than a turn has, cut anywhere: all are answered, in their order."""
    octets = b"".join(raw(6, 0, number.to_bytes(8, "big"), 1) for number in range(sum(sizes)))
    machine = server()
    found = in_pieces(machine, cut(octets, at))
    assert [int.from_bytes(event.payload, "big") for event in found] == list(range(sum(sizes)))


def test_a_request_is_a_request_in_any_pieces():
    octets = Generator(1, False).head()
    for place in range(1, len(octets)):
        (event,) = in_pieces(server(), [octets[:place], octets[place:]])
        assert isinstance(event, RequestReceived)
