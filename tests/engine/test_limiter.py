"""Limiters: they admit no more than the limit, serve in order, and give no owner more than its share."""

import math
import threading

import pytest

from tests.engine.tools import bounded, settle, turns
from tunnelctl.engine.kernel import BusyResourceError, CancelScope, Nursery, QueueFullError, checkpoint, move_on_after, sleep
from tunnelctl.engine.limiter import FairLimiter, Owner, Semaphore
from tunnelctl.engine.wakeup import to_thread

A, B = Owner("a", "a"), Owner("b", "b")


async def hold(limiter: FairLimiter, name: str, log: list[str], *, until: CancelScope, group: str = "") -> None:
    """Takes a place and keeps it until the scope is cancelled."""
    owner = Owner(group or name, name)
    with until:
        await limiter.acquire(owner)
        log.append(name)
        try:
            await sleep(math.inf)
        finally:
            limiter.release(owner)


def test_an_owner_gets_no_more_than_its_share_and_others_do_not_wait() -> None:
    async def main() -> None:
        limiter, log, scopes = FairLimiter(10, 3, 100), [], [CancelScope() for _ in range(9)]
        async with Nursery() as nursery:
            for scope in scopes[:8]:
                nursery.start_soon(lambda scope=scope: hold(limiter, "greedy", log, until=scope))
            await settle()
            assert log == ["greedy"] * 3
            nursery.start_soon(lambda: hold(limiter, "other", log, until=scopes[8]))
            await settle()
            assert log == ["greedy"] * 3 + ["other"]
            scopes[0].cancel()
            await settle()
            assert log == ["greedy"] * 3 + ["other", "greedy"]
            nursery.cancel_scope.cancel()

    bounded(main)


def test_free_places_go_to_the_owners_in_turn() -> None:
    """However long the queue of one owner is."""

    async def main() -> None:
        limiter, log = FairLimiter(1, 1, 100), []

        async def once(name: str) -> None:
            await limiter.acquire(Owner(name, name))
            log.append(name)
            await checkpoint()
            limiter.release(Owner(name, name))

        async with Nursery() as nursery:
            for owner in ("a", "a", "a", "a", "b", "b", "c"):
                nursery.start_soon(once, owner)
        assert log == ["a", "a", "b", "c", "a", "b", "a"]

    bounded(main)


def test_free_places_go_to_groups_in_turn_and_within_a_group_to_owners() -> None:
    """However many owners one group has."""

    async def main() -> None:
        limiter, log = FairLimiter(1, 1, 100), []

        async def once(group: str, name: str) -> None:
            await limiter.acquire(Owner(group, name))
            log.append(name)
            await checkpoint()
            limiter.release(Owner(group, name))

        async with Nursery() as nursery:
            for name in ("a1", "a1", "a2", "a3", "a2", "b1", "b1", "c1"):
                nursery.start_soon(once, name[0], name)
        assert log == ["a1", "a1", "b1", "c1", "a2", "b1", "a3", "a2"]
        assert not any((limiter._groups, limiter._queued, limiter._held))

    bounded(main)


def test_h4_a_group_gets_no_more_than_its_share() -> None:
    """Without this limit, twelve networks of one group, with sixteen places each, would hold all 192."""

    async def main() -> None:
        limiter, log, scope = FairLimiter(10, 2, 100, per_group=3), [], CancelScope()
        async with Nursery() as nursery:
            for name in ("g1", "g1", "g2", "g2", "g3"):
                nursery.start_soon(lambda name=name: hold(limiter, name, log, until=CancelScope(), group="g"))
            await settle()
            assert log == ["g1", "g1", "g2"]
            assert limiter.has_its_share(Owner("g", "g4"))
            assert not limiter.has_its_share(A)
            nursery.start_soon(lambda: hold(limiter, "other", log, until=scope))
            await settle()
            assert log == ["g1", "g1", "g2", "other"]
            nursery.cancel_scope.cancel()
        assert not any((limiter._groups, limiter._queued, limiter._held))

    bounded(main)


