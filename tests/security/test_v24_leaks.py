"""V24: no peer leaks anything, whether it leaves, in any phase and by close or reset, or stays forever."""

import _socket
import os
import socket
import threading

import pytest

from tests.peers.process import wait_until
from tests.peers.scripted import ScriptedServer, black_hole_port, echo
from tests.server.harness import LOOPBACK, SECONDS, Proxy, admitted, connect_request, until_reset

BRIEF = 0.1  # seconds: a time limit that is meant to expire


@pytest.mark.usefixtures("http_version")
@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("phase", ["nothing sent", "inside the head", "in the lookup", "in the dial", "in the tunnel", "refused"])
def test_a_client_leaving_in_any_phase_frees_its_slot(phase: str, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy has a single slot, and logs no fault."""
    release = threading.Event()
    monkeypatch.setattr(_socket, "getaddrinfo", lambda *_: release.wait(SECONDS) and [])
    options = {"max_tunnels": 1, "dial_timeout": BRIEF}
    with ScriptedServer(echo) as target, black_hole_port() as hole, Proxy(LOOPBACK, "slow.test:*", **options) as proxy:
        sends = {
            "nothing sent": b"",
            "inside the head": b"CONNECT 127.0.0.1:1 HTTP/1.1\r\n",
            "in the lookup": connect_request("slow.test:1"),
            "in the dial": connect_request(f"127.0.0.1:{hole}"),
            "in the tunnel": connect_request(target.authority),
            "refused": connect_request("127.0.0.1:0"),
        }
        for _ in range(3):
            client = proxy.client()
            client.send(sends[phase])
            if phase == "in the tunnel":
                client.head()
            if phase == "refused":
                client.rest()
            client.reset() if how == "reset" else client.sock.close()
            wait_until(lambda: admitted(proxy, target), SECONDS, "a free slot")
        release.set()
        assert proxy.warnings == []


def test_targets_that_never_end_release_their_descriptors() -> None:
    """A hundred clients half-close; the time limit for half-closed tunnels frees every descriptor."""
    with (
        ScriptedServer(until_reset) as target,
        Proxy(half_close_timeout=BRIEF) as proxy,
        proxy.tunnel(target.authority) as first,
    ):
        base = len(os.listdir("/proc/self/fd"))
        clients = [proxy.tunnel(target.authority) for _ in range(100)]
        for client in (first, *clients):
            client.sock.shutdown(socket.SHUT_WR)
        for client in clients:
            with pytest.raises(ConnectionResetError):
                client.rest()
            client.sock.close()
        ends = [record for record in proxy.wait_for_records(202) if record["event"] == "closed"]
        assert {(end["cause"], end["closed_by"]) for end in ends} == {("half-closed", "client")}
        wait_until(lambda: len(os.listdir("/proc/self/fd")) <= base, SECONDS, "the closing of all descriptors")


def test_clients_that_never_end_do_not_keep_tunnels_open() -> None:
    """The reverse: the target ends, its clients stay."""
    with ScriptedServer(lambda peer: peer.end_output()) as target, Proxy(half_close_timeout=BRIEF) as proxy:
        clients = [proxy.tunnel(target.authority) for _ in range(20)]
        for client in clients:
            try:
                assert client.rest() == b""
                with pytest.raises(ConnectionError):
                    while True:
                        client.send(b"x")
            except ConnectionResetError:
                pass
            client.sock.close()
        assert len(proxy.wait_for_records(40)) == 40
