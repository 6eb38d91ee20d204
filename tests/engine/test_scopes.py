"""Nested scopes, and cancellation together with another event in the same turn: no event that has happened is lost."""

import math
import os

import pytest

from tests.engine.conftest import Clock
from tests.engine.tools import bounded, pipe, settle, turns
from tunnelctl.engine.kernel import (
    Cancelled,
    CancelScope,
    Nursery,
    TooSlowError,
    checkpoint,
    current_kernel,
    fail_after,
    move_on_after,
    sleep,
)
from tunnelctl.engine.sync import Event


def test_a_task_that_swallows_a_cancellation_gets_it_again() -> None:
    async def main() -> None:
        async def stubborn() -> None:
            for _ in range(3):
                with pytest.raises(Cancelled):
                    await sleep(math.inf)

        async with Nursery() as nursery:
            nursery.start_soon(stubborn)
            await settle()
            nursery.cancel_scope.cancel()
        assert not nursery.cancel_scope.cancelled_caught

    bounded(main)


def test_cancelling_a_task_that_is_already_woken_cuts_its_next_park() -> None:
    async def main() -> None:
        event, scope, went_on = Event(), CancelScope(), []

        async def child() -> None:
            with scope:
                await event.wait()
                went_on.append(True)
                await checkpoint()
                went_on.append(False)

        async with Nursery() as nursery:
            nursery.start_soon(child)
            await settle()
            event.set()
            scope.cancel()
        assert went_on == [True]
        assert scope.cancelled_caught

    bounded(main)


def test_a_task_that_is_woken_after_its_cancellation_stays_cancelled() -> None:
    async def main() -> None:
        event, scope = Event(), CancelScope()

        async def child() -> None:
            with scope:
                await event.wait()
                raise AssertionError

        async with Nursery() as nursery:
            nursery.start_soon(child)
            await settle()
            scope.cancel()
            event.set()
        assert scope.cancelled_caught

    bounded(main)


def test_a_task_can_cancel_itself() -> None:
    async def main() -> None:
        with CancelScope() as scope:
            scope.cancel()
            scope.cancel()
            await checkpoint()
            raise AssertionError
        assert scope.cancelled_caught

    bounded(main)


def test_a_cancelled_block_that_does_not_park_completes() -> None:
    async def main() -> None:
        with CancelScope() as scope:
            scope.cancel()
        assert not scope.cancelled_caught
        await checkpoint()

    bounded(main)


def test_cancelling_after_the_block_does_nothing() -> None:
    async def main() -> None:
        with CancelScope() as scope:
            await checkpoint()
        scope.cancel()
        assert current_kernel().cancelled_scopes == 0
        await checkpoint()

    bounded(main)


@pytest.mark.parametrize("which", ["inner", "outer", "inner outer", "outer inner"])
def test_of_nested_scopes_the_first_one_cancelled_catches(which: str) -> None:
    async def main() -> None:
        after_inner = False
        with CancelScope() as outer:
            with CancelScope() as inner:
                for name in which.split():
                    {"inner": inner, "outer": outer}[name].cancel()
                await checkpoint()
            after_inner = True
            await checkpoint()
            assert which == "inner"
        assert after_inner == which.startswith("inner")
        assert inner.cancelled_caught == which.startswith("inner")
        assert outer.cancelled_caught == (which != "inner")

    bounded(main)


def test_cancellation_reaches_everything_started_inside_and_nothing_else() -> None:
    async def main() -> None:
        ended: list[str] = []

        async def child(name: str) -> None:
            try:
                await sleep(math.inf)
            finally:
                ended.append(name)

        async def parent(inner: CancelScope, outer: Nursery) -> None:
            with inner:
                async with Nursery() as own:
                    own.start_soon(child, "own")
                    outer.start_soon(child, "lent")  # belongs to the nursery that starts it, wherever the caller is
                    await child("parent")
            ended.append("end of parent")

        async with Nursery() as nursery:
            inner = CancelScope()
            nursery.start_soon(parent, inner, nursery)
            nursery.start_soon(child, "sibling")
            await settle()
            inner.cancel()
            await settle()
            assert sorted(ended) == ["end of parent", "own", "parent"]
            nursery.cancel_scope.cancel()
        assert sorted(ended) == ["end of parent", "lent", "own", "parent", "sibling"]

    bounded(main)


def test_an_error_during_cancellation_wins() -> None:
    async def main() -> None:
        with CancelScope() as scope:
            try:
                scope.cancel()
                await checkpoint()
            finally:
                raise ValueError("in the clean-up")

    with pytest.raises(ValueError, match="in the clean-up") as caught:
        bounded(main)
    assert isinstance(caught.value.__context__, Cancelled)


def test_a_deadline_in_the_turn_in_which_data_arrives_loses_nothing(clock: Clock) -> None:
    """A task that its descriptor has woken reads on; the deadline cuts its next park."""

    async def main() -> None:
        got = b""
        with pipe() as ends:

            async def reader() -> None:
                nonlocal got
                with move_on_after(1) as scope:
                    await ends.reader.wait_readable()
                    got = ends.drain()
                    await checkpoint()
                    raise AssertionError
                assert scope.cancelled_caught

            async with Nursery() as nursery:
                nursery.start_soon(reader)
                await settle()
                os.write(ends.writer.fd, b"last words")
                clock.now += 1
        assert got == b"last words"

    bounded(main)


def test_data_that_arrives_after_the_deadline_is_kept_for_the_next_reader(clock: Clock) -> None:
    async def main() -> None:
        with pipe() as ends:

            async def reader() -> None:
                with move_on_after(1) as scope:
                    await ends.reader.wait_readable()
                assert scope.cancelled_caught
                await ends.reader.wait_readable()

            async with Nursery() as nursery:
                nursery.start_soon(reader)
                await settle()
                clock.now += 1
                await checkpoint()  # the deadline has expired; the reader has not run yet
                os.write(ends.writer.fd, b"more")
            assert ends.drain() == b"more"

    bounded(main)


def test_fail_after_raises_only_for_its_own_deadline() -> None:
    async def main() -> None:
        with pytest.raises(TooSlowError), fail_after(0):
            await sleep(math.inf)
        with fail_after(5):
            await checkpoint()
        with CancelScope() as outer, fail_after(0):
            outer.cancel()
            await sleep(math.inf)  # this time limit expires too, but later
        assert outer.cancelled_caught
        with pytest.raises(KeyError), fail_after(0):
            raise KeyError

    bounded(main)


def test_a_scope_can_be_entered_again() -> None:
    async def main() -> None:
        scope = CancelScope()
        for _ in range(2):
            with scope:
                await checkpoint()
        scope.cancel()
        for _ in range(2):
            with scope:
                await checkpoint()
            assert scope.cancelled_caught
        assert current_kernel().cancelled_scopes == 0

    bounded(main)


def test_cancellation_of_a_deep_tree() -> None:
    async def branch(depth: int) -> None:
        async with Nursery() as nursery:
            if depth:
                for _ in range(2):
                    nursery.start_soon(branch, depth - 1)
            else:
                nursery.start_soon(sleep, math.inf)

    async def main() -> None:
        with CancelScope() as scope:
            async with Nursery() as nursery:
                nursery.start_soon(branch, 7)
                await turns(12)
                scope.cancel()
        assert scope.cancelled_caught
        assert current_kernel().cancelled_scopes == 0

    bounded(main)
