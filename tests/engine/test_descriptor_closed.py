"""Descriptors that are closed while a task waits on them, and descriptor numbers that are reused."""

import os
from contextlib import ExitStack

import pytest

from tests.engine.tools import Pipe, borrowed, bounded, close, pipe, settle
from tunnelctl.engine.descriptor import Descriptor
from tunnelctl.engine.kernel import BusyResourceError, ClosedResourceError, Nursery, current_kernel, move_on_after, run

WAITS = ["wait_readable", "wait_writable"]


def stuck(ends: Pipe, wait: str) -> Descriptor:
    """Returns the end of the pipe on which this wait does not end by itself."""
    if wait == "wait_readable":
        return ends.reader
    ends.fill()
    return ends.writer


@pytest.mark.parametrize("wait", WAITS)
def test_closing_wakes_the_waiter_with_an_error(wait: str) -> None:
    async def main() -> None:
        with pipe() as ends:
            descriptor = stuck(ends, wait)

            async def waiter() -> None:
                with pytest.raises(ClosedResourceError, match=f"descriptor {descriptor.fd} was closed"):
                    await getattr(descriptor, wait)()

            async with Nursery() as nursery:
                nursery.start_soon(waiter)
                await settle()
                close(descriptor)
            with pytest.raises(ClosedResourceError):
                await getattr(descriptor, wait)()
            assert not current_kernel().descriptors
            assert not getattr(current_kernel().poller, "_interests", None)

    bounded(main)


@pytest.mark.parametrize("wait", WAITS)
def test_a_second_waiter_is_refused_and_the_first_keeps_waiting(wait: str) -> None:
    async def main() -> None:
        with pipe() as ends:
            descriptor = stuck(ends, wait)
            async with Nursery() as nursery:
                nursery.start_soon(getattr(descriptor, wait))
                await settle()
                with pytest.raises(BusyResourceError):
                    await getattr(descriptor, wait)()
                close(ends.writer if descriptor is ends.reader else ends.reader)
            descriptor.readable = descriptor.writable = False
            with move_on_after(0):
                await getattr(descriptor, wait)()  # another task can wait again

    bounded(main)


def test_closing_and_a_readiness_event_in_the_same_turn() -> None:
    async def main() -> None:
        with pipe() as ends:

            async def waiter() -> None:
                with pytest.raises(ClosedResourceError):
                    await ends.reader.wait_readable()

            async with Nursery() as nursery:
                nursery.start_soon(waiter)
                await settle()
                os.write(ends.writer.fd, b"x")
                close(ends.reader)

    bounded(main)


def test_a_reused_number_belongs_to_the_new_file() -> None:
    async def main() -> None:
        async def closed_under(old: Descriptor) -> None:
            with pytest.raises(ClosedResourceError):
                await old.wait_readable()

        async with Nursery() as nursery:
            with pipe() as first:
                number = first.reader.fd
                nursery.start_soon(closed_under, first.reader)
                await settle()
                close(first.reader)
                with pipe() as second:
                    assert second.reader.fd == number
                    nursery.start_soon(second.reader.wait_readable)
                    await settle()
                    close(first.writer)  # HUP for a file that has been closed
                    await settle()
                    assert not second.reader.ended
                    first.reader.forget()  # forgotten once more, too late to affect the new one
                    os.write(second.writer.fd, b"x")
                    await settle()
                    assert second.drain() == b"x"

    bounded(main)


def test_a_shared_file_that_stays_open_can_be_forgotten() -> None:
    """As with inherited stdio: the file stays open under a second number. Its events must not reach the next file with this one."""

    async def main() -> None:
        with pipe() as ends:
            twin = os.dup(ends.reader.fd)
            try:
                with move_on_after(0):
                    await ends.reader.wait_readable()
                number = ends.reader.fd
                ends.reader.forget(shared=True)
                os.close(number)
                with pipe() as other:
                    assert other.reader.fd == number
                    with move_on_after(0):
                        await other.reader.wait_readable()
                    os.write(ends.writer.fd, b"for the twin")
                    await settle()
                    assert not other.reader.readable
            finally:
                os.close(twin)

    bounded(main)


def test_a_forgotten_file_can_be_awaited_through_a_new_descriptor() -> None:
    """As when a socket is handed over to another stream."""

    async def main() -> None:
        with pipe() as ends:
            with move_on_after(0):
                await ends.reader.wait_readable()
            ends.reader.forget(shared=True)
            with borrowed(ends.reader.fd) as again:
                os.write(ends.writer.fd, b"x")
                await again.wait_readable()
            os.close(ends.reader.fd)

    bounded(main)


def test_a_watch_ends_with_the_descriptor() -> None:
    async def main() -> None:
        calls = []
        with pipe() as ends:
            ends.writer.watch(lambda: calls.append("broken"))
            await settle()
            close(ends.reader)
            close(ends.writer)
            await settle()
        assert calls == []
        with pytest.raises(ClosedResourceError):
            ends.writer.watch(lambda: None)

    bounded(main)


def test_a_descriptor_can_be_forgotten_after_the_run() -> None:
    kept: list[Pipe] = []

    async def main() -> None:
        ends = stack.enter_context(pipe())
        with move_on_after(0):
            await ends.reader.wait_readable()
        ends.writer.watch(lambda: None)
        kept.append(ends)

    with ExitStack() as stack:
        run(main)
        kept[0].reader.forget(shared=True)
        os.close(kept[0].reader.fd)
