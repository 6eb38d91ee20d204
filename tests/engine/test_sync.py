"""Events: everybody who waits goes on, in order, and nobody who comes later waits."""

import math

from tests.engine.tools import bounded, settle
from tunnelctl.engine.kernel import CancelScope, Nursery, move_on_after, sleep
from tunnelctl.engine.sync import Event


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
