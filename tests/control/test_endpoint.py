"""`--admin`: its pages, which requests it serves, and the clients that it survives."""

import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.peers.instances import PATIENT
from tests.peers.process import free_port, wait_until
from tests.peers.program import started
from tests.peers.scripted import ScriptedServer, echo
from tests.server.harness import SECONDS, Client, Proxy, connect_request
from tunnelctl.control import endpoint as under_test
from tunnelctl.control.admin import parse_admin
from tunnelctl.errors import UsageProblem
from tunnelctl.proto import private_http
from tunnelctl.server.observe.overview import ServerOverview

BRIEF = 0.2  # seconds: a limit meant to expire


class Answer:
    def __init__(self, port: int, path: str, method: str = "GET") -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            self.status, self.body, self.fields = answer.status, answer.read(), answer.headers
        finally:
            connection.close()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def samples(port: int) -> dict[tuple[str, ...], float]:
    """Returns the samples by name and by the values of their labels, ordered by label name."""
    text = Answer(port, "/metrics").body.decode()
    found = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value for sample in found}


@contextmanager
def administered(**options: Any) -> Iterator[tuple[Proxy, int]]:
    """Yields a proxy and the port of its admin listener."""
    with Proxy(admin="127.0.0.1:0", **options) as proxy:
        yield proxy, proxy.admin_port


# --- pages


def test_the_parser_of_prometheus_client_reads_the_metrics() -> None:
    with ScriptedServer(echo) as target, administered() as (proxy, port):
        with proxy.tunnel(target.authority) as client:
            client.echoes(b"12345")
            proxy.refusal("10.0.0.1:1")
            seen = samples(port)
            assert (seen["tunnelctl_tunnels",], seen["tunnelctl_connections",]) == (1, 1)
            assert seen["tunnelctl_bytes_total", "sent"] == seen["tunnelctl_bytes_total", "received"] == 5
            assert seen["tunnelctl_requests_total", "", "200"] == 1
            assert seen["tunnelctl_requests_total", "destination_ip_prohibited", "403"] == 1
            assert seen["tunnelctl_setup_seconds_count", "opened", "connect"] == 1
            assert seen["tunnelctl_setup_seconds_count", "refused", "head"] == 1
        wait_until(lambda: samples(port)["tunnelctl_tunnels",] == 0, SECONDS, "the end")
        assert samples(port)["tunnelctl_closed_total", "eof", "client"] == 1
        assert Answer(port, "/metrics").fields["content-type"].startswith("text/plain; version=")


def test_the_page_of_open_tunnels() -> None:
    with ScriptedServer(echo) as target, administered() as (proxy, port), proxy.tunnel(target.authority) as client:
        client.echoes(b"12345")
        shown = Answer(port, "/tunnels")
        assert shown.fields["content-type"] == "application/json"
        assert shown.json["silent_workers"] == 0
        (tunnel,) = shown.json["tunnels"]
        assert tunnel.pop("seconds") >= 0
        (decision,) = proxy.wait_for_records(1)
        expected = {key: decision[key] for key in ("connection", "tunnel", "client", "user", "method", "target", "address")}
        assert 0 <= tunnel.pop("idle") < SECONDS
        rates = {"sent_rate": None, "received_rate": None}
        assert tunnel == {**expected, "phase": "tunnel", "sent": 5, "received": 5, **rates}


def test_health_and_readiness_during_a_drain() -> None:
    with ScriptedServer(echo) as target, administered(drain=SECONDS) as (proxy, port), proxy.tunnel(target.authority):
        assert [(Answer(port, path).status, Answer(port, path).body) for path in ("/healthz", "/readyz")] == [
            (200, b"ok\n"),
            (200, b"ready\n"),
        ]
        proxy.signal()
        wait_until(lambda: Answer(port, "/readyz").status == 503, SECONDS, "the drain")
        assert Answer(port, "/readyz").body == b"draining\n"
        assert Answer(port, "/healthz").status == 200
        assert len(Answer(port, "/tunnels").json["tunnels"]) == 1


