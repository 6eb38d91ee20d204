"""run, checkpoint and sleep: values, errors, order, fairness, and the state after a failed run."""

import math
import os
from collections.abc import Generator, Iterable
from time import monotonic

import pytest

from tests.engine.conftest import Clock
from tests.engine.tools import LIMIT, bounded, pipe, settle, turns
from tunnelctl.engine import kernel
from tunnelctl.engine.kernel import (
    BULK_SECONDS,
    Cancelled,
    CancelScope,
    Nursery,
    checkpoint,
    current_kernel,
    current_time,
    fail_after,
    mark_bulk,
    move_on_after,
    run,
    sleep,
)
from tunnelctl.engine.poller import Poller, PollPoller
from tunnelctl.engine.sync import Event
from tunnelctl.engine.wakeup import to_thread


async def nothing() -> None:
    pass


def test_the_environment_chooses_the_poller(poller_name: str) -> None:
    async def kind() -> type[Poller]:
        return type(current_kernel().poller)

    assert bounded(kind).__name__ == {"epoll": "EpollPoller", "kqueue": "KqueuePoller", "poll": "PollPoller"}[poller_name]


def test_run_passes_arguments_and_returns_the_value() -> None:
    async def main(a: int, *, b: int) -> int:
        await checkpoint()
        return a - b

    assert run(main, 5, b=3) == 2


def test_run_raises_the_error_of_the_main_task() -> None:
    async def main() -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        run(main)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit, Cancelled])
def test_run_raises_base_exceptions_too(kind: type[BaseException]) -> None:
    async def main() -> None:
        await checkpoint()
        raise kind

    with pytest.raises(kind):
        run(main)


def test_only_one_kernel_runs_at_a_time() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="already running"):
            run(nothing)

    bounded(main)


def test_a_call_with_wrong_arguments_leaves_the_kernel_usable() -> None:
    with pytest.raises(TypeError):
        run(nothing, "one argument too many")  # type: ignore[call-arg]
    run(nothing)


def test_a_missing_poller_leaves_the_kernel_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> Poller:
        raise OSError(24, "too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(kernel, "default_poller", refused)
        with pytest.raises(OSError, match="too many"):
            run(nothing)
    run(nothing)


def test_the_kernel_is_usable_after_a_failed_run() -> None:
    async def main() -> None:
        async with Nursery() as nursery:
            nursery.start_soon(sleep, math.inf)
            with pipe() as ends:
                nursery.start_soon(ends.reader.wait_readable)
                await settle()
                raise ValueError("mine")

    for _ in range(3):
        with pytest.raises(ValueError, match="mine"):
            bounded(main)


class InterruptedPoller(PollPoller):
    """Raises KeyboardInterrupt whenever every task waits."""

    def wait(self, timeout: float | None) -> Iterable[tuple[int, int]]:
        if timeout == 0:
            return super().wait(0)
        raise KeyboardInterrupt


def test_ctrl_c_in_the_loop_cleans_up_every_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "default_poller", InterruptedPoller)
    left = []

    async def child(name: str) -> None:
        try:
            with move_on_after(100):
                await sleep(math.inf)
        finally:
            left.append(name)

    async def main() -> None:
        async with Nursery() as nursery:
            nursery.start_soon(child, "a")
            nursery.start_soon(child, "b")
            await child("main")

    with pytest.raises(KeyboardInterrupt):
        run(main)
    assert sorted(left) == ["a", "b", "main"]
    monkeypatch.undo()
    run(nothing)


def test_tasks_run_in_the_order_in_which_they_were_started() -> None:
    order: list[tuple[int, int]] = []

    async def child(number: int) -> None:
        for turn in range(3):
            order.append((turn, number))
            await checkpoint()

    async def main() -> None:
        async with Nursery() as nursery:
            for number in range(4):
                nursery.start_soon(child, number)
            assert order == []  # not before the starting task parks

    bounded(main)
    assert order == [(turn, number) for turn in range(3) for number in range(4)]


def test_sleep_lasts_as_long_as_requested(clock: Clock) -> None:
    async def main() -> None:
        for seconds in (0.0, -1.0, 0.25, 3600.0, 90 * 86400.0):
            before = current_time()
            await sleep(seconds)
            assert current_time() == before + max(0.0, seconds)

    run(main)


