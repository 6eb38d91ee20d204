"""V2: the proxy refuses its own port in every spelling and under every rule; two proxies cannot form an endless loop."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.peers.manager import ACTIVATE
from tests.peers.process import end, wait_until
from tests.peers.program import environment
from tests.peers.scripted import ScriptedServer, echo
from tests.server.harness import SECONDS, Client, Names, Proxy, connect_request

EVERYTHING = ("127.0.0.0/8:*", "0.0.0.0:*", "[::1]:*", "[::]:*", "localhost:*", "self.test:*", "[::ffff:127.0.0.1]:*")


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "0.0.0.0", "[::ffff:0.0.0.0]", "localhost", "LocalHost.", "self.test"],
)
def test_own_listener_is_refused_in_every_spelling(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, localhost=[["127.0.0.1"]], self_test=[["192.0.2.1", "127.0.0.1"]])
    with Proxy(*EVERYTHING) as proxy:
        answer = proxy.refusal(f"{host}:{proxy.port}")
        assert (answer.status, answer.error) == (502, "proxy_loop_detected")
        (record,) = proxy.wait_for_records(1)
    assert record["rule"] == "own listener"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "127.255.255.254", "0.0.0.0", "[::ffff:127.0.0.9]"])
def test_a_wildcard_listener_covers_every_local_address(host: str) -> None:
    with Proxy(*EVERYTHING, listen=("0.0.0.0:0",), open_proxy=True) as proxy:
        assert proxy.refusal(f"{host}:{proxy.port}").error == "proxy_loop_detected"


@pytest.mark.parametrize("host", ["[::1]", "[::]", "[0:0:0:0:0:0:0:1]"])
@pytest.mark.parametrize("listen", ["[::1]:0", "[::]:0"])
def test_own_ipv6_listener_is_refused(listen: str, host: str) -> None:
    with Proxy(*EVERYTHING, listen=(listen,), open_proxy=True) as proxy, Client(("::1", proxy.port)) as client:
        client.send(connect_request(f"{host}:{proxy.port}"))
        assert client.answer().error == "proxy_loop_detected"


@pytest.fixture
def for_both_kinds(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """Port and log of a proxy with a dual-stack socket, as systemd creates for ListenStream=PORT."""
    log = tmp_path / "log"
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
        rules = [word for rule in EVERYTHING for word in ("--allow", rule)]
        options = ["--listen", "fd:db", "--open-proxy", "--max-per-client", "1", "--access-log", str(log), *rules]
        command = [sys.executable, "-c", ACTIVATE, str(listener.fileno()), "serve", *options]
        process = subprocess.Popen(command, pass_fds=[listener.fileno()], env=environment(), stderr=subprocess.PIPE)
        assert process.stderr is not None
        try:
            port = listener.getsockname()[1]
            assert process.stderr.readline() == f"listening on [::]:{port}\n".encode()
            yield port, log
        finally:
            end(process)
            process.stderr.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "[::ffff:127.0.0.1]", "[::1]", "0.0.0.0"])
def test_a_dual_stack_listener_covers_local_addresses_of_both_families(host: str, for_both_kinds: tuple[int, Path]) -> None:
    port, _ = for_both_kinds
    with Client(("127.0.0.1", port)) as client:
        client.send(connect_request(f"{host}:{port}"))
        assert client.answer().error == "proxy_loop_detected"


def test_a_dual_stack_listener_counts_ipv4_clients_by_address(for_both_kinds: tuple[int, Path]) -> None:
    """Grouped by IPv6 network, all of them would count as one client and share its caps."""
    port, log = for_both_kinds
    with (
        ScriptedServer(echo) as target,
        Client(("127.0.0.1", port), "127.0.0.1") as one,
        Client(("127.0.0.1", port), "127.0.0.2") as other,
        Client(("127.0.0.1", port), "127.0.0.2") as again,
    ):
        one.tunnel(target.authority)
        other.tunnel(target.authority)
        again.send(connect_request(target.authority))
        assert again.answer().status == 429
    wait_until(lambda: log.exists() and log.read_text().count('"phases"') == 3, SECONDS, "three records")
    assert {json.loads(line)["client"].rpartition(":")[0] for line in log.read_text().splitlines()} == {"127.0.0.1", "127.0.0.2"}


def test_each_of_several_listeners_is_refused() -> None:
    with Proxy(*EVERYTHING, listen=("127.0.0.1:0", "127.0.0.3:0", "[::1]:0")) as proxy:
        for address in proxy.addresses:
            assert proxy.refusal(address).error == "proxy_loop_detected"


def test_own_port_on_another_local_address_is_allowed() -> None:
    """The same port number on an address that the proxy does not listen on."""
    with (
        Proxy(*EVERYTHING) as proxy,
        socket.create_server(("127.0.0.2", proxy.port)) as other,
        proxy.tunnel(f"127.0.0.2:{proxy.port}"),
    ):
        other.accept()[0].close()


def test_a_loop_is_reported_only_if_a_rule_allows_loopback() -> None:
    """A client that may not reach loopback does not learn where the proxy listens."""
    with Proxy("*:*") as proxy:
        assert proxy.refusal(f"127.0.0.1:{proxy.port}").error == "destination_ip_prohibited"


def test_a_loop_of_two_proxies_ends_with_the_client(program_proxy: tuple[str, int]) -> None:
    """A tunnels to B, and B back to A: the client requested each leg, and all of them end with its connection."""
    other, process = program_proxy
    with Proxy("127.0.0.1:*") as proxy:
        here, there = sockets("self"), sockets(process)
        with proxy.tunnel(other) as client:
            for stop in (proxy.authority, other, proxy.authority, other):
                client.tunnel(stop)
            client.send(connect_request(other))
            assert client.answer().error == "proxy_loop_detected"
        wait_until(lambda: sockets("self") == here, SECONDS, "the closing of the first proxy's sockets")
        wait_until(lambda: sockets(process) == there, SECONDS, "the closing of the second proxy's sockets")


def sockets(process: int | str) -> int:
    """Number of sockets that a process has open."""
    found = 0
    for number in os.listdir(f"/proc/{process}/fd"):
        with suppress(FileNotFoundError):
            found += os.readlink(f"/proc/{process}/fd/{number}").startswith("socket:")
    return found
