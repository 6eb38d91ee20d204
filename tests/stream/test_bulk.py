"""Moving bytes inside the kernel: when bulk transfer begins and ends, what happens to the pipes, and the bounds on memory."""

import fcntl
import math
import os
import resource
import socket
import struct
import termios
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EMFILE
from pathlib import Path

import pytest

from tests.peers.process import wait_until
from tests.stream.ends import (
    End,
    FarSocket,
    Make,
    go,
    lines,
    stdio_files,
    stdio_pipes,
    stdio_socket,
    stdio_terminal,
    tcp,
    tcp_pair,
    unix,
)
from tests.stream.tunnels import Tunnel, both_ways, tunnel
from tunnelctl.engine.descriptor import Descriptor
from tunnelctl.engine.kernel import Nursery, checkpoint, current_kernel, move_on_after, sleep
from tunnelctl.stream import pump, socket_stream, splice
from tunnelctl.stream.base import CHUNK, Stream
from tunnelctl.stream.pump import BULK, CROWD, ROUNDS_A_TURN, SPLICES_A_TURN, Pump
from tunnelctl.stream.relay import Relay, TimeLimits
from tunnelctl.stream.socket_stream import BULK_RATE, MIN_QUEUE, SocketStream
from tunnelctl.stream.splice import CAPACITY, POOLED, Pipe, enlarge, give_pipe, take_pipe

MIB = 1 << 20


async def through(source: FarSocket, sink: FarSocket, data: bytes) -> None:
    """Sends `data` from one far end to the other and checks that it arrives."""
    async with Nursery() as nursery:
        nursery.start_soon(source.give, data)
        assert await sink.take(len(data)) == data