def test_v18_no_page_contains_a_password(tmp_path: Path) -> None:
    from tests.server.harness import basic, users_file

    with administered(users=users_file(tmp_path, alice="canary")) as (proxy, port):
        proxy.refusal("10.0.0.1:1", basic("alice", "canary"))
        proxy.refusal("10.0.0.1:1", basic("alice", "canary2"))
        everything = b"".join(
            Answer(port, path).body for path in ("/", "/metrics", "/status", "/tunnels", "/recent", "/healthz", "/nowhere")
        )
    assert b"canary" not in everything


# --- requests


def test_the_response_to_head_has_no_body() -> None:
    with administered() as (_, port):
        answer = Answer(port, "/healthz", "HEAD")
        assert (answer.status, answer.body, answer.fields["content-length"]) == (200, b"", "3")


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/x", 404), ("GET", "/metrics/", 404), ("POST", "/metrics", 405)])
def test_an_unknown_path_is_a_404_and_another_method_a_405(method: str, path: str, status: int) -> None:
    with administered() as (_, port):
        answer = Answer(port, path, method)
        assert answer.status == status
        assert answer.fields["connection"] == "close"
        assert answer.fields.get("allow") == ("GET, HEAD" if status == 405 else None)


@pytest.mark.parametrize(
    ("method", "path", "line"),
    [
        ("GET", "/healthz", b"HTTP/1.1 200 OK"),
        ("GET", "/other", b"HTTP/1.1 404 Not Found"),
        ("PUT", "/healthz", b"HTTP/1.1 405 Method Not Allowed"),
        ("GET x", "/healthz", b"HTTP/1.1 400 Bad Request"),
        ("GET", "/" + "x" * 2 * under_test.MAX_HEAD, b"HTTP/1.1 431 Request Header Fields Too Large"),
    ],
)
def test_every_response_has_a_reason_phrase(method: str, path: str, line: bytes) -> None:
    with administered() as (_, port), Client(("127.0.0.1", port)) as client:
        client.send(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert client.head().partition(b"\r\n")[0].strip() == line


def test_a_query_is_ignored() -> None:
    with administered() as (_, port):
        assert Answer(port, "/healthz?verbose=1").status == 200


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"NONSENSE\r\n\r\n", b"400"),
        (b"GET /healthz HTTP/1.1\r\n\r\n", b"400"),  # no Host
        (b"GET /" + b"x" * under_test.MAX_HEAD + b" HTTP/1.1\r\n", b"431"),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", b"400"),
        (b"CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: localhost\r\n\r\n", b"404"),
    ],
)
def test_a_malformed_request_is_refused(data: bytes, status: bytes) -> None:
    with administered() as (_, port), Client(("127.0.0.1", port)) as client:
        client.send(data)
        client.sock.shutdown(socket.SHUT_WR)
        assert client.rest().split(b" ")[1] == status


def test_only_the_first_request_of_a_connection_is_answered() -> None:
    with administered() as (_, port), Client(("127.0.0.1", port)) as client:
        client.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2)
        client.sock.shutdown(socket.SHUT_WR)
        assert client.rest().count(b"HTTP/1.1") == 1


def test_a_silent_client_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "SECONDS", BRIEF)
    with administered() as (_, port), Client(("127.0.0.1", port)) as client, Client(("127.0.0.1", port)) as half:
        half.send(b"GET /healthz")
        assert client.rest() == b""
        assert half.rest() == b""


def test_a_client_that_floods_after_the_response_is_disconnected() -> None:
    with administered() as (_, port), Client(("127.0.0.1", port)) as client:
        client.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with pytest.raises(ConnectionError):
            for _ in range(10_000):
                client.send(b"x" * 65536)


def test_connections_beyond_the_limit_are_closed() -> None:
    with administered() as (_, port):
        idle = [Client(("127.0.0.1", port)) for _ in range(under_test.AT_ONCE)]
        with Client(("127.0.0.1", port)) as one_more:
            assert one_more.rest() == b""
        for client in idle:
            client.sock.close()
        wait_until(lambda: let_in(port), SECONDS, "a free place")


def let_in(port: int) -> bool:
    try:
        return Answer(port, "/healthz").status == 200
    except (http.client.HTTPException, ConnectionError):
        return False


# --- access


