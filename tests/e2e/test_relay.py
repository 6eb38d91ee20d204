"""Hard cases of the tunnel phase, through the real commands: order, resets in each phase, backpressure, memory, fairness."""

import os
import re
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.peers.process import wait_until
from tests.peers.program import SOON, Serve, at_end_soon, connect, read_soon, started
from tests.peers.scripted import ESTABLISHED, RESET, Conversation, ScriptedServer, echo, sample

TARGET = "target.test 22"
MIB = 1 << 20
GIB = 1 << 30


@pytest.fixture(scope="module")
def serve() -> Iterator[Serve]:
    with Serve() as proxy:
        yield proxy


@contextmanager
def raw_tunnel(serve: Serve, target: ScriptedServer, behind: bytes = b"") -> Iterator[socket.socket]:
    """Opens a tunnel through serve without our client. `behind` is sent in one piece with the head."""
    with socket.create_connection(("127.0.0.1", serve.port), SOON) as sock:
        authority = target.authority.encode()
        sock.sendall(b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (authority, authority) + behind)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += sock.recv(1)
        assert head == ESTABLISHED
        yield sock


def receive(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size and (piece := sock.recv(min(size - len(data), MIB))):
        data += piece
    return bytes(data)


def in_background(function: Callable[..., object], *arguments: object, **named: object) -> threading.Thread:
    thread = threading.Thread(target=function, args=arguments, kwargs=named)
    thread.start()
    return thread


def send_all(pipe, data: bytes) -> None:
    """Writes to an unbuffered pipe, where one write may accept only a part, and closes it."""
    view = memoryview(data)
    with pipe:
        while view:
            view = view[pipe.write(view) :]


# --- around the head


def test_8_mib_of_stdin_are_held_until_the_response() -> None:
    """RFC 9931: no byte of payload before 2xx, since a proxy that refuses could treat it as its next request."""
    data = sample(8 * MIB)
    heads, received = [], []

    def script(peer: Conversation) -> None:
        heads.append(peer.read_head())
        assert not select.select([peer.sock], [], [], 0.3)[0], "payload before the response"
        peer.send(ESTABLISHED)
        received.append(peer.read_to_end())

    with ScriptedServer(script) as proxy:
        done = connect(proxy.url, TARGET, stdin=data)
    assert (done.returncode, done.stderr) == (0, b"")
    assert received == [data]


def test_no_byte_of_stdin_is_sent_to_a_proxy_that_refuses() -> None:
    def script(peer: Conversation) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        assert peer.wait_gone() == b""

    with ScriptedServer(script) as proxy:
        assert connect(proxy.url, TARGET, stdin=sample(MIB)).returncode == 69


def test_8_mib_right_after_the_request_head(serve: Serve) -> None:
    data = sample(8 * MIB)
    with (
        ScriptedServer(lambda peer: peer.send(peer.read_to_end()[::-1])) as target,
        socket.create_connection(("127.0.0.1", serve.port), SOON) as sock,
    ):
        authority = target.authority.encode()
        sender = in_background(sock.sendall, b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (authority, authority) + data)
        sender.join()
        sock.shutdown(socket.SHUT_WR)
        assert receive(sock, len(ESTABLISHED)) == ESTABLISHED
        assert receive(sock, 9 * MIB) == data[::-1]


def test_8_mib_right_after_the_response_head_through_two_proxies(serve: Serve) -> None:
    """The target speaks first, so its bytes can arrive with either head of the chain."""
    data = sample(8 * MIB)

    def script(peer: Conversation) -> None:
        peer.send(data)
        peer.end_output()
        assert peer.read_to_end() == b"thanks"

    with ScriptedServer(script) as target, Serve() as second:
        done = connect(serve.url, target.authority, "-x", second.url, stdin=b"thanks")
    assert (done.returncode, done.stdout == data, done.stderr) == (0, True, b"")


def test_a_banner_is_written_at_once_through_two_proxies(serve: Serve) -> None:
    def script(peer: Conversation) -> None:
        peer.send(b"SSH-2.0-Banner\r\n")
        peer.wait_gone()

    with (
        ScriptedServer(script) as target,
        Serve() as second,
        started("connect", "-x", serve.url, "-x", second.url, target.authority) as process,
    ):
        assert read_soon(process.stdout, 16) == b"SSH-2.0-Banner\r\n"


# --- end of either direction


@pytest.mark.parametrize("first", ["client", "target"])
def test_either_side_ends_first_with_bulk_in_the_other_direction(serve: Serve, first: str) -> None:
    """T2, T3."""
    data = sample(3 * MIB)
    received = []

    def script(peer: Conversation) -> None:
        if first == "client":
            assert peer.read_to_end() == b""
            peer.send(data)
        else:
            peer.end_output()
            received.append(peer.read_to_end())

    with ScriptedServer(script) as target, raw_tunnel(serve, target) as sock:
        if first == "client":
            sock.shutdown(socket.SHUT_WR)
            assert receive(sock, 4 * MIB) == data
        else:
            assert sock.recv(1) == b""
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
    assert received == ([] if first == "client" else [data])


@pytest.mark.parametrize("by", ["pipe", "raw"])
def test_an_early_response_before_a_close_with_unread_data_is_complete(serve: Serve, by: str) -> None:
    """A web server responds 413 and closes. For the unread data its kernel sends a reset, right behind the response."""
    answer = sample(30_000)

    def script(peer: Conversation) -> None:
        peer.read_exactly(100_000)
        peer.send(answer)

    with ScriptedServer(script) as target:
        if by == "pipe":
            with started("connect", "-x", serve.url, target.authority) as process:
                writer = in_background(quietly, send_all, process.stdin, sample(4 * MIB))
                assert read_soon(process.stdout, len(answer)) == answer
                assert process.wait(SOON) == 74
                writer.join()
                assert process.stderr.read().startswith(b"tunnelctl: tunnel to ")
        else:
            with raw_tunnel(serve, target) as sock:
                errors: list[OSError] = []
                writer = in_background(quietly, sock.sendall, sample(4 * MIB), errors=errors)
                assert receive(sock, len(answer)) == answer
                quietly(sock.recv, 1, errors=errors)
                writer.join()
                assert any(isinstance(error, ConnectionResetError) for error in errors)  # the kernel reports it to one of the two


def quietly(function: Callable[..., object], *arguments: object, errors: list[OSError] | None = None) -> None:
    try:
        function(*arguments)
    except OSError as error:
        if errors is not None:
            errors.append(error)


# --- a reset in each phase


PHASES: dict[str, tuple[bytes, int, bytes]] = {
    "before the answer": (b"", 75, b""),
    "inside the head": (b"HTTP/1.1 200 Connection est", 75, b""),
    "right after the head": (ESTABLISHED, 74, b""),
    "in mid-stream": (ESTABLISHED + sample(50_000), 74, sample(50_000)),
    "inside a refusal": (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 100\r\n\r\nhalf", 69, b""),
}


@pytest.mark.parametrize("phase", PHASES)
def test_reset_by_the_proxy_in_each_phase(phase: str) -> None:
    """T4: never a clean end, and everything that arrived before it is kept."""
    said, status, output = PHASES[phase]

    def script(peer: Conversation) -> None:
        peer.read_head()
        peer.send(said)
        wait_until(lambda: unsent(peer.sock) == 0)  # a reset discards the data that the kernel of its sender still holds
        peer.reset()

    with ScriptedServer(script) as proxy, started("connect", "-x", proxy.url, *TARGET.split()) as process:
        assert read_soon(process.stdout, len(output)) == output
        assert process.wait(SOON) == status
        assert process.stdout.read() == b""
        lines = process.stderr.read().decode().splitlines()
    assert lines[0].startswith("tunnelctl: ")
    if status != 69:
        assert "reset" in lines[0]


def unsent(sock: socket.socket) -> int:
    """Bytes that the peer's kernel has not acknowledged (SIOCOUTQ)."""
    import fcntl
    import struct

    return int(struct.unpack("i", fcntl.ioctl(sock, 0x5411, b"\0" * 4))[0])


@pytest.mark.parametrize("size", [0, 50_000])
def test_a_reset_by_the_client_reaches_the_target(serve: Serve, size: int) -> None:
    """T4, through serve: a killed program must not look like one that has finished."""
    seen = []

    def script(peer: Conversation) -> None:
        peer.send(b"x")
        received = peer.read_exactly(size)
        try:
            peer.read(1)
        except ConnectionResetError:
            seen.append(received)

    with ScriptedServer(script) as target, raw_tunnel(serve, target) as sock:
        assert sock.recv(1) == b"x"
        sock.sendall(sample(size))
        wait_until(lambda: unsent(sock) == 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    assert seen == [sample(size)]


def test_a_reset_by_the_target_reaches_the_client(serve: Serve) -> None:
    def script(peer: Conversation) -> None:
        assert peer.read(1) == b"?"  # before that, serve could rightly treat the reset as a refusal
        peer.send(b"half a mess")
        wait_until(lambda: unsent(peer.sock) == 0)
        peer.reset()

    with ScriptedServer(script) as target, raw_tunnel(serve, target) as sock:
        sock.sendall(b"?")
        assert receive(sock, 11) == b"half a mess"
        with pytest.raises(ConnectionResetError):
            sock.recv(1)


def test_killing_connect_in_mid_upload_is_not_a_clean_end_for_the_target(serve: Serve) -> None:
    """SIGTERM to connect while it sends: the data that arrived is a part, and must look like one."""
    aborted = threading.Event()

    def script(peer: Conversation) -> None:
        peer.read_exactly(MIB)
        arrived.set()
        try:
            peer.read_to_end()
        except ConnectionResetError:
            aborted.set()

    arrived = threading.Event()
    with ScriptedServer(script) as target, started("connect", "-x", serve.url, target.authority) as process:
        writer = in_background(quietly, send_all, process.stdin, bytes(64 * MIB))
        assert arrived.wait(SOON)
        process.terminate()
        process.wait(SOON)
        writer.join()
        assert aborted.wait(SOON)


# --- backpressure


def resident(pid: int) -> int:
    """Bytes of anonymous memory that a process holds; files that it has mapped do not count."""
    return int(re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text()).group(1)) * 1024


def offer(sock: socket.socket, size: int, given: list[int]) -> None:
    """Sends until `size` bytes are sent or the kernel accepts no more."""
    sock.setblocking(False)
    chunk = bytes(MIB)
    while given[0] < size and select.select([], [sock], [], 0.3)[1]:
        with suppress(BlockingIOError):
            given[0] += sock.send(chunk)


@pytest.mark.parametrize("reader", ["client", "target"])
def test_serve_does_not_buffer_for_a_peer_that_does_not_read(serve: Serve, reader: str) -> None:
    """T5. The sender offers a GiB. The data accepted is in the kernel's buffers, and little of it in the process."""
    given = [0]
    release = threading.Event()

    def script(peer: Conversation) -> None:
        peer.send(b"x")
        if reader == "client":
            offer(peer.sock, GIB, given)
            release.set()
        else:
            assert release.wait(SOON)

    with ScriptedServer(script) as target, raw_tunnel(serve, target) as sock:
        assert sock.recv(1) == b"x"
        before = resident(serve.process.pid)
        if reader == "target":
            offer(sock, GIB, given)
        else:
            assert release.wait(SOON)
        growth = resident(serve.process.pid) - before
        release.set()
    assert given[0] < 256 * MIB
    assert growth < 4 * MIB


@pytest.mark.parametrize("reader", ["stdout", "target"])
def test_connect_does_not_buffer_for_a_peer_that_does_not_read(reader: str) -> None:
    """T5; and while one direction is blocked, the other goes on."""
    given = [0]
    stalled = threading.Event()

    def script(peer: Conversation) -> None:
        peer.accept_tunnel(ESTABLISHED + b"x")
        if reader == "stdout":
            offer(peer.sock, GIB, given)
            stalled.set()
            peer.sock.setblocking(True)
            assert peer.read(4) == b"ping"
        else:
            assert stalled.wait(SOON)
            peer.send(b"pong")

    with ScriptedServer(script) as proxy, started("connect", "-x", proxy.url, *TARGET.split()) as process:
        assert read_soon(process.stdout, 1) == b"x"
        before = resident(process.pid)
        if reader == "target":
            os.set_blocking(process.stdin.fileno(), False)
            chunk = bytes(MIB)
            while given[0] < GIB and select.select([], [process.stdin], [], 0.3)[1]:
                given[0] += process.stdin.write(chunk) or 0
            growth = resident(process.pid) - before
            stalled.set()
            assert read_soon(process.stdout, 4) == b"pong"
        else:
            assert stalled.wait(SOON)
            growth = resident(process.pid) - before
            process.stdin.write(b"ping")
            proxy._threads[1].join(SOON)
    assert given[0] < 256 * MIB
    assert growth < 4 * MIB


def test_a_large_transfer_does_not_grow_memory(serve: Serve) -> None:
    """A quarter of a GiB, to save time."""

    def script(peer: Conversation) -> None:
        peer.send(b"x")
        with suppress(ConnectionError):
            for _ in range(256):
                peer.send(bytes(MIB))

    with ScriptedServer(script) as target, raw_tunnel(serve, target) as sock:
        assert sock.recv(1) == b"x"
        before = resident(serve.process.pid)
        buffer, taken = bytearray(MIB), 0
        while count := sock.recv_into(buffer):
            taken += count
        assert taken == 256 * MIB
        assert resident(serve.process.pid) - before < 4 * MIB


# --- fairness


def test_bulk_does_not_starve_an_interactive_tunnel(serve: Serve) -> None:
    """Keystrokes are echoed during a download. The bound is loose, since the machine may be busy."""
    stop = threading.Event()

    def flood(peer: Conversation) -> None:
        with suppress(ConnectionError):
            while not stop.is_set():
                peer.send(bytes(MIB))

    def drain(sock: socket.socket, taken: list[int]) -> None:
        buffer = bytearray(MIB)
        while not stop.is_set() and (count := sock.recv_into(buffer)):
            taken[0] += count

    taken = [0]
    with (
        ScriptedServer(flood) as bulk,
        ScriptedServer(echo) as slow,
        raw_tunnel(serve, bulk) as fast_lane,
        raw_tunnel(serve, slow) as sock,
    ):
        reader = in_background(drain, fast_lane, taken)
        try:
            wait_until(lambda: taken[0] > 4 * MIB)
            times = []
            for _ in range(30):
                begun, before = time.monotonic(), taken[0]
                sock.sendall(b"k")
                assert sock.recv(1) == b"k"
                times.append(time.monotonic() - begun)
            wait_until(lambda: taken[0] > before)  # the bulk transfer goes on as well
        finally:
            stop.set()
            reader.join()
            fast_lane.close()
    assert sorted(times)[len(times) // 2] < 1


def test_an_urgent_byte_does_not_stop_connect_or_make_it_spin() -> None:
    """Any peer can send one. splice(2) stops in front of it, and a loop that believes the result burns a whole processor."""

    def script(peer: Conversation) -> None:
        peer.accept_tunnel(ESTABLISHED + b"before")
        peer.sock.send(b"!", socket.MSG_OOB)
        peer.send(b"after")
        peer.wait_gone()

    with ScriptedServer(script) as proxy, started("connect", "-x", proxy.url, *TARGET.split()) as process:
        assert read_soon(process.stdout, 12) == b"before!after"
        ticks = processor_time(process.pid)
        assert not at_end_within(process.stdout, 0.3)
        assert processor_time(process.pid) - ticks < 0.15


def processor_time(pid: int) -> float:
    """Processor time that a process has used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def at_end_within(pipe, seconds: float) -> bool:
    return bool(select.select([pipe], [], [], seconds)[0])


def test_a_target_that_closes_closes_stdout_at_once(serve: Serve) -> None:
    """While stdin stays open: this is how ssh learns that the server is gone. The process ends when the time limit after the remote
    EOF expires."""

    def script(peer: Conversation) -> None:
        peer.send(b"bye")

    begun = time.monotonic()
    with ScriptedServer(script) as target, started("connect", "-x", serve.url, target.authority) as process:
        assert read_soon(process.stdout, 3) == b"bye"
        assert at_end_soon(process.stdout)
        assert process.poll() is None
        assert process.wait(10) == 0
        assert time.monotonic() - begun > 4
        assert process.stderr.read() == b""
