"""Tasks that run beside a test: those of a connection that carries several streams."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from tunnelctl.engine.kernel import Nursery

T = TypeVar("T")

_nurseries: list[Nursery] = []


async def with_background(fn: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Runs `fn(*args)`, and cancels at its end the tasks that it has started with `in_background`."""
    async with Nursery() as nursery:
        _nurseries.append(nursery)
        try:
            return await fn(*args)
        finally:
            _nurseries.pop()
            nursery.cancel_scope.cancel()
    raise AssertionError("the nursery was cancelled from outside")


def in_background(fn: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> None:
    """Starts a task that ends with the test at the latest. Its error fails the test."""
    _nurseries[-1].start_soon(fn, *args)
