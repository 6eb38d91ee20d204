"""One suite for every kind of stream: the promises of `stream.base.Stream`, observed from the far end."""

import os
import termios
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.stream.ends import (
    HALVES,
    LEAVES,
    OWNED,
    RESETS,
    STAYS,
    WAITS,
    End,
    Make,
    go,
    kinds,
    lines,
    opened,
    stdio_files,
    stdio_pipes,
    stdio_terminal,
    tcp,
)
from tunnelctl.engine.kernel import ClosedResourceError, Nursery, checkpoint, current_time, move_on_after
from tunnelctl.engine.sync import Event
from tunnelctl.stream import socket_stream, stdio
from tunnelctl.stream.base import CHUNK
from tunnelctl.stream.stdio import Stdio

Body = Callable[[End], Awaitable[None]]


def having(*traits: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("make", [pytest.param(make, id=make.__name__) for make in kinds(*traits)])


def over(make: Make, directory: Path, body: Body) -> None:
    """Runs `body` on an end of that kind. The borrowed files that `body` has not ended must keep their flags."""

    async def main() -> None:
        async with opened(make, directory) as end:
            flags = end.flags()
            await body(end)
            assert {key: value for key, value in end.flags().items() if key in flags}.items() <= flags.items()

    go(main)


async def receive_all(end: End, limit: int = CHUNK) -> bytes:
    data = bytearray()
    while piece := await end.stream.receive_some(limit):
        assert len(piece) <= limit
        data += piece
    return bytes(data)


# --- reading


@having()
def test_data_is_received_up_to_eof(make: Make, tmp_path: Path) -> None:
    async def body(end: End) -> None:
        await end.far.give(lines(3000))
        await end.far.end_output()
        assert await receive_all(end) == lines(3000)

    over(make, tmp_path, body)


@having(STAYS)
def test_eof_is_permanent(make: Make, tmp_path: Path) -> None:
    async def body(end: End) -> None:
        await end.far.end_output()
        assert [await end.stream.receive_some() for _ in range(3)] == [b"", b"", b""]

    over(make, tmp_path, body)


@having()
def test_no_more_than_the_limit_is_received_and_the_rest_is_kept(make: Make, tmp_path: Path) -> None:
    async def body(end: End) -> None:
        await end.far.give(lines(3000))
        await end.far.end_output()
        data = await end.stream.receive_some(1)
        assert len(data) == 1
        assert data + await receive_all(end, 7) == lines(3000)

    over(make, tmp_path, body)


@having()
def test_empty_input_is_eof_at_once(make: Make, tmp_path: Path) -> None:
    async def body(end: End) -> None:
        await end.far.end_output()
        assert await end.stream.receive_some() == b""

    over(make, tmp_path, body)


@having(WAITS)
def test_receive_nowait_returns_none_without_data(make: Make, tmp_path: Path) -> None:
    async def body(end: End) -> None:
        assert end.stream.receive_nowait(100) is None
        assert end.stream.receive_nowait(100) is None
        await end.far.give(b"a\n")
        await end.stream.wait_readable()
        assert await end.stream.receive_some(100) == b"a\n"
        assert end.stream.receive_nowait(100) is None

    over(make, tmp_path, body)


@having(WAITS)
def test_a_waiting_reader_is_woken_by_each_piece_and_by_eof(make: Make, tmp_path: Path) -> None:
    async def body(end: End) -> None:
        pieces = []

        async def read() -> None:
            while piece := await end.stream.receive_some():
                pieces.append(piece)
                arrived.set()

        async with Nursery() as nursery:
            arrived = Event()
            nursery.start_soon(read)
            for text in (b"one\n", b"two\n", b"three\n"):
                await end.far.give(text)
                await arrived.wait()
                arrived = Event()
            await end.far.end_output()
        assert pieces == [b"one\n", b"two\n", b"three\n"]

    over(make, tmp_path, body)


@having(WAITS)
def test_a_cancelled_wait_loses_nothing(make: Make, tmp_path: Path) -> None:
    async def body(end: End) -> None:
        with move_on_after(0.01) as scope:
            await end.stream.receive_some()
        assert scope.cancelled_caught
        await end.far.give(b"later\n")
        assert await end.stream.receive_some() == b"later\n"

    over(make, tmp_path, body)


@having(WAITS)
def test_more_than_the_buffers_hold_is_received_completely(make: Make, tmp_path: Path) -> None:
    sent = lines(1 << 20)

    async def body(end: End) -> None:
        async def give() -> None:
            await end.far.give(sent)
            await end.far.end_output()

        async with Nursery() as nursery:
            nursery.start_soon(give)
            assert await receive_all(end) == sent

    over(make, tmp_path, body)


# --- writing


@having()
def test_sent_data_arrives_in_order(make: Make, tmp_path: Path) -> None:
    async def body(end: End) -> None:
        for text in (b"one\n", memoryview(b"two\n"), b"", b"three\n"):
            await end.stream.send_all(text)
        assert await end.far.take(14) == b"one\ntwo\nthree\n"

    over(make, tmp_path, body)


@having()
def test_send_all_sends_more_than_the_buffers_hold(make: Make, tmp_path: Path) -> None:
    sent = lines(1 << 20)

    async def body(end: End) -> None:
        async with Nursery() as nursery:
            if make is stdio_files:
                await end.stream.send_all(sent)
            else:
                nursery.start_soon(end.stream.send_all, sent)
            assert await end.far.take(len(sent)) == sent

    over(make, tmp_path, body)


@having(WAITS)
def test_a_full_sink_accepts_nothing_until_there_is_room(make: Make, tmp_path: Path) -> None:
    async def body(end: End) -> None:
        sent = bytearray()
        source = lines(1 << 24)
        # Until it stays full: a terminal moves data from one buffer to the next at its own pace.
        for _ in range(5):
            while count := end.stream.send_nowait(source[len(sent) : len(sent) + CHUNK]):
                sent += source[len(sent) : len(sent) + count]
                assert len(sent) < len(source), "the sink never fills up"
            with move_on_after(0.005):
                await end.stream.wait_writable()
        more = source[len(sent) : len(sent) + CHUNK]
        assert end.stream.send_nowait(more) == 0

        async with Nursery() as nursery:
            nursery.start_soon(end.stream.wait_writable)  # type: ignore[arg-type]  # an Awaitable does here
            assert await end.far.take(len(sent)) == sent
        async with Nursery() as nursery:
            nursery.start_soon(end.stream.send_all, more)
            assert await end.far.take(CHUNK) == more

    over(make, tmp_path, body)


@having(WAITS)
def test_both_directions_work_at_once(make: Make, tmp_path: Path) -> None:
    there, back = lines(20_0000, 1), lines(20_0000, 2)

    async def body(end: End) -> None:
        got = []

        async def give() -> None:
            await end.far.give(there)
            await end.far.end_output()

        async def take() -> None:
            got.append(await end.far.take(len(back)))

        async with Nursery() as nursery:
            nursery.start_soon(give)
            nursery.start_soon(take)
            nursery.start_soon(end.stream.send_all, back)
            got.append(await receive_all(end))
        assert sorted(got) == sorted([there, back])

    over(make, tmp_path, body)


# --- ends


@having(HALVES)
def test_a_half_close_reaches_the_far_end_and_reading_goes_on(make: Make, tmp_path: Path) -> None:
    """T3: the end of one direction implies nothing about the other."""

    async def body(end: End) -> None:
        await end.stream.send_all(b"last words")
        end.stream.send_eof()
        end.stream.send_eof()  # harmless
        assert await end.far.take_rest() == b"last words"
        await end.far.give(b"still here")
        assert await end.stream.receive_some() == b"still here"
        await end.far.end_output()
        assert await end.stream.receive_some() == b""

    over(make, tmp_path, body)


@having(HALVES)
def test_writing_goes_on_after_the_far_end_half_closes(make: Make, tmp_path: Path) -> None:
    async def body(end: End) -> None:
        await end.far.end_output()
        assert await end.stream.receive_some() == b""
        await end.stream.send_all(lines(20_000))
        assert await end.far.take(20_000) == lines(20_000)

    over(make, tmp_path, body)


@having()
def test_data_sent_before_close_is_delivered(make: Make, tmp_path: Path) -> None:
    async def body(end: End) -> None:
        await end.stream.send_all(b"last words\n")
        end.stream.close()
        assert await end.far.take(11) == b"last words\n"

    over(make, tmp_path, body)


@having()
@pytest.mark.parametrize("first", ["close", "abort"])
def test_closing_twice_is_harmless(make: Make, tmp_path: Path, first: str) -> None:
    async def body(end: End) -> None:
        for how in (first, "close", "abort", "send_eof", first):
            getattr(end.stream, how)()

    over(make, tmp_path, body)


@having(WAITS)
def test_closing_a_stream_wakes_its_waiting_reader_with_an_error(make: Make, tmp_path: Path) -> None:
    async def body(end: End) -> None:
        async def wait() -> None:
            with pytest.raises(ClosedResourceError):
                await end.stream.receive_some()

        async with Nursery() as nursery:
            nursery.start_soon(wait)
            await checkpoint()
            end.stream.close()

    over(make, tmp_path, body)


@having(RESETS)
def test_a_reset_is_not_eof_and_follows_the_data_sent_before_it(make: Make, tmp_path: Path) -> None:
    """T4."""

    async def body(end: End) -> None:
        await end.stream.send_all(b"unread")
        await end.far.give(b"before")
        end.far.reset()
        assert await end.stream.receive_some() == b"before"
        with pytest.raises(ConnectionResetError):
            await end.stream.receive_some()

    over(make, tmp_path, body)


@having(RESETS)
def test_a_reset_wakes_a_waiting_reader(make: Make, tmp_path: Path) -> None:
    async def body(end: End) -> None:
        async def read() -> None:
            with pytest.raises(ConnectionResetError):
                await end.stream.receive_some()

        await end.stream.send_all(b"unread")
        async with Nursery() as nursery:
            nursery.start_soon(read)
            await checkpoint()
            end.far.reset()

    over(make, tmp_path, body)


@having(LEAVES)
def test_writing_to_a_far_end_that_has_left_is_a_broken_pipe(make: Make, tmp_path: Path) -> None:
    async def body(end: End) -> None:
        end.far.leave()
        with pytest.raises(BrokenPipeError):
            await end.stream.send_all(lines(1000))

    over(make, tmp_path, body)


@having(LEAVES)
def test_a_writer_that_waits_for_room_notices_that_the_reader_left(make: Make, tmp_path: Path) -> None:
    async def body(end: End) -> None:
        async def write() -> None:
            with pytest.raises((BrokenPipeError, ConnectionResetError)):
                await end.stream.send_all(lines(1 << 24))

        async with Nursery() as nursery:
            nursery.start_soon(write)
            while not await end.far.take_some():
                pass
            end.far.leave()

    over(make, tmp_path, body)


@having(LEAVES)
@pytest.mark.parametrize("early", [True, False])
def test_on_broken_reports_a_vanished_far_end_without_a_write(make: Make, tmp_path: Path, early: bool) -> None:
    async def body(end: End) -> None:
        gone = Event()
        calls = []
        if early:
            end.far.leave()
        end.stream.on_broken(lambda: (calls.append(1), gone.set()))  # type: ignore[arg-type]
        await checkpoint()
        end.far.leave()
        await gone.wait()
        await checkpoint()
        assert calls == [1]

    over(make, tmp_path, body)


@having(RESETS)
def test_on_broken_reports_a_reset(make: Make, tmp_path: Path) -> None:
    async def body(end: End) -> None:
        gone = Event()
        end.stream.on_broken(gone.set)
        await end.stream.send_all(b"unread")
        end.far.reset()
        await gone.wait()

    over(make, tmp_path, body)


@having(HALVES)
def test_on_broken_does_not_report_a_half_close(make: Make, tmp_path: Path) -> None:
    async def body(end: End) -> None:
        calls: list[int] = []
        end.stream.on_broken(lambda: calls.append(1))
        await end.far.end_output()
        assert await end.stream.receive_some() == b""
        await end.stream.send_all(b"a\n")
        assert await end.far.take(2) == b"a\n"
        await checkpoint()
        assert calls == []

    over(make, tmp_path, body)


@having(LEAVES)
def test_on_broken_is_silent_after_close(make: Make, tmp_path: Path) -> None:
    async def body(end: End) -> None:
        calls: list[int] = []
        end.stream.on_broken(lambda: calls.append(1))
        await checkpoint()
        end.stream.close()
        end.far.leave()
        await checkpoint()
        await checkpoint()
        assert calls == []

    over(make, tmp_path, body)


@having(OWNED)
@pytest.mark.parametrize("early", [True, False])
def test_on_peer_closed_reports_an_end_behind_unread_bytes(make: Make, tmp_path: Path, early: bool) -> None:
    async def body(end: End) -> None:
        closed, calls = Event(), []
        await end.far.give(b"unread\n")
        if early:
            end.far.leave()
        end.stream.on_peer_closed(lambda: (calls.append(1), closed.set()))  # type: ignore[arg-type]
        await checkpoint()
        end.far.leave()
        await closed.wait()
        assert await end.stream.receive_some() == b"unread\n"
        await checkpoint()
        assert calls == [1]

    over(make, tmp_path, body)


def test_on_peer_closed_reports_a_half_close_and_a_reset(tmp_path: Path) -> None:
    async def half_close(end: End) -> None:
        closed = Event()
        end.stream.on_peer_closed(closed.set)
        await end.far.end_output()
        await closed.wait()
        await end.stream.send_all(b"a\n")
        assert await end.far.take(2) == b"a\n"

    async def reset(end: End) -> None:
        closed = Event()
        end.stream.on_peer_closed(closed.set)
        await end.stream.send_all(b"unread")
        end.far.reset()
        await closed.wait()

    for name, body in (("half", half_close), ("reset", reset)):
        (tmp_path / name).mkdir()
        over(tcp, tmp_path / name, body)


@having(OWNED)
def test_unwatch_cancels_both_calls(make: Make, tmp_path: Path) -> None:
    async def body(end: End) -> None:
        calls: list[str] = []
        end.stream.on_peer_closed(lambda: calls.append("peer closed"))
        end.stream.on_broken(lambda: calls.append("broken"))
        await end.stream.send_all(b"unread")
        end.stream.unwatch()
        end.far.reset()
        assert await receive_some_or_reset(end) == b""
        await checkpoint()
        assert calls == []

    over(make, tmp_path, body)


async def receive_some_or_reset(end: End) -> bytes:
    try:
        return await end.stream.receive_some()
    except ConnectionResetError:  # TLS without close_notify
        return b""


@having(OWNED)
def test_the_far_end_sees_an_abort_as_a_reset(make: Make, tmp_path: Path) -> None:
    """T4: never as a clean end."""

    async def body(end: End) -> None:
        await end.stream.send_all(b"before")
        assert await end.far.take(6) == b"before"
        end.stream.abort()
        with pytest.raises(ConnectionResetError):
            await end.far.take(1)

    over(make, tmp_path, body)


@having()
def test_wait_acknowledged_returns_at_once_if_all_is_acknowledged(make: Make, tmp_path: Path) -> None:
    async def body(end: End) -> None:
        await end.stream.wait_acknowledged()
        await end.stream.send_all(b"a\n")
        assert await end.far.take(2) == b"a\n"
        begun = current_time()
        await end.stream.wait_acknowledged()
        await checkpoint()
        assert current_time() - begun < socket_stream.DELIVERY_SECONDS

    over(make, tmp_path, body)


# --- borrowed descriptors


@having()
def test_borrowed_descriptors_are_neither_changed_nor_closed(make: Make, tmp_path: Path) -> None:
    """The flags live in the open file description, which the shell, ssh or a sibling shares; `over` compares them."""

    async def body(end: End) -> None:
        before = [os.fstat(number).st_ino for number in end.borrowed]
        assert not any(flags & os.O_NONBLOCK for flags in end.flags().values())
        await end.far.give(b"a\n")
        assert await end.stream.receive_some() == b"a\n"
        if make is not stdio_files:
            assert end.stream.receive_nowait(10) is None
        await end.stream.send_all(b"b\n")
        end.stream.close()
        assert [os.fstat(number).st_ino for number in end.borrowed] == before

    over(make, tmp_path, body)


@pytest.mark.parametrize("make", [pytest.param(m, id=m.__name__) for m in kinds() if m.__name__.startswith("stdio")])
def test_an_ended_stdio_sink_cannot_be_written_by_accident(make: Make, tmp_path: Path) -> None:
    """Its number stays in use, so that a stray print does not reach the next file that is opened."""

    async def body(end: End) -> None:
        end.stream.send_eof()
        with pytest.raises(OSError):
            os.write(end.borrowed[1], b"stray")

    async def main() -> None:
        async with opened(make, tmp_path) as end:
            await body(end)

    go(main)


@pytest.mark.parametrize("allowed", [pytest.param(True, marks=pytest.mark.linux("/proc")), False], ids=["opened anew", "after su"])
def test_a_terminal_full_of_newlines_does_not_block(allowed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each newline becomes two bytes on output, so a write may block although the terminal has room for a part of it."""
    if not allowed:
        monkeypatch.setattr(stdio, "_reopened", lambda terminal: terminal)

    async def body(end: End) -> None:
        mode = termios.tcgetattr(end.borrowed[1])
        mode[1] = termios.OPOST | termios.ONLCR
        termios.tcsetattr(end.borrowed[1], termios.TCSANOW, mode)
        sent = 0
        while count := end.stream.send_nowait(b"\n" * 1000):
            sent += count
        assert await end.far.take(2 * sent) == b"\r\n" * sent
        await end.stream.send_all(b"more\n")
        assert await end.far.take(6) == b"more\r\n"

    over(stdio_terminal, tmp_path, body)


@pytest.mark.parametrize("allowed", [pytest.param(True, marks=pytest.mark.linux("/proc")), False], ids=["opened anew", "after su"])
def test_a_long_write_to_a_pipe_does_not_block(allowed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not allowed:
        monkeypatch.setattr(stdio, "_reopened", lambda pipe: pipe)
    data = bytes(range(256)) * 1024

    async def body(end: End) -> None:
        sent = first = end.stream.send_nowait(data)
        assert (first > stdio.SAFE_WRITE) == allowed
        while count := end.stream.send_nowait(data[sent:]):
            sent += count
        assert os.get_blocking(end.borrowed[1])
        assert await end.far.take(sent) == data[:sent]
        await end.stream.send_all(data[:10000])
        end.stream.send_eof()
        assert await end.far.take_rest() == data[:10000]

    over(stdio_pipes, tmp_path, body)


def test_a_closed_stdin_reads_as_eof(tmp_path: Path) -> None:
    """The parent process closed it, and a file that cannot be read has its number now."""
    with ExitStack() as stack:
        numbers = [os.open("/dev/null", os.O_WRONLY), os.open("/dev/null", os.O_RDONLY)]
        for number in numbers:
            stack.callback(os.close, number)

        async def main() -> None:
            stream = Stdio(*numbers)
            assert await stream.receive_some() == b""
            with pytest.raises(OSError, match="Bad file descriptor"):
                await stream.send_all(b"a")
            stream.close()

        go(main)


# --- sockets only


def test_wait_acknowledged_waits_for_a_slow_reader_before_an_abort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as some data is acknowledged within the limit, however long all of it takes; the abort then loses nothing."""
    monkeypatch.setattr(socket_stream, "DELIVERY_SECONDS", 0.5)

    async def body(end: End) -> None:
        sent, got, source = 0, bytearray(), lines(1 << 24)
        while count := end.stream.send_nowait(source[sent : sent + 65536]):
            sent += count
        assert sent < len(source)

        async def read_slowly() -> None:
            begun = current_time()
            while len(got) < sent:
                got.extend(await end.far.take(min(sent // 10, sent - len(got))))
                with move_on_after(0.08):
                    await Event().wait()
            assert current_time() - begun > socket_stream.DELIVERY_SECONDS

        async with Nursery() as nursery:
            nursery.start_soon(read_slowly)
            await end.stream.wait_acknowledged()
            end.stream.abort()
        assert bytes(got) == source[:sent]

    over(tcp, tmp_path, body)


def test_wait_acknowledged_gives_up_on_a_peer_that_does_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_stream, "DELIVERY_SECONDS", 0.05)

    async def body(end: End) -> None:
        while end.stream.send_nowait(bytes(65536)):
            pass
        await end.stream.wait_acknowledged()

    over(tcp, tmp_path, body)


def test_wait_acknowledged_does_not_wait_for_a_peer_that_is_gone(tmp_path: Path) -> None:
    async def body(end: End) -> None:
        while end.stream.send_nowait(bytes(65536)):
            pass
        broken = Event()
        end.stream.on_broken(broken.set)
        end.far.reset()
        await broken.wait()
        begun = current_time()
        await end.stream.wait_acknowledged()
        await checkpoint()
        assert current_time() - begun < socket_stream.DELIVERY_SECONDS / 2

    over(tcp, tmp_path, body)
