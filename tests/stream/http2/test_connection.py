"""The connection: what it does when streams, transport and peer end or fail, in every order."""

import socket
import time
from contextlib import suppress
from errno import ECONNRESET, EPIPE
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.peers.delayed import Delayed
from tests.proto.http2 import wire
from tests.stream.ends import go, http2_pair, lines
from tests.stream.http2_wire import WIDE, Wired, settle
from tunnelctl.engine.kernel import CancelScope, Nursery, checkpoint, current_kernel, current_time, sleep
from tunnelctl.proto.http2 import events
from tunnelctl.proto.http2.frame import ErrorCode
from tunnelctl.proto.http2.machine import Machine
from tunnelctl.proto.http2.window import BUDGET, FIRST_STREAM_WINDOW, WindowBudget
from tunnelctl.stream.base import CHUNK
from tunnelctl.stream.http2 import connection as connection_module
from tunnelctl.stream.http2.connection import Http2Connection
from tunnelctl.stream.http2.output import FULL
from tunnelctl.stream.http2.stream import Http2Stream
from tunnelctl.stream.socket_stream import SocketStream

BOTH = pytest.mark.parametrize("client", [True, False], ids=["client", "server"])
LATE = "a header block is not complete in time"
DELAY = 0.01  # seconds, each way
GONE = (ConnectionAbortedError, ConnectionResetError)


# --- a header block that does not end


@BOTH
def test_v38_a_header_block_has_a_deadline_as_long_as_it_is_incomplete(client: bool) -> None:
    """One that was complete in time leaves none behind."""
    seconds = 0.6

    async def main() -> None:
        wired = Wired(client, block_seconds=seconds)
        await wired.start()
        (near,) = await wired.open()
        if client:
            wired.opened.append(wired.connection.open(wired.connection.machine.request(wire.TARGET, ())))
        whole = wire.response(3) if client else wire.headers(3)
        for octet in whole:
            await wired.hear(bytes([octet]))
        await sleep(2 * seconds)
        await wired.hear(wire.data(1, b"still alive"))
        assert near.receive_nowait(100) == b"still alive"
        begun = current_time()
        await wired.hear(wire.raw(wire.HEADERS, 1))
        await sleep(seconds / 2)
        await wired.hear(wire.raw(wire.CONTINUATION, 1))
        while not wired.wire.ended:
            await sleep(seconds / 10)
        assert current_time() >= begun + seconds
        assert events.ConnectionFailed(ErrorCode.ENHANCE_YOUR_CALM, LATE) in wired.events
        assert [frame.payload[4:] for frame in wired.sent() if frame.kind == wire.GOAWAY] == [wire.number(11) + LATE.encode()]
        with pytest.raises(ConnectionAbortedError, match=LATE):
            near.receive_nowait(100)

    go(main)


# --- the connection is lost


@BOTH
@pytest.mark.parametrize("secure", [False, True], ids=["clear", "tls"])
@pytest.mark.parametrize("how", ["fin", "reset", "cut"])
def test_a_lost_connection_aborts_every_stream_after_its_data(client: bool, secure: bool, how: str) -> None:
    async def main() -> None:
        pair = await http2_pair(client, secure)
        ends = [await pair.open() for _ in range(3)]
        for _, far in ends[:2]:
            await far.give(b"before")
        while pair.near.streams[ends[1][0].number].receive_nowait(0) is None:
            await checkpoint()
        broken: list[int] = []
        ends[2][0].on_broken(lambda: broken.append(2))
        if how == "reset":
            pair.peer.transport.reset()
        elif secure and how == "fin":
            await pair.peer.transport.end_output()
        else:
            pair.peer.transport.sock.shutdown(socket.SHUT_WR)
        pair.peer.lost = True
        await pair.ended.wait()
        assert broken == [2]
        for near, _ in ends[:2]:
            assert await near.receive_some() == b"before"
        for near, _ in ends:
            with pytest.raises(GONE):
                await near.receive_some()
            with pytest.raises(GONE):
                near.send_nowait(b"a")
            near.abort()
        assert pair.events.count(None) == 1
        assert not pair.near.streams

    go(main)


def test_data_in_the_receive_queue_is_delivered_after_a_failed_write() -> None:
    async def main() -> None:
        wired = Wired()
        await wired.start()
        (stream,) = await wired.open()
        wired.wire.fail_writes(BrokenPipeError(EPIPE, "gone"))
        stream.send_nowait(b"in vain")
        await settle()
        assert wired.running
        await wired.hear(wire.data(1, b"still here"), ConnectionResetError(ECONNRESET, "reset"))
        assert not wired.running
        assert stream.receive_nowait(100) == b"still here"
        with pytest.raises(ConnectionResetError):
            stream.receive_nowait(100)

    go(main)


