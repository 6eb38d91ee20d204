"""Thousands of tasks leave nothing behind: no descriptor, no task, no timer, and no cycle for the garbage collector."""

import gc
import math
import os
import resource
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.engine.tools import Pipe, bounded, close, pipe, settle, turns
from tunnelctl.engine.descriptor import Descriptor
from tunnelctl.engine.kernel import (
    CancelScope,
    ClosedResourceError,
    Nursery,
    Task,
    TooSlowError,
    checkpoint,
    current_kernel,
    fail_after,
    move_on_after,
    sleep,
)
from tunnelctl.engine.sync import Event
from tunnelctl.engine.wakeup import open_signal_receiver, to_thread


def test_five_thousand_tasks_wait_on_one_event() -> None:
    async def main() -> None:
        event, woken = Event(), 0

        async def child() -> None:
            nonlocal woken
            await event.wait()
            woken += 1

        async with Nursery() as nursery:
            for _ in range(5000):
                nursery.start_soon(child)
            await settle()
            event.set()
        assert woken == 5000

    bounded(main)


def test_five_thousand_tasks_are_cancelled_at_once() -> None:
    async def main() -> None:
        async with Nursery() as nursery:
            for _ in range(5000):
                nursery.start_soon(sleep, 100)
            await settle()
            assert len(current_kernel()._timers) > 5000
            nursery.cancel_scope.cancel()
        assert len(current_kernel()._timers) <= 257
        assert current_kernel().cancelled_scopes == 0

    bounded(main)


def test_timers_that_nobody_waits_for_are_a_quarter_of_all_at_most() -> None:
    """Each keeps its scope."""

    async def main() -> None:
        live = 2000
        async with Nursery() as nursery:
            for _ in range(live):
                nursery.start_soon(sleep, 100)
            await settle()
            for _ in range(live):
                with move_on_after(100):
                    pass
                assert len(current_kernel()._timers) <= live * 4 // 3 + 2
            nursery.cancel_scope.cancel()

    bounded(main)


