"""Threads: their results, their errors, and threads whose callers no longer wait."""

import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.engine.tools import bounded, settle
from tunnelctl.engine import wakeup
from tunnelctl.engine.kernel import (
    BusyResourceError,
    Cancelled,
    CancelScope,
    Nursery,
    checkpoint,
    current_kernel,
    move_on_after,
    run,
    sleep,
)
from tunnelctl.engine.sync import Event
from tunnelctl.engine.wakeup import to_thread


@contextmanager
def held_threads() -> Iterator[threading.Event]:
    """Yields the event that the threads of a test wait on. It is set at the end of the block at the latest."""
    release = threading.Event()
    try:
        yield release
    finally:
        release.set()


def bell() -> wakeup._Wakeup:
    found = current_kernel().wakeup
    assert isinstance(found, wakeup._Wakeup)
    return found


async def threads_under_way(number: int) -> None:
    while bell().threads != number:
        await sleep(0.001)


def test_the_result_of_a_thread_is_returned() -> None:
    async def main() -> tuple[int, bool]:
        here = threading.get_ident()
        return await to_thread(pow, 2, 10), await to_thread(threading.get_ident) != here

    assert bounded(main) == (1024, True)


@pytest.mark.parametrize("error", [ValueError("in the thread"), SystemExit("in the thread"), StopIteration()])
def test_the_error_of_a_thread_is_raised(error: BaseException) -> None:
    def fail() -> None:
        raise error

    async def main() -> None:
        await to_thread(fail)

    with pytest.raises(RuntimeError if isinstance(error, StopIteration) else type(error)):
        bounded(main)


def test_other_tasks_run_while_a_thread_works() -> None:
    async def main() -> None:
        with held_threads() as release:
            async with Nursery() as nursery:
                nursery.start_soon(to_thread, release.wait, 5)
                for _ in range(20):
                    await sleep(0)
                assert bell().threads == 1
                release.set()
        assert bell().threads == 0

    bounded(main)


def test_a_hundred_threads_at_once() -> None:
    async def main() -> None:
        results: list[int] = []

        async def child(number: int) -> None:
            results.append(await to_thread(abs, -number))

        async with Nursery() as nursery:
            for number in range(100):
                nursery.start_soon(child, number)
        assert sorted(results) == list(range(100))

    bounded(main)


def test_a_cancelled_wait_abandons_its_thread() -> None:
    async def main() -> None:
        with held_threads() as release:
            with move_on_after(0.001) as scope:
                await to_thread(release.wait, 5)
            assert scope.cancelled_caught
            assert bell().threads == 1
            release.set()
            await threads_under_way(0)

    bounded(main)


def test_an_abandoned_thread_that_ends_does_not_wake_its_former_waiter() -> None:
    async def main() -> None:
        with held_threads() as release:
            slept = False

            async def child() -> None:
                nonlocal slept
                with move_on_after(0):
                    await to_thread(release.wait, 5)
                async with Nursery() as inner:
                    inner.start_soon(sleep, math.inf)
                    await sleep(math.inf)
                    slept = True

            async with Nursery() as nursery:
                nursery.start_soon(child)
                await checkpoint()
                await settle()
                release.set()
                await threads_under_way(0)
                await settle()
                assert not slept
                nursery.cancel_scope.cancel()

    bounded(main)


def test_an_abandoned_thread_that_ends_does_not_end_a_join() -> None:
    async def main() -> None:
        with held_threads() as release:
            order: list[str] = []

            async def child() -> None:
                with move_on_after(0):
                    await to_thread(release.wait, 5)
                async with Nursery() as inner:
                    inner.start_soon(last_to_end)
                order.append("joined")

            async def last_to_end() -> None:
                await finish.wait()
                order.append("ended")

            finish = Event()
            async with Nursery() as nursery:
                nursery.start_soon(child)
                await checkpoint()
                await settle()
                release.set()
                await threads_under_way(0)
                await settle()
                finish.set()
            assert order == ["ended", "joined"]

    bounded(main)