def test_a_real_sleep_is_not_shorter_than_requested() -> None:
    async def main() -> float:
        before = monotonic()
        await sleep(0.02)
        return monotonic() - before

    assert 0.02 <= bounded(main) < LIMIT


@pytest.mark.parametrize("seconds", [3e6, 1e12, math.inf])
def test_a_distant_deadline_does_not_overflow_in_the_poller(seconds: float) -> None:
    """The pollers take milliseconds in a C int, which overflows after 25 days."""

    async def main() -> None:
        with fail_after(seconds):
            await to_thread(nothing_at_all)  # the loop waits only for a distant deadline and the thread

    def nothing_at_all() -> None:
        pass

    run(main)


def test_a_busy_task_does_not_starve_readers_or_timers() -> None:
    async def main() -> None:
        ended = Event()
        steps = 0

        async def busy() -> None:
            nonlocal steps
            while not ended.is_set():
                steps += 1
                await checkpoint()

        async def reader() -> None:
            await ends.reader.wait_readable()
            await sleep(0.001)
            ended.set()

        with pipe() as ends:
            async with Nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(busy)
                nursery.start_soon(reader)
                await turns(3)
                os.write(ends.writer.fd, b"x")
        assert steps > 9

    bounded(main)


def test_two_tasks_that_keep_waking_each_other_do_not_starve_a_reader() -> None:
    async def main() -> None:
        with pipe() as ends, CancelScope() as game:
            table = [Event(), Event()]

            async def player(side: int) -> None:
                while True:
                    await table[side].wait()
                    table[side] = Event()
                    table[1 - side].set()

            async def referee() -> None:
                await ends.reader.wait_readable()
                game.cancel()

            async with Nursery() as nursery:
                nursery.start_soon(player, 0)
                nursery.start_soon(player, 1)
                nursery.start_soon(referee)
                table[0].set()
                await turns(5)
                os.write(ends.writer.fd, b"x")
        assert game.cancelled_caught

    bounded(main)


def test_bulk_tasks_share_the_time_that_a_turn_leaves_them(clock: Clock) -> None:
    """Ten tasks that take half a share per step: two run in each turn, in rotation, and no other task waits longer than that."""

    async def main() -> list[int]:
        ran: list[int] = []

        async def move(number: int) -> None:
            mark_bulk(True)
            while True:
                await checkpoint()
                clock.now += BULK_SECONDS / 2
                ran.append(number)

        async with Nursery() as nursery:
            for number in range(10):
                nursery.start_soon(move, number)
            await checkpoint()
            for turn in range(1, 21):
                await checkpoint()
                assert len(ran) == 2 * turn
            nursery.cancel_scope.cancel()
        return ran[:40]

    assert bounded(main) == 4 * list(range(10))


def test_a_slow_bulk_task_still_runs_once_a_turn(clock: Clock) -> None:
    async def main() -> None:
        steps = 0

        async def move() -> None:
            nonlocal steps
            mark_bulk(True)
            while True:
                await checkpoint()
                clock.now += 10 * BULK_SECONDS
                steps += 1

        async with Nursery() as nursery:
            nursery.start_soon(move)
            await turns(11)
            assert steps == 10
            nursery.cancel_scope.cancel()

    bounded(main)


def test_a_bulk_task_can_wait_and_be_cancelled_like_any_other() -> None:
    async def main() -> None:
        mark_bulk(True)
        with pipe() as made:
            os.write(made.writer.fd, b"x")
            await made.reader.wait_readable()
            made.drain()
            with move_on_after(0.001) as scope:
                await made.reader.wait_readable()
            assert scope.cancelled_caught
        mark_bulk(False)
        await checkpoint()

    bounded(main)


def test_an_awaitable_of_another_framework_does_not_hang_the_kernel() -> None:
    """Any yielded value is treated as a checkpoint: the task goes on, and cancellation ends it."""

    class Foreign:
        def __await__(self) -> Generator[object, None, None]:
            yield object()

    async def main() -> str:
        await Foreign()
        return "went on"

    assert bounded(main) == "went on"
