"""L4 in whole programs: each command watches for peers that vanish with data in flight. --keepalive 0 turns that off."""

import socket
import threading

import pytest

from tests.peers.deaf import make_deaf
from tests.peers.process import peer_has_keepalive_timer, wait_until
from tests.peers.program import SOON, Forward, Serve, patched, started
from tests.peers.scripted import Conversation, ScriptedServer
from tests.server.harness import Client

pytestmark = pytest.mark.linux("TCP_USER_TIMEOUT")

# So the limit is two seconds with a keepalive of one second.
SHORT = """
from tunnelctl.client import connect
from tunnelctl.stream import socket_stream
socket_stream.PROBES, connect.WATCHED_AFTER = 1, 0.1
"""


class Vanishing:
    """A script that reads one byte of the tunnel, and then no more; `gone` is set from then on."""

    def __init__(self, proxy: bool = False) -> None:
        self._proxy = proxy
        self.gone, self.over = threading.Event(), threading.Event()

    def __call__(self, peer: Conversation) -> None:
        if self._proxy:
            peer.accept_tunnel()
        assert peer.sock.recv(1)
        make_deaf(peer.sock)
        self.gone.set()
        assert self.over.wait(2 * SOON)


def is_reset(sock: socket.socket, script: Vanishing) -> None:
    sock.settimeout(SOON)
    sock.sendall(b"1")
    assert script.gone.wait(SOON)
    sock.sendall(b"2")
    try:
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    finally:
        script.over.set()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_serve_gives_up_a_target_that_vanishes(workers: str) -> None:
    script = Vanishing()
    serve = Serve("--keepalive", "1", "--workers", workers, program=patched(SHORT))
    with ScriptedServer(script) as target, serve as proxy, Client(("127.0.0.1", proxy.port)).tunnel(target.authority) as client:
        is_reset(client.sock, script)


def test_serve_probes_a_silent_target() -> None:
    def script(peer: Conversation) -> None:
        peer.wait_gone()

    with ScriptedServer(script) as target, Serve("--keepalive", "1") as proxy:
        with Client(("127.0.0.1", proxy.port)).tunnel(target.authority):
            wait_until(lambda: bool(target.conversations), SOON, "the target's end")
            sock = target.conversations[0].sock
            wait_until(lambda: peer_has_keepalive_timer(sock), SOON, "a keepalive timer")


def test_forward_gives_up_a_proxy_that_vanishes() -> None:
    script = Vanishing(proxy=True)
    with ScriptedServer(script) as proxy:
        url = f"http://{proxy.authority}"
        words = ("-x", url, "--keepalive", "1", "-L", "0:a.test:22")
        with Forward(*words, program=patched(SHORT)) as forward, socket.create_connection(("127.0.0.1", forward.port)) as client:
            is_reset(client, script)


def test_connect_gives_up_a_proxy_that_vanishes() -> None:
    script = Vanishing(proxy=True)
    with ScriptedServer(script) as proxy:
        words = ("connect", "-x", f"http://{proxy.authority}", "--keepalive", "1", "a.test:22")
        with started(*words, program=patched(SHORT)) as process:
            assert process.stdin is not None
            process.stdin.write(b"1")
            assert script.gone.wait(SOON)
            process.stdin.write(b"2")
            try:
                assert process.wait(SOON) != 0
            finally:
                script.over.set()