def asked(address: tuple[str, int] | str, host: str | None, *fields: str, version: str = "1.1") -> tuple[int, bytes]:
    """Returns the status and the content of the response to a request for /tunnels."""
    lines = [f"GET /tunnels HTTP/{version}", *([] if host is None else [f"Host: {host}"]), *fields, "", ""]
    with Client(address) as client:
        client.send("\r\n".join(lines).encode())
        client.sock.shutdown(socket.SHUT_WR)
        head, _, content = client.rest().partition(b"\r\n\r\n")
        return int(head.split(b" ")[1]), content


def test_m8_a_private_listener_accepts_addresses_and_localhost_as_host() -> None:
    """After DNS rebinding, the page of a name that resolves to this machine must not read the list of tunnels."""
    with ScriptedServer(echo) as target, administered() as (proxy, port), proxy.tunnel(target.authority):
        for host in ("127.0.0.1", f"127.0.0.1:{port}", "localhost", "LOCALHOST.:1", "[::1]:9", "192.0.2.7"):
            assert asked(("127.0.0.1", port), host)[0] == 200, host
        for host in ("attacker.example", f"attacker.example:{port}", "localhost.attacker.example"):
            status, content = asked(("127.0.0.1", port), host, "Origin: http://attacker.example")
            assert (status, content) == (421, b"this listener is private: ask it by its address, or as localhost\n")
        assert asked(("127.0.0.1", port), None)[0] == 400
        assert asked(("127.0.0.1", port), "127.0.0.1:0")[0] == 400
        assert asked(("127.0.0.1", port), None, version="1.0")[0] == 200
        assert asked(("127.0.0.1", port), "attacker.example", version="1.0")[0] == 421
        assert asked(("127.0.0.1", port), "127.0.0.1", "Sec-Fetch-Site: cross-site")[0] == 403


def test_m8_a_unix_socket_accepts_any_host(tmp_path: Path) -> None:
    """No browser reaches it, and programs send any Host: curl that of the URL, others an empty one."""
    path = tmp_path / "admin"
    with Proxy(admin=f"unix:{path}"):
        for host in ("localhost", "docker", "attacker.example", ""):
            assert asked(str(path), host)[0] == 200, host


def test_m8_an_open_listener_accepts_any_host_but_no_cross_site_request() -> None:
    port = free_port()
    with Proxy(admin=f"0.0.0.0:{port}", open_admin=True):
        for host in ("proxy.example.net", f"proxy.example.net:{port}", "127.0.0.1"):
            assert asked(("127.0.0.1", port), host)[0] == 200, host
        assert asked(("127.0.0.1", port), "proxy.example.net", "Origin: http://attacker.example")[0] == 403
        assert asked(("127.0.0.1", port), "proxy.example.net", "Sec-Fetch-Site: cross-site")[0] == 403


def test_m8_open_admin_keeps_a_loopback_address_private() -> None:
    port = free_port()
    with Proxy(admin=f"127.0.0.1:{port}", open_admin=True):
        assert asked(("127.0.0.1", port), "attacker.example")[0] == 421


@pytest.mark.parametrize("text", ["0.0.0.0:9000", "192.0.2.1:9000", "[::]:9000"])
def test_an_admin_address_beyond_loopback_must_be_forced(text: str) -> None:
    with pytest.raises(UsageProblem, match="which clients use which targets"):
        parse_admin(text, forced=False)
    assert str(parse_admin(text, forced=True)) == text


