"""V36: proxies that form a ring. One request costs a handful of connections, and the client gets the reason."""

import json
import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.peers.process import free_port, wait_until
from tests.peers.program import Forward, Serve, run
from tests.peers.scripted import ESTABLISHED, Conversation, ScriptedServer
from tests.server.harness import SECONDS, Answer, Client, Leading, connect_request
from tunnelctl.client.loop_detector import SUSPICIOUS

TARGET = "pub.example:443"
RULES = ("pub.example:443",)


class Ring:
    """Our proxies in a ring: each uses the next one as its proxy, and the last uses the first."""

    def __init__(self, directory: Path, stack: ExitStack, *schemes: str) -> None:
        ports = [free_port() for _ in schemes]
        self.logs = [directory / f"log{number}" for number in range(len(ports))]
        self.proxies = []
        for number, scheme in enumerate(schemes):
            onward = f"{scheme}://127.0.0.1:{ports[(number + 1) % len(ports)]}"
            flags = ("--listen", f"127.0.0.1:{ports[number]}", "-x", onward, "--access-log", str(self.logs[number]))
            serve = Serve(*flags, allow=RULES)
            serve._command.remove("--listen")
            serve._command.remove("127.0.0.1:0")
            self.proxies.append(stack.enter_context(serve))

    def ask(self) -> Answer:
        with Client(("127.0.0.1", self.proxies[0].port)) as client:
            client.send(connect_request(TARGET))
            return client.answer()

    def requests(self) -> int:
        """Number of requests that all proxies together have answered."""
        return sum(
            record["event"] in ("opened", "refused")
            for log in self.logs
            for record in map(json.loads, log.read_text().splitlines())
        )

    def sockets(self) -> list[int]:
        """Number of TCP sockets of each proxy; constant while it only listens."""
        tcp = {f"socket:[{line.split()[9]}]" for line in Path("/proc/net/tcp").read_text().splitlines()[1:]}
        return [sum(path in tcp for path in links(serve.process.pid)) for serve in self.proxies]


def links(pid: int) -> Iterator[str]:
    """Yields the link targets of a process's descriptors."""
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            yield os.readlink(entry)


def answered(log: Path) -> int:
    """Number of answered requests in an access log."""
    return len(re.findall('"event":"(?:opened|refused)"', log.read_text()))


@pytest.mark.parametrize("count", [2, 3, 5])
def test_h1_a_ring_costs_one_request_per_proxy_and_one_more(count: int, tmp_path: Path) -> None:
    with ExitStack() as stack:
        ring = Ring(tmp_path, stack, *["http"] * count)
        before = ring.sockets()
        answer = ring.ask()
        assert (answer.status, answer.error) == (502, "proxy_loop_detected")
        wait_until(lambda: ring.requests() >= count + 1, SECONDS, "a record per request")
        assert ring.requests() == count + 1
        wait_until(lambda: ring.sockets() == before, SECONDS, "the closing of all sockets of the ring")


def onward(scheme: str, port: int) -> tuple[str, str]:
    return "-x", f"{scheme}://127.0.0.1:{port}"


def through_socks(port: int) -> bytes:
    """The reply of a dynamic port to a SOCKS5 request, without that to the greeting."""
    host, _, target_port = TARGET.partition(":")
    with Client(("127.0.0.1", port)) as client:
        client.send(b"\x05\x01\x00\x05\x01\x00\x03" + bytes([len(host)]) + host.encode() + int(target_port).to_bytes(2, "big"))
        return client.rest()[2:]


@pytest.mark.parametrize("scheme", ["http", "socks5", "socks4a"])
def test_h1_a_ring_of_serve_and_forward(scheme: str, tmp_path: Path) -> None:
    """SOCKS has no Via, so only the probe reveals the ring. Over HTTP, forward keeps serve's Via and adds to it."""
    log, ours, theirs = tmp_path / "log", free_port(), free_port()
    flags = ("--listen", f"127.0.0.1:{ours}", *onward(scheme, theirs), "--access-log", str(log))
    with Serve(*flags, allow=RULES) as serve, Forward("-D", str(theirs), *onward("http", ours)) as forward:
        with Client(("127.0.0.1", ours)) as client:
            client.send(connect_request(TARGET))
            answer = client.answer()
        assert (answer.status, answer.error) == (502, "proxy_loop_detected")
        requests = answered(log)
        assert requests <= (2 if scheme == "http" else SUSPICIOUS + 2)
        assert len(through_socks(forward.port)) == 10
        assert through_socks(forward.port)[1] != 0
        assert answered(log) <= requests + 2 * (SUSPICIOUS + 2)
        wait_until(lambda: "proxy_loop_detected" in forward.log())
        assert serve.process.poll() is None


