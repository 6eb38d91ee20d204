"""Random programs of nested scopes, nurseries and sleeps, compared with a reference that needs no kernel.

The rule of the reference: a sleep that ends before every deadline around it completes. Otherwise the nearest of these deadlines
cuts it; of the deadlines that expire at the same moment, the outermost scope catches the cancellation.
"""

import math
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.engine.conftest import Clock
from tunnelctl.engine.kernel import Nursery, current_time, move_on_after, run, sleep


class Sleep(NamedTuple):
    seconds: int


class InTurn(NamedTuple):
    steps: "tuple[Step, ...]"


class Scope(NamedTuple):
    seconds: int
    body: "Step"


class AtOnce(NamedTuple):
    steps: "tuple[Step, ...]"


Step = Sleep | InTurn | Scope | AtOnce
Record = dict[tuple[int, ...], tuple[bool, float]]  # for each sleep and scope: whether it was cut, and when it ended


async def perform(step: Step, path: tuple[int, ...], record: Record) -> None:
    match step:
        case Sleep(seconds):
            cut = True
            try:
                await sleep(seconds)
                cut = False
            finally:
                record[path] = cut, current_time()
        case InTurn(steps):
            for number, one in enumerate(steps):
                await perform(one, (*path, number), record)
        case Scope(seconds, body):
            with move_on_after(seconds) as scope:
                await perform(body, (*path, 0), record)
            record[path] = scope.cancelled_caught, current_time()
        case AtOnce(steps):
            async with Nursery() as nursery:
                for number, one in enumerate(steps):
                    nursery.start_soon(perform, one, (*path, number), record)


def expect(step: Step, path: tuple[int, ...], start: float, limit: float, record: Record) -> tuple[bool, float]:
    """Returns whether the step is cut, and when it ends. limit: the nearest deadline around it."""
    match step:
        case Sleep(seconds):
            end = start + seconds
            record[path] = (False, end) if end < limit else (True, limit)
            return record[path]
        case InTurn(steps):
            cut, now = False, start
            for number, one in enumerate(steps):
                cut, now = expect(one, (*path, number), now, limit, record)
                if cut:
                    break
            return cut, now
        case Scope(seconds, body):
            cut, end = expect(body, (*path, 0), start, min(limit, start + seconds), record)
            if cut and end == limit:
                return True, end
            record[path] = cut, end
            return False, end
        case AtOnce(steps):
            ends = [expect(one, (*path, number), start, limit, record) for number, one in enumerate(steps)]
            return any(cut for cut, _ in ends), max((end for _, end in ends), default=start)


seconds = st.integers(0, 6)
steps: st.SearchStrategy[Step] = st.recursive(
    st.builds(Sleep, seconds),
    lambda inner: st.one_of(
        st.builds(InTurn, st.lists(inner, max_size=3).map(tuple)),
        st.builds(Scope, seconds, inner),
        st.builds(AtOnce, st.lists(inner, max_size=3).map(tuple)),
    ),
    max_leaves=12,
)


@given(steps)
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_random_program_ends_as_the_reference_predicts(clock: Clock, step: Step) -> None:
    clock.now = 1000.0
    expected: Record = {}
    expect(step, (), clock.now, math.inf, expected)
    found: Record = {}
    run(perform, step, (), found)
    assert found == expected


@pytest.mark.parametrize("deadline", [3, 4, 5])
def test_the_reference_of_a_scope_around_two_sleeps(deadline: int) -> None:
    record: Record = {}
    expect(Scope(deadline, InTurn((Sleep(4), Sleep(4)))), (), 0, math.inf, record)
    sleeps: Record = {(0, 0): (False, 4), (0, 1): (True, 5)} if deadline == 5 else {(0, 0): (True, deadline)}
    assert record == {**sleeps, (): (True, deadline)}
