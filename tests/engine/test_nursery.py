"""Nurseries: they leave no child behind, and raise the first error."""

import math

import pytest

from tests.engine.tools import bounded, settle
from tunnelctl.engine.kernel import Cancelled, CancelScope, Nursery, checkpoint, current_kernel, move_on_after, run, sleep
from tunnelctl.engine.sync import Event


async def forever() -> None:
    await sleep(math.inf)


async def fail(error: BaseException, turns: int = 0) -> None:
    for _ in range(turns):
        await checkpoint()
    raise error


async def fail_when_cancelled(error: BaseException) -> None:
    """Fails after every other task has been cancelled."""
    try:
        await forever()
    except Cancelled:
        with pytest.raises(Cancelled):
            await checkpoint()
        raise error from None


def test_the_block_ends_when_every_child_has_ended() -> None:
    async def main() -> None:
        ended: list[int] = []

        async def child(turns: int) -> None:
            for _ in range(turns):
                await checkpoint()
            ended.append(turns)

        async with Nursery() as nursery:
            for turns in (5, 1, 3):
                nursery.start_soon(child, turns)
        assert ended == [1, 3, 5]

    bounded(main)


def test_arguments_reach_the_child() -> None:
    async def main() -> list[int]:
        got: list[int] = []

        async def child(a: int, b: int) -> None:
            got.extend((a, b))

        async with Nursery() as nursery:
            nursery.start_soon(child, 1, 2)
        return got

    assert bounded(main) == [1, 2]


def test_a_block_without_children_does_not_park() -> None:
    async def main() -> None:
        with CancelScope() as scope:
            scope.cancel()
            async with Nursery():
                pass
        assert not scope.cancelled_caught

    bounded(main)


def test_the_first_error_cancels_the_siblings_and_is_raised() -> None:
    async def main() -> None:
        async with Nursery() as nursery:
            nursery.start_soon(forever)
            nursery.start_soon(fail, ValueError("first"))
            nursery.start_soon(forever)

    with pytest.raises(ValueError, match="first"):
        bounded(main)


def test_an_error_of_a_child_cancels_the_body() -> None:
    async def main() -> None:
        async with Nursery() as nursery:
            nursery.start_soon(fail, ValueError("first"))
            await forever()

    with pytest.raises(ValueError, match="first"):
        bounded(main)


def test_an_error_of_the_body_cancels_the_children() -> None:
    async def main() -> None:
        async with Nursery() as nursery:
            nursery.start_soon(forever)
            await checkpoint()
            raise ValueError("body")

    with pytest.raises(ValueError, match="body") as caught:
        bounded(main)
    assert not hasattr(caught.value, "__notes__")


def test_later_errors_become_notes_on_the_first() -> None:
    async def main() -> None:
        async with Nursery() as nursery:
            nursery.start_soon(fail_when_cancelled, KeyError("second"))
            await checkpoint()
            raise ValueError("first")

    with pytest.raises(ValueError, match="first") as caught:
        bounded(main)
    assert caught.value.__notes__ == ["and, while that was handled: KeyError('second')"]


def test_an_error_during_cancellation_wins_over_the_cancellation() -> None:
    async def main() -> None:
        with CancelScope() as scope:
            async with Nursery() as nursery:
                nursery.start_soon(forever)
                nursery.start_soon(fail_when_cancelled, ValueError("clean-up failed"))
                nursery.start_soon(forever)
                await checkpoint()
                scope.cancel()
                await forever()

    with pytest.raises(ValueError, match="clean-up failed"):
        bounded(main)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_base_exceptions_are_treated_like_other_errors(kind: type[BaseException]) -> None:
    async def main() -> None:
        async with Nursery() as nursery:
            nursery.start_soon(forever)
            nursery.start_soon(fail, kind())

    with pytest.raises(kind):
        bounded(main)


@pytest.mark.parametrize("body_parks", [True, False])
def test_a_cancellation_from_outside_passes_through(body_parks: bool) -> None:
    async def main() -> None:
        with CancelScope() as outer:
            async with Nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(forever)
                await settle()
                outer.cancel()
                if body_parks:
                    await forever()
            raise AssertionError
        assert outer.cancelled_caught
        assert not nursery.cancel_scope.cancelled_caught

    bounded(main)


def test_cancelling_the_scope_of_a_nursery_ends_at_its_block() -> None:
    async def main() -> None:
        for _ in range(2):
            async with Nursery() as nursery:
                nursery.start_soon(forever)
                nursery.cancel_scope.cancel()
                await forever()
            assert nursery.cancel_scope.cancelled_caught
        await checkpoint()

    bounded(main)


