"""One tunnel of a connection: bytes in frames of any size and windows of any size, its ends, and the memory that it holds."""

import gc
import random
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.proto.http2 import wire
from tests.stream.background import in_background
from tests.stream.ends import SECONDS, End, FarSocket, go, http2_pair, tcp_pair
from tests.stream.http2_wire import WIDE, Wired, settle
from tests.stream.tunnels import Tunnel
from tunnelctl.engine.kernel import ClosedResourceError, Nursery, checkpoint, current_time, move_on_after
from tunnelctl.proto.http2.frame import ErrorCode
from tunnelctl.proto.http2.window import BUDGET, FIRST_STREAM_WINDOW, WindowBudget
from tunnelctl.stream.base import CHUNK
from tunnelctl.stream.http2 import stream as stream_module
from tunnelctl.stream.http2.connection import READ
from tunnelctl.stream.http2.stream import LEAST_VIEW
from tunnelctl.stream.relay import TimeLimits
from tunnelctl.stream.socket_stream import DELIVERY_SECONDS, SocketStream

MIB = 1 << 20
NOISE = random.Random(2).randbytes(4 * MIB)
BOTH = pytest.mark.parametrize("client", [True, False], ids=["client", "server"])


# --- scatter and gather: between a socket and a stream


async def relayed(client: bool, **options: int) -> tuple[Tunnel, Any]:
    """Starts a relay between an HTTP/2 stream on the left and a socket on the right."""
    pair = await http2_pair(client, False, **options)
    stream, far = await pair.open()
    near, other = tcp_pair()
    made = Tunnel(End(stream, far), End(SocketStream(near), FarSocket(other)), b"", b"", TimeLimits())
    in_background(made.run)
    return made, pair


async def exchange(tun: Tunnel, there: bytes, back: bytes, limits: list[int]) -> None:
    """Sends in both directions at once, up to the end of both, and takes in pieces of these sizes."""

    async def give(far: Any, data: bytes) -> None:
        await far.give(data)
        await far.end_output()

    async def take(far: Any, data: bytes) -> None:
        got, place = bytearray(), 0
        while piece := await far.take(limits[place % len(limits)]):
            got += piece
            place += 1
        assert got == data

    async with Nursery() as nursery:
        nursery.start_soon(give, tun.client, there)
        nursery.start_soon(give, tun.target, back)
        nursery.start_soon(take, tun.target, there)
        nursery.start_soon(take, tun.client, back)
    assert await tun.outcome() == (len(there), len(back), tun._outcome.ended_by, "eof", None)
    tun.target.leave()


