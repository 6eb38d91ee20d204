"""V26: who does not read is not read for. What one side sends does not gather in the proxy."""

import re
import socket
import threading
from pathlib import Path

from tests.peers.program import Serve
from tests.peers.scripted import Conversation, ScriptedServer
from tests.server.harness import SECONDS, Client

TUNNELS = 10
BOUND = 256 << 10  # bytes of the proxy's memory for one tunnel that is stuck


def resident(process: int) -> int:
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) << 10


def push(sock: socket.socket) -> int:
    """Sends until nobody takes more; how much that was."""
    sock.settimeout(0.1)
    pushed = 0
    try:
        while pushed < 1 << 30:
            pushed += sock.send(b"x" * (1 << 20))
    except TimeoutError:
        return pushed
    raise AssertionError("a gigabyte disappeared in the proxy")


def test_targets_and_clients_that_send_without_end() -> None:
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