def test_children_that_end_normally_in_a_cancelled_block_are_no_error() -> None:
    async def main() -> None:
        event = Event()
        with CancelScope() as outer:
            async with Nursery() as nursery:
                nursery.start_soon(event.wait)
                await settle()
                event.set()
                outer.cancel()
        assert not outer.cancelled_caught  # no task parked after the cancellation

    bounded(main)


def test_nested_nurseries_pass_an_error_up() -> None:
    async def main() -> None:
        async with Nursery() as outer:
            outer.start_soon(forever)
            async with Nursery() as inner:
                inner.start_soon(forever)
                inner.start_soon(fail, ValueError("deep"), 2)

    with pytest.raises(ValueError, match="deep"):
        bounded(main)


def test_the_end_of_outer_children_does_not_end_an_inner_join() -> None:
    async def main() -> None:
        first, second, ended = Event(), Event(), []

        async def inner_child() -> None:
            await second.wait()
            ended.append("inner child")

        async def parent() -> None:
            async with Nursery() as outer:
                outer.start_soon(first.wait)
                async with Nursery() as inner:
                    inner.start_soon(inner_child)
                ended.append("inner nursery")

        async with Nursery() as nursery:
            nursery.start_soon(parent)
            await settle()
            first.set()
            await settle()
            second.set()
        assert ended == ["inner child", "inner nursery"]

    bounded(main)


def test_an_error_handled_outside_ends_only_its_nursery() -> None:
    async def main() -> None:
        async with Nursery() as outer:
            outer.start_soon(forever)
            with pytest.raises(ValueError, match="mine"):
                async with Nursery() as inner:
                    inner.start_soon(fail, ValueError("mine"))
            await checkpoint()
            outer.cancel_scope.cancel()

    bounded(main)


def test_a_child_can_start_siblings() -> None:
    async def main() -> int:
        started = 0

        async def child(depth: int) -> None:
            nonlocal started
            started += 1
            if depth:
                nursery.start_soon(child, depth - 1)
                nursery.start_soon(child, depth - 1)

        async with Nursery() as nursery:
            nursery.start_soon(child, 6)
        return started

    assert bounded(main) == 2**7 - 1


def test_a_child_started_while_the_parent_is_waking_up_is_awaited() -> None:
    async def main() -> None:
        ended: list[str] = []

        async def late() -> None:
            await checkpoint()
            ended.append("late")

        async def parent(event: Event) -> None:
            async with inner:
                inner.start_soon(event.wait)
            ended.append("parent")

        async def intruder(event: Event) -> None:
            await event.wait()
            inner.start_soon(late)  # the last child has ended, and the parent is already scheduled

        inner = Nursery()
        event = Event()
        async with Nursery() as outer:
            outer.start_soon(parent, event)
            await settle()
            outer.start_soon(intruder, event)
            await settle()
            event.set()
        assert ended == ["late", "parent"]

    bounded(main)


def test_a_nursery_that_is_not_open_starts_nothing() -> None:
    async def main() -> None:
        nursery = Nursery()
        with pytest.raises(RuntimeError, match="not open"):
            nursery.start_soon(forever)
        async with nursery:
            pass
        with pytest.raises(RuntimeError, match="not open"):
            nursery.start_soon(forever)
        assert not current_kernel().ready

    bounded(main)


def test_an_invalid_call_fails_in_the_starter_or_as_a_child() -> None:
    def plain() -> None:
        pass

    async def wrong_arguments() -> None:
        async with Nursery() as nursery:
            with pytest.raises(TypeError):
                nursery.start_soon(forever, 1)  # type: ignore[arg-type]

    async def no_coroutine() -> None:
        async with Nursery() as nursery:
            nursery.start_soon(forever)
            nursery.start_soon(plain)  # type: ignore[arg-type]

    bounded(wrong_arguments)
    with pytest.raises(AttributeError):
        bounded(no_coroutine)


def test_a_child_error_is_raised_if_the_body_swallows_cancellation() -> None:
    async def main() -> None:
        async with Nursery() as nursery:
            nursery.start_soon(fail, ValueError("now"))
            with pytest.raises(Cancelled):
                await forever()

    with pytest.raises(ValueError, match="now"):
        bounded(main)


def test_the_run_ends_with_the_main_task() -> None:
    async def main() -> None:
        with move_on_after(0.001):
            async with Nursery() as nursery:
                nursery.start_soon(forever)

    run(main)
    run(main)