@settings(max_examples=25)
@given(
    st.booleans(),
    st.sampled_from([16_384, 16_385, 65_536, 100_000]),
    st.one_of(st.sampled_from([1000, 16_383, 16_384, 65_527, 65_535, MIB]), st.integers(1000, MIB)),
    st.lists(st.sampled_from([1, 5000, 65_536, 300_000]), min_size=1, max_size=4),
    st.integers(0, 600_000),
    st.integers(0, 600_000),
)
def test_bytes_are_the_same_at_any_size_of_frames_and_windows(
    client: bool, frame: int, window: int, limits: list[int], there: int, back: int
) -> None:
    """A window that closes in the middle of a read says nothing about the socket: a lost wake-up would hang here."""

    async def main() -> None:
        tun, _ = await relayed(client, window=window, frame=frame)
        await exchange(tun, NOISE[:there], NOISE[MIB : MIB + back], [max(limit, 1 + back // 2000) for limit in limits])

    go(main)


@pytest.mark.parametrize("window", [1, 2, 7, 100])
def test_bytes_are_the_same_with_a_window_of_almost_nothing(window: int) -> None:
    async def main() -> None:
        tun, _ = await relayed(False, window=window)
        await exchange(tun, NOISE[:3000], NOISE[5000 : 5000 + 150 * window], [1 << 16])

    go(main)


@settings(max_examples=60)
@given(
    st.sampled_from([16_384, 16_385, 30_000, 65_526, 65_527, 65_528, 65_536, 100_000]),
    st.integers(1, 80_000),
    st.lists(st.integers(0, CHUNK), min_size=1, max_size=8),
)
def test_slots_become_frames_whatever_part_of_them_is_filled(frame_size: int, window: int, counts: list[int]) -> None:
    async def main() -> None:
        wired = Wired()
        await wired.start(wire.settings((4, window), (5, frame_size)), wire.window_update(0, 1 << 24))
        (stream,) = await wired.open()
        expected, left = b"", window
        for count in counts:
            slots = stream.slots()
            assert sum(map(len, slots)) <= left
            assert bool(slots) == (left > 0)
            if not slots:
                await wired.hear(wire.window_update(1, window))
                left = window
                slots = stream.slots()
            data = NOISE[len(expected) : len(expected) + min(count, sum(map(len, slots)))]
            rest = data
            for slot in slots:
                slot[: len(rest)] = rest[: len(slot)]
                rest = rest[len(slot) :]
            stream.filled(len(data))
            expected += data
            left -= len(data)
            await settle(3)
        stream.send_eof()
        await settle()
        sent = wired.sent()
        assert max([len(frame.payload) for frame in sent], default=0) <= min(frame_size, CHUNK)
        assert b"".join(frame.payload for frame in sent if frame.kind == wire.DATA) == expected

    go(main)


@given(st.lists(st.one_of(st.integers(1, 100), st.integers(1, 20_000)), max_size=20), st.lists(st.integers(1, 30_000), min_size=1))
@settings(max_examples=60)
def test_pieces_are_the_bytes_that_have_arrived(sizes: list[int], takes: list[int]) -> None:
    async def main() -> None:
        wired = Wired()
        await wired.start()
        (stream,) = await wired.open()
        frames, expected = [], b""
        for size in sizes:
            size = min(size, 200_000 - len(expected))
            frames.append(wire.data(1, NOISE[len(expected) : len(expected) + size]))
            expected += NOISE[len(expected) : len(expected) + size]
        half = len(frames) // 2
        expected = b"".join(frame[9:] for frame in frames[:half]) + b"and" + b"".join(frame[9:] for frame in frames[half:])
        await wired.hear(b"".join([*frames[:half], wire.data(1, b"and")]), *frames[half:], wire.data(1, end=True))
        got, place = b"", 0
        while pieces := stream.pieces():
            whole = b"".join(pieces)
            assert len(whole) == stream._held_size
            count = min(takes[place % len(takes)], len(whole))
            got += whole[:count]
            if place % 2:
                stream.took(count)
            else:
                assert stream.receive_nowait(count) == whole[:count]
            place += 1
        assert got == expected
        assert stream.pieces() == []

    go(main)


# --- ends


@BOTH
def test_an_abort_follows_the_data_in_the_queue(client: bool) -> None:
    async def main() -> None:
        wired = Wired(client)
        await wired.start(*WIDE)
        (stream,) = await wired.open()
        wired.wire.unblock(0)
        for size in (10, CHUNK):
            stream.send_nowait(NOISE[:size])
        stream.abort()
        await settle()
        wired.wire.unblock()
        await settle()
        assert wired.sent_on(1) == [NOISE[:10] + NOISE[:CHUNK], ErrorCode.CANCEL if client else ErrorCode.CONNECT_ERROR]

    go(main)


@BOTH
@pytest.mark.parametrize("ended", [True, False])
def test_close_ends_our_direction_and_resets_only_what_the_peer_has_not_ended(client: bool, ended: bool) -> None:
    async def main() -> None:
        wired = Wired(client)
        await wired.start()
        (stream,) = await wired.open()
        stream.send_nowait(b"last")
        if ended:
            await wired.hear(wire.data(1, b"their last", end=True))
        stream.close()
        await settle()
        assert wired.sent_on(1) == [b"last", "end", *([] if ended else [ErrorCode.NO_ERROR])]
        if not ended:
            with pytest.raises(ClosedResourceError):
                await stream.wait_readable()

    go(main)


@BOTH
def test_what_arrives_after_a_close_is_credited_to_the_connection(client: bool) -> None:
    """Or its window would leak shut."""

    async def main() -> None:
        wired = Wired(client)
        await wired.start()
        streams = await wired.open(40)
        machine = wired.connection.machine
        for stream in streams:
            await wired.hear(wire.data(stream.number, NOISE[:60_000]))
            stream.abort()
            await wired.hear(wire.data(stream.number, NOISE[:60_000]))
        assert not machine.closed
        window = machine._credit._window
        assert window.left + window.owed == window.size

    go(main)


@BOTH
def test_flush_eof_waits_until_the_end_has_left_the_queue(client: bool) -> None:
    async def main() -> None:
        wired = Wired(client)
        await wired.start(*WIDE)
        (stream,) = await wired.open()
        wired.wire.unblock(0)
        for _ in range(3):
            stream.send_nowait(NOISE[:CHUNK])
        with move_on_after(0.01) as scope:
            await stream.flush_eof()
        assert scope.cancelled_caught
        async with Nursery() as nursery:
            nursery.start_soon(stream.flush_eof)
            nursery.start_soon(stream.flush_eof)
            await settle()
            wired.wire.unblock()
        assert wired.sent_on(1) == [NOISE[:CHUNK] * 3, "end"]
        await stream.flush_eof()

    go(main)


@BOTH
@pytest.mark.parametrize("how", ["reset", "reset without error", "mistake", "lost", "closed"])
def test_flush_eof_and_wait_acknowledged_do_not_wait_for_what_is_never_sent(client: bool, how: str) -> None:
    async def main() -> None:
        wired = Wired(client)
        await wired.start(*WIDE)
        (stream,) = await wired.open()
        if how == "reset without error":  # then our end closes the stream, and the reset only confirms it
            await wired.hear(wire.data(1, b"all", end=True))
        wired.wire.unblock(0)
        for _ in range(3):
            stream.send_nowait(NOISE[:CHUNK])
        begun = current_time()
        async with Nursery() as nursery:
            nursery.start_soon(stream.flush_eof)
            nursery.start_soon(stream.wait_acknowledged)
            await settle()
            if how == "lost":
                wired.connection.give_up(TimeoutError("dead"))
            elif how == "closed":
                stream.close()
                wired.wire.unblock()
            else:
                codes = {"reset": wire.rst_stream(1), "reset without error": wire.rst_stream(1, 0)}
                await wired.hear(codes.get(how, wire.window_update(1, 0)))
                wired.wire.unblock(2 * CHUNK if how == "reset" else 1 << 20)  # what was being sent is completed
        assert current_time() - begun < DELIVERY_SECONDS / 2

    go(main)


def test_wait_acknowledged_gives_up_without_progress_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "DELIVERY_SECONDS", 0.05)

    async def main() -> None:
        wired = Wired()
        await wired.start(*WIDE)
        (stream,) = await wired.open()
        wired.wire.unblock(0)
        for _ in range(3):
            stream.send_nowait(NOISE[:CHUNK])
        begun = current_time()

        async def slowly() -> None:
            for _ in range(3):
                with move_on_after(0.03):
                    await stream.wait_readable()
                wired.wire.unblock(CHUNK + 100)

        async with Nursery() as nursery:
            nursery.start_soon(slowly)
            await stream.wait_acknowledged()
        assert current_time() - begun >= 0.07
        assert not stream.queued
        wired.wire.unblock(0)
        stream.send_nowait(NOISE[:CHUNK])
        await stream.wait_acknowledged()
        assert stream.queued

    go(main)


def test_sending_nothing_is_not_waiting_for_room() -> None:
    async def main() -> None:
        wired = Wired()
        await wired.start()
        (stream,) = await wired.open()
        assert stream.send_nowait(b"") == 0
        await stream.wait_writable()

    go(main)


# --- memory


async def fill(client: bool, sizes: list[int], streams: int, per_stream: int) -> tuple[int, int, Wired]:
    """Sends to streams that nobody reads, and to one between that is read. Returns the bytes sent and the memory taken."""
    wired = Wired(client)
    await wired.start()
    opened = await wired.open(streams + 1)
    reader = opened[-1]
    place, total = 0, 0
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for stream in opened[:-1]:
            sent = 0
            while sent < per_stream:
                block = bytearray()
                while len(block) < 60_000 and sent < per_stream:
                    size = min(sizes[place % len(sizes)], per_stream - sent)
                    block += wire.data(stream.number, bytes(size)) + wire.data(reader.number, bytes(2048))
                    sent += size
                    place += 1
                await hear_all(wired, bytes(block))
                while reader.receive_nowait(CHUNK):
                    pass
                wired.wire.sent.clear()
            total += sent
            assert stream._held_size == sent
        gc.collect()
        return total, tracemalloc.get_traced_memory()[0] - before, wired
    finally:
        tracemalloc.stop()


async def hear_all(wired: Wired, data: bytes) -> None:
    wired.wire.deliver(data)
    while wired.wire._arrived or wired.connection.machine.more:
        await checkpoint()
    await settle(2)


@pytest.mark.parametrize("sizes", [[100], [2048], [LEAST_VIEW], [16_000], [1, 5000, 2]], ids=str)
def test_an_unread_stream_holds_little_more_than_its_window(sizes: list[int]) -> None:
    async def main() -> None:
        sent, taken, _ = await fill(True, sizes, 1, FIRST_STREAM_WINDOW)
        assert taken <= sent + READ + CHUNK  # the views of one read, and what a bytearray has to spare

    go(main)


@pytest.mark.parametrize("own", [2000, 180_000], ids=["a small part of the read", "all of it, most of which is taken"])
def test_little_of_a_read_does_not_keep_the_read(own: int) -> None:
    async def main() -> None:
        wired = Wired()
        await wired.start()
        stream, other = await wired.open(2)
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        parts = {other: 200_000 - own, stream: own}
        await hear_all(wired, b"".join(wire.data(each.number, bytes(2000)) * (size // 2000) for each, size in parts.items()))
        for each, takes in ((other, 200_000 - own), (stream, own - 2000)):
            while takes:
                takes -= len(each.receive_nowait(takes) or b"")
        wired.wire.sent.clear()
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert stream._held_size == 2000
        assert taken < 20_000

    go(main)


def test_a_copied_frame_does_not_hide_the_read_that_is_kept() -> None:
    async def main() -> None:
        wired = Wired()
        await wired.start()
        (stream,) = await wired.open()
        await hear_all(wired, b"".join(wire.data(1, bytes(size)) for size in (60_000, 40, 1024)))
        assert stream.receive_nowait(60_039) == bytes(60_039)
        assert stream._held_size == 1025
        assert [type(piece) for piece in stream.pieces() or []] == [bytearray]

    go(main)


def test_views_of_one_read_only_and_of_large_pieces() -> None:
    async def main() -> None:
        wired = Wired()
        await wired.start()
        (stream,) = await wired.open()
        for frames in (wire.data(1, bytes(2000)) * 2, wire.data(1, bytes(2000)) * 2, wire.data(1, bytes(40)) * 100):
            await hear_all(wired, frames)
        assert [type(piece) for piece in stream.pieces() or []] == [memoryview, memoryview, bytearray]
        stream.took(stream._held_size)
        await hear_all(wired, wire.data(1, bytes(40)) * 100)
        assert [type(piece) for piece in stream.pieces() or []] == [bytearray]

    go(main)


def test_a_frame_that_begins_in_the_read_before_is_not_the_reason_to_copy_what_follows() -> None:
    async def main() -> None:
        wired = Wired()
        await wired.start()
        (stream,) = await wired.open()
        frame = wire.data(1, NOISE[:16_384])
        wired.wire.deliver(frame[:-500])
        while wired.wire._arrived:
            await checkpoint()
        assert stream.receive_nowait(CHUNK) == NOISE[: 16_384 - 500]
        await hear_all(wired, frame[-500:] + frame * 3)
        assert [type(piece) for piece in stream.pieces() or []] == [bytearray] + [memoryview] * 3

    go(main)


def test_single_bytes_are_joined() -> None:
    async def main() -> None:
        sent, taken, _ = await fill(False, [1], 1, 3000)
        assert taken < 50 * sent

    go(main)


@pytest.mark.parametrize("size", [1, 40])
def test_small_pieces_that_arrive_one_by_one_are_joined(size: int) -> None:
    """A piece is most of its read then; a view of each would take eight times as much as the data."""

    async def main() -> None:
        wired = Wired()
        await wired.start()
        (stream,) = await wired.open()
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(2000):
            wired.wire.deliver(wire.data(1, bytes(size)))
        while wired.wire._arrived:
            await checkpoint()
        await settle()
        taken = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert stream._held_size == 2000 * size
        assert taken < 2 * 2000 * size + 20_000

    go(main)


def test_a_thousand_unread_streams_stay_within_the_windows_of_their_connections() -> None:
    """Each connection holds at most its window, and the budget bounds the sum of those."""

    async def main() -> None:
        budget = WindowBudget(8 * MIB)
        connections = []
        for _ in range(10):
            wired = Wired(False, budget)
            await wired.start()
            await wired.open(100)
            connections.append(wired)
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        allowed = 0
        for wired in connections:
            window = wired.connection.machine._credit._window
            while window.left > 16_384:
                for stream in wired.opened:
                    if window.left > 16_384:
                        await hear_all(wired, wire.data(stream.number, bytes(8192)))
                        wired.wire.sent.clear()
                if wired.opened[0]._held_size > 40_000:
                    break
            allowed += window.size
        taken = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert allowed <= 8 * MIB + 10 * 65_535
        assert taken <= 1.3 * allowed

    go(main, seconds=3 * SECONDS)


def test_the_budget_is_returned() -> None:
    async def main() -> None:
        budget = WindowBudget()
        wired = Wired(False, budget)
        await wired.start()
        await wired.open()
        assert budget.left < BUDGET
        await wired.hear(b"")
        assert budget.left == BUDGET

    go(main)