class Counter:
    """Replaces take_pipe and counts its calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.taken = 0
        monkeypatch.setattr(pump, "take_pipe", self)

    def __call__(self) -> Pipe | None:
        self.taken += 1
        return take_pipe()


# --- bulk begins and ends


def test_small_pieces_never_take_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        count = Counter(monkeypatch)
        async with tunnel(tmp_path) as tun:
            for _ in range(50):
                await both_ways(tun.client, tun.target)
            assert count.taken == 0

    go(main)


@pytest.mark.linux("splice")
def test_a_small_piece_between_socket_and_pipe_takes_one_splice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times, calls = 50, 0

    def counted(source: int, sink: int, limit: int) -> int | None:
        nonlocal calls
        calls += 1
        return splice.splice(source, sink, limit)

    async def main() -> None:
        async with tunnel(tmp_path, stdio_pipes) as tun:
            await both_ways(tun.client, tun.target)
            monkeypatch.setattr(pump, "splice", counted)
            for _ in range(times):
                await both_ways(tun.client, tun.target)
        assert 2 * times <= calls <= 2.5 * times  # a few times, the event of the last piece comes once more

    go(main)


@pytest.mark.linux("splice")
@pytest.mark.parametrize("way", ["there", "back", "both"])
def test_bulk_begins_and_ends_and_returns_its_pipe(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_pool: list[Pipe]
) -> None:
    async def main() -> None:
        count = Counter(monkeypatch)
        async with tunnel(tmp_path) as tun:
            for _ in range(3):
                async with Nursery() as nursery:
                    if way != "back":
                        nursery.start_soon(through, tun.client, tun.target, lines(3 * MIB))
                    if way != "there":
                        nursery.start_soon(through, tun.target, tun.client, lines(3 * MIB, 2))
                assert count.taken > 0
                await settled(tun)
                count.taken = 0
                for _ in range(20):
                    await both_ways(tun.client, tun.target)
                # In each direction, bulk ends with the round that reads the first small piece and the one that finds nothing more.
                assert count.taken <= 4
                assert 1 <= len(own_pool) <= 2
                assert all(empty(pipe) for pipe in own_pool)

    go(main)


async def settled(tun: Tunnel) -> None:
    """Waits until nothing has moved for a few turns."""
    before = None
    while before != tun.relay.moved:
        before = list(tun.relay.moved)
        for _ in range(5):
            await checkpoint()


def empty(pipe: Pipe) -> bool:
    try:
        return not os.read(pipe.reader, 1)
    except BlockingIOError:
        return True


@pytest.mark.linux("splice")
def test_a_message_of_a_full_pipe_is_sent_at_once(tmp_path: Path) -> None:
    """The kernel held the end of each back for up to 200 ms, as if there were more in the pipe."""

    async def main() -> None:
        async with tunnel(tmp_path, stdio_pipes) as tun:
            with move_on_after(1.5) as scope:
                for size in (61_441, 65_400, 1 << 16):
                    for _ in range(10):
                        await through(tun.client, tun.target, bytes(size))
                        await through(tun.target, tun.client, b"k")
            assert not scope.cancelled_caught

    go(main)


@pytest.mark.parametrize("left", [tcp, unix, stdio_pipes, stdio_socket, stdio_terminal])
def test_bulk_in_both_directions_at_once(left: Make, tmp_path: Path) -> None:
    size = MIB // 2 if left is stdio_terminal else 4 * MIB
    there, back = lines(size, 1), lines(size, 2)

    async def main() -> None:
        async with tunnel(tmp_path, left) as tun:
            got = {}

            async def give(far: FarSocket, data: bytes) -> None:
                await far.give(data)
                await far.end_output()

            async def take(name: str, far: FarSocket, size: int) -> None:
                got[name] = await far.take(size)

            async with Nursery() as nursery:
                nursery.start_soon(give, tun.client, there)
                nursery.start_soon(give, tun.target, back)
                nursery.start_soon(take, "target", tun.target, size)
                nursery.start_soon(take, "client", tun.client, size)
            outcome = await tun.outcome()
            assert got == {"target": there, "client": back}
            assert outcome[:2] == (size, size)
            assert outcome.cause == "eof"

    go(main)


def test_file_to_file_through_a_socket(tmp_path: Path) -> None:
    def with_content(directory: Path) -> End:
        end = stdio_files(directory)
        (directory / "given").write_bytes(lines(3 * MIB))
        return end

    async def main() -> None:
        async with tunnel(tmp_path, with_content) as tun:
            assert await tun.target.take_rest() == lines(3 * MIB)
            await tun.target.give(lines(3 * MIB, 2))
            await tun.target.end_output()
            assert (await tun.outcome())[:2] == (3 * MIB, 3 * MIB)
            assert await tun.client.take_rest() == lines(3 * MIB, 2)

    go(main)


# --- the pool


@pytest.mark.linux("splice")
def test_the_pool_keeps_a_few_pipes_and_closes_the_others(own_pool: list[Pipe]) -> None:
    pipes = [take_pipe() for _ in range(POOLED + 3)]
    for pipe in pipes:
        assert pipe is not None
        give_pipe(pipe)
    assert len(own_pool) == POOLED
    assert take_pipe() in pipes
    own_pool.append(pipes[POOLED - 1])  # type: ignore[arg-type]


def test_a_pipe_that_is_not_empty_is_closed_and_not_pooled(tmp_path: Path, own_pool: list[Pipe]) -> None:
    """Its content would come out in another tunnel."""

    async def main() -> None:
        async with tunnel(tmp_path) as tun:
            async with Nursery() as nursery:
                nursery.start_soon(tun.client.give, lines(1 << 24))
                before = [-1, -1]
                while before != tun.relay.moved:  # until the target's side and the pipe are full
                    before = list(tun.relay.moved)
                    await sleep(0.02)
                nursery.cancel_scope.cancel()
            tun.relay._scope.cancel()
            await tun.ended.wait()
        assert own_pool == []

    go(main)


def test_a_pipe_is_closed_when_the_sink_fails(tmp_path: Path, own_pool: list[Pipe]) -> None:
    async def main() -> None:
        async with tunnel(tmp_path) as tun:
            async with Nursery() as nursery:

                async def flood() -> None:
                    with suppress(BrokenPipeError, ConnectionResetError):
                        await tun.client.give(lines(1 << 24))

                nursery.start_soon(flood)
                assert len(await tun.target.take(2 * MIB)) == 2 * MIB
                tun.target.reset()
                outcome = await tun.outcome()
            assert outcome.ended_by == "right"
        assert all(empty(pipe) for pipe in own_pool)

    go(main)


@pytest.mark.linux("splice")
def test_bytes_are_copied_if_no_descriptors_are_left(tmp_path: Path, own_pool: list[Pipe]) -> None:
    async def main() -> None:
        async with tunnel(tmp_path) as tun:
            with no_descriptors_left():
                with pytest.raises(OSError, match="Too many open files") as raised:
                    os.pipe()
                assert raised.value.errno == EMFILE
                await through(tun.client, tun.target, lines(3 * MIB))
                await through(tun.target, tun.client, lines(3 * MIB))
            assert own_pool == []
            await through(tun.client, tun.target, lines(3 * MIB))  # and spliced once descriptors are available again
            assert len(own_pool) == 1

    go(main)


@contextmanager
def no_descriptors_left() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.open("/dev/null", os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 1, before[1]))
    try:
        with suppress(OSError):
            while True:
                taken.append(os.dup(taken[0]))
        yield
    finally:
        for number in taken:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.linux("F_SETPIPE_SZ")
def test_a_pipe_has_the_capacity_for_bulk() -> None:
    pipe = Pipe()
    try:
        assert fcntl.fcntl(pipe.writer, splice.F_GETPIPE_SZ) >= CAPACITY
        assert not os.get_blocking(pipe.reader)
        assert not os.get_blocking(pipe.writer)
    finally:
        pipe.close()


@pytest.mark.linux("F_SETPIPE_SZ")
def test_a_larger_pipe_is_not_shrunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only root can have a larger pipe than we request, and then for a reason."""
    monkeypatch.setattr(splice, "CAPACITY", CAPACITY // 4)
    reader, writer = os.pipe()
    try:
        fcntl.fcntl(writer, splice.F_SETPIPE_SZ, CAPACITY)
        enlarge(writer)
        assert fcntl.fcntl(writer, splice.F_GETPIPE_SZ) == CAPACITY
    finally:
        os.close(reader)
        os.close(writer)


def test_a_refused_capacity_is_not_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splice, "CAPACITY", 1 << 40)
    Pipe().close()


