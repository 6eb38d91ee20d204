"""Long lists are built in slices, between which other tasks run."""

import json
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tests.control import samples
from tunnelctl.control.pages import pages_of
from tunnelctl.control.slices import SLICE, in_slices
from tunnelctl.control.snapshot import Recent, Status, Tunnels, tunnels_from
from tunnelctl.engine.kernel import Nursery, checkpoint, run

T = TypeVar("T")


def beside_another(work: Callable[[], Awaitable[T]]) -> tuple[T, int]:
    """Returns the result of the work, and how often another task ran meanwhile."""
    turns = 0

    async def another() -> None:
        nonlocal turns
        while True:
            turns += 1
            await checkpoint()

    async def main() -> T:
        async with Nursery() as nursery:
            nursery.start_soon(another)
            result = await work()
            nursery.cancel_scope.cancel()
        return result

    return run(main), turns


class Sample:
    """An overview with 5,000 tunnels."""

    async def status(self) -> Status:
        return samples.status()

    async def tunnels(self) -> Tunnels:
        return samples.tunnels(5000)

    async def recent(self) -> Recent:
        return samples.recent()


def test_the_order_is_kept_and_other_tasks_run_between_slices() -> None:
    for count in (0, 1, SLICE, SLICE + 1, 5 * SLICE):
        made, turns = beside_another(lambda count=count: in_slices(str, range(count)))  # type: ignore[misc]
        assert made == [*map(str, range(count))]
        assert turns >= -(-count // SLICE)


def test_other_tasks_run_while_a_long_list_of_tunnels_is_written() -> None:
    (status, content), turns = beside_another(lambda: pages_of(Sample())["/tunnels"].content(""))
    assert status == 200
    assert tunnels_from(json.loads(content)) == samples.tunnels(5000)
    assert turns >= 5000 // SLICE
