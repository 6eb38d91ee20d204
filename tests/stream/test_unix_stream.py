"""Tests the end of a unix socket: in order, by an abort, and by the death of the process. test_contract has the rest."""

import os
import signal
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.peers.process import ended_within
from tests.stream.ends import go, stdio_pipes, tcp, unix_marked, unix_pair
from tests.stream.tunnels import Tunnel, over
from tunnelctl.stream.socket_stream import SocketStream
from tunnelctl.stream.unix_stream import UnixStream, connect_unix, peer_uid

Body = Callable[[UnixStream, UnixStream], Awaitable[None]]


def between(body: Body) -> None:
    """Runs `body` with a client and a server that have exchanged their first bytes."""

    async def main() -> None:
        near, far = unix_pair()
        client, server = UnixStream(near), UnixStream(far)
        client.offer_marks()
        server.expect_marks()
        try:
            assert server.receive_nowait(10) is None
            await client.send_all(b"first")
            assert await server.receive_some(2) == b"fi"
            assert await server.receive_some() == b"rst"
            await body(client, server)
        finally:
            client.close()
            server.close()

    go(main)


def test_an_end_in_order_is_eof_in_both_directions() -> None:
    async def body(client: UnixStream, server: UnixStream) -> None:
        client.send_eof()
        assert await server.receive_some() == b""
        await server.send_all(b"answer")
        server.close()
        assert await client.receive_some() == b"answer"
        assert await client.receive_some() == b""

    between(body)


@pytest.mark.parametrize("half_closed", [False, True])
def test_an_abort_is_a_reset_whichever_side_aborts(half_closed: bool) -> None:
    """Also after the own direction has ended, when poll(2) shows the same for an end and for an abort."""

    async def body(client: UnixStream, server: UnixStream) -> None:
        if half_closed:
            client.send_eof()
            assert await server.receive_some() == b""
        await server.send_all(b"part")
        server.abort()
        assert await client.receive_some() == b"part"
        with pytest.raises(ConnectionResetError):
            await client.receive_some()

    async def reverse(client: UnixStream, server: UnixStream) -> None:
        await body(server, client)

    between(body)
    between(reverse)


def test_a_killed_peer_is_a_reset() -> None:
    async def body(client: UnixStream, server: UnixStream) -> None:
        await server.send_all(b"part")
        child = os.fork()
        if not child:
            signal.pause()
        # The child has the last copies of the server's descriptors.
        server._drop_marks()
        SocketStream.close(server)
        os.kill(child, signal.SIGKILL)
        assert ended_within(child, 10)
        os.waitpid(child, 0)
        assert await client.receive_some() == b"part"
        with pytest.raises(ConnectionResetError):
            await client.receive_some()

    between(body)


@pytest.mark.parametrize("server_knows", [False, True])
def test_with_another_program_eof_counts_as_it_is(server_knows: bool) -> None:
    """As a client of a dynamic port at a path, and as the server of curl."""

    async def main() -> None:
        near, far = unix_pair()
        ours, other = UnixStream(near), SocketStream(far)
        if server_knows:
            ours.expect_marks()
            await other.send_all(b"first")
            assert await ours.receive_some() == b"first"
        else:
            ours.offer_marks()
            await ours.send_all(b"first")
            assert await other.receive_some() == b"first"
        other.close()
        assert await ours.receive_some() == b""
        ours.close()

    go(main)


def test_a_descriptor_that_is_no_socket_is_ignored(tmp_path: Path) -> None:
    async def main() -> None:
        near, far = unix_pair()
        server = UnixStream(near)
        server.expect_marks()
        with far, (tmp_path / "file").open("wb") as file:
            socket.send_fds(far, [b"first"], [file.fileno()])
            assert await server.receive_some() == b"first"
            far.shutdown(socket.SHUT_WR)
            assert await server.receive_some() == b""
            server.close()
        assert (tmp_path / "file").read_bytes() == b""

    go(main)


@pytest.mark.parametrize("kind", [tcp, stdio_pipes])
@pytest.mark.parametrize("orderly", [True, False])
def test_a_relay_passes_on_an_end_as_an_end_and_a_reset_as_a_reset(tmp_path: Path, kind: object, orderly: bool) -> None:
    """Between sockets the relay reads; between a socket and a pipe it splices, and meets EOF elsewhere."""

    async def body(tunnel: Tunnel) -> None:
        await tunnel.target.give(b"part")
        assert await tunnel.client.take(4) == b"part"
        if orderly:
            await tunnel.target.end_output()
            assert await tunnel.client.take_rest() == b""
            await tunnel.client.end_output()
            outcome = await tunnel.outcome()
            assert (outcome.cause, outcome.ended_by) == ("eof", "right")
            assert await tunnel.target.take_rest() == b""
        else:
            tunnel.target.leave()
            outcome = await tunnel.outcome()
            assert (outcome.cause, outcome.ended_by) == ("reset", "right")
            assert isinstance(outcome.error, ConnectionResetError)

    over(tmp_path, body, left=kind, right=unix_marked)


def test_peer_uid_is_that_of_the_process_at_the_other_end(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(1)
        client = connect_unix(path)
        accepted, _ = listener.accept()
        with accepted:
            assert peer_uid(client) == peer_uid(accepted) == os.geteuid()
        client.close()


def test_connecting_never_waits(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with pytest.raises(FileNotFoundError):
        connect_unix(path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        with pytest.raises(ConnectionRefusedError):
            connect_unix(path)
        listener.listen(0)
        queued = connect_unix(path)
        with pytest.raises(BlockingIOError):
            connect_unix(path)
        queued.close()
