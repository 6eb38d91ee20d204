"""How a tunnel ends when its two sides end or fail: the bytes sent before are delivered and counted."""

import os
import socket
from contextlib import suppress
from errno import ENOSPC
from pathlib import Path

import pytest

from tests.stream.ends import (
    HALVES,
    Far,
    Make,
    http2_client,
    http2_client_tls,
    http2_server,
    http2_server_tls,
    kinds,
    lines,
    stdio,
    stdio_files,
    stdio_pipes,
    stdio_socket,
    stdio_sockets,
    tcp,
    tls,
    tls_1_2,
    tls_server,
    unix,
)
from tests.stream.tunnels import Tunnel, both_ways, lefts, over
from tunnelctl.engine.kernel import Nursery, move_on_after, sleep
from tunnelctl.stream.relay import TimeLimits

# --- both directions end


@lefts(*kinds(HALVES))
def test_the_left_side_ends_first(left: Make, tmp_path: Path) -> None:
    """T1, T2, T3: the end of one direction is passed on, and the other direction goes on until its own end."""

    async def body(tun: Tunnel) -> None:
        await tun.client.give(b"question")
        await tun.client.end_output()
        assert await tun.target.take_rest() == b"question"
        await tun.target.give(b"an answer")
        await tun.target.end_output()
        assert await tun.client.take_rest() == b"an answer"
        assert await tun.outcome() == (8, 9, "left", "eof", None)

    over(tmp_path, body, left=left)


@lefts(*kinds(HALVES))
def test_the_right_side_ends_first(left: Make, tmp_path: Path) -> None:
    async def body(tun: Tunnel) -> None:
        await tun.target.give(b"banner")
        await tun.target.end_output()
        assert await tun.client.take_rest() == b"banner"
        await tun.client.give(b"goodbye, then")
        await tun.client.end_output()
        assert await tun.target.take_rest() == b"goodbye, then"
        assert await tun.outcome() == (13, 6, "right", "eof", None)

    over(tmp_path, body, left=left)


@lefts(*kinds(HALVES))
def test_both_sides_end_without_a_byte(left: Make, tmp_path: Path) -> None:
    async def body(tun: Tunnel) -> None:
        await tun.client.end_output()
        await tun.target.end_output()
        outcome = await tun.outcome()
        assert outcome[:2] + outcome[3:] == (0, 0, "eof", None)
        assert await tun.target.take_rest() == await tun.client.take_rest() == b""

    over(tmp_path, body, left=left)


def test_regular_files_on_the_left(tmp_path: Path) -> None:
    async def body(tun: Tunnel) -> None:
        assert await tun.target.take_rest() == b""
        await tun.target.give(lines(100_000))
        await tun.target.end_output()
        assert await tun.outcome() == (0, 100_000, "left", "eof", None)
        assert await tun.client.take_rest() == lines(100_000)

    over(tmp_path, body, left=stdio_files)


def test_alternating_small_pieces_keep_their_order(tmp_path: Path) -> None:
    async def body(tun: Tunnel) -> None:
        for number in range(100):
            await tun.client.give(b"%d\n" % number)
            assert await tun.target.take_some() == b"%d\n" % number
            await tun.target.give(b"%d!\n" % number)
            assert await tun.client.take_some() == b"%d!\n" % number
        assert tun.relay.moved == [290, 390]

    over(tmp_path, body)


# --- early bytes


@lefts(tcp, unix, tls, tls_server, http2_client, http2_server, http2_server_tls, stdio_pipes, stdio_socket, stdio_sockets)
@pytest.mark.parametrize("size", [1, 70_000, 3_000_000])
def test_early_bytes_come_first_and_are_counted(left: Make, size: int, tmp_path: Path) -> None:
    there, back = lines(size, 1), lines(size, 2)

    async def body(tun: Tunnel) -> None:
        got: dict[str, bytes] = {}

        async def take(name: str, far: object) -> None:
            got[name] = await far.take_rest()  # type: ignore[attr-defined]

        async with Nursery() as nursery:
            nursery.start_soon(take, "target", tun.target)
            nursery.start_soon(take, "client", tun.client)
            await tun.client.give(b"then this")
            await tun.client.end_output()
            await tun.target.give(b"and that")
            await tun.target.end_output()
        outcome = await tun.outcome()
        assert got == {"target": there + b"then this", "client": back + b"and that"}
        assert outcome[:2] == (size + 9, size + 8)
        assert outcome.cause == "eof"

    over(tmp_path, body, left=left, left_early=there, right_early=back)


@lefts(tcp, stdio_pipes)
def test_early_bytes_are_delivered_while_both_sides_are_silent(left: Make, tmp_path: Path) -> None:
    async def body(tun: Tunnel) -> None:
        assert await tun.client.take(6) == b"banner"
        assert tun.relay.moved == [0, 6]

    over(tmp_path, body, left=left, right_early=b"banner")


# --- a reset


