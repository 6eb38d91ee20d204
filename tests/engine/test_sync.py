"""Events: everybody who waits goes on, in order, and nobody who comes later waits. Deadlines: what counts, and what is struck."""

import math
from time import monotonic

import pytest

from tests.engine.tools import bounded, settle
from tunnelctl.engine.kernel import CancelScope, Nursery, TooSlowError, move_on_after, sleep
from tunnelctl.engine.sync import Deadline, Event

BRIEF = 0.1  # seconds: a limit that is meant to strike
AMPLE = 10.0  # seconds: a limit that is not


def test_wakes_everybody_in_the_order_of_arrival() -> None:
    async def main() -> list[int]:
        event, woken = Event(), []

        async def waiter(number: int) -> None:
            await event.wait()
            woken.append(number)

        async with Nursery() as nursery:
            for number in range(50):
                nursery.start_soon(waiter, number)
            await settle()
            assert woken == []
            event.set()
            event.set()
        return woken

    assert bounded(main) == list(range(50))


def test_waiting_for_what_has_happened_does_not_park() -> None:
    async def main() -> None:
        event = Event()
        assert not event.is_set()
        event.set()
        assert event.is_set()
        with CancelScope() as scope:
            scope.cancel()
            await event.wait()
        assert not scope.cancelled_caught

    bounded(main)


def test_a_waiter_that_was_cancelled_has_left() -> None:
    async def main() -> None:
        event, left, slept = Event(), Event(), []

        async def waiter() -> None:
            with move_on_after(0) as scope:
                await event.wait()
            assert scope.cancelled_caught
            left.set()
            await sleep(math.inf)
            slept.append(True)

        async with Nursery() as nursery:
            nursery.start_soon(waiter)
            await left.wait()
            assert not event._waiting
            event.set()
            await settle()
            nursery.cancel_scope.cancel()
        assert not slept

    bounded(main)


def test_an_event_can_be_set_outside_a_run_before_anybody_waits() -> None:
    event = Event()
    event.set()
    bounded(event.wait)


def test_a_deadline_strikes_what_is_awaited_in_its_block() -> None:
    async def main() -> None:
        with pytest.raises(TooSlowError), Deadline(BRIEF):
            await sleep(math.inf)

    bounded(main)


def test_what_is_awaited_while_it_is_paused_does_not_count() -> None:
    async def main() -> float:
        with Deadline(AMPLE) as deadline:
            left = deadline.deadline - monotonic()
            assert await deadline.paused(late(BRIEF)) == "value"
            return abs(deadline.deadline - monotonic() - left)

    assert bounded(main) < BRIEF / 2


def test_a_pause_may_outlast_it_and_what_comes_after_has_what_was_left() -> None:
    async def main() -> None:
        with pytest.raises(TooSlowError), Deadline(BRIEF) as deadline:
            await deadline.paused(late(2 * BRIEF))
            assert monotonic() < deadline.deadline
            await sleep(math.inf)

    bounded(main)


def test_it_counts_again_after_a_pause_that_failed() -> None:
    async def fails() -> None:
        raise ValueError("no")

    async def main() -> None:
        with Deadline(AMPLE) as deadline:
            with pytest.raises(ValueError, match="no"):
                await deadline.paused(fails())
            assert deadline.deadline - monotonic() <= AMPLE

    bounded(main)


def test_work_that_ends_in_time_has_its_value() -> None:
    async def main() -> None:
        with Deadline(AMPLE) as deadline:
            until = deadline.deadline
            assert await deadline.at_most(AMPLE, late(0)) == "value"
            assert deadline.deadline == until

    bounded(main)


@pytest.mark.parametrize(("limit", "seconds"), [(BRIEF, math.inf), (BRIEF, AMPLE), (AMPLE, BRIEF), (0.0, AMPLE)])
def test_the_sooner_of_two_limits_ends_the_work_and_raises_nothing(limit: float, seconds: float) -> None:
    async def main() -> None:
        with Deadline(limit) as deadline:
            until = deadline.deadline
            assert await deadline.at_most(seconds, late(math.inf)) is None
            assert deadline.deadline == until
            assert monotonic() < until + AMPLE / 2

    begun = monotonic()
    bounded(main)
    assert monotonic() - begun < AMPLE / 2


def test_the_next_step_after_its_time_is_struck_all_the_same() -> None:
    async def main() -> None:
        with pytest.raises(TooSlowError), Deadline(BRIEF) as deadline:
            await deadline.at_most(AMPLE, late(math.inf))
            await sleep(math.inf)

    bounded(main)


async def late(seconds: float) -> str:
    await sleep(seconds)
    return "value"
