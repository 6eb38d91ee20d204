"""Other ends of a tunnel: its reader vanishes, ssh hangs up, a time limit expires, or the caller cancels it."""

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
def test_a_vanished_reader_of_stdout_ends_the_tunnel_without_a_write(
    left: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """stdin stays open, so the tunnel is cut off: the target sees an abort, not an end."""

    async def body(tun: Tunnel) -> None:
        await both_ways(tun.client, tun.target)
        if left is stdio_terminal:
            tun.client.leave()  # closes both directions together
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


def test_a_vanished_reader_of_stdout_during_a_flood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_last_bytes_of_a_leaving_client_are_delivered_with_a_clean_end(how: str, size: int, right: Make, tmp_path: Path) -> None:
    """ssh writes its last bytes, closes both pipes and sends SIGHUP, all at once; the server must not see a reset for that."""

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


def test_last_bytes_follow_the_piece_that_the_pump_still_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With TLS, bytes go through our memory, and hanging up may stop the pump while the sink is full."""
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


def test_last_bytes_are_delivered_despite_unread_data_in_the_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing a socket with unread data resets it, and the data in its send queue is lost."""
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
    """Data that was cut off must not look complete."""

    async def body(tun: Tunnel) -> None:
        await both_ways(tun.client, tun.target)
        await tun.client.give(b"half a sen")
        tun.relay.hang_up()
        assert await tun.target.take(10) == b"half a sen"
        with pytest.raises(ConnectionResetError):
            await tun.target.take(1)
        assert (await tun.outcome())[:4] == (15, 5, "left", "hangup")

    over(tmp_path, body, left=stdio_pipes)


def test_hanging_up_after_the_right_side_has_ended(tmp_path: Path) -> None:
    """A server that logs out first: by the time ssh leaves, the server's direction has ended."""

    async def body(tun: Tunnel) -> None:
        await tun.target.end_output()
        assert await tun.client.take_rest() == b""
        await tun.client.give(b"bye")
        await tun.client.end_output()
        tun.relay.hang_up()
        assert await tun.target.take_rest() == b"bye"

    over(tmp_path, body, left=stdio_pipes)


def test_last_bytes_never_overtake_unsent_early_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_the_outcome_reports_the_first_failure(tmp_path: Path) -> None:
    """The target fails first. That the reader of stdout leaves afterwards does not make it the cause."""

    async def body(tun: Tunnel) -> None:
        await both_ways(tun.client, tun.target)
        tun.relay._failed(tun.relay._right, 0, "gone", ConnectionResetError(104, "Connection reset by peer"))
        tun.client._close(tun.client.source, tun.client._reading)
        outcome = await tun.outcome()
        assert outcome[2:4] == ("right", "gone")
        assert isinstance(outcome.error, ConnectionResetError)

    over(tmp_path, body, left=stdio_pipes)


# --- time limits


def every_way(directory: Path, body: Callable[[Tunnel, Any, Any], Awaitable[None]], limits: TimeLimits) -> None:
    """Runs `body(tunnel, one far end, the other)` from either side, with TCP and with pipes on the left, all at the same time."""

    async def one_of_them(name: str, left: Make, swapped: bool) -> None:
        (directory / name).mkdir()
        async with tunnel(directory / name, left, limits=limits) as tun:
            await body(tun, *((tun.target, tun.client) if swapped else (tun.client, tun.target)))

    async def main() -> None:
        async with Nursery() as nursery:
            for number, (left, swapped) in enumerate(product((tcp, stdio_pipes), (False, True))):
                nursery.start_soon(one_of_them, str(number), left, swapped)

    go(main)


def test_the_idle_limit_aborts(tmp_path: Path) -> None:
    """T6."""

    async def body(tun: Tunnel, one: Any, other: Any) -> None:
        begun = current_time()
        await both_ways(one, other)
        with pytest.raises(ConnectionResetError):
            await tun.target.take(1)
        assert current_time() - begun > 0.3
        assert await tun.outcome() == (5, 5, "", "idle", None)

    every_way(tmp_path, body, TimeLimits(idle=0.3))


def test_the_idle_limit_restarts_with_every_byte_in_either_direction(tmp_path: Path) -> None:
    async def body(tun: Tunnel, one: Any, other: Any) -> None:
        for _ in range(6):
            await one.give(b".")
            assert await other.take(1) == b"."
            await sleep(0.2)
        assert (await tun.outcome()).cause == "idle"

    every_way(tmp_path, body, TimeLimits(idle=1.0))


def test_a_slow_reader_is_not_idle(tmp_path: Path) -> None:
    """One piece may take longer than the limit, as long as some of its bytes move."""

    async def body(tun: Tunnel) -> None:
        sent = lines(1 << 24)
        got = bytearray()

        async def give() -> None:
            await tun.target.give(sent)

        async with Nursery() as nursery:
            nursery.start_soon(give)
            for _ in range(5):
                got += await tun.client.take(1 << 20)
                await sleep(0.25)
            nursery.cancel_scope.cancel()
        assert sent.startswith(got)
        assert not tun.ended.is_set()

    over(tmp_path, body, limits=TimeLimits(idle=1.0))


def test_the_half_closed_limit_aborts_the_other_direction(tmp_path: Path) -> None:
    """T6: a limit of its own, which starts when one direction ends, and restarts with every byte of the other."""

    async def body(tun: Tunnel, one: Any, other: Any) -> None:
        with move_on_after(1.01):
            await tun.outcome()
        await both_ways(one, other)
        await one.end_output()
        assert await other.take_rest() == b""
        for _ in range(3):
            await other.give(b".")
            assert await one.take(1) == b"."
            await sleep(0.35)
        side = "left" if one is tun.client else "right"
        assert await tun.outcome() == (tun.relay.moved[0], tun.relay.moved[1], side, "half-closed", None)

    every_way(tmp_path, body, TimeLimits(half_closed=1.0))


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_reset_peer_is_not_kept_forever_if_the_other_does_not_read(side: str, tmp_path: Path) -> None:
    """The relay owes its bytes to the other side, which reads nothing. A client that fills a tunnel and resets it has no further
    cost, and must not hold two descriptors and a pipe until the idle limit expires."""

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


def test_without_limits_there_is_no_deadline(tmp_path: Path) -> None:
    """T6: off means off, for each limit."""

    async def body(tun: Tunnel) -> None:
        await tun.client.end_output()
        assert await tun.target.take_rest() == b""
        assert tun.relay._scope.deadline == inf

    over(tmp_path, body)


def test_the_limit_after_remote_eof_counts_as_the_end_of_the_left(tmp_path: Path) -> None:
    async def body(tun: Tunnel) -> None:
        await tun.target.give(b"bye")
        await tun.target.end_output()
        assert await tun.client.take_rest() == b"bye"
        await tun.client.give(b"late")
        assert await tun.target.take(4) == b"late"
        assert await tun.outcome() == (4, 3, "right", "eof", None)
        assert await tun.target.take_rest() == b""

    over(tmp_path, body, left=stdio_pipes, limits=TimeLimits(after_remote_eof=0.05))


def test_a_zero_limit_after_remote_eof_ends_the_tunnel_at_once(tmp_path: Path) -> None:
    """On a terminal: the tunnel does not wait for the user to type a last line."""

    async def body(tun: Tunnel) -> None:
        await tun.target.give(b"bye\n")
        await tun.target.end_output()
        assert await tun.client.take(4) == b"bye\n"
        assert await tun.outcome() == (0, 4, "right", "eof", None)

    over(tmp_path, body, left=stdio_terminal, limits=TimeLimits(after_remote_eof=0))


def test_the_limit_after_remote_eof_ignores_the_end_of_the_left(tmp_path: Path) -> None:
    async def body(tun: Tunnel) -> None:
        await tun.client.end_output()
        assert await tun.target.take_rest() == b""
        await sleep(0.05)
        await tun.target.give(b"late answer")
        assert await tun.client.take(11) == b"late answer"

    over(tmp_path, body, left=stdio_pipes, limits=TimeLimits(after_remote_eof=0.01))


# --- the caller cancels


@lefts(tcp, stdio_pipes)
def test_a_cancelled_tunnel_is_aborted_on_both_sides(left: Make, tmp_path: Path) -> None:
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
def test_cancellation_while_both_sinks_are_full(left: Make, tmp_path: Path) -> None:
    """The fixture counts the descriptors: a pooled pipe that was in use is closed, or back in the pool."""

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
