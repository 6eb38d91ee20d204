"""How a tunnel ends otherwise: its reader vanishes, ssh hangs up, a limit strikes, something outside cancels it."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import product
from math import inf
from pathlib import Path
from typing import Any

import pytest

from tests.stream.ends import (
    Make,
    go,
    lines,
    stdio_pipes,
    stdio_socket,
    stdio_sockets,
    stdio_terminal,
    tcp,
    tls,
    tls_1_2,
    unix,
)
from tests.stream.tunnels import Tunnel, both_ways, lefts, over, tunnel
from tunnelctl.engine.kernel import Nursery, current_time, move_on_after, sleep
from tunnelctl.engine.sync import Event
from tunnelctl.stream import relay as relay_module
from tunnelctl.stream import socket_stream
from tunnelctl.stream.relay import TimeLimits

# --- a sink vanishes


@lefts(stdio_pipes, stdio_sockets, stdio_terminal)
def test_vanished_reader_of_stdout_ends_it_though_nothing_is_written(
    left: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """stdin stays open, so it is cut off: an abort, not an end."""

    async def body(tun: Tunnel) -> None:
        await both_ways(tun.client, tun.target)
        if left is stdio_terminal:
            tun.client.leave()  # its two directions go together
        elif left is stdio_sockets:
            tun.client._close_one(tun.client.reader, tun.client._reading)
        else:
            tun.client._close(tun.client.source, tun.client._reading)
        outcome = await tun.outcome()
        assert (outcome.forward, outcome.backward) == (5, 5)
        if left is stdio_terminal:
            assert outcome.ended_by == "left"
            return
        assert outcome[2:4] == ("left", "gone")
        assert isinstance(outcome.error, BrokenPipeError)
        with pytest.raises(ConnectionResetError):
            await tun.target.take(1)

    over(tmp_path, body, left=left)


def test_vanished_reader_of_stdout_in_a_flood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(tun: Tunnel) -> None:
        async def flood() -> None:
            with suppress(BrokenPipeError, ConnectionResetError):
                while True:
                    await tun.target.give(bytes(65536))

        async with Nursery() as nursery:
            nursery.start_soon(flood)
            assert len(await tun.client.take(1 << 20)) == 1 << 20
            tun.client._close(tun.client.source, tun.client._reading)
            outcome = await tun.outcome()
        assert outcome[2:4] == ("left", "gone")
        assert isinstance(outcome.error, BrokenPipeError)

    over(tmp_path, body, left=stdio_pipes)


@pytest.mark.parametrize("right", [tcp, tls, tls_1_2], ids=lambda make: make.__name__)
@pytest.mark.parametrize("how", ["vanished", "hung up", "both"])
@pytest.mark.parametrize("size", [0, 20, 60_000])
def test_last_words_of_one_who_leaves_are_delivered_and_the_end_is_clean(how: str, size: int, right: Make, tmp_path: Path) -> None:
    """ssh writes its farewell, closes both pipes and sends SIGHUP, all at one moment; no server is to see a reset for that."""

    async def body(tun: Tunnel) -> None:
        await both_ways(tun.client, tun.target)
        await tun.client.give(lines(size))
        if how != "hung up":
            tun.client._close(tun.client.source, tun.client._reading)
        await tun.client.end_output()
        if how != "vanished":
            tun.relay.hang_up()
        assert await tun.target.take_rest() == lines(size)
        outcome = await tun.outcome()
        assert (outcome.forward, outcome.ended_by) == (size + 5, "left")
        assert outcome.cause == ("gone" if how == "vanished" else outcome.cause)

    over(tmp_path, body, left=stdio_pipes, right=right)


def test_last_words_come_after_the_piece_that_was_in_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over TLS bytes go through us, and the pump may be stopped while the sink is full."""
    monkeypatch.setattr(relay_module, "LAST_WORDS_SECONDS", 5)
    sent = lines(8 << 20)

    async def body(tun: Tunnel) -> None:
        async def give() -> None:
            await tun.client.give(sent)
            await tun.client.end_output()

        async with Nursery() as nursery:
            nursery.start_soon(give)
            while tun.relay._forward is None or not tun.relay._forward.rest:
                await sleep(0)
            tun.relay.hang_up()
            assert await tun.target.take_rest() == sent
        assert (await tun.outcome())[:4] == (len(sent), 0, "left", "hangup")

    over(tmp_path, body, left=stdio_pipes, right=tls)