@pytest.mark.linux("F_SETPIPE_SZ")
@pytest.mark.parametrize("end", [0, 1])
def test_pipes_of_stdio_are_enlarged_only_for_bulk(end: int, tmp_path: Path) -> None:
    async def main() -> None:
        async with tunnel(tmp_path, stdio_pipes) as tun:
            number = (tun.client.sink, tun.client.source)[end]
            await both_ways(tun.client, tun.target)
            assert fcntl.fcntl(number, splice.F_GETPIPE_SZ) < CAPACITY
            if end == 0:
                await through(tun.client, tun.target, lines(3 * MIB))
            else:
                await through(tun.target, tun.client, lines(3 * MIB))
            assert fcntl.fcntl(number, splice.F_GETPIPE_SZ) == CAPACITY

    go(main)


# --- urgent data


def give_urgently(far: FarSocket) -> None:
    far.sock.send(b"X", socket.MSG_OOB)


def plain(directory: Path) -> End:
    """Makes a TCP end with the option that listen and dial set."""
    end = tcp(directory)
    end.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)  # type: ignore[attr-defined]
    return end


@pytest.mark.parametrize("left", [tcp, stdio_pipes])
@pytest.mark.parametrize("size", [6, 3 * MIB])
def test_an_urgent_byte_stays_in_place_and_does_not_stop_the_stream(left: Make, size: int, tmp_path: Path) -> None:
    """splice(2) stops in front of it and reports that nothing is there; recv(2) stops there as well, once.

    A relay that believes them spins, or waits forever, or treats the FIN behind it as the end. Any peer can send such a byte, and
    telnet and FTP do (RFC 6093).
    """
    data = lines(size)

    async def main() -> None:
        async with tunnel(tmp_path, left, plain) as tun:
            got = bytearray()
            async with Nursery() as nursery:

                async def give() -> None:
                    for _ in range(3):
                        await tun.target.give(data)
                        give_urgently(tun.target)
                    await tun.target.give(b"after\n")

                nursery.start_soon(give)
                got += await tun.client.take(3 * (size + 1) + 6)
            assert bytes(got) == (data + b"X") * 3 + b"after\n"
            await tun.target.give(b"all")
            await tun.target.end_output()
            assert await tun.client.take(3) == b"all"
            await tun.client.end_output()
            assert (await tun.outcome()).cause == "eof"

    go(main)