def test_a_connection_whose_writes_fail_ends_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "LINGER_SECONDS", 0.01)

    async def main() -> None:
        wired = Wired()
        await wired.start()
        (stream,) = await wired.open()
        wired.wire.fail_writes(BrokenPipeError(EPIPE, "gone"))
        stream.send_nowait(b"in vain")
        with pytest.raises(GONE):
            await stream.receive_some()

    go(main)


# --- the connection fails


@BOTH
def test_goaway_is_sent_before_the_connection_closes(client: bool) -> None:
    async def main() -> None:
        pair = await http2_pair(client)
        near, far = await pair.open()
        await far.give(b"before")
        pair.peer.send_raw(wire.raw(wire.PING, 0, b"short") + bytes(1 << 18))
        await pair.ended.wait()
        await pair.peer.until(lambda: pair.peer.lost)
        assert pair.peer.goaway == ErrorCode.FRAME_SIZE_ERROR
        assert await near.receive_some() == b"before"
        with pytest.raises(ConnectionAbortedError):
            await near.receive_some()

    go(main)


@pytest.mark.parametrize("room", [0, 1, 10, 40])
def test_goaway_is_sent_wholly_although_the_transport_is_full(room: int) -> None:
    """A queue is empty as soon as its last piece has been taken, but that may not have been sent."""

    async def main() -> None:
        wired = Wired()
        await wired.start(*WIDE)
        await wired.open()
        wired.wire.unblock(room)
        await wired.hear(wire.raw(wire.PING, 0, b"short"))
        assert wired.running
        wired.wire.unblock()
        await settle()
        (goaway,) = wired.sent()
        assert goaway.kind == wire.GOAWAY
        assert wired.wire.ended
        await wired.hear(b"")
        assert not wired.running

    go(main)


def test_a_peer_that_does_not_read_its_goaway_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "LINGER_SECONDS", 0.01)

    async def main() -> None:
        wired = Wired()
        await wired.start()
        wired.wire.unblock(0)
        await wired.hear(wire.raw(wire.PING, 0, b"short"))
        while wired.running:
            await checkpoint()

    go(main)


# --- a stream is reset


@BOTH
@pytest.mark.parametrize("mistake", [False, True], ids=["by the peer", "by us"])
def test_no_data_follows_a_reset_and_the_connection_gets_its_window_back(client: bool, mistake: bool) -> None:
    """A peer that is strict takes DATA on a closed stream as an error of the whole connection: ours does."""

    async def main() -> None:
        wired = Wired(client)
        await wired.start(wire.settings((4, 1 << 20)), wire.window_update(0, FULL))
        first, second = await wired.open(2)
        wired.wire.unblock(0)
        window = wired.connection.machine.send_window
        for size in (10, CHUNK, CHUNK):
            assert first.send_nowait(bytes(size)) == size
        await settle()
        assert second.send_nowait(b"key") == 3
        await wired.hear(wire.window_update(1, 0) if mistake else wire.rst_stream(1))
        wired.wire.unblock()
        await settle()
        sent = wired.sent_on(1)
        assert [each for each in sent if isinstance(each, bytes)] == [bytes(10)]  # was being sent
        assert sent[1:] == ([ErrorCode.PROTOCOL_ERROR] if mistake else [])
        assert wired.connection.machine.send_window == window - 13
        with pytest.raises(GONE):
            first.send_nowait(b"a")
        assert 1 not in wired.connection.streams

    go(main)


@BOTH
def test_a_reset_with_no_error_after_the_end_is_an_end(client: bool) -> None:
    """It says that the peer needs no more: a writer that waits for room learns it, and what was sent can be read."""

    async def main() -> None:
        wired = Wired(client)
        await wired.start(wire.settings((4, 5)))
        (stream,) = await wired.open()
        assert stream.send_nowait(b"0123456789") == 5
        raised: list[BaseException] = []

        async def write() -> None:
            try:
                await stream.send_all(b"56789")
            except BrokenPipeError as error:
                raised.append(error)

        async with Nursery() as nursery:
            nursery.start_soon(write)
            await settle()
            await wired.hear(wire.data(1, b"all", end=True), wire.rst_stream(1, 0))
        assert len(raised) == 1
        assert await stream.receive_some() == b"all"
        assert await stream.receive_some() == b""
        stream.send_eof()
        await stream.flush_eof()
        stream.close()

    go(main)