def test_last_words_are_delivered_though_something_unread_lies_in_the_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing a socket with unread data resets it, and what still waits in its send queue is lost."""
    monkeypatch.setattr(relay_module, "LAST_WORDS_SECONDS", 1)

    async def body(tun: Tunnel) -> None:
        sent = lines(3 << 20)

        async def give() -> None:
            await tun.client.give(sent)
            await tun.client.end_output()

        async with Nursery() as nursery:
            nursery.start_soon(give)
            while not tun.relay.moved[0]:
                await sleep(0)
            tun.client._close(tun.client.source, tun.client._reading)
            await sleep(0.01)
            await tun.target.give(b"never read")
            got = bytearray()
            while len(got) < len(sent):
                got += await tun.target.take(100_000)
                await sleep(0)
            assert got == sent

    over(tmp_path, body, left=stdio_pipes)


def test_hanging_up_while_stdin_stays_open_is_an_abort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was cut off must not look complete."""

    async def body(tun: Tunnel) -> None:
        await both_ways(tun.client, tun.target)
        await tun.client.give(b"half a sen")
        tun.relay.hang_up()
        assert await tun.target.take(10) == b"half a sen"
        with pytest.raises(ConnectionResetError):
            await tun.target.take(1)
        assert (await tun.outcome())[:4] == (15, 5, "left", "hangup")

    over(tmp_path, body, left=stdio_pipes)


def test_hanging_up_after_the_right_has_ended(tmp_path: Path) -> None:
    """A server that logs out first: by the time ssh leaves, its direction is over."""

    async def body(tun: Tunnel) -> None:
        await tun.target.end_output()
        assert await tun.client.take_rest() == b""
        await tun.client.give(b"bye")
        await tun.client.end_output()
        tun.relay.hang_up()
        assert await tun.target.take_rest() == b"bye"

    over(tmp_path, body, left=stdio_pipes)


def test_last_words_are_not_put_before_early_bytes_that_could_not_be_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_stream, "DELIVERY_SECONDS", 0.1)
    early = lines(1 << 24)

    async def body(tun: Tunnel) -> None:
        await tun.client.give(b"last")
        await tun.client.end_output()
        while not tun.relay.moved[0]:
            await sleep(0)
        tun.relay.hang_up()
        got = bytearray()
        with suppress(ConnectionResetError):
            while piece := await tun.target.take_some():
                got += piece
            raise AssertionError("that looked like a clean end")
        assert early.startswith(got)

    over(tmp_path, body, left=stdio_pipes, left_early=early)


def test_the_first_failure_is_the_one_that_is_told(tmp_path: Path) -> None:
    """The target fails first; that the reader of stdout leaves afterwards is no reason to blame it."""

    async def body(tun: Tunnel) -> None:
        await both_ways(tun.client, tun.target)
        tun.relay._failed(tun.relay._right, 0, "gone", ConnectionResetError(104, "Connection reset by peer"))
        tun.client._close(tun.client.source, tun.client._reading)
        outcome = await tun.outcome()
        assert outcome[2:4] == ("right", "gone")
        assert isinstance(outcome.error, ConnectionResetError)

    over(tmp_path, body, left=stdio_pipes)


# --- limits


def every_way(directory: Path, body: Callable[[Tunnel, Any, Any], Awaitable[None]], limits: TimeLimits) -> None:
    """Runs `body(tunnel, one far end, the other)` at the same time over TCP and over pipes on the left, from either side."""

    async def one_of_them(name: str, left: Make, swapped: bool) -> None:
        (directory / name).mkdir()
        async with tunnel(directory / name, left, limits=limits) as tun:
            await body(tun, *((tun.target, tun.client) if swapped else (tun.client, tun.target)))

    async def main() -> None:
        async with Nursery() as nursery:
            for number, (left, swapped) in enumerate(product((tcp, stdio_pipes), (False, True))):
                nursery.start_soon(one_of_them, str(number), left, swapped)

    go(main)


def test_idle_limit_aborts(tmp_path: Path) -> None:
    """T6."""

    async def body(tun: Tunnel, one: Any, other: Any) -> None:
        await both_ways(one, other)
        begun = current_time()
        with pytest.raises(ConnectionResetError):
            await tun.target.take(1)
        assert current_time() - begun >= 0.09
        assert await tun.outcome() == (5, 5, "", "idle", None)

    every_way(tmp_path, body, TimeLimits(idle=0.1))


def test_idle_limit_starts_anew_with_every_byte_in_either_direction(tmp_path: Path) -> None:
    async def body(tun: Tunnel, one: Any, other: Any) -> None:
        for _ in range(3):
            await one.give(b".")
            assert await other.take(1) == b"."
            await sleep(0.05)
        assert (await tun.outcome()).cause == "idle"

    every_way(tmp_path, body, TimeLimits(idle=0.12))


def test_slow_reader_is_not_idle(tmp_path: Path) -> None:
    """One piece may take longer than the limit, as long as some of it goes on."""

    async def body(tun: Tunnel) -> None:
        sent = lines(1 << 24)
        got = bytearray()

        async def give() -> None:
            await tun.target.give(sent)

        async with Nursery() as nursery:
            nursery.start_soon(give)
            for _ in range(5):
                got += await tun.client.take(1 << 20)
                await sleep(0.07)
            nursery.cancel_scope.cancel()
        assert sent.startswith(got)
        assert not tun.ended.is_set()

    over(tmp_path, body, limits=TimeLimits(idle=0.25))