def test_an_urgent_byte_before_the_end(tmp_path: Path) -> None:
    """All of it has arrived before the relay reads; splice(2) then reports the urgent byte as the end."""

    async def main() -> None:
        async with tunnel(tmp_path, stdio_pipes, plain) as tun:
            tun.target.sock.send(b"before")
            give_urgently(tun.target)
            tun.target.sock.send(b"after")
            await tun.target.end_output()
            assert await tun.client.take(12) == b"beforeXafter"

    go(main)


# --- memory


def test_an_idle_tunnel_keeps_no_chunk(tmp_path: Path) -> None:
    """After a burst, and after a partial write, in either direction."""

    async def main() -> None:
        async with tunnel(tmp_path) as tun:
            await both_ways(tun.client, tun.target)
            tracemalloc.start()
            try:
                async with Nursery() as nursery:
                    nursery.start_soon(tun.client.give, lines(4 * MIB))
                    nursery.start_soon(tun.target.give, lines(4 * MIB))
                    await sleep(0.05)
                    for far in (tun.client, tun.target):
                        taken = 0
                        while taken < 4 * MIB:
                            taken += len(await far.take_some())
                await settled(tun)
                held = sum(trace.size for trace in tracemalloc.take_snapshot().traces if trace.size > 8192)
            finally:
                tracemalloc.stop()
            assert held < CHUNK

    lines(4 * MIB)  # created and cached before anything is counted
    go(main)


def test_a_tunnel_keeps_nothing_after_a_partial_write(tmp_path: Path) -> None:
    async def main() -> None:
        async with tunnel(tmp_path) as tun:
            await both_ways(tun.client, tun.target)
            given = 0
            tracemalloc.start()
            try:
                # Until the target's side is full. Pieces are smaller than a chunk and go one at a time, so that none is bulk.
                while tun.relay.moved[0] == given + 5:
                    given += 60_000
                    await tun.client.give(lines(60_000))
                    for _ in range(10):
                        await checkpoint()
                assert len(await tun.target.take(given)) == given
                await settled(tun)
                held = sum(trace.size for trace in tracemalloc.take_snapshot().traces if trace.size > 2048)
            finally:
                tracemalloc.stop()
            assert held < 4096

    lines(60_000)
    go(main)


def test_the_source_is_not_read_while_the_sink_does_not_read(tmp_path: Path) -> None:
    """T5: the relay takes no more from the source than the kernel's buffers and one pipe hold."""

    async def main() -> None:
        async with tunnel(tmp_path) as tun:
            given = 0
            tracemalloc.start()
            try:
                with move_on_after(0.1):
                    while True:
                        await tun.client.give(bytes(CHUNK))
                        given += CHUNK
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            assert given < 64 * MIB
            assert peak < MIB

    go(main)


RMEM_MAX = 212_992  # on many systems


