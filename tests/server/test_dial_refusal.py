"""How a failed dial is reported: as a fault of the target or as a limit of this machine."""

import os
import socket
import subprocess
import sys
from errno import EADDRNOTAVAIL, ECONNREFUSED, EHOSTUNREACH, EMFILE, ENETUNREACH, ENFILE, ENOBUFS, ENOMEM, EPROTO, ETIMEDOUT
from pathlib import Path

import pytest

from tunnelctl.engine.resolver import SocketAddress
from tunnelctl.server.dial_refusal import dial_refusal, is_our_limit
from tunnelctl.stream.dial import DialError

HERE = SocketAddress(socket.AF_INET, "127.0.0.1", 443)


def failed(*numbers: int) -> DialError:
    return DialError([(HERE, OSError(number, os.strerror(number))) for number in numbers])


@pytest.mark.parametrize(
    ("numbers", "error"),
    [
        ([ECONNREFUSED], "connection_refused"),
        ([ETIMEDOUT], "connection_timeout"),
        ([ENETUNREACH], "destination_ip_unroutable"),
        ([EHOSTUNREACH], "destination_ip_unroutable"),
        ([EPROTO], "connection_terminated"),
        ([ECONNREFUSED, ETIMEDOUT], "connection_timeout"),  # the last error decides
        ([EMFILE], "connection_limit_reached"),
        ([ENFILE, ECONNREFUSED], "connection_limit_reached"),
        ([ECONNREFUSED, ENOBUFS], "connection_limit_reached"),
        ([ENOMEM], "connection_limit_reached"),
        ([EADDRNOTAVAIL], "connection_limit_reached"),
    ],
)
def test_s19_errno_maps_to_the_proxy_status_error(numbers: list[int], error: str) -> None:
    assert dial_refusal(failed(*numbers)).error == error
    assert is_our_limit(failed(*numbers)) == (error == "connection_limit_reached")


def test_no_source_address_is_reported_as_no_route(monkeypatch: pytest.MonkeyPatch) -> None:
    """With IPv6, EADDRNOTAVAIL can mean that no source address exists; then connecting a datagram socket fails too."""

    class NoSource(socket.socket):
        def connect(self, _: object) -> None:
            raise OSError(EADDRNOTAVAIL, "Cannot assign requested address")

    monkeypatch.setattr(socket, "socket", NoSource)
    assert dial_refusal(failed(EADDRNOTAVAIL)).error == "destination_ip_unroutable"


@pytest.mark.parametrize("error", [None, ValueError("x"), OSError("x"), failed(ECONNREFUSED)])
def test_other_errors_are_no_limit_of_this_machine(error: BaseException | None) -> None:
    assert not is_our_limit(error)


NO_PORTS = """
import socket
from tests.peers.scripted import ScriptedServer, echo
from tests.server.harness import Proxy

with ScriptedServer(echo) as target, Proxy() as proxy:
    with open("/proc/sys/net/ipv4/ip_local_port_range", "w") as ports:
        ports.write("50000 50003")
    # Two of them lead to the proxy, and two on to the target.
    tunnels = [proxy.tunnel(target.authority) for _ in range(2)]
    taken = [socket.create_connection(("127.0.0.1", target.port)) for _ in range(2)]
    answer = proxy.refusal(target.authority)
    print(answer.status, answer.error, answer.fields["retry-after"])
    for each in taken:
        each.close()
    for tunnel in tunnels:
        assert tunnel.echoes()
        tunnel.sock.close()
"""


@pytest.mark.peer("unshare", "ip")
def test_l2_exhausted_local_ports_are_a_limit_of_this_machine() -> None:
    command = ["unshare", "-rn", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", sys.executable, "-c", NO_PORTS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[2])
    assert done.stdout == "503 connection_limit_reached 1\n", done.stderr
