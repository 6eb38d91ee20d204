"""Peers that vanish with data in flight, and peers that only do not read. L4."""

import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from errno import ETIMEDOUT

import pytest

from tests.peers.deaf import let_hear, make_deaf
from tests.stream.ends import FarSocket, go, lines, tcp_pair
from tunnelctl.engine.descriptor import Descriptor
from tunnelctl.engine.kernel import Nursery, checkpoint, current_kernel, current_time, sleep
from tunnelctl.stream import socket_stream, vanished
from tunnelctl.stream.socket_stream import SocketStream, set_socket_options
from tunnelctl.stream.vanished import watch_for_vanished_peers

pytestmark = pytest.mark.linux("TCP_USER_TIMEOUT; see test_macos for the others")

KEEPALIVE, LIMIT = 1.0, 2.0  # seconds, with one probe
SOON = 6.0  # upper bound for the limit, the kernel's next probe, and a busy machine
MIB = 1 << 20


@pytest.fixture(autouse=True)
def short_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_stream, "PROBES", 1)


@asynccontextmanager
async def watched() -> AsyncIterator[tuple[SocketStream, socket.socket]]:
    """Opens a stream that is watched, and its far end."""
    near, far = tcp_pair()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    stream = SocketStream(near)
    assert stream.receive_nowait(1) is None
    stream.on_broken(lambda: None)
    try:
        async with Nursery() as nursery:
            nursery.start_soon(watch_for_vanished_peers, KEEPALIVE)
            yield stream, far
            nursery.cancel_scope.cancel()
    finally:
        stream.close()
        far.close()


def fill(stream: SocketStream) -> bytes:
    """Sends until the kernel accepts no more. Returns the bytes sent."""
    data = lines(16 * MIB)
    sent = 0
    while count := stream.send_nowait(data[sent : sent + MIB]):
        sent += count
    assert 0 < sent < len(data)
    return data[:sent]


async def seconds_to_the_end(stream: SocketStream) -> float:
    begun = current_time()
    with pytest.raises(OSError) as raised:
        await stream.receive_some()
    assert raised.value.errno == ETIMEDOUT
    return current_time() - begun


def test_l4_a_peer_that_vanishes_with_data_in_flight_is_given_up() -> None:
    async def main() -> None:
        async with watched() as (stream, far):
            make_deaf(far)
            stream.send_nowait(b"x")
            assert LIMIT / 2 < await seconds_to_the_end(stream) < SOON

    go(main)


def test_l4_a_peer_that_did_not_read_and_then_vanishes_is_given_up() -> None:
    async def main() -> None:
        async with watched() as (stream, far):
            fill(stream)
            await sleep(0.1)  # the queue has to drain into the far one: then nothing is in flight, and the kernel probes for room
            make_deaf(far)
            assert LIMIT / 2 < await seconds_to_the_end(stream) < SOON

    go(main)


def test_a_peer_that_does_not_read_for_longer_than_the_limit_loses_nothing() -> None:
    async def main() -> None:
        async with watched() as (stream, far):
            set_socket_options(stream.socket, KEEPALIVE)
            sent = fill(stream)
            stream.send_eof()
            await sleep(2 * LIMIT)
            assert await FarSocket(far).take_rest() == sent

    go(main)


def user_timeout(stream: SocketStream) -> int:
    return stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)


def test_a_peer_that_responds_again_has_no_limit_any_more() -> None:
    async def main() -> None:
        near, far = tcp_pair()
        stream, hurried = SocketStream(near), set[int]()
        stream.on_broken(lambda: None)
        make_deaf(far)
        stream.send_nowait(b"x")
        while not user_timeout(stream):
            await vanished._look_at_all(48, hurried)
        assert (user_timeout(stream), hurried) == (60_000, {near.fileno()})
        let_hear(far)
        assert await FarSocket(far).take(1) == b"x"
        while user_timeout(stream):
            await vanished._look_at_all(48, hurried)
        assert not hurried
        stream.close()
        far.close()

    go(main)


def test_keepalive_is_turned_on_where_it_is_off() -> None:
    async def main() -> None:
        near, far = tcp_pair()
        stream = SocketStream(near)
        stream.on_broken(lambda: None)
        await vanished._look_at_all(48, set())
        assert near.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0  # it may be another program's, as stdin may
        await vanished._look_at_all(48, set(), turn_on=True)
        assert near.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert near.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 48
        stream.close()
        far.close()

    go(main)


def test_files_other_than_connections_are_left_alone() -> None:
    async def main() -> None:
        pipe, pair = os.pipe(), socket.socketpair()
        with socket.create_server(("127.0.0.1", 0)) as listener, pair[0], pair[1]:
            descriptors = [Descriptor(number) for number in (*pipe, pair[0].fileno(), listener.fileno())]
            for descriptor in descriptors:
                descriptor.watch(lambda: None)
            hurried = {*pipe, pair[0].fileno(), 12345}  # left over from connections that had these numbers before
            await vanished._look_at_all(1, hurried, turn_on=True)
            assert pair[0].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0
            assert 12345 not in hurried
            assert pair[0].send(b"x") == os.write(pipe[1], b"x") == 1  # nothing was closed
            for descriptor in descriptors:
                descriptor.forget()
        for number in pipe:
            os.close(number)

    go(main)


def test_many_connections_are_examined_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(vanished, "PORTION", 10)
    monkeypatch.setattr(vanished, "_look_at", lambda number, *_: seen.append(number))

    async def main() -> None:
        descriptors = current_kernel().descriptors
        numbers = range(1000, 1095)
        descriptors.update((number, Descriptor(number)) for number in numbers)
        async with Nursery() as nursery:
            nursery.start_soon(vanished._look_at_all, 1000, set())
            for turn in range(1, 12):
                await checkpoint()
                assert len(seen) <= turn * 10
                descriptors.pop(1094, None)  # closed before its turn
        assert seen == [*numbers][:-1]
        descriptors.clear()

    go(main)


@pytest.mark.parametrize(
    ("state", "retransmits", "probes", "sent", "acknowledged", "silent"),
    [
        (1, 0, 0, 5000, 5000, False),  # idle
        (1, 0, 0, 1, 5000, False),  # just sent, after a long silence
        (1, 1, 0, 100, 300, True),
        (8, 3, 0, 100, 300, True),  # after its FIN
        (2, 3, 0, 100, 300, False),  # the connection is not established yet
        (1, 3, 0, 2000, 2000, False),  # retransmitted and acknowledged, but the peer has no room
        (1, 0, 1, 9000, 1100, False),  # one probe
        (1, 0, 2, 9000, 900, False),
        (1, 0, 2, 9000, 1100, True),
    ],
)
def test_silent_peers_are_recognised_by_their_tcp_info(
    state: int, retransmits: int, probes: int, sent: int, acknowledged: int, silent: bool
) -> None:
    """The values are those of struct tcp_info."""
    info = struct.pack("4B40xIIII", state, 0, retransmits, probes, sent, 0, 0, acknowledged)
    assert vanished._silent(info, 1000) == silent