@pytest.mark.linux("the round-trip time of TCP_INFO, and its autotuning")
@pytest.mark.parametrize("lockable", [True, False])
@pytest.mark.parametrize(
    ("round_trip", "rmem_max", "tcp_rmem", "locked", "unlocked"),
    [
        (0.0, MIB, 6 * MIB, MIN_QUEUE, MIN_QUEUE),  # loopback
        (0.001, MIB, 6 * MIB, MIN_QUEUE, MIN_QUEUE),
        (0.005, MIB, 6 * MIB, int(0.005 * BULK_RATE), int(0.005 * BULK_RATE)),
        (0.015, MIB, 6 * MIB, int(0.015 * BULK_RATE), None),
        (0.1, MIB, 6 * MIB, None, None),  # the kernel's own growth ends earlier
        (0.0, RMEM_MAX, 6 * MIB, MIN_QUEUE, RMEM_MAX),
        (0.0016, RMEM_MAX, 6 * MIB, MIN_QUEUE, None),
        (0.01, RMEM_MAX, 6 * MIB, int(0.01 * BULK_RATE), None),
        (0.0, RMEM_MAX, RMEM_MAX, None, None),
        (0.0, 0, 6 * MIB, MIN_QUEUE, None),  # a limit is unknown, or both
        (0.0, MIB, 0, MIN_QUEUE, MIN_QUEUE),
        (0.0, 0, 0, MIN_QUEUE, None),
        (0.015, 0, 0, int(0.015 * BULK_RATE), None),
        (0.1, 0, 0, None, None),
    ],
)
def test_m4_the_queue_of_a_bulk_source_is_as_large_as_the_path_needs(
    round_trip: float,
    rmem_max: int,
    tcp_rmem: int,
    locked: int | None,
    unlocked: int | None,
    lockable: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """lockable: whether the system has SO_BUF_LOCK. A size of None is left to the kernel."""
    monkeypatch.setattr(SocketStream, "_round_trip", lambda self: round_trip)
    monkeypatch.setattr(socket_stream, "_rmem_max", lambda: rmem_max)
    monkeypatch.setattr(socket_stream, "_tcp_rmem_max", lambda: tcp_rmem)
    if not lockable:
        monkeypatch.setattr(socket_stream, "SO_BUF_LOCK", 9999)
    wanted = locked if lockable else unlocked

    async def main() -> None:
        near, far = tcp_pair()
        source = SocketStream(near)
        source.expect_bulk()
        assert near.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1
        assert bool(near.getsockopt(socket.SOL_SOCKET, socket_stream.SO_BUF_LOCK if lockable else 72)) == (wanted is not None)
        if wanted is not None:  # SO_RCVBUF is twice as much, for overhead (socket(7)), and TCP adds what it has measured
            assert wanted <= near.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) <= 2.2 * wanted
        source.close()
        far.close()

    go(main)


@pytest.mark.linux("the limits in /proc/sys")
def test_a_limit_that_could_not_be_read_is_read_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_stream, "_numbers", {})
    with no_descriptors_left():
        assert socket_stream._rmem_max() == socket_stream._tcp_rmem_max() == 0
    assert min(socket_stream._rmem_max(), socket_stream._tcp_rmem_max()) > 0


@pytest.mark.linux("the round-trip time of TCP_INFO, and its autotuning")
@pytest.mark.parametrize("rmem_max", [4 * MIB, RMEM_MAX, 0])
def test_m4_the_queue_of_a_bulk_source_shrinks_to_what_the_path_needs(rmem_max: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Autotuning has enlarged it while pieces were smaller than those of bulk."""
    monkeypatch.setattr(SocketStream, "_round_trip", lambda self: 0.0)
    real = socket_stream._rmem_max()
    monkeypatch.setattr(socket_stream, "_rmem_max", lambda: min(rmem_max, real))
    near, far = tcp_pair()

    def size() -> int:
        return near.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    async def main() -> None:
        SocketStream(near).expect_bulk()

    with near, far:
        near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 2 * MIN_QUEUE)  # makes room, as autotuning does
        assert size() > 2 * MIN_QUEUE
        go(main)
        assert MIN_QUEUE <= size() <= 2 * MIN_QUEUE


@pytest.mark.linux("the round-trip time of TCP_INFO, and its autotuning")
@pytest.mark.parametrize("rmem_max", [4 * MIB, RMEM_MAX])
def test_the_peer_of_a_bulk_source_may_fill_its_queue(rmem_max: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue that was enlarged early, with a window that stayed small, made a path of 20 ms a twentieth as fast."""
    round_trip = 0.01
    monkeypatch.setattr(SocketStream, "_round_trip", lambda self: round_trip)
    real = socket_stream._rmem_max()
    monkeypatch.setattr(socket_stream, "_rmem_max", lambda: min(rmem_max, real))
    near, far = tcp_pair()
    size = int(round_trip * BULK_RATE)

    async def main() -> None:
        SocketStream(near).expect_bulk()

    def fill() -> bool:
        with suppress(BlockingIOError):
            while True:
                far.send(bytes(CHUNK))
        return struct.unpack("i", fcntl.ioctl(near, termios.FIONREAD, bytes(4)))[0] >= size // 2

    with near, far:
        go(main)
        wait_until(fill, what="half the queue")


@pytest.mark.linux("the round-trip time of TCP_INFO, and its autotuning")
@pytest.mark.parametrize("rmem_max", [4 * MIB, RMEM_MAX])
def test_m4_the_queue_of_a_bulk_source_stops_growing(rmem_max: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_stream, "_rmem_max", lambda: min(rmem_max, 4 * MIB))

    async def main() -> None:
        async with tunnel(tmp_path) as tun:
            source = tun.relay._left
            assert isinstance(source, SocketStream)
            await both_ways(tun.client, tun.target)
            await through(tun.client, tun.target, lines(8 * MIB))
            assert source.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) <= 2 * MIN_QUEUE

    go(main)


