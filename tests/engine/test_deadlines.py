"""Deadlines that are moved, and the heap of timers."""

import math

import pytest

from tests.engine.conftest import Clock
from tests.engine.tools import bounded, settle
from tunnelctl.engine.kernel import (
    CancelScope,
    Nursery,
    TooSlowError,
    checkpoint,
    current_kernel,
    current_time,
    fail_after,
    move_on_after,
    run,
    sleep,
)


def entries() -> int:
    return len(current_kernel()._timers)


def test_postponing_a_deadline_repeatedly_keeps_one_heap_entry(clock: Clock) -> None:
    async def main() -> None:
        with move_on_after(10) as scope:
            for _ in range(1000):
                scope.reschedule(current_time() + 10)
                assert entries() == 1
            for _ in range(50):
                await sleep(9)
                scope.reschedule(current_time() + 10)
            assert entries() == 1
            await sleep(math.inf)
        assert scope.cancelled_caught
        assert clock.now == 1000 + 50 * 9 + 10
        assert entries() == 0

    run(main)


def test_a_deadline_moved_earlier_expires_at_the_new_time(clock: Clock) -> None:
    async def main() -> None:
        with move_on_after(100) as scope:
            scope.reschedule(current_time() + 1)
            await sleep(math.inf)
        assert scope.cancelled_caught
        assert clock.now == 1001

    run(main)


def test_deadlines_moved_earlier_leave_no_heap_entries_behind(clock: Clock) -> None:
    async def main() -> None:
        for _ in range(20):
            with move_on_after(1000) as scope:
                for nearer in range(999, 0, -1):
                    scope.reschedule(current_time() + nearer)
                assert entries() < 600
        assert entries() < 600
        with pytest.raises(TooSlowError), fail_after(10):
            await sleep(math.inf)
        assert clock.now == 1010

    run(main)


def test_a_deadline_can_be_removed(clock: Clock) -> None:
    async def main() -> None:
        with move_on_after(1) as scope:
            scope.reschedule(math.inf)
            await sleep(5)
            assert entries() == 0
            scope.reschedule(current_time() + 2)
            await sleep(math.inf)
        assert scope.cancelled_caught
        assert clock.now == 1007

    run(main)


def test_a_deadline_moved_into_the_past_expires_at_once(clock: Clock) -> None:
    async def main() -> None:
        with CancelScope() as scope:
            scope.reschedule(current_time() - 1)
            await sleep(math.inf)
        assert scope.cancelled_caught
        assert clock.now == 1000

    run(main)


def test_a_deadline_can_be_set_before_the_scope_is_entered(clock: Clock) -> None:
    async def main() -> None:
        scope = CancelScope()
        assert scope.deadline == math.inf
        scope.reschedule(current_time() + 3)
        await sleep(1)
        assert entries() == 0
        with scope:
            assert scope.deadline == 1003
            await sleep(math.inf)
        assert clock.now == 1003

    run(main)


def test_a_deadline_set_after_the_scope_has_ended_has_no_effect(clock: Clock) -> None:
    async def main() -> None:
        with move_on_after(1) as scope:
            pass
        begun = current_time()
        scope.reschedule(begun + 2)
        await sleep(10)
        assert current_time() == begun + 10

    run(main)


def test_of_two_deadlines_that_expire_in_one_turn_the_earlier_counts(clock: Clock) -> None:
    """An inner time limit that is meant to expire first does so, however small the difference."""

    async def main() -> None:
        with CancelScope(1005) as outer:
            with CancelScope(1005 - 1e-9) as inner:
                async with Nursery() as nursery:
                    nursery.start_soon(sleep, 1000)
                    await settle()
                    clock.now += 6  # both have expired
            assert inner.cancelled_caught
            await checkpoint()
            raise AssertionError
        assert outer.cancelled_caught

    run(main)


def test_of_two_deadlines_at_the_same_time_the_outer_one_counts(clock: Clock) -> None:
    async def main() -> None:
        with move_on_after(5) as outer:
            with move_on_after(5) as inner:
                await sleep(5)
            raise AssertionError
        assert outer.cancelled_caught
        assert not inner.cancelled_caught

    run(main)


def test_a_nursery_can_have_a_deadline(clock: Clock) -> None:
    async def main() -> None:
        async with Nursery() as nursery:
            nursery.cancel_scope.reschedule(current_time() + 4)
            nursery.start_soon(sleep, math.inf)
        assert nursery.cancel_scope.cancelled_caught
        assert clock.now == 1004

    run(main)


def test_ten_thousand_timers_expire_in_order(clock: Clock) -> None:
    async def main() -> None:
        woken: list[float] = []

        async def child(seconds: int) -> None:
            await sleep(seconds)
            assert current_time() == 1000 + seconds
            woken.append(seconds)

        async with Nursery() as nursery:
            for number in range(10_000):
                nursery.start_soon(child, (number * 7919) % 100)
        assert woken == sorted(woken)
        assert len(woken) == 10_000
        assert entries() == 0

    run(main)


def test_obsolete_timers_are_swept(clock: Clock) -> None:
    async def main() -> None:
        async def keeper() -> None:
            with move_on_after(5000):
                await sleep(3000)

        async with Nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(keeper)
            await checkpoint()
            for _ in range(10_000):
                with move_on_after(4000):
                    pass
                # Those in use, and as many again or a constant, whatever the number of scopes that have been entered and left.
                assert entries() <= 2 * 200 + 256
            assert {scope._timer for *_, scope in current_kernel()._timers} >= {4000.0, 6000.0}
        assert clock.now == 4000

    run(main)


def test_a_real_deadline_ends_an_endless_sleep() -> None:
    async def main() -> float:
        before = current_time()
        with move_on_after(0.01) as scope:
            await sleep(math.inf)
        assert scope.cancelled_caught
        return current_time() - before

    assert 0.009 < bounded(main) < 2
