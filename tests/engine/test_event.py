"""Events: everybody who waits goes on, in order, and nobody who comes later waits. Semaphores: never too many at once."""

import math

import pytest

from tests.engine.tools import bounded, settle, turns
from tunnelctl.engine.event import Event, Semaphore
from tunnelctl.engine.kernel import CancelScope, Nursery, checkpoint, move_on_after, sleep


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


def test_a_semaphore_lets_only_so_many_in() -> None:
    async def main() -> None:
        inside = most = 0
        turn = Semaphore(3)

        async def child(number: int) -> None:
            nonlocal inside, most
            async with turn:
                inside += 1
                most = max(most, inside)
                await turns(1 + number % 4)
                inside -= 1

        async with Nursery() as nursery:
            for number in range(100):
                nursery.start_soon(child, number)
        assert most == 3
        assert inside == 0

    bounded(main)


def test_a_place_is_free_again_after_an_error_and_a_cancellation() -> None:
    async def main() -> None:
        turn = Semaphore(1)
        with pytest.raises(ValueError, match="mine"):
            async with turn:
                raise ValueError("mine")
        with move_on_after(0) as scope:
            async with turn:
                await sleep(math.inf)
        assert scope.cancelled_caught
        async with turn:
            with move_on_after(0) as scope:
                async with turn:
                    raise AssertionError
            assert scope.cancelled_caught
        async with turn:  # a waiter that gave up took no place with it
            pass

    bounded(main)


def test_a_place_that_is_given_to_a_waiter_that_was_cancelled_goes_to_the_next() -> None:
    async def main() -> None:
        turn, got = Semaphore(1), []

        async def waiter(scope: CancelScope, name: str) -> None:
            with scope:
                async with turn:
                    got.append(name)
                    await checkpoint()

        async with Nursery() as nursery:
            first = CancelScope()
            async with turn:
                nursery.start_soon(waiter, first, "first")
                nursery.start_soon(waiter, CancelScope(), "second")
                await settle()
            first.cancel()
        assert got == ["first", "second"]

    bounded(main)
