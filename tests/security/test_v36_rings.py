"""V36: proxies that lead to each other. One request costs a handful of connections, and the client is told what is wrong."""

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
    """Proxies of ours, each of which leads to the next, and the last to the first."""

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
        """How many requests all of them together have answered."""
        return sum(
            record["event"] in ("opened", "refused")
            for log in self.logs
            for record in map(json.loads, log.read_text().splitlines())
        )

    def sockets(self) -> list[int]:
        """Of each of them; one that listens has all that it needs for that."""
        return [sum(path.startswith("socket:") for path in links(serve.process.pid)) for serve in self.proxies]


def links(pid: int) -> Iterator[str]:
    """Where the descriptors of a process lead."""
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            yield os.readlink(entry)


def answered(log: Path) -> int:
    """How many requests an access log has."""
    return len(re.findall('"event":"(?:opened|refused)"', log.read_text()))


@pytest.mark.parametrize("count", [2, 3, 5])
def test_h1_a_ring_costs_a_request_to_each_proxy(count: int, tmp_path: Path) -> None:
    with ExitStack() as stack:
        ring = Ring(tmp_path, stack, *["http"] * count)
        before = ring.sockets()
        answer = ring.ask()
        assert (answer.status, answer.error) == (502, "proxy_loop_detected")
        wait_until(lambda: ring.requests() >= count + 1, SECONDS, "the records")
        assert ring.requests() == count + 1
        wait_until(lambda: ring.sockets() == before, SECONDS, "the sockets")


def onward(scheme: str, port: int) -> tuple[str, str]:
    return "-x", f"{scheme}://127.0.0.1:{port}"


def through_socks(port: int) -> bytes:
    """The answer of a dynamic port to SOCKS5, behind the greeting."""
    host, _, target_port = TARGET.partition(":")
    with Client(("127.0.0.1", port)) as client:
        client.send(b"\x05\x01\x00\x05\x01\x00\x03" + bytes([len(host)]) + host.encode() + int(target_port).to_bytes(2, "big"))
        return client.rest()[2:]


@pytest.mark.parametrize("scheme", ["http", "socks5", "socks4a"])
def test_h1_a_ring_of_serve_and_forward(scheme: str, tmp_path: Path) -> None:
    """SOCKS has no Via: what comes round there is the probe. Over HTTP, forward keeps what serve has said, and adds to it."""
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
        assert "proxy_loop_detected" in forward.log()
        assert serve.process.poll() is None


def test_h1_a_ring_whose_rules_allow_the_target_alone(tmp_path: Path) -> None:
    """No Via comes round, for half of the way is SOCKS; and the rules of each serve know nothing of the name in the probe."""
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


def test_h1_a_probe_is_never_a_tunnel() -> None:
    """Its rules do not count, so nothing may be reached by that name."""
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


def test_h1_plain_http_that_comes_round_is_refused() -> None:
    one, other = free_port(), free_port()
    with Forward("-D", str(one), *onward("http", other)) as first, Forward("-D", str(other), *onward("http", one)) as second:
        with Client(("127.0.0.1", one)) as client:
            client.send(b"GET http://pub.example/ HTTP/1.1\r\nHost: pub.example\r\n\r\n")
            answer = client.answer()
        assert (answer.status, answer.error) == (502, "proxy_loop_detected")
        assert 1 <= first.log().count("lead back") + second.log().count("lead back") <= 3


@pytest.mark.parametrize("words", [("-D", "{}"), ("-L", "{}:pub.example:443")], ids=["D", "L"])
@pytest.mark.parametrize("named", ["flag", "variable"])
def test_h1_a_local_port_is_not_its_own_next_proxy(words: tuple[str, str], named: str) -> None:
    url = f"http://localhost:{free_port()}"
    flags, env = (("-x", url), None) if named == "flag" else ((), {"https_proxy": url})
    done = run("forward", words[0], words[1].format(url.rpartition(":")[2]), *flags, env=env)
    assert done.returncode == 2
    assert done.stderr.decode().startswith(f"tunnelctl: proxy {url}: that is where this program itself listens\nhint: ")


@contextmanager
def forgetful(port: int) -> Iterator[ScriptedServer]:
    """A foreign proxy that leads every request on to a proxy on this port, without Via; and answers as that does."""

    def script(peer: Conversation) -> None:
        target = peer.read_head().split()[1].decode()
        with socket.create_connection(("127.0.0.1", port), SECONDS) as onward:
            onward.sendall(connect_request(target))
            while piece := onward.recv(65536):
                peer.send(piece)

    with ScriptedServer(script) as server:
        yield server


def test_h1_a_ring_in_which_a_foreign_proxy_drops_via_is_found_by_the_target() -> None:
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
        assert len(proxy.wait_for_records(SUSPICIOUS + 3)) == SUSPICIOUS + 3, "it is remembered for a while"


def test_h1_a_ring_that_refuses_the_probe_is_bounded_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_via_is_kept_and_added_to() -> None:
    """RFC 9110 section 7.6.3: whoever passes a request on says so behind those who did before."""

    def script(peer: Conversation) -> None:
        peer.accept_tunnel()

    with ScriptedServer(script) as foreign, Leading(foreign.url) as proxy:
        with proxy.tunnel(TARGET, "Via: 1.0 fred, 1.1 p.example.net", "Via: 1.1 other (a comment)"):
            pass
        (head,) = foreign.heads
    (via,) = [line for line in head.split(b"\r\n") if line.lower().startswith(b"via:")]
    assert via.startswith(b"Via: 1.0 fred, 1.1 p.example.net, 1.1 other (a comment), 1.1 tunnelctl-")


def test_every_http_proxy_of_a_chain_is_told() -> None:
    """The last one is asked for the client's target: that request may come round, and so may the one for its tunnel."""

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


def test_many_clients_of_one_target_that_is_reached_are_no_ring() -> None:
    """Nobody is asked for another name, nor held up."""

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
    # Of the first ones, which may all be under way before one of them stands, one may have been preceded by the question.
    assert asked.count(TARGET.encode()) == 6 * SUSPICIOUS
    assert len(asked) <= 6 * SUSPICIOUS + 1


def test_a_target_that_takes_long_is_no_ring() -> None:
    """The probe is refused, as any name is that no name service has, and all of them get their tunnels in the end."""
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
        wait_until(lambda: len(foreign.heads) == 2 * SUSPICIOUS + 1, SECONDS, "all of them, and the probe")
        go.set()
        assert [client.head() for client in clients] == [ESTABLISHED] * len(clients)
        for client in clients:
            client.sock.close()


def test_the_probe_of_another_proxy_is_a_name_like_any_other() -> None:
    def script(peer: Conversation) -> None:
        peer.accept_tunnel(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")

    with ScriptedServer(script) as foreign, Leading(foreign.url) as proxy:
        assert proxy.refusal("tunnelctl-0123456789abcdef.invalid:443").error != "proxy_loop_detected"
        assert len(foreign.heads) == 1