@BOTH
def test_a_reset_with_no_error_without_an_end_is_a_reset(client: bool) -> None:
    async def main() -> None:
        wired = Wired(client)
        await wired.start()
        (stream,) = await wired.open()
        await wired.hear(wire.data(1, b"part"), wire.rst_stream(1, 0))
        assert await stream.receive_some() == b"part"
        with pytest.raises(ConnectionResetError):
            await stream.receive_some()

    go(main)


# --- `when_closed`, which counts a client's places

OURS = ["send", "send bulk", "send_eof", "close", "abort", "read"]
THEIRS = ["data", "end", "reset", "reset without error", "mistake", "settings"]
TRANSPORT = ["turn", "block", "unblock", "write error", "lost", "failed", "give up"]
ACTIONS = st.sampled_from(OURS + THEIRS + TRANSPORT)


@settings(max_examples=150)
@given(st.booleans(), st.lists(ACTIONS, max_size=10), st.integers(0, 10))
def test_each_stream_is_told_once_that_it_is_closed(client: bool, actions: list[str], register: int) -> None:
    async def main() -> None:
        budget = WindowBudget()
        wired = Wired(client, budget)
        await wired.start(wire.settings((4, 100_000)))
        (stream,) = await wired.open()
        calls: list[int] = []
        peer_ended = False
        for place, action in enumerate([*actions, "stop"]):
            if place == min(register, len(actions)):
                stream.when_closed(lambda: calls.append(1))
            if not (peer_ended and action == "data"):  # which would be the peer's mistake
                await act(wired, stream, action)
            peer_ended = peer_ended or action in ("end", "reset", "reset without error")
            assert len(calls) <= 1
        stream.close()
        wired.wire.unblock()
        await settle()
        if wired.running and wired.connection.write_error is None:
            assert calls == [1]
            assert stream.number not in wired.connection.streams
            assert not stream.queued
        else:
            wired.connection.give_up(ConnectionAbortedError("gone"))
            await settle()
        assert calls == [1]
        assert not wired.connection._queue._turns
        assert not wired.connection._queue._waiting

    frames = {
        "data": wire.data(1, b"some"),
        "end": wire.data(1, b"", end=True),
        "reset": wire.rst_stream(1),
        "reset without error": wire.rst_stream(1, 0),
        "mistake": wire.window_update(1, 0),
        "lost": b"",
        "failed": wire.raw(wire.PING, 0, b"short"),
        "settings": wire.settings((4, 0)),
    }

    async def act(wired: Wired, stream: Any, action: str) -> None:
        try:
            if action == "send":
                stream.send_nowait(b"key")
            elif action == "send bulk":
                while stream.send_nowait(bytes(CHUNK)):
                    pass
            elif action == "read":
                stream.receive_nowait(100)
            elif action in ("send_eof", "close", "abort"):
                getattr(stream, action)()
        except OSError:
            pass
        if action in frames:
            await wired.hear(frames[action])
        elif action == "block":
            wired.wire.room = 3
        elif action == "unblock":
            wired.wire.unblock()
        elif action == "give up":
            wired.connection.give_up(TimeoutError("dead"))
        elif action == "write error":
            wired.wire.fail_writes(BrokenPipeError(EPIPE, "gone"))
        await settle(1 if action == "turn" else 12)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection_module, "LINGER_SECONDS", 0.001)
        go(main)


# --- cancellation


@BOTH
@pytest.mark.parametrize("situation", ["idle", "writing", "busy", "goaway"])
def test_cancelling_it_leaves_nothing(client: bool, situation: str) -> None:
    """At any await: the run is cancelled after each number of turns."""

    async def once(turns: int) -> bool:
        budget, before = WindowBudget(), len(current_kernel().descriptors)
        wired, scope, ended = Wired(client, budget), CancelScope(), []

        async def run() -> None:
            with scope:
                await wired.run()
            ended.append(True)

        async with Nursery() as nursery:
            nursery.start_soon(run)
            wired.wire.room = 40 if situation == "writing" else 1 << 30
            wired.wire.deliver((b"" if client else wire.PREFACE) + wire.settings((4, 1 << 20)))
            if client:
                stream = wired.connection.open(wired.connection.machine.request(wire.TARGET, ()))
            if situation == "busy":
                wired.wire.deliver(wire.raw(wire.PING, 0, bytes(8)) * 1000)
            if situation == "goaway":
                wired.wire.deliver(wire.raw(wire.PING, 0, b"short"))
            for _ in range(turns):
                await checkpoint()
            going_on = not ended
            scope.cancel()
        assert ended == [True]
        assert budget.left == BUDGET
        assert not wired.running
        assert len(current_kernel().descriptors) == before
        if client:
            with pytest.raises(GONE):
                stream.send_nowait(b"a")
        return going_on

    async def main() -> None:
        for turns in range(16):
            await once(turns)

    go(main)


