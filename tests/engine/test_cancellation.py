"""Cancellation reaches a task wherever it is parked, whatever the cause, and as often as it parks."""

import math
import threading
from collections.abc import Awaitable, Callable

import pytest

from tests.engine.tools import bounded, pipe, turns
from tunnelctl.engine.descriptor import wait_either_readable
from tunnelctl.engine.kernel import (
    Cancelled,
    CancelScope,
    Nursery,
    checkpoint,
    current_kernel,
    current_time,
    move_on_after,
    park,
    sleep,
)
from tunnelctl.engine.limiter import Semaphore
from tunnelctl.engine.sync import Event
from tunnelctl.engine.wakeup import to_thread

Place = Callable[[], Awaitable[object]]


async def reading() -> None:
    with pipe() as ends:
        await ends.reader.wait_readable()


async def writing() -> None:
    with pipe() as ends:
        ends.fill()
        await ends.writer.wait_writable()


async def reading_two() -> None:
    with pipe() as one, pipe() as other:
        await wait_either_readable(one.reader, other.reader)


async def waiting() -> None:
    await Event().wait()


async def in_a_queue() -> None:
    async with Semaphore(0):
        pass


async def sleeping() -> None:
    await sleep(math.inf)


async def in_a_thread() -> None:
    release = threading.Event()
    try:
        await to_thread(release.wait, 5)
    finally:
        release.set()


async def joining() -> None:
    async with Nursery() as nursery:
        nursery.start_soon(sleeping)


async def joining_twice() -> None:
    async with Nursery() as nursery:
        nursery.start_soon(joining)
        nursery.start_soon(waiting)


async def in_the_body_of_a_nursery() -> None:
    async with Nursery() as nursery:
        nursery.start_soon(joining)
        await waiting()


async def in_a_scope_of_its_own() -> None:
    with move_on_after(1000), CancelScope():
        await park()


async def never_parked_for_long() -> None:
    while True:
        await checkpoint()


async def never_asleep_for_long() -> None:
    while True:
        await sleep(0)


async def late_again_and_again() -> None:
    while True:
        with move_on_after(0):
            await park()


PLACES = [
    reading,
    writing,
    reading_two,
    waiting,
    in_a_queue,
    sleeping,
    in_a_thread,
    joining,
    joining_twice,
    in_the_body_of_a_nursery,
    in_a_scope_of_its_own,
    never_parked_for_long,
    never_asleep_for_long,
    late_again_and_again,
]
everywhere = pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)


@everywhere
def test_cancellation_from_another_task(place: Place) -> None:
    async def main() -> None:
        scope, reached = CancelScope(), []

        async def child() -> None:
            with scope:
                try:
                    await place()
                except Cancelled:
                    reached.append(True)
                    raise
            assert scope.cancelled_caught
            await checkpoint()  # outside the scope, the task is not cancelled any more

        async with Nursery() as nursery:
            nursery.start_soon(child)
            await turns(4)
            scope.cancel()
        assert reached == [True]
        assert current_kernel().cancelled_scopes == 0

    bounded(main)


@everywhere
def test_cancellation_by_a_deadline(place: Place) -> None:
    async def main() -> None:
        with move_on_after(0.002) as scope:
            await place()
        assert scope.cancelled_caught
        assert current_time() >= scope.deadline

    bounded(main)


@everywhere
@pytest.mark.parametrize("deadline", [-math.inf, 0.0])
def test_cancellation_by_a_deadline_in_the_past(place: Place, deadline: float) -> None:
    async def main() -> None:
        with CancelScope(deadline) as scope:
            await place()
        assert scope.cancelled_caught

    bounded(main)


@everywhere
def test_cancellation_before_the_scope_is_entered(place: Place) -> None:
    async def main() -> None:
        scope = CancelScope()
        scope.cancel()
        with scope:
            await place()
        assert scope.cancelled_caught
        await checkpoint()

    bounded(main)


@everywhere
def test_cancellation_before_the_first_step_of_a_child(place: Place) -> None:
    """The task still starts: its arguments may include a file that it must close."""

    async def main() -> None:
        started = []

        async def child() -> None:
            started.append(True)
            await place()

        async with Nursery() as nursery:
            nursery.start_soon(child)
            nursery.cancel_scope.cancel()
        assert started == [True]

    bounded(main)


@everywhere
def test_cancellation_by_an_error_in_a_sibling(place: Place) -> None:
    async def failing() -> None:
        await turns(3)
        raise ValueError("sibling")

    async def main() -> None:
        async with Nursery() as nursery:
            nursery.start_soon(place)  # type: ignore[arg-type]
            nursery.start_soon(failing)

    with pytest.raises(ValueError, match="sibling"):
        bounded(main)


@everywhere
def test_cancellation_repeats_in_a_finally_block(place: Place) -> None:
    """Cancellation is a level, not an edge: a clean-up that parks is cut short as well."""

    async def main() -> None:
        cut = []
        with CancelScope() as scope:
            try:
                scope.cancel()
                await place()
            finally:
                for _ in range(2):
                    try:
                        await place()
                    except Cancelled:
                        cut.append(True)
        assert cut == [True, True]
        assert scope.cancelled_caught

    bounded(main)
