"""Events: setting one wakes every waiter in order, and later waits return at once. Deadlines: their pauses and their expiry."""

import math
from time import monotonic

import pytest

from tests.engine.tools import bounded, settle
from tunnelctl.engine.kernel import CancelScope, Nursery, TooSlowError, move_on_after, sleep
from tunnelctl.engine.sync import Deadline, Event

BRIEF = 0.1  # seconds: a limit that is meant to expire
AMPLE = 10.0  # seconds: a limit that is not


def test_set_wakes_every_waiter_in_the_order_of_arrival() -> None:
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


def test_waiting_for_a_set_event_does_not_park() -> None:
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


def test_a_cancelled_waiter_leaves_the_queue() -> None:
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


def test_an_event_can_be_set_outside_a_run_before_a_task_waits() -> None:
    event = Event()
    event.set()
    bounded(event.wait)


def test_a_deadline_ends_a_wait_in_its_block() -> None:
    async def main() -> None:
        with pytest.raises(TooSlowError), Deadline(BRIEF):
            await sleep(math.inf)

    bounded(main)


def test_a_wait_during_a_pause_does_not_count() -> None:
    async def main() -> float:
        with Deadline(AMPLE) as deadline:
            left = deadline.deadline - monotonic()
            assert await deadline.paused(late(BRIEF)) == "value"
            return abs(deadline.deadline - monotonic() - left)

    assert bounded(main) < BRIEF / 2


def test_after_a_pause_longer_than_the_limit_the_rest_remains() -> None:
    async def main() -> None:
        with pytest.raises(TooSlowError), Deadline(BRIEF) as deadline:
            await deadline.paused(late(2 * BRIEF))
            assert monotonic() < deadline.deadline
            await sleep(math.inf)

    bounded(main)


def test_a_deadline_counts_again_after_a_pause_that_failed() -> None:
    async def fails() -> None:
        raise ValueError("no")

    async def main() -> None:
        with Deadline(AMPLE) as deadline:
            with pytest.raises(ValueError, match="no"):
                await deadline.paused(fails())
            assert deadline.deadline - monotonic() <= AMPLE

    bounded(main)


def test_at_most_returns_the_value_of_work_that_ends_in_time() -> None:
    async def main() -> None:
        with Deadline(AMPLE) as deadline:
            until = deadline.deadline
            assert await deadline.at_most(AMPLE, late(0)) == "value"
            assert deadline.deadline == until

    bounded(main)


@pytest.mark.parametrize(("limit", "seconds"), [(BRIEF, math.inf), (BRIEF, AMPLE), (AMPLE, BRIEF), (0.0, AMPLE)])
def test_at_most_ends_the_work_at_the_sooner_limit_without_an_error(limit: float, seconds: float) -> None:
    async def main() -> None:
        with Deadline(limit) as deadline:
            until = deadline.deadline
            assert await deadline.at_most(seconds, late(math.inf)) is None
            assert deadline.deadline == until
            assert monotonic() < until + AMPLE / 2

    begun = monotonic()
    bounded(main)
    assert monotonic() - begun < AMPLE / 2


def test_a_wait_after_an_expired_at_most_still_raises() -> None:
    async def main() -> None:
        with pytest.raises(TooSlowError), Deadline(BRIEF) as deadline:
            await deadline.at_most(AMPLE, late(math.inf))
            await sleep(math.inf)

    bounded(main)


async def late(seconds: float) -> str:
    await sleep(seconds)
    return "value"