# --- turns


def test_a_block_that_lay_in_the_socket_while_the_process_was_stopped_is_in_time() -> None:
    """Events come before deadlines. `time.sleep` is the stop."""
    seconds = 0.1

    async def main() -> None:
        wired = Wired(block_seconds=seconds)
        await wired.start()
        (near,) = await wired.open()
        block = wire.headers(3)
        await wired.hear(block[:-1])
        time.sleep(2 * seconds)
        await wired.hear(block[-1:] + wire.data(1, b"still"))
        await wired.hear(wire.data(1, b" alive"))
        assert near.receive_nowait(100) == b"still alive"

    go(main)


@BOTH
@pytest.mark.parametrize("window", [1 << 16, 1 << 24], ids=["narrow", "wide"])
def test_bulk_streams_share_the_connection(client: bool, window: int) -> None:
    """With a connection's window of 64 KiB as with one of 16 MiB, each stream gets its part."""
    streams = 8

    async def main() -> None:
        pair = await http2_pair(client, window=1 << 20)
        pair.peer.h2.increment_flow_control_window(window - 65_535)
        pair.peer.flush()
        ends = [await pair.open() for _ in range(streams)]
        counts = [0] * streams

        async def send(place: int) -> None:
            while True:
                await ends[place][0].send_all(bytes(CHUNK))

        async def take(place: int) -> None:
            while sum(counts) < 16 << 20:
                counts[place] += len(await ends[place][1].take_some())
            nursery.cancel_scope.cancel()

        async with Nursery() as nursery:
            for place in range(streams):
                nursery.start_soon(send, place)
                nursery.start_soon(take, place)
        assert max(counts) < 2 * min(counts), counts

    go(main)


def test_streams_that_do_not_use_their_turns_stop_nobody() -> None:
    """Cancelled while they waited, or woken and then cancelled, ended, aborted, or at a closed window: the next one sends."""

    async def main() -> None:
        wired = Wired()
        await wired.start(*WIDE)
        wired.wire.unblock(0)
        streams = await wired.open(12)
        scopes = [CancelScope() for _ in streams]
        done: list[int] = []

        async def send(place: int, size: int) -> None:
            with scopes[place], suppress(ConnectionResetError):
                await streams[place].send_all(bytes(size))
                done.append(place)

        async with Nursery() as nursery:
            for place in range(12):
                nursery.start_soon(send, place, FULL)
            await settle()
            for place in (4, 5):
                scopes[place].cancel()
            await settle()
            wired.wire.unblock(CHUNK * 3)
            for _ in range(3):
                await checkpoint()
            for place in (0, 1, 6, 7):
                scopes[place].cancel()
            await wired.hear(wire.settings((4, 0)), wire.settings((4, wire.LARGEST)), wire.rst_stream(17), wire.rst_stream(19))
            for place in (8, 9):
                scopes[place].cancel()
            wired.wire.unblock()
            await settle(200)
            assert {2, 3, 10, 11} <= {*done}
        assert not wired.connection._queue._turns
        for stream in streams[:8]:  # those that were cancelled can go on
            await stream.send_all(bytes(FULL))

    go(main)


@BOTH
def test_settings_can_make_a_window_negative(client: bool) -> None:
    async def main() -> None:
        wired = Wired(client)
        await wired.start(wire.settings((4, 1000)), wire.window_update(0, 1 << 20))
        (stream,) = await wired.open()
        assert stream.send_nowait(bytes(2000)) == 1000
        await wired.hear(wire.settings((4, 10)))
        assert stream.send_nowait(b"a") == 0
        async with Nursery() as nursery:
            nursery.start_soon(stream.send_all, b"key")
            await wired.hear(wire.window_update(1, 990))
            assert wired.sent_on(1) == [bytes(1000)]
            await wired.hear(wire.window_update(1, 2))
            assert wired.sent_on(1) == [b"ke"]
            await wired.hear(wire.settings((4, 11)))
        await settle()
        assert wired.sent_on(1) == [b"y"]

    go(main)


