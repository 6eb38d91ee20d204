"""V26: backpressure. If one side does not read, the other side's data piles up neither in the proxy nor in its kernel buffers."""

import re
import socket
import subprocess
import threading

import pytest

from tests.peers.process import path_of, resident, wait_until
from tests.peers.program import Serve, patched
from tests.peers.scripted import Conversation, ScriptedServer
from tests.server.harness import SECONDS, Client

TUNNELS = 10
BOUND = 256 << 10  # bytes of the proxy's memory for one stalled tunnel


def push(sock: socket.socket) -> int:
    """Sends until the peer takes no more; returns the number of bytes."""
    sock.settimeout(0.1)
    pushed = 0
    try:
        while pushed < 1 << 30:
            pushed += sock.send(b"x" * (1 << 20))
    except TimeoutError:
        return pushed
    finally:
        sock.settimeout(SECONDS)
    raise AssertionError("the proxy accepted a gigabyte that the peer has not read")


def test_memory_is_bounded_if_neither_side_reads() -> None:
    measured, stuck = threading.Event(), threading.Semaphore(0)

    def script(peer: Conversation) -> None:
        push(peer.sock)
        stuck.release()
        assert measured.wait(SECONDS)
        peer.wait_gone()

    with ScriptedServer(script) as target, Serve() as proxy:
        base = resident(proxy.process.pid)
        clients = [Client(("127.0.0.1", proxy.port)).tunnel(target.authority) for _ in range(TUNNELS)]
        pushed = [push(client.sock) for client in clients]
        assert all(stuck.acquire(timeout=SECONDS) for _ in clients)
        grown = resident(proxy.process.pid) - base
        measured.set()
        for client in clients:
            client.reset()
    assert min(pushed) > BOUND
    assert grown < TUNNELS * BOUND


RMEM_MAX = 212_992  # default of many systems: the largest SO_RCVBUF
KERNEL_BOUND = 2 << 20  # bytes of the kernel's memory for one tunnel whose reader has stalled


def queued(process: int) -> int:
    """Returns the bytes in the queues of a process's TCP sockets, as the kernel counts memory, without what is in flight.

    A reader that stalls after it has read fast has announced a window for more than its receive buffer then holds. It drops the
    rest, and TCP keeps that to send it again: its congestion window bounds what a connection has in flight, and we do not.
    """
    listing = subprocess.run([path_of("ss"), "-tmnpiHO"], capture_output=True, text=True, check=True).stdout
    ours = [line for line in listing.splitlines() if f"pid={process}," in line]
    assert ours
    return sum(map(_memory, ours))


def _memory(line: str) -> int:
    found = re.search(r"skmem:\(r(\d+),.*?,w(\d+),", line)
    if found is None:
        return 0
    if " unacked:" not in line:  # nothing is in flight
        return int(found[1]) + int(found[2])
    unsent = re.search(r" notsent:(\d+)", line)
    return int(found[1]) + int(unsent[1] if unsent else 0)  # ss leaves out what is 0


@pytest.mark.peer("ss")
@pytest.mark.parametrize("read", [0, 32 << 20], ids=["from the beginning", "after it has read fast"])
@pytest.mark.parametrize(
    ("round_trip", "rmem_max"),
    [(0.0, None), (0.0, 0), (0.0, RMEM_MAX), (0.0016, RMEM_MAX), (0.003, RMEM_MAX), (0.003, 4 << 20)],
)
def test_m4_a_stalled_reader_occupies_bounded_kernel_memory(round_trip: float, rmem_max: int | None, read: int) -> None:
    """The kernel enlarges the queues while data flows, and they fill completely when the reader stops.

    rmem_max, round_trip: what the proxy assumes of its system and the paths; None: the truth; 0: it cannot read it, as systemd's
    ProcSubset=pid hides /proc/sys
    """
    stop = threading.Event()

    def pour(peer: Conversation) -> None:
        peer.sock.settimeout(0.1)
        block = bytes(1 << 20)
        while not stop.is_set():
            try:
                peer.sock.send(block)
            except TimeoutError:
                continue
            except ConnectionResetError:  # the client has seen enough
                return

    changes = "from tunnelctl.stream import socket_stream\n"
    if rmem_max:
        changes += f"socket_stream._rmem_max = lambda: {rmem_max}\n"
        changes += f"socket_stream.SocketStream._round_trip = lambda self: {round_trip}\n"
    elif rmem_max == 0:
        changes += "socket_stream._last_number = lambda path: 0\n"
    with ScriptedServer(pour) as target, Serve(program=patched(changes)) as proxy:
        clients = [Client(("127.0.0.1", proxy.port)).tunnel(target.authority) for _ in range(TUNNELS)]
        for client in clients:
            client.exactly(read)
        before = -1

        def settled() -> bool:
            nonlocal before
            previous, before = before, queued(proxy.process.pid)
            return before == previous > 0

        wait_until(settled, SECONDS, "constant queue sizes")
        held = queued(proxy.process.pid)
        stop.set()
        for client in clients:
            client.reset()
    assert held < TUNNELS * KERNEL_BOUND