@contextmanager
def many_pipes(wanted: int) -> Iterator[list[Pipe]]:
    """Opens as many pipes as the limit on open files allows, up to `wanted`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    ends: list[Pipe] = []
    try:
        for _ in range(min(wanted, (hard - 100) // 2)):
            ends.append(Pipe(*map(Descriptor, os.pipe())))
        for one in ends:
            one.reader.readable = False
        yield ends
    finally:
        for one in ends:
            close(one.reader)
            close(one.writer)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_thousands_of_readers_are_woken() -> None:
    async def main() -> None:
        with many_pipes(5000) as pipes:
            got = 0

            async def reader(ends: Pipe) -> None:
                nonlocal got
                await ends.reader.wait_readable()
                got += len(os.read(ends.reader.fd, 10))

            async with Nursery() as nursery:
                for ends in pipes:
                    nursery.start_soon(reader, ends)
                await settle()
                for ends in pipes:
                    os.write(ends.writer.fd, b"x")
            assert got == len(pipes)

    bounded(main)


# The things that a tunnel does in its life, one piece each. Each piece runs many times with the collector off.


async def scopes() -> None:
    with move_on_after(1), CancelScope():
        await checkpoint()


async def cancelled_scope() -> None:
    with CancelScope() as scope:
        scope.cancel()
        await sleep(1)


async def late() -> None:
    try:
        with fail_after(0):
            await sleep(math.inf)
    except TooSlowError:
        pass


async def children() -> None:
    async with Nursery() as nursery:
        nursery.start_soon(checkpoint_once)
        nursery.start_soon(checkpoint_once)


async def checkpoint_once() -> None:
    await checkpoint()


async def cancelled_children() -> None:
    async with Nursery() as nursery:
        nursery.start_soon(sleep, math.inf)
        nursery.start_soon(sleep, 1)
        await checkpoint()
        nursery.cancel_scope.cancel()


async def raising() -> None:
    raise ValueError("mine")


async def failed_child() -> None:
    try:
        async with Nursery() as nursery:
            nursery.start_soon(raising)
            nursery.start_soon(sleep, math.inf)
            await sleep(math.inf)
    except ValueError:
        pass


async def failed_body() -> None:
    try:
        async with Nursery() as nursery:
            nursery.start_soon(sleep, math.inf)
            await checkpoint()
            raise ValueError
    except ValueError:
        pass


async def cancelled_nursery() -> None:
    with move_on_after(0):
        async with Nursery() as nursery:
            nursery.start_soon(sleep, math.inf)
            nursery.start_soon(sleep, math.inf)


async def read_and_write() -> None:
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        descriptor = Descriptor(near.fileno())
        descriptor.readable = False
        far.send(b"x")
        await descriptor.wait_readable()
        descriptor.forget()


async def closed_under_a_waiter() -> None:
    async def waiter(descriptor: Descriptor) -> None:
        try:
            await descriptor.wait_readable()
        except ClosedResourceError:
            pass

    with pipe() as ends:
        async with Nursery() as nursery:
            nursery.start_soon(waiter, ends.reader)
            await turns(2)
            close(ends.reader)


async def watched() -> None:
    """The callback of a relay leads, through the relay and its stream, back to the descriptor."""
    with pipe() as ends:
        ends.writer.watch(lambda: ends.writer.forget())
        ends.reader.watch_peer(lambda: ends.reader.forget())


async def event() -> None:
    happened = Event()
    async with Nursery() as nursery:
        nursery.start_soon(happened.wait)
        await turns(2)
        happened.set()


async def thread() -> None:
    assert await to_thread(abs, -1) == 1


def fail_in_thread() -> None:
    raise ValueError("in the thread")


async def failed_thread() -> None:
    try:
        await to_thread(fail_in_thread)
    except ValueError:
        pass


async def signals() -> None:
    with open_signal_receiver(10), move_on_after(0):
        await sleep(1)


PIECES = [
    scopes,
    cancelled_scope,
    late,
    children,
    cancelled_children,
    failed_child,
    failed_body,
    cancelled_nursery,
    read_and_write,
    closed_under_a_waiter,
    watched,
    event,
    thread,
    failed_thread,
    signals,
]

Piece = Callable[[], Coroutine[Any, Any, None]]


@contextmanager
def collector_off() -> Iterator[None]:
    """Turns the collector off. Objects that exist already are left out of the next collection, which makes it fast."""
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.enable()


@pytest.mark.parametrize("piece", PIECES, ids=lambda piece: piece.__name__)
def test_a_piece_leaves_nothing_to_the_collector(piece: Piece) -> None:
    async def main() -> int:
        for _ in range(2):  # fill the caches and create the wakeup pipe and everything else that is created once
            await piece()
        with collector_off():
            files = len(os.listdir("/proc/self/fd"))
            for _ in range(100):
                await piece()
            assert len(os.listdir("/proc/self/fd")) == files
            assert len(current_kernel()._timers) <= 258
            assert current_kernel().cancelled_scopes == 0
            return gc.collect()

    assert bounded(main) < 100


@pytest.mark.parametrize("piece", PIECES, ids=lambda piece: piece.__name__)
def test_a_piece_run_as_a_child_leaves_nothing_to_the_collector(piece: Piece) -> None:
    async def main() -> int:
        await piece()
        with collector_off():
            async with Nursery() as nursery:
                for _ in range(50):
                    nursery.start_soon(piece)
            return gc.collect()

    assert bounded(main) < 50


def test_a_run_leaves_no_task_whether_it_succeeds_or_fails() -> None:
    async def main(error: Exception | None) -> None:
        async with Nursery() as nursery:
            for piece in set(PIECES) - {thread, failed_thread}:  # threads hold their arguments until they end
                nursery.start_soon(piece)
            await turns(2)
            if error is not None:
                raise error

    def fails() -> None:
        with pytest.raises(ValueError, match="mine"):
            bounded(main, ValueError("mine"))

    with collector_off():
        bounded(main, None)
        fails()
        gc.collect()
        objects = len(gc.get_objects())
        for _ in range(10):
            bounded(main, None)
            fails()
        gc.collect()
        assert len(gc.get_objects()) < objects + 100
        assert not [found for found in gc.get_objects() if isinstance(found, Task)]


def test_an_error_that_leaves_a_run_holds_no_reference_to_the_kernel() -> None:
    """If its own traceback held the kernel, the kernel and everything in it would stay until the next collection."""

    async def main() -> None:
        async with Nursery() as nursery:
            nursery.start_soon(raising)

    def fails() -> None:
        try:
            bounded(main)
        except ValueError:
            pass

    fails()
    with collector_off():
        for _ in range(20):
            fails()
        assert gc.collect() < 20