# --- fairness


class Endless(Stream):
    """A source that always has data, and counts its reads; as a sink it accepts everything."""

    __slots__ = ("asked", "size")

    def __init__(self, size: int) -> None:
        self.asked, self.size = 0, size

    def receive_nowait(self, limit: int) -> bytes:
        self.asked += 1
        return bytes(min(self.size, limit))

    def send_nowait(self, data: bytes | memoryview) -> int:
        return len(data)


@pytest.mark.parametrize("size", [10, CHUNK])
def test_a_direction_that_never_waits_lets_other_tasks_run(size: int) -> None:
    async def main() -> None:
        source = Endless(size)
        async with Nursery() as nursery:
            nursery.start_soon(Pump(source, Endless(size), lambda count: None).run)
            for turn in range(1, 20):
                await checkpoint()
                assert source.asked <= turn * ROUNDS_A_TURN
            nursery.cancel_scope.cancel()

    go(main)


class EndlessSocket(Endless):
    """The same, with the readiness that lets one task try both directions."""

    __slots__ = ("descriptor",)

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.descriptor = Descriptor()

    def abort(self) -> None:
        self.descriptor.forget()


def test_two_sides_that_always_have_small_pieces_let_other_tasks_run() -> None:
    async def main() -> None:
        left, right = EndlessSocket(10), EndlessSocket(20)
        async with Nursery() as nursery:
            nursery.start_soon(Relay(left, right, b"", b"", TimeLimits()).run)
            for turn in range(1, 20):
                await checkpoint()
                assert left.asked == right.asked <= turn * ROUNDS_A_TURN
            assert left.asked >= 10 * ROUNDS_A_TURN
            nursery.cancel_scope.cancel()

    go(main)


def test_a_relay_that_is_ended_while_both_sides_have_data_ends() -> None:
    async def main() -> None:
        left, right = EndlessSocket(10), EndlessSocket(20)
        relay = Relay(left, right, b"", b"", TimeLimits())
        async with Nursery() as nursery:
            nursery.start_soon(relay.run)
            await checkpoint()
            relay._end("gone")  # what the watcher of a broken side does, between two turns
            for _ in range(3):
                await checkpoint()
            assert left.descriptor.closed

    go(main)


class Spliced(Endless):
    """The same as a socket, or with a pipe on one side. The descriptors are not real; the test replaces what takes them."""

    __slots__ = ("pipe",)

    def __init__(self, pipe: bool) -> None:
        super().__init__(CHUNK)
        self.pipe = pipe

    def socket_fd(self) -> int | None:
        return None if self.pipe else -1

    def source_pipe(self) -> int | None:
        return -2 if self.pipe else None