@lefts(tcp, unix, tls, tls_1_2, http2_server, http2_server_tls)
@pytest.mark.parametrize("size", [0, 6, 300_000])
def test_a_reset_from_the_left_is_passed_on_after_the_data_before_it(left: Make, size: int, tmp_path: Path) -> None:
    """T4: a reset is passed on as a reset, and nothing that was sent before it is lost."""

    async def body(tun: Tunnel) -> None:
        await both_ways(tun.client, tun.target)
        await tun.target.give(b"unread")
        while tun.relay.moved[1] < 11:
            await sleep(0)
        sent = lines(size)
        async with Nursery() as nursery:

            async def give() -> None:
                await tun.client.give(sent)
                while tun.relay.moved[0] < size + 5:  # a reset discards the data in its sender's own buffer
                    await sleep(0)
                tun.client.reset()

            nursery.start_soon(give)
            assert await tun.target.take(size) == sent
        with pytest.raises(ConnectionResetError):
            await tun.target.take(1)
        outcome = await tun.outcome()
        assert outcome[:4] == (size + 5, 11, "left", "reset")
        assert isinstance(outcome.error, ConnectionResetError)

    over(tmp_path, body, left=left)


@lefts(tcp, unix, http2_server, http2_server_tls, stdio_pipes, stdio_socket)
@pytest.mark.parametrize("size", [0, 6, 300_000])
def test_a_reset_from_the_right_follows_the_data_sent_before_it(left: Make, size: int, tmp_path: Path) -> None:
    """T4 once more. Where the left side cannot be reset, the outcome reports the reset."""

    async def body(tun: Tunnel) -> None:
        await both_ways(tun.client, tun.target)
        sent = lines(size)
        async with Nursery() as nursery:

            async def give() -> None:
                await tun.target.give(sent)
                while tun.relay.moved[1] < size + 5:
                    await sleep(0)
                tun.target.reset()

            nursery.start_soon(give)
            assert await tun.client.take(size) == sent
        if left in (tcp, http2_server, http2_server_tls):
            with pytest.raises(ConnectionResetError):
                await tun.client.take(1)
        outcome = await tun.outcome()
        assert outcome[:4] == (5, size + 5, "right", "reset")
        assert isinstance(outcome.error, ConnectionResetError)

    over(tmp_path, body, left=left)


@lefts(tcp, tls, http2_server)
@pytest.mark.parametrize("right", [tcp, tls, tls_1_2, tls_server, http2_client, http2_client_tls])
def test_a_reset_that_a_write_meets_first_is_not_a_clean_end(left: Make, right: Make, tmp_path: Path) -> None:
    """The kernel reports a reset once, here to a write. A later read returns EOF, which must not be passed on."""

    async def body(tun: Tunnel) -> None:
        await both_ways(tun.client, tun.target)
        await tun.target.give(b"not taken")
        tun.client.reset()
        with pytest.raises(ConnectionResetError):
            await tun.target.take(1)
        outcome = await tun.outcome()
        assert outcome.ended_by == "left"
        assert outcome.cause in ("reset", "gone")

    over(tmp_path, body, left=left, right=right)


@lefts(tcp, stdio_pipes)
def test_a_reset_after_the_other_side_has_ended(left: Make, tmp_path: Path) -> None:
    async def body(tun: Tunnel) -> None:
        await tun.client.give(b"question")
        await tun.client.end_output()
        assert await tun.target.take_rest() == b"question"
        await tun.target.give(b"half an ans")
        assert await tun.client.take(11) == b"half an ans"
        tun.target.reset()
        outcome = await tun.outcome()
        assert outcome[:4] == (8, 11, "right", "reset")

    over(tmp_path, body, left=left)


def test_a_reset_after_eof_is_noticed_while_nothing_moves(tmp_path: Path) -> None:
    """Its EOF has been read, and nothing is written to it: only a watch on the socket notices the reset."""

    async def body(tun: Tunnel) -> None:
        await both_ways(tun.client, tun.target)
        await tun.client.end_output()
        assert await tun.target.take_rest() == b""
        tun.client.reset()
        assert (await tun.outcome())[:4] == (5, 5, "left", "gone")
        with pytest.raises(BrokenPipeError):  # a reset follows the FIN; after a plain close, a first write would still succeed
            await tun.target.give(b"answer")

    over(tmp_path, body)


def test_a_reset_after_eof_is_noticed_on_the_right_too(tmp_path: Path) -> None:
    async def body(tun: Tunnel) -> None:
        await both_ways(tun.client, tun.target)
        await tun.target.end_output()
        assert await tun.client.take_rest() == b""
        tun.target.reset()
        assert (await tun.outcome())[:4] == (5, 5, "right", "gone")
        with pytest.raises(BrokenPipeError):
            await tun.client.give(b"question")

    over(tmp_path, body)