def test_a_unix_socket_is_private_to_its_owner_and_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "admin"
    with Proxy(admin=f"unix:{path}"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with Client(str(path)) as client:
            client.send(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert client.rest().endswith(b"\r\n\r\nok\n")
    assert not path.exists()


def test_v2_the_admin_listener_is_no_target_whatever_the_rules() -> None:
    with administered() as (proxy, port):
        for host in ("127.0.0.1", "0.0.0.0", "[::ffff:127.0.0.1]"):
            answer = proxy.refusal(f"{host}:{port}")
            assert answer.status in (403, 502), host
        assert proxy.refusal(f"127.0.0.1:{port}").error == "proxy_loop_detected"


def test_prometheus_client_is_not_loaded_without_admin() -> None:
    code = "import sys, tunnelctl.server.serve; assert 'prometheus_client' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=SECONDS)


# --- faults in a request


def raising(fault: Exception) -> Callable[..., Any]:
    def fail(*_: object) -> None:
        raise fault

    return fail


@pytest.mark.parametrize(
    ("place", "fault"),
    [
        ("ServerOverview._tunnels", json.JSONDecodeError("Unterminated string", "[", 1)),
        ("ServerOverview._tunnels", OSError(24, "Too many open files")),
        ("ServerOverview._tunnels", MemoryError("no more")),
    ],
)
def test_m5_a_fault_ends_only_its_request(place: str, fault: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer(echo) as target, pytest.raises(AssertionError, match="fault in an admin request"):
        with administered() as (proxy, port), proxy.tunnel(target.authority) as client:
            with monkeypatch.context() as patch:
                patch.setattr(ServerOverview, place.partition(".")[2], raising(fault))
                answer = Answer(port, "/tunnels")
            assert (answer.status, answer.body) == (500, b"internal error: standard error of tunnelctl has more\n")
            assert Answer(port, "/healthz").status == 200
            assert len(Answer(port, "/tunnels").json["tunnels"]) == 1
            assert client.echoes()
    assert proxy.warnings == [f"fault in an admin request: {type(fault).__name__}: {fault}"]


def test_m5_a_fault_outside_of_a_page_ends_only_its_request(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError, match="fault in an admin request"):
        with administered() as (_, port):
            with monkeypatch.context() as patch, Client(("127.0.0.1", port)) as client:
                patch.setattr(private_http, "deny", raising(ZeroDivisionError("a fault of ours")))
                client.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert client.rest() == b""
            assert Answer(port, "/healthz").status == 200


# --- several workers


def test_the_metrics_of_all_workers_are_summed() -> None:
    port = free_port()
    command = ["serve", "--listen", "127.0.0.1:0", "--allow", "127.0.0.1:*", "--workers", "2", "--admin", f"127.0.0.1:{port}"]
    with ScriptedServer(echo) as target, started(*command, "--drain", "0", program=PATIENT) as process:
        assert process.stderr is not None
        serve = int(process.stderr.readline().decode().rpartition(":")[2])
        clients = list[Client]()
        while len(workers_with_tunnels(port)) < 2:  # without SO_REUSEPORT of Linux, one may be quicker for a while
            assert len(clients) < 400
            clients += [Client(("127.0.0.1", serve)).tunnel(target.authority) for _ in range(20)]
        number = len(clients)
        for client in clients:
            client.echoes(b"12345")
        wait_until(lambda: samples(port)["tunnelctl_tunnels",] == number, SECONDS, "the figures of each worker")
        wait_until(lambda: samples(port)["tunnelctl_bytes_total", "sent"] == 5 * number, SECONDS, "the figures of each worker")
        shown = Answer(port, "/tunnels").json
        assert shown["silent_workers"] == 0
        assert len({tunnel["tunnel"] for tunnel in shown["tunnels"]}) == number
        before = samples(port)
        victim = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: samples_soon(port).get(("tunnelctl_worker_restarts_total",)) == 1, SECONDS, "the restart of the worker")
        wait_until(lambda: len(Answer(port, "/tunnels").json["tunnels"]) < number, SECONDS, "the remaining tunnels")
        after = samples(port)
        assert 0 < after["tunnelctl_tunnels",] < number
        falling = [
            name for name in before if name[0].endswith(("_total", "_count", "_sum", "_bucket")) and after[name] < before[name]
        ]
        assert falling == [], "no sum may decrease"
        for client in clients:
            client.sock.close()


def workers_with_tunnels(port: int) -> set[str]:
    return {tunnel["tunnel"].partition("-")[0] for tunnel in Answer(port, "/tunnels").json["tunnels"]}


def samples_soon(port: int) -> dict[tuple[str, ...], float]:
    """Returns nothing if a worker that has died had accepted the connection."""
    try:
        return samples(port)
    except (http.client.HTTPException, ConnectionError):
        return {}


def test_an_idle_admin_client_does_not_block_connect_requests() -> None:
    """The two listeners are independent."""
    with ScriptedServer(echo) as target, administered() as (proxy, port), Client(("127.0.0.1", port)) as idle:
        idle.send(b"GET /met")
        with proxy.tunnel(target.authority) as client:
            assert client.echoes()
        assert proxy.ask(connect_request("10.0.0.1:1")).status == 403