@pytest.mark.linux("splice")
@pytest.mark.parametrize(
    ("direct", "waiting", "in_a_row"), [(True, 0, SPLICES_A_TURN), (False, CROWD, SPLICES_A_TURN), (False, CROWD - 1, 1)]
)
def test_splicing_that_never_waits_lets_other_tasks_run(
    direct: bool, waiting: int, in_a_row: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def moved(*_: int) -> int:
        nonlocal calls
        calls += 1
        return 1000

    async def main() -> None:
        monkeypatch.setattr(pump, "splice", moved)
        monkeypatch.setattr(pump, "poll_once", lambda *_: True)
        monkeypatch.setattr(pump, "bulk_waiting", lambda: waiting)
        async with Nursery() as nursery:
            nursery.start_soon(Pump(Spliced(direct), Spliced(False), lambda count: None).run)
            for turn in range(1, 20):
                await checkpoint()
                assert calls <= turn * 2 * in_a_row
            assert calls >= 10 * in_a_row
            nursery.cancel_scope.cancel()

    go(main)


class Pieces(Stream):
    """A source that yields pieces of these sizes and then waits forever."""

    __slots__ = ("_sizes", "bulk")

    def __init__(self, *sizes: int) -> None:
        self._sizes = list(sizes)
        self.bulk: list[bool] = []  # at each read, whether the reading task is marked as bulk

    def receive_nowait(self, limit: int) -> bytes | None:
        self.bulk.append(current_kernel().task.bulk)
        return bytes(self._sizes.pop(0)) if self._sizes else None

    async def wait_readable(self) -> None:
        await sleep(math.inf)


def test_a_direction_is_marked_as_bulk_while_its_reads_are_large() -> None:
    async def main() -> None:
        source = Pieces(1, BULK - 1, BULK, BULK, 1, 1)
        async with Nursery() as nursery:
            nursery.start_soon(Pump(source, Endless(0), lambda count: None).run)
            while len(source.bulk) < 7:
                await checkpoint()
            nursery.cancel_scope.cancel()
        assert source.bulk == [False, False, False, True, True, False, False]

    go(main)


def test_a_tunnel_between_sockets_is_marked_as_bulk_while_reads_are_large(tmp_path: Path) -> None:
    async def main() -> None:
        async with tunnel(tmp_path) as tun:
            for size, bulk in ((1, False), (BULK, True), (1, False)):
                await tun.client.give(bytes(size))
                await tun.target.take(size)
                await both_ways(tun.client, tun.target) if not bulk else await settled(tun)
                relaying = tun.relay._scope._task
                assert relaying is not None
                assert relaying.bulk == bulk

    go(main)


class Noting(SocketStream):
    """Records at each read whether the reading task is marked as bulk."""

    __slots__ = ("bulk",)

    def receive_nowait(self, limit: int) -> bytes | None:
        self.bulk = current_kernel().task.bulk
        return super().receive_nowait(limit)


def test_keystrokes_after_bulk_in_the_other_direction_are_not_bulk(tmp_path: Path) -> None:
    """The task that serves both directions becomes the task of one of them; its mark may belong to the other direction."""

    def noting(directory: Path) -> End:
        near, far = tcp_pair()
        return End(Noting(near), FarSocket(far))

    async def main() -> None:
        async with tunnel(tmp_path, left=noting) as tun:
            await through(tun.target, tun.client, bytes(BULK))
            await settled(tun)
            await through(tun.target, tun.client, lines(MIB))  # too large for a single read: from here on there are two tasks
            for _ in range(3):
                await both_ways(tun.client, tun.target)
            assert isinstance(tun.relay._left, Noting)
            assert not tun.relay._left.bulk

    go(main)


def test_bulk_does_not_starve_an_interactive_tunnel(tmp_path: Path) -> None:
    """Echo round trips complete while bulk goes on, each of them within a second."""

    async def main() -> None:
        (tmp_path / "bulk").mkdir()
        (tmp_path / "echo").mkdir()
        async with tunnel(tmp_path / "bulk") as bulk, tunnel(tmp_path / "echo") as echo:
            async with Nursery() as nursery:

                async def give() -> None:
                    while True:
                        await bulk.client.give(bytes(MIB))

                async def take() -> None:
                    while True:
                        await bulk.target.take_some()

                nursery.start_soon(give)
                nursery.start_soon(take)
                while bulk.relay.moved[0] < MIB:
                    await checkpoint()
                before = bulk.relay.moved[0]
                for _ in range(30):
                    with move_on_after(1) as late:
                        await both_ways(echo.client, echo.target)
                    assert not late.cancelled_caught
                assert bulk.relay.moved[0] > before
                nursery.cancel_scope.cancel()
            await both_ways(echo.client, echo.target)

    go(main)
