"""Descriptors: the state they record of a file, and the tasks and callbacks they notify."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engine.tools import borrowed, bounded, close, connection, pipe, settle
from tunnelctl.engine.descriptor import Descriptor, wait_either_readable
from tunnelctl.engine.kernel import (
    BusyResourceError,
    ClosedResourceError,
    Nursery,
    current_kernel,
    move_on_after,
    sleep,
)
from tunnelctl.engine.sync import Event


def test_waiting_for_a_ready_descriptor_does_not_park() -> None:
    async def main() -> None:
        descriptor = Descriptor(-1)
        with move_on_after(0) as scope:
            await descriptor.wait_readable()
            await descriptor.wait_writable()
        assert not scope.cancelled_caught

    bounded(main)


def test_a_reader_is_woken_by_data() -> None:
    async def main() -> None:
        with pipe() as ends:
            got = []

            async def reader() -> None:
                for _ in range(3):
                    await ends.reader.wait_readable()
                    got.append(ends.drain())

            async with Nursery() as nursery:
                nursery.start_soon(reader)
                for piece in (b"a", b"b", b"c"):
                    await settle()
                    os.write(ends.writer.fd, piece)
            assert got == [b"a", b"b", b"c"]
            assert not ends.reader.ended

    bounded(main)


def test_a_writer_is_woken_by_room() -> None:
    async def main() -> None:
        with pipe() as ends:
            size = ends.fill()

            async def writer() -> None:
                await ends.writer.wait_writable()
                os.write(ends.writer.fd, b"x")

            async with Nursery() as nursery:
                nursery.start_soon(writer)
                await settle()
                assert len(ends.drain()) == size
            assert ends.drain() == b"x"

    bounded(main)


def test_both_directions_of_a_socket_can_be_awaited_at_once() -> None:
    async def main() -> None:
        near, far = socket.socketpair()
        with near, far, borrowed(near.fileno()) as descriptor:
            near.setblocking(False)
            far.setblocking(False)
            size = 0
            try:
                while True:
                    size += near.send(bytes(65536))
            except BlockingIOError:
                pass
            woken: list[str] = []

            async def side(name: str, wait: Callable[[], object]) -> None:
                await wait()  # type: ignore[misc]
                woken.append(name)

            async with Nursery() as nursery:
                nursery.start_soon(side, "reader", descriptor.wait_readable)
                nursery.start_soon(side, "writer", descriptor.wait_writable)
                await settle()
                far.send(b"x")
                await settle()
                assert woken == ["reader"]
                while size:
                    size -= len(far.recv(size))
            assert woken == ["reader", "writer"]

    bounded(main)


def test_readiness_that_arrives_while_no_task_waits_is_not_lost() -> None:
    async def main() -> None:
        with pipe() as ends:

            async def wait(seconds: float) -> bool:
                with move_on_after(seconds) as scope:
                    await ends.reader.wait_readable()
                return not scope.cancelled_caught

            assert not await wait(0)
            os.write(ends.writer.fd, b"x")
            for _ in range(3):
                await settle()  # the edge arrives now, while no task waits
            assert await wait(1)
            assert ends.drain() == b"x"
            assert not await wait(0)

    bounded(main)


def test_data_that_arrived_before_the_first_wait_is_noticed() -> None:
    async def main() -> None:
        with pipe() as ends:
            os.write(ends.writer.fd, b"early")
            assert not ends.reader.readable
            await ends.reader.wait_readable()
            assert ends.drain() == b"early"

    bounded(main)


def test_fin_arrives_together_with_the_last_data() -> None:
    """A short read must then not be treated as an empty queue: no further edge follows."""

    async def main() -> None:
        with connection() as link:
            link.far.send(b"last")
            link.far.shutdown(socket.SHUT_WR)
            link.descriptor.readable = False
            while not link.descriptor.ended:
                link.descriptor.readable = False
                await link.descriptor.wait_readable()
            assert link.near.recv(100) == b"last"
            assert link.near.recv(100) == b""
            assert not link.descriptor.broken

    bounded(main)


def test_a_read_cut_short_by_an_urgent_byte_is_not_treated_as_the_last() -> None:
    async def main() -> None:
        with connection() as link:
            link.near.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
            for _ in range(3):
                link.far.send(b"before ")
                link.far.send(b"!", socket.MSG_OOB)
                link.far.send(b" after ")
            got = b""
            while len(got) < 3 * 15:
                await link.descriptor.wait_readable()
                try:
                    piece = link.near.recv(100)
                except BlockingIOError:
                    piece = b""
                if not piece or not link.descriptor.ended:
                    link.descriptor.readable = False
                got += piece
            assert got == b"before ! after " * 3
            assert not link.descriptor.broken

    bounded(main)


def test_fin_wakes_a_reader() -> None:
    async def main() -> None:
        with connection() as link:
            async with Nursery() as nursery:
                nursery.start_soon(link.descriptor.wait_readable)
                await settle()
                link.far.shutdown(socket.SHUT_WR)
            assert link.descriptor.ended
            assert not link.descriptor.broken
            assert link.near.recv(1) == b""

    bounded(main)


def test_a_reset_breaks_a_socket_and_wakes_reader_and_writer() -> None:
    async def main() -> None:
        with connection() as link:
            while link.descriptor.writable:
                try:
                    link.near.send(bytes(1 << 20))
                except BlockingIOError:
                    link.descriptor.writable = False
            async with Nursery() as nursery:
                nursery.start_soon(link.descriptor.wait_readable)
                nursery.start_soon(link.descriptor.wait_writable)
                await settle()
                link.reset()
            assert link.descriptor.broken
            assert link.descriptor.ended
            with pytest.raises(ConnectionResetError):
                link.near.recv(1)

    bounded(main)


def test_a_socket_half_closed_at_both_ends_is_broken_with_data_unread() -> None:
    """So `broken` alone is no reason to stop reading."""

    async def main() -> None:
        with connection() as link:
            broken = Event()
            link.descriptor.watch(broken.set)
            link.near.shutdown(socket.SHUT_WR)
            link.far.send(b"the answer")
            link.far.shutdown(socket.SHUT_WR)
            await broken.wait()
            assert link.near.recv(100) == b"the answer"

    bounded(main)


def test_a_vanished_reader_wakes_a_writer() -> None:
    async def main() -> None:
        with pipe() as ends:
            ends.fill()
            async with Nursery() as nursery:
                nursery.start_soon(ends.writer.wait_writable)
                await settle()
                close(ends.reader)
            with pytest.raises(BrokenPipeError):
                os.write(ends.writer.fd, b"x")

    bounded(main)


def test_a_vanished_writer_ends_the_reader_of_a_pipe() -> None:
    async def main() -> None:
        with pipe() as ends:
            async with Nursery() as nursery:
                nursery.start_soon(ends.reader.wait_readable)
                await settle()
                close(ends.writer)
            assert ends.reader.ended
            assert ends.drain() == b""

    bounded(main)


def test_a_refused_connection_wakes_the_connecting_task() -> None:
    async def main() -> int:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = listener.getsockname()
        with socket.socket() as new:
            new.setblocking(False)
            new.connect_ex(address)
            with borrowed(new.fileno()) as descriptor:
                await descriptor.wait_writable()
                return new.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    assert bounded(main) == 111


@pytest.mark.parametrize("kind", ["file", "null"])
def test_files_that_are_not_streams_are_always_ready(kind: str, tmp_path: Path) -> None:
    """epoll refuses such files. A wait after a short read must end as well, since the file may have grown."""
    path = tmp_path / "file" if kind == "file" else Path(os.devnull)

    async def main() -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT)
        try:
            with borrowed(fd) as descriptor:
                for _ in range(3):
                    descriptor.readable = descriptor.writable = False
                    await descriptor.wait_readable()
                    descriptor.writable = False
                    await descriptor.wait_writable()
                descriptor.watch(lambda: pytest.fail("it cannot break"))
                await settle()
        finally:
            os.close(fd)

    bounded(main)


def test_a_failed_registration_is_retried() -> None:
    async def main() -> None:
        with pipe() as ends:
            poller, refusals = current_kernel().poller, [OSError(28, "no space left"), OSError(12, "no memory")]
            add = poller.add

            def refuse(interest: Descriptor) -> bool:
                if refusals:
                    raise refusals.pop()
                return add(interest)

            poller.add = refuse  # type: ignore[assignment, method-assign]
            for _ in range(2):
                with pytest.raises(OSError, match="no "):
                    await ends.reader.wait_readable()
            async with Nursery() as nursery:
                nursery.start_soon(ends.reader.wait_readable)
                await settle()
                os.write(ends.writer.fd, b"x")

    bounded(main)


@pytest.mark.parametrize("which", [0, 1])
def test_either_of_two_descriptors_wakes_a_task_that_reads_both(which: int) -> None:
    async def main() -> None:
        with pipe() as one, pipe() as other:
            pipes = (one, other)

            async def reader() -> None:
                for _ in range(3):
                    await wait_either_readable(one.reader, other.reader)
                    assert pipes[which].drain() == b"x"
                    assert not pipes[1 - which].reader.readable

            async with Nursery() as nursery:
                nursery.start_soon(reader)
                for _ in range(3):
                    await settle()
                    os.write(pipes[which].writer.fd, b"x")

    bounded(main)


def test_a_task_that_reads_two_is_their_only_reader_and_notices_a_close() -> None:
    async def main() -> None:
        with pipe() as one, pipe() as other:

            async def reader() -> None:
                with pytest.raises(ClosedResourceError):
                    await wait_either_readable(one.reader, other.reader)

            async with Nursery() as nursery:
                nursery.start_soon(reader)
                await settle()
                for taken in (one.reader, other.reader):
                    with pytest.raises(BusyResourceError):
                        await taken.wait_readable()
                with pytest.raises(BusyResourceError):
                    await wait_either_readable(other.reader, one.reader)
                close(other.reader)
            with move_on_after(0) as scope:
                await one.reader.wait_readable()  # available again
            assert scope.cancelled_caught

    bounded(main)


def test_waiting_for_two_descriptors_returns_at_once_if_one_is_ready(tmp_path: Path) -> None:
    async def main() -> None:
        with pipe() as one, (tmp_path / "file").open("wb+") as file, borrowed(file.fileno()) as ready:
            for _ in range(2):
                ready.readable = False
                await wait_either_readable(one.reader, ready)
            with pipe() as other:
                other.reader.readable = True
                await wait_either_readable(other.reader, one.reader)

    bounded(main)


def test_a_watch_calls_back_once() -> None:
    async def main() -> None:
        calls = []
        with pipe() as ends:
            ends.writer.watch(lambda: calls.append("broken"))
            await settle()
            assert calls == []
            close(ends.reader)
            await settle()
            await settle()
            assert calls == ["broken"]
            ends.writer.watch(lambda: calls.append("already"))
            assert calls == ["broken", "already"]
            assert ends.writer.writable

    bounded(main)


def test_a_watch_may_cancel() -> None:
    async def main() -> None:
        with pipe() as ends, move_on_after(5) as scope:
            ends.writer.watch(scope.cancel)
            close(ends.reader)
            await sleep(5)
        assert scope.cancelled_caught

    bounded(main)


def test_the_end_of_the_peer_is_noticed_behind_unread_data() -> None:
    """It is reported once, and no task has to read for it."""

    async def main() -> None:
        calls: list[str] = []
        ended = Event()
        with connection() as link:
            link.descriptor.watch_peer(lambda: (calls.append("end"), ended.set()))  # type: ignore[arg-type, return-value]
            link.far.sendall(b"unread")
            await link.descriptor.wait_readable()
            assert not ended.is_set()
            link.far.shutdown(socket.SHUT_WR)
            await ended.wait()
            await settle()
            assert calls == ["end"]
            assert not link.descriptor.broken
            link.descriptor.watch_peer(lambda: calls.append("already"))
            assert calls == ["end", "already"]
            assert link.near.recv(9) == b"unread"

    bounded(main)


def test_a_reset_counts_as_the_end_of_the_peer() -> None:
    async def main() -> None:
        ended, broken = Event(), Event()
        with connection() as link:
            link.descriptor.watch_peer(ended.set)
            link.descriptor.watch(broken.set)
            link.reset()
            await ended.wait()
            await broken.wait()

    bounded(main)


def test_an_urgent_byte_is_not_the_end_of_the_peer() -> None:
    async def main() -> None:
        with connection() as link:
            link.near.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)  # as a stream sets it
            link.descriptor.watch_peer(lambda: pytest.fail("it has not ended"))
            link.far.send(b"!", socket.MSG_OOB)
            await link.descriptor.wait_readable()
            assert not link.descriptor.peer_closed

    bounded(main)


def test_a_watch_of_the_peer_ends_with_the_descriptor() -> None:
    async def main() -> None:
        with connection() as link:
            link.descriptor.watch_peer(lambda: pytest.fail("nobody watches"))
            link.descriptor.forget()
            link.far.shutdown(socket.SHUT_WR)
            await settle()

    bounded(main)