def test_a_reset_waits_for_a_peer_that_reads_slowly(tmp_path: Path) -> None:
    """The relay owes the peer the whole of a full send queue, and an immediate abort would discard it."""

    async def body(tun: Tunnel) -> None:
        sent = lines(1_500_000)
        await tun.target.give(sent)
        while tun.relay.moved[1] < len(sent):
            await sleep(0)
        tun.target.reset()
        with move_on_after(0.05):  # time in which a hasty relay would have aborted
            await tun.outcome()
        assert await tun.client.take(len(sent)) == sent
        with pytest.raises(ConnectionResetError):
            await tun.client.take(1)

    over(tmp_path, body)


# --- a sink fails


def test_an_early_response_before_a_close_with_unread_data_is_complete(tmp_path: Path) -> None:
    """A web server responds 413 and closes: for the unread data its kernel sends a reset, right behind the response."""
    answer = lines(30_000)  # fits into the first window: the rest would be lost at the target itself

    async def body(tun: Tunnel) -> None:
        got = []

        async def upload() -> None:
            try:
                while True:
                    await tun.client.give(bytes(65536))
            except (BrokenPipeError, ConnectionResetError):
                pass

        async def read() -> None:
            got.append(await tun.client.take(len(answer)))

        async with Nursery() as nursery:
            nursery.start_soon(upload)
            nursery.start_soon(read)
            assert await tun.target.take(100_000) == bytes(100_000)
            await tun.target.give(answer)
            tun.target.leave()
        assert got == [answer]
        outcome = await tun.outcome()
        assert (outcome.backward, outcome.ended_by) == (len(answer), "right")
        assert outcome.cause in ("gone", "reset")  # depending on which pump meets it first

    over(tmp_path, body)


def test_a_client_that_leaves_before_the_response(tmp_path: Path) -> None:
    """Its close looks like a half-close at first. The response provokes a reset, and the target is reset in turn."""

    async def body(tun: Tunnel) -> None:
        await tun.client.give(b"question")
        tun.client.leave()
        assert await tun.target.take_rest() == b"question"
        await tun.target.give(b"answer")
        with suppress(ConnectionResetError, BrokenPipeError):
            while True:
                await tun.target.give(b"more of it")
                await sleep(0.001)
        outcome = await tun.outcome()
        assert (outcome.forward, outcome.ended_by, outcome.cause) == (8, "left", "gone")

    over(tmp_path, body)


def test_a_target_that_stops_reading_can_still_send(tmp_path: Path) -> None:
    """A failed write ends only its own direction; the half-closed limit applies to the other one from then on (T6)."""

    async def body(tun: Tunnel) -> None:
        await both_ways(tun.client, tun.target)
        tun.target.sock.shutdown(socket.SHUT_RD)
        await tun.client.give(b"in vain")
        await sleep(0.01)
        await tun.target.give(b"still speaking")
        assert await tun.client.take(14) == b"still speaking"
        outcome = await tun.outcome()
        assert outcome[:4] == (5, 19, "right", "half-closed")
        assert isinstance(outcome.error, BrokenPipeError)

    over(tmp_path, body, right=unix, limits=TimeLimits(half_closed=0.5))


def test_eof_after_a_failed_write_is_not_a_clean_end(tmp_path: Path) -> None:
    async def body(tun: Tunnel) -> None:
        await both_ways(tun.client, tun.target)
        tun.target.sock.shutdown(socket.SHUT_RD)
        await tun.client.give(b"in vain")
        await sleep(0.01)
        await tun.target.give(b"last")
        await tun.target.end_output()
        assert await tun.client.take(4) == b"last"
        with pytest.raises(ConnectionResetError):
            await tun.client.take(1)
        assert (await tun.outcome())[:4] == (5, 9, "right", "gone")

    over(tmp_path, body, right=unix)


def test_a_unix_client_that_leaves_is_noticed_at_once(tmp_path: Path) -> None:
    async def body(tun: Tunnel) -> None:
        await both_ways(tun.client, tun.target)
        await tun.client.give(b"last")
        tun.client.leave()
        assert await tun.target.take(4) == b"last"
        assert (await tun.outcome())[:4] == (9, 5, "left", "gone")

    over(tmp_path, body, left=unix)


def full_device(directory: Path) -> object:
    """Makes stdin a pipe and stdout a full disk."""
    source, give = os.pipe()
    take, unused = os.pipe()
    os.close(unused)
    return stdio(source, os.open("/dev/full", os.O_WRONLY), Far(take, give))


def test_a_full_disk_ends_the_tunnel_at_once_with_its_error(tmp_path: Path) -> None:
    async def body(tun: Tunnel) -> None:
        await tun.target.give(b"too much")
        outcome = await tun.outcome()
        assert outcome[:4] == (0, 0, "left", "gone")
        assert outcome.error is not None
        assert outcome.error.errno == ENOSPC
        with pytest.raises(ConnectionResetError):
            await tun.target.take(1)

    over(tmp_path, body, left=full_device)