def test_a_thread_that_outlives_the_run_writes_to_no_reused_descriptor() -> None:
    """The descriptor numbers of the doorbell's pipe belong to other files by then."""
    bells = []

    async def main(release: threading.Event) -> None:
        with move_on_after(0):
            await to_thread(release.wait, 5)
        bells.append(bell())

    with held_threads() as release:
        run(main, release)
        reused = [os.pipe() for _ in range(4)]  # the numbers of the poller too have become free
        try:
            assert {bells[0].reader, bells[0].writer} <= {fd for pair in reused for fd in pair}
            release.set()
            while not bells[0].finished:
                threading.Event().wait(0.001)
            with bells[0].lock:
                pass  # the thread has finished ringing the doorbell
            for reader, _ in reused:
                os.set_blocking(reader, False)
                with pytest.raises(BlockingIOError):
                    os.read(reader, 1)
        finally:
            for pair in reused:
                for fd in pair:
                    os.close(fd)


def test_the_number_of_threads_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wakeup, "MAX_THREADS", 3)

    async def main() -> None:
        with held_threads() as release:
            for _ in range(3):
                with move_on_after(0):
                    await to_thread(release.wait, 5)
            with pytest.raises(BusyResourceError, match="3 threads"):
                await to_thread(abs, 1)
            release.set()
            await threads_under_way(0)
            assert await to_thread(abs, -1) == 1

    bounded(main)


def test_a_thread_that_the_system_refuses_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(wakeup, "start_new_thread", refuse)
            for _ in range(wakeup.MAX_THREADS + 1):
                with pytest.raises(BusyResourceError, match="the system grants no further thread"):
                    await to_thread(abs, 1)
        assert bell().threads == 0
        assert await to_thread(abs, -1) == 1

    bounded(main)


def test_a_cancelled_task_cannot_start_a_thread_in_its_clean_up() -> None:
    async def main() -> None:
        with held_threads() as release:
            with move_on_after(0):
                try:
                    await to_thread(release.wait, 5)
                except Cancelled:
                    with pytest.raises(Cancelled):
                        await to_thread(abs, 1)
                    raise
            release.set()
            await threads_under_way(0)

    bounded(main)


def test_a_full_doorbell_still_rings() -> None:
    async def main() -> None:
        await to_thread(abs, 1)
        try:
            while True:
                os.write(bell().writer, bytes(4096))
        except BlockingIOError:
            pass
        job = wakeup._Job(current_kernel().task)
        bell().finish(job)
        while not job.done:
            await checkpoint()
        assert await to_thread(abs, -7) == 7

    bounded(main)


def test_waiters_for_a_thread_are_served_in_order() -> None:
    async def main() -> None:
        order: list[str] = []

        async def work(name: str, scope: CancelScope) -> None:
            with scope:
                await to_thread(order.append, name, most=1)

        with held_threads() as release:
            async with Nursery() as nursery:
                nursery.start_soon(to_thread, release.wait, 5)
                scopes = {name: CancelScope() for name in "abcd"}
                await settle()
                for name, scope in scopes.items():
                    nursery.start_soon(work, name, scope)
                await settle()
                scopes["a"].cancel()
                await settle()
                assert not order
                release.set()
        assert order == ["b", "c", "d"]
        assert bell().promised == 0

    bounded(main)


def test_a_turn_given_to_a_cancelled_waiter_goes_to_the_next() -> None:
    """The waiter is cancelled in the same turn of the loop in which it was given the thread."""

    async def main() -> None:
        done: list[str] = []

        async def work(name: str, scope: CancelScope) -> None:
            with scope:
                await to_thread(done.append, name, most=1)

        with held_threads() as release:
            async with Nursery() as nursery:
                nursery.start_soon(to_thread, release.wait, 5)
                await settle()
                first = CancelScope()
                nursery.start_soon(work, "first", first)
                nursery.start_soon(work, "second", CancelScope())
                await settle()
                deal = bell().grant_turns

                def deal_and_cancel() -> None:
                    deal()
                    if bell().promised:
                        first.cancel()

                bell().grant_turns = deal_and_cancel  # type: ignore[method-assign]
                release.set()
        assert "second" in done
        assert bell().promised == 0

    bounded(main)