def test_h4_the_total_queue_is_bounded_and_its_largest_user_is_refused() -> None:
    """A newcomer takes the place of the last waiter in the longest queue, or is refused if the longest queue is its own."""

    async def main() -> None:
        limiter, turned_away = FairLimiter(1, 1, 100, in_all=4), []
        await limiter.acquire(A)

        async def wait(group: str, name: str) -> None:
            try:
                await limiter.acquire(Owner(group, name))
            except QueueFullError:
                raise
            except BusyResourceError:
                turned_away.append(name)

        async with Nursery() as nursery:
            for name, gone in (("g1", []), ("g2", []), ("g2", []), ("g2", []), ("g3", ["g3"]), ("b", ["g3", "g2"])):
                nursery.start_soon(wait, name[0], name)
                await settle()
                assert turned_away == gone
            for name in ("c", "d", "e"):
                nursery.start_soon(wait, name, name)
                await settle()
            assert turned_away[2:] == ["g2", "g1", "e"], "if each group has one waiter, the last to arrive is refused"
            assert limiter._queued.total() == 4
            nursery.cancel_scope.cancel()
        assert not any((limiter._groups, limiter._queued))

    bounded(main)


def test_the_queue_of_an_owner_is_bounded() -> None:
    async def main() -> None:
        limiter = FairLimiter(1, 1, 2)
        await limiter.acquire(A)
        async with Nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(limiter.acquire, A)
            await settle()
            with pytest.raises(QueueFullError):
                await limiter.acquire(A)
            with move_on_after(0) as scope:  # another owner has its own queue
                await limiter.acquire(B)
            assert scope.cancelled_caught
            nursery.cancel_scope.cancel()
        assert not limiter._groups

    bounded(main)


def test_without_a_queue_the_next_owner_is_refused_at_once() -> None:
    async def main() -> None:
        limiter = FairLimiter(1, 1, 0)
        await limiter.acquire(A)
        with pytest.raises(QueueFullError):
            await limiter.acquire(B)
        limiter.release(A)
        await limiter.acquire(B)

    bounded(main)


def test_a_waiter_that_gives_up_takes_no_place() -> None:
    """Neither while it waits nor in the turn in which it was given the place."""

    async def main() -> None:
        limiter, log = FairLimiter(1, 1, 10), []
        gone, late = CancelScope(), CancelScope()
        async with Nursery() as nursery:
            await limiter.acquire(A)
            nursery.start_soon(lambda: hold(limiter, "gone", log, until=gone))
            nursery.start_soon(lambda: hold(limiter, "late", log, until=late))
            await settle()
            gone.cancel()
            await settle()
            limiter.release(A)
            late.cancel()
            await settle()
            with move_on_after(0.1) as scope:
                await limiter.acquire(A)
            assert not scope.cancelled_caught
        assert log == ["late"]

    bounded(main)


def test_an_abandoned_thread_holds_its_place_until_it_has_finished() -> None:
    release = threading.Event()

    async def main() -> None:
        limiter = FairLimiter(2, 1, 0)
        with move_on_after(0.001) as scope:
            await to_thread(release.wait, 5, limiter=limiter, owner=A)
        assert scope.cancelled_caught
        with pytest.raises(QueueFullError):
            await to_thread(abs, -1, limiter=limiter, owner=A)
        assert await to_thread(abs, -1, limiter=limiter, owner=B) == 1
        release.set()
        while limiter._held:
            await sleep(0.001)
        assert await to_thread(abs, -1, limiter=limiter, owner=A) == 1

    try:
        bounded(main)
    finally:
        release.set()


def test_a_thread_that_cannot_be_started_gives_its_place_back(monkeypatch: pytest.MonkeyPatch) -> None:
    from tunnelctl.engine import wakeup

    monkeypatch.setattr(wakeup, "MAX_THREADS", 0)

    async def main() -> None:
        limiter = FairLimiter(1, 1, 0)
        for _ in range(3):
            with pytest.raises(BusyResourceError, match="0 threads"):
                await to_thread(abs, -1, limiter=limiter, owner=A)

    bounded(main)


# --- semaphores


def test_a_semaphore_admits_no_more_than_its_count() -> None:
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


def test_a_semaphore_place_is_free_again_after_an_error_or_cancellation() -> None:
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
        async with turn:  # the waiter that gave up took no place
            pass

    bounded(main)


def test_a_place_given_to_a_cancelled_waiter_goes_to_the_next() -> None:
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


def test_a_semaphore_serves_waiters_in_order_of_arrival() -> None:
    async def main() -> list[int]:
        turn, order = Semaphore(1), []

        async def child(number: int) -> None:
            async with turn:
                order.append(number)
                await turns(1 + number % 3)

        async with Nursery() as nursery:
            for number in range(20):
                nursery.start_soon(child, number)
        return order

    assert bounded(main) == list(range(20))