def test_half_closed_limit_aborts_the_rest(tmp_path: Path) -> None:
    """T6: a limit of its own, which starts when one direction ends, and anew with every byte of the other."""

    async def body(tun: Tunnel, one: Any, other: Any) -> None:
        with move_on_after(0.11):
            await tun.outcome()
        await both_ways(one, other)
        await one.end_output()
        assert await other.take_rest() == b""
        for _ in range(3):
            await other.give(b".")
            assert await one.take(1) == b"."
            await sleep(0.04)
        side = "left" if one is tun.client else "right"
        assert await tun.outcome() == (tun.relay.moved[0], tun.relay.moved[1], side, "half-closed", None)

    every_way(tmp_path, body, TimeLimits(half_closed=0.1))


@pytest.mark.parametrize("side", ["left", "right"])
def test_reset_of_one_that_is_not_read_is_not_kept_for_ever(side: str, tmp_path: Path) -> None:
    """What it sent is owed to the other side, which takes nothing. A client that fills a tunnel and resets it pays for nothing any
    more, and is not to hold two descriptors and a pipe until the idle limit strikes."""

    async def body(tun: Tunnel) -> None:
        one, other = (tun.client, tun.target) if side == "left" else (tun.target, tun.client)
        before = [-1, -1]
        with move_on_after(5):
            async with Nursery() as nursery:
                nursery.start_soon(one.give, lines(1 << 24))
                while before != tun.relay.moved:
                    before = list(tun.relay.moved)
                    await sleep(0.02)
                nursery.cancel_scope.cancel()
        one.reset()
        outcome = await tun.outcome()
        assert (outcome.cause, outcome.ended_by) == ("half-closed", side)
        with pytest.raises(ConnectionResetError):
            while await other.take_some():
                pass

    over(tmp_path, body, limits=TimeLimits(half_closed=0.05))


def test_no_limit_is_no_limit(tmp_path: Path) -> None:
    """T6: off means off, for each of them."""

    async def body(tun: Tunnel) -> None:
        await tun.client.end_output()
        assert await tun.target.take_rest() == b""
        assert tun.relay._scope.deadline == inf

    over(tmp_path, body)


def test_farewell_limit_counts_as_the_end_of_the_left(tmp_path: Path) -> None:
    async def body(tun: Tunnel) -> None:
        await tun.target.give(b"bye")
        await tun.target.end_output()
        assert await tun.client.take_rest() == b"bye"
        await tun.client.give(b"late")
        assert await tun.target.take(4) == b"late"
        assert await tun.outcome() == (4, 3, "right", "eof", None)
        assert await tun.target.take_rest() == b""

    over(tmp_path, body, left=stdio_pipes, limits=TimeLimits(after_remote_eof=0.05))


def test_farewell_of_nothing_ends_it_at_once(tmp_path: Path) -> None:
    """On a terminal: nobody waits for a last line to be typed."""

    async def body(tun: Tunnel) -> None:
        await tun.target.give(b"bye\n")
        await tun.target.end_output()
        assert await tun.client.take(4) == b"bye\n"
        assert await tun.outcome() == (0, 4, "right", "eof", None)

    over(tmp_path, body, left=stdio_terminal, limits=TimeLimits(after_remote_eof=0))


def test_farewell_does_not_concern_the_end_of_the_left(tmp_path: Path) -> None:
    async def body(tun: Tunnel) -> None:
        await tun.client.end_output()
        assert await tun.target.take_rest() == b""
        await sleep(0.05)
        await tun.target.give(b"late answer")
        assert await tun.client.take(11) == b"late answer"

    over(tmp_path, body, left=stdio_pipes, limits=TimeLimits(after_remote_eof=0.01))


# --- from outside


@lefts(tcp, stdio_pipes)
def test_cancelled_tunnel_is_aborted_on_both_sides(left: Make, tmp_path: Path) -> None:
    async def main() -> None:
        async with tunnel(tmp_path, left) as tun:
            await both_ways(tun.client, tun.target)
            async with Nursery() as nursery:
                closed = Event()

                async def see() -> None:
                    with pytest.raises(ConnectionResetError):
                        await tun.target.take(1)
                    if left is tcp:
                        with pytest.raises(ConnectionResetError):
                            await tun.client.take(1)
                    closed.set()

                nursery.start_soon(see)
                tun.relay._scope.cancel()
                await closed.wait()

    go(main)


@lefts(tcp, unix, stdio_pipes, stdio_socket)
def test_cancelled_while_both_sinks_are_full(left: Make, tmp_path: Path) -> None:
    """The descriptors are counted by the fixture: a pipe of the pool that was in use is closed, or is in the pool."""

    async def main() -> None:
        async with tunnel(tmp_path, left) as tun:
            async with Nursery() as nursery:
                nursery.start_soon(tun.client.give, lines(1 << 24))
                nursery.start_soon(tun.target.give, lines(1 << 24))
                before = [-1, -1]
                while before != tun.relay.moved:
                    before = list(tun.relay.moved)
                    await sleep(0.02)
                nursery.cancel_scope.cancel()
            assert all(before)

    go(main)