@BOTH
def test_a_keystroke_passes_the_bulk_of_others(client: bool) -> None:
    async def main() -> None:
        wired = Wired(client)
        await wired.start(*WIDE)
        bulk, key = await wired.open(2)
        wired.wire.unblock(0)
        while bulk.send_nowait(bytes(CHUNK)):
            await checkpoint()
        assert key.send_nowait(b"key") == 3
        wired.wire.unblock()
        await settle()
        streams = [frame.stream for frame in wired.sent() if frame.kind == wire.DATA]
        assert streams.index(3) <= 5  # behind what the transport had been given: one piece, of several frames
        assert streams.count(3) == 1

    go(main)


def test_a_stalled_stream_does_not_stop_the_others() -> None:
    async def main() -> None:
        pair = await http2_pair(False)
        stalled, key = await pair.open(), await pair.open()
        async with Nursery() as nursery:
            nursery.start_soon(stalled[1].give, bytes(1 << 22))
            for _ in range(50):
                await key[1].give(b"key")
                assert await key[0].receive_some() == b"key"
            nursery.cancel_scope.cancel()
        assert stalled[0]._held_size <= 256 << 10

    go(main)


def test_what_the_peer_sent_first_is_kept() -> None:
    async def main() -> None:
        wired = Wired(True)
        await wired.start(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        assert wired.connection.first == b"HTTP/1.1 400 Bad Request\r\n\r\n"
        assert isinstance(wired.connection.lost, ConnectionAbortedError)
        assert wired.connection.received <= current_time()
        assert isinstance(wired.events[-1], events.ConnectionFailed)

    go(main)


@BOTH
def test_giving_up_fails_every_stream_with_its_reason(client: bool) -> None:
    async def main() -> None:
        pair = await http2_pair(client)
        near, _ = await pair.open()
        pair.near.give_up(TimeoutError(110, "no answer"))
        with pytest.raises(TimeoutError, match="no answer"):
            await near.receive_some()
        await pair.ended.wait()

    go(main)


def test_bulk_in_both_directions_of_many_streams_arrives() -> None:
    sent = lines(300_000)

    async def main() -> None:
        pair = await http2_pair(True, window=100_000, frame=20_000)
        ends = [await pair.open() for _ in range(5)]

        async def take(place: int) -> None:
            assert await ends[place][1].take(len(sent)) == sent

        async def receive(place: int) -> None:
            got = bytearray()
            while len(got) < len(sent):
                got += await ends[place][0].receive_some()
            assert got == sent

        async with Nursery() as nursery:
            for place, (near, far) in enumerate(ends):
                nursery.start_soon(near.send_all, sent)
                nursery.start_soon(far.give, sent)
                nursery.start_soon(take, place)
                nursery.start_soon(receive, place)

    go(main)


@BOTH
def test_windows_grow_on_a_path_with_a_delay(client: bool) -> None:
    """Where a window's worth of data arrives within a round trip, the window is what limits the speed."""

    async def main(path: Delayed) -> None:
        codes = (ErrorCode.CANCEL, ErrorCode.NO_ERROR)
        ends: list[Http2Connection] = []
        streams: list[Http2Stream] = []

        def on_request(event: events.Event | None) -> None:
            if isinstance(event, events.RequestReceived):
                ends[1].machine.respond(event.stream, 200)
                streams.append(ends[1].open(event.stream))

        for place, sock in enumerate((path.near, path.far)):
            machine = Machine(not place, WindowBudget(), current_time(), 100)
            ends.append(Http2Connection(SocketStream(sock), machine, on_request if place else lambda event: None, *codes, 60.0))
        async with Nursery() as nursery:
            for end in ends:
                nursery.start_soon(end.run)
            streams.append(ends[0].open(ends[0].machine.request(wire.TARGET, ())))
            ends[0].flush()
            while len(streams) < 2:
                await checkpoint()
            sender, receiver = streams if client else streams[::-1]
            nursery.start_soon(sender.send_all, bytes(12 << 20))
            left = 12 << 20
            while left:
                left -= len(await receiver.receive_some())
            machine = ends[1 if client else 0].machine
            assert machine.round_trip >= 2 * DELAY
            assert machine._streams[receiver.number].window.size > FIRST_STREAM_WINDOW  # by how much, the load of the machine says
            nursery.cancel_scope.cancel()
        for end in ends:
            end.transport.close()

    with Delayed(DELAY) as path:
        go(main, path)
