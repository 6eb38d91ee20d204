"""V25: out of descriptors, the proxy sheds load, warns once, keeps its tunnels, does not spin, and recovers."""

import os
import resource
import time

import httpx

from tests.peers.process import free_port, wait_until
from tests.peers.program import Serve
from tests.peers.scripted import ScriptedServer, echo
from tests.server.harness import SECONDS, Client, connect_request

DESCRIPTORS = 64
WARNING = "no new connections: Too many open files"


def cpu_seconds(process: int) -> float:
    with open(f"/proc/{process}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_proxy_survives_descriptor_exhaustion() -> None:
    admin = f"127.0.0.1:{free_port()}"
    with ScriptedServer(echo) as target, Serve("--admin", admin) as proxy:
        pid, address = proxy.process.pid, ("127.0.0.1", proxy.port)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
        tunnels = [Client(address).tunnel(target.authority) for _ in range(5)]
        waiting = [Client(address) for _ in range(DESCRIPTORS)]  # half of them stay in the kernel's queue
        wait_until(lambda: WARNING in proxy.log(), SECONDS, "the warning about descriptors")

        # The proxy does not spin.
        begun, used = time.monotonic(), cpu_seconds(pid)
        while time.monotonic() - begun < 0.5:
            assert all(tunnel.echoes() for tunnel in tunnels)
            time.sleep(0.05)
        assert cpu_seconds(pid) - used < 0.25

        # An accepted client gets an answer: no descriptor is left for dialling.
        waiting[0].send(connect_request(target.authority))
        answer = waiting[0].answer()
        assert (answer.status, answer.error, answer.fields["retry-after"]) == (503, "connection_limit_reached", "1")

        # Each client that leaves lets another in, without another warning.
        for client in waiting[:5]:
            client.sock.close()
        waiting[40].send(b"NONSENSE\r\n\r\n")
        for client in waiting[5:40]:
            client.sock.close()
        assert waiting[40].answer().status == 400

        # After all have left, the proxy works as before.
        for client in waiting[40:]:
            client.sock.close()
        with Client(address) as client:
            assert client.tunnel(target.authority).echoes()
        assert all(tunnel.echoes() for tunnel in tunnels)
        metrics = httpx.get(f"http://{admin}/metrics", timeout=SECONDS, trust_env=False).text
        assert "\ntunnelctl_accept_failures_total 0.0\n" not in metrics
        assert "\ntunnelctl_accept_failures_total " in metrics
        for tunnel in tunnels:
            tunnel.sock.close()
    assert proxy.log().count(WARNING) == 1
    assert "fault" not in proxy.log()
