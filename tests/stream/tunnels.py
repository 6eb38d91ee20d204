"""A relay between two streams, with both far ends under the control of the test."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.stream.ends import End, Make, go, make_end, tcp
from tunnelctl.engine.kernel import Nursery
from tunnelctl.engine.sync import Event
from tunnelctl.stream.relay import Outcome, Relay, TimeLimits


class Tunnel:
    """A running relay. `client` and `target` are the far ends on the left and on the right."""

    def __init__(self, left: End, right: End, left_early: bytes, right_early: bytes, limits: TimeLimits) -> None:
        self.client: Any = left.far
        self.target: Any = right.far
        self.relay = Relay(left.stream, right.stream, left_early, right_early, limits)
        self._borrowed = left.borrowed + right.borrowed
        self.ended = Event()
        self._outcome: Outcome | None = None

    async def run(self) -> None:
        try:
            self._outcome = await self.relay.run()
        finally:
            for number in self._borrowed:  # as at the end of the process
                os.close(number)
            self.ended.set()

    async def outcome(self) -> Outcome:
        await self.ended.wait()
        assert self._outcome is not None
        return self._outcome


@asynccontextmanager
async def tunnel(
    directory: Path,
    left: Make = tcp,
    right: Make = tcp,
    left_early: bytes = b"",
    right_early: bytes = b"",
    limits: TimeLimits = TimeLimits(),  # noqa: B008  a tuple
) -> AsyncIterator[Tunnel]:
    """Runs a relay during the body. At the end of the body the relay must have ended; if the body fails, it is cancelled."""
    ends = []
    for name, make in (("left", left), ("right", right)):
        (directory / name).mkdir()
        ends.append(await make_end(make, directory / name))
    made = Tunnel(ends[0], ends[1], left_early, right_early, limits)
    try:
        async with Nursery() as nursery:
            nursery.start_soon(made.run)
            yield made
            nursery.cancel_scope.cancel()
    finally:
        for end in ends:
            end.far.leave()


async def both_ways(first: Any, second: Any) -> None:
    """Sends something in each direction, after which the tunnel is known to be running."""
    for one, other in ((first, second), (second, first)):
        await one.give(b"ping\n")
        assert await other.take(5) == b"ping\n"


Body = Callable[[Tunnel], Awaitable[None]]


def over(directory: Path, body: Body, **options: object) -> None:
    """Runs `body` with a tunnel that `options` describe."""

    async def main() -> None:
        async with tunnel(directory, **options) as made:  # type: ignore[arg-type]
            await body(made)

    go(main)


def lefts(*makes: Make) -> pytest.MarkDecorator:
    """Runs the test once for each of these kinds of stream on the left."""
    return pytest.mark.parametrize("left", [pytest.param(make, id=make.__name__) for make in makes])