def test_h1_a_ring_is_found_if_rules_allow_only_the_target(tmp_path: Path) -> None:
    """No Via comes round because half of the hops are SOCKS, and no rule of either serve allows the name in the probe."""
    ports = [free_port() for _ in range(4)]
    logs = [tmp_path / "one", tmp_path / "other"]
    with ExitStack() as stack:
        for number in (0, 2):
            flags = ("--listen", f"127.0.0.1:{ports[number]}", *onward("socks5", ports[number + 1]))
            stack.enter_context(Serve(*flags, "--access-log", str(logs[number // 2]), allow=RULES))
            stack.enter_context(Forward("-D", str(ports[number + 1]), *onward("http", ports[(number + 2) % 4])))
        with Client(("127.0.0.1", ports[0])) as client:
            client.send(connect_request(TARGET))
            answer = client.answer()
        assert (answer.status, answer.error) == (502, "proxy_loop_detected")
        assert sum(answered(log) for log in logs) <= 2 * (SUSPICIOUS + 3)


def test_h1_a_probe_never_gets_a_tunnel() -> None:
    """Rules do not apply to a probe, so nothing may be reachable by its name."""
    with ScriptedServer(lambda peer: peer.accept_tunnel()) as foreign, Leading(foreign.url, deny=("*:*",)) as proxy:  # type: ignore[arg-type]
        answer = proxy.refusal("tunnelctl-0123456789abcdef.invalid:443")
        assert (answer.status, answer.error) == (502, "dns_error")
        assert len(foreign.heads) == 1
        assert proxy.refusal("tunnelctl-0123456789abcdef.example:443").status == 403


@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_h1_a_ring_of_dynamic_ports(scheme: str) -> None:
    one, other = free_port(), free_port()
    with Forward("-D", str(one), *onward(scheme, other)) as first, Forward("-D", str(other), *onward(scheme, one)) as second:
        with Client(("127.0.0.1", one)) as client:
            client.send(connect_request(TARGET))
            answer = client.answer()
        assert (answer.status, answer.error) == (502, "proxy_loop_detected")
        connections = sum(proxy.log().count("connection ") for proxy in (first, second))
        assert connections <= (3 if scheme == "http" else 2 * (SUSPICIOUS + 3))


def test_h1_a_plain_http_request_that_comes_round_is_refused() -> None:
    one, other = free_port(), free_port()
    with Forward("-D", str(one), *onward("http", other)) as first, Forward("-D", str(other), *onward("http", one)) as second:
        with Client(("127.0.0.1", one)) as client:
            client.send(b"GET http://pub.example/ HTTP/1.1\r\nHost: pub.example\r\n\r\n")
            answer = client.answer()
        assert (answer.status, answer.error) == (502, "proxy_loop_detected")
        wait_until(lambda: "lead back" in first.log() + second.log())
    assert (first.log() + second.log()).count("lead back") <= 3


@pytest.mark.parametrize("words", [("-D", "{}"), ("-L", "{}:pub.example:443")], ids=["D", "L"])
@pytest.mark.parametrize("named", ["flag", "variable"])
def test_h1_forward_rejects_its_own_port_as_proxy(words: tuple[str, str], named: str) -> None:
    url = f"http://localhost:{free_port()}"
    flags, env = (("-x", url), None) if named == "flag" else ((), {"https_proxy": url})
    done = run("forward", words[0], words[1].format(url.rpartition(":")[2]), *flags, env=env)
    assert done.returncode == 2
    assert done.stderr.decode().startswith(f"tunnelctl: proxy {url}: tunnelctl itself listens on this address\nhint: ")


@contextmanager
def forgetful(port: int) -> Iterator[ScriptedServer]:
    """A foreign proxy that forwards every request without Via to a proxy on this port, and relays its answer."""

    def script(peer: Conversation) -> None:
        target = peer.read_head().split()[1].decode()
        with socket.create_connection(("127.0.0.1", port), SECONDS) as onward:
            onward.sendall(connect_request(target))
            while piece := onward.recv(65536):
                peer.send(piece)

    with ScriptedServer(script) as server:
        yield server


def test_h1_a_ring_with_a_proxy_that_drops_via_is_found_by_its_target() -> None:
    port = free_port()
    with forgetful(port) as foreign, Leading(foreign.url, listen=(f"127.0.0.1:{port}",), dial_timeout=SECONDS) as proxy:
        answer = proxy.refusal(TARGET)
        assert (answer.status, answer.error) == (502, "proxy_loop_detected")
        assert len(foreign.conversations) <= SUSPICIOUS + 2
        records = proxy.wait_for_records(SUSPICIOUS + 2)
        assert len(records) == SUSPICIOUS + 2
        assert {record["error"] for record in records} == {"proxy_loop_detected"}
        again = proxy.refusal(TARGET)
        assert again.error == "proxy_loop_detected"
        assert len(proxy.wait_for_records(SUSPICIOUS + 3)) == SUSPICIOUS + 3, "the proxy remembers the loop for a while"


def test_h1_a_ring_that_refuses_the_probe_is_still_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunnelctl.client.loop_detector.MOST", 20)
    port = free_port()

    def script(peer: Conversation) -> None:
        target = peer.read_head().split()[1].decode()
        if target != TARGET:
            peer.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            return
        with socket.create_connection(("127.0.0.1", port), SECONDS) as onward:
            onward.sendall(connect_request(target))
            while piece := onward.recv(65536):
                peer.send(piece)

    with ScriptedServer(script) as foreign:
        with Leading(foreign.url, listen=(f"127.0.0.1:{port}",), dial_timeout=SECONDS) as proxy:
            answer = proxy.refusal(TARGET)
            assert answer.status in (502, 503)
            assert len(foreign.conversations) <= 20 + 1


def test_via_of_the_client_is_kept_and_extended() -> None:
    """RFC 9110 section 7.6.3: each intermediary appends itself to those before it."""

    def script(peer: Conversation) -> None:
        peer.accept_tunnel()

    with ScriptedServer(script) as foreign, Leading(foreign.url) as proxy:
        with proxy.tunnel(TARGET, "Via: 1.0 fred, 1.1 p.example.net", "Via: 1.1 other (a comment)"):
            pass
        (head,) = foreign.heads
    (via,) = [line for line in head.split(b"\r\n") if line.lower().startswith(b"via:")]
    assert via.startswith(b"Via: 1.0 fred, 1.1 p.example.net, 1.1 other (a comment), 1.1 tunnelctl-")


def test_every_http_proxy_of_a_chain_gets_via() -> None:
    """Both the request for the client's target and the one for the tunnel to the last proxy may come round."""

    heads: list[bytes] = []

    def script(peer: Conversation) -> None:
        for _ in range(2):
            heads.append(peer.read_head())
            peer.head = b""
            peer.send(ESTABLISHED)

    with ScriptedServer(script) as nearest, Leading(nearest.url, "http://inner.example:3128") as proxy:
        with proxy.tunnel(TARGET, "Via: 1.0 fred"):
            pass
    assert [head.split()[1] for head in heads] == [b"inner.example:3128", TARGET.encode()]
    assert [head.count(b"Via: 1.0 fred, 1.1 tunnelctl-") for head in heads] == [1, 1]


def test_many_clients_of_a_reachable_target_are_not_treated_as_a_ring() -> None:
    """The proxy sends no probe for them and delays none."""

    def script(peer: Conversation) -> None:
        peer.accept_tunnel()
        peer.wait_gone()

    with ScriptedServer(script) as foreign, Leading(foreign.url) as proxy:
        for _ in range(2):
            clients = [proxy.client() for _ in range(3 * SUSPICIOUS)]
            for client in clients:
                client.send(connect_request(TARGET))
            assert [client.head() for client in clients] == [ESTABLISHED] * len(clients)
            for client in clients:
                client.sock.close()
        asked = [head.split()[1] for head in foreign.heads]
    # The first requests may all be pending before one tunnel is established, so one of them may have been preceded by a probe.
    assert asked.count(TARGET.encode()) == 6 * SUSPICIOUS
    assert len(asked) <= 6 * SUSPICIOUS + 1


def test_a_slow_target_is_not_treated_as_a_ring() -> None:
    """The next proxy refuses the probe like any unknown name, and all clients get their tunnels in the end."""
    go = threading.Event()

    def script(peer: Conversation) -> None:
        target = peer.read_head().split()[1]
        if target.endswith(b".invalid:443"):
            peer.send(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            return
        assert go.wait(SECONDS)
        peer.send(ESTABLISHED)
        peer.wait_gone()

    with ScriptedServer(script) as foreign, Leading(foreign.url, dial_timeout=SECONDS) as proxy:
        clients = [proxy.client() for _ in range(2 * SUSPICIOUS)]
        for client in clients:
            client.send(connect_request(TARGET))
        wait_until(lambda: len(foreign.heads) == 2 * SUSPICIOUS + 1, SECONDS, "all requests and the probe")
        go.set()
        assert [client.head() for client in clients] == [ESTABLISHED] * len(clients)
        for client in clients:
            client.sock.close()


def test_the_probe_of_another_proxy_is_treated_as_any_name() -> None:
    def script(peer: Conversation) -> None:
        peer.accept_tunnel(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")

    with ScriptedServer(script) as foreign, Leading(foreign.url) as proxy:
        assert proxy.refusal("tunnelctl-0123456789abcdef.invalid:443").error != "proxy_loop_detected"
        assert len(foreign.heads) == 1
