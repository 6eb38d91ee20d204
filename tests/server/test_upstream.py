"""`serve -x`: tunnels through another proxy, and how its responses are reported to the client. S22."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.client.harness import TraceLog
from tests.options import serve_options
from tests.peers.process import free_port, wait_until
from tests.peers.program import Serve
from tests.peers.scripted import ESTABLISHED, Conversation, ScriptedServer, echo, refusing_port
from tests.server.harness import Leading, basic, users_file
from tunnelctl.cli.commands.upstream import upstream
from tunnelctl.client.upstream import tls_probe as wrong_scheme
from tunnelctl.errors import AuthenticationFailed, NameNotFound, Refused, TimedOut, TunnelctlError, Unreachable, UsageProblem
from tunnelctl.server.upstream import upstream_refusal

pytestmark = pytest.mark.usefixtures("http_version")

NAME = "inner.test:443"


@contextmanager
def before(script: object, **options: object) -> Iterator[tuple[ScriptedServer, Leading]]:
    with ScriptedServer(script) as next_proxy, Leading(next_proxy.url, **options) as proxy:  # type: ignore[arg-type]
        yield next_proxy, proxy


def refuses(answer: bytes) -> object:
    def script(peer: Conversation) -> None:
        peer.accept_tunnel(answer)

    return script


def test_the_next_proxy_resolves_the_name_of_the_target() -> None:
    def script(peer: Conversation) -> None:
        peer.accept_tunnel(ESTABLISHED + b"banner ")
        echo(peer)

    with before(script) as (next_proxy, proxy), proxy.tunnel(NAME) as client:
        assert client.exactly(7) == b"banner "
        assert client.echoes()
    assert next_proxy.heads[0].startswith(b"CONNECT inner.test:443 HTTP/1.1\r\n")
    assert len(re.findall(rb"\r\nVia: 1\.1 tunnelctl-[0-9a-f]{16}\r\n", next_proxy.heads[0])) == 1
    decision, end = proxy.records()
    assert (decision["address"], decision["rule"]) == (next_proxy.authority, "allow *:1-65535")
    assert end["received"] == 7 + 11


def test_a_tunnel_through_a_second_tunnelctl_carries_bulk_data() -> None:
    with ScriptedServer(echo) as target, Serve() as inner, Leading(inner.url) as proxy, proxy.tunnel(target.authority) as client:
        assert client.echoes(bytes(1 << 20))


@pytest.mark.usefixtures("cheap_hashes")
def test_each_proxy_receives_only_its_own_credentials(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    log = inner / "log"
    flags = ("--users", users_file(inner, company="in-pw"), "--access-log", str(log))
    with ScriptedServer(echo) as target, Serve(*flags) as next_proxy:
        url = next_proxy.url.replace("//", "//company:in-pw@")
        with Leading(url, users=users_file(tmp_path, anna="her-pw")) as proxy:
            for _ in range(2):
                with proxy.tunnel(target.authority, basic("anna", "her-pw")) as client:
                    assert client.echoes()
        assert "her-pw" not in proxy.log()
    users = [record["user"] for record in map(json.loads, log.read_text().splitlines()) if record["event"] in ("opened", "refused")]
    assert users == ["", "company", "company"], "one challenge, then remembered"


@pytest.mark.parametrize(
    ("answer", "status", "error"),
    [
        (b"HTTP/1.1 407 L\r\nProxy-Authenticate: Basic realm=x\r\n\r\n", 502, "connection_terminated"),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", 403, "http_request_denied"),
        (b"HTTP/1.1 502 B\r\nProxy-Status: p; error=dns_error\r\n\r\n", 502, "dns_error"),
        (b"HTTP/1.1 502 B\r\nProxy-Status: p; error=connection_refused\r\n\r\n", 502, "connection_refused"),
        (b"HTTP/1.1 504 T\r\nProxy-Status: p; error=connection_timeout\r\n\r\n", 504, "connection_timeout"),
        (b"HTTP/1.1 503 Full\r\n\r\n", 502, "connection_terminated"),
        (b"SSH-2.0-x\r\n", 502, "connection_terminated"),
    ],
)
def test_a_refusal_of_the_next_proxy_is_translated(answer: bytes, status: int, error: str) -> None:
    with before(refuses(answer)) as (_, proxy):
        told = proxy.refusal(NAME)
        assert told.status == status
        assert told.error == error
        assert "proxy-authenticate" not in str(told.fields).lower()
        (record,) = proxy.wait_for_records(1)
        assert record["rule"].startswith("next proxy: ")


def test_h2_a_name_at_the_own_port_is_left_to_the_next_proxy() -> None:
    port = free_port()
    with before(lambda peer: (peer.accept_tunnel(), echo(peer)), listen=(f"0.0.0.0:{port}",), open_proxy=True) as (
        next_proxy,
        proxy,
    ):
        with proxy.tunnel(f"inner.test:{port}") as client:
            assert client.echoes()
        assert len(next_proxy.heads) == 1


def test_an_unreachable_next_proxy_is_a_502() -> None:
    held, port = refusing_port()
    with held, Leading(f"http://127.0.0.1:{port}") as proxy:
        assert proxy.refusal(NAME).status == 502


def test_the_second_proxy_of_a_hop_is_used_if_the_first_is_down() -> None:
    held, port = refusing_port()
    with held, ScriptedServer(lambda peer: (peer.accept_tunnel(), echo(peer))) as second:  # type: ignore[func-returns-value]
        with Leading(f"http://127.0.0.1:{port},{second.url}") as proxy, proxy.tunnel(NAME) as client:
            assert client.echoes()


def test_rules_apply_with_a_next_proxy_as_well() -> None:
    with before(Conversation.wait_gone, deny=("secret.test:*",)) as (next_proxy, proxy):
        assert proxy.refusal("secret.test:443").status == 403
        assert proxy.refusal("10.0.0.1:443").status == 403
        for name in ("localhost", "localhost.localdomain", "ip6-localhost", "IP6-Loopback.", "x.localhost", "broadcasthost"):
            assert proxy.refusal(f"{name}:443").error == "destination_ip_prohibited", name
        assert proxy.refusal(f"127.0.0.1:{proxy.port}").status == 502
        assert next_proxy.heads == []


@pytest.mark.parametrize("proxy", [("direct",), ("DIRECT",), ("http://127.0.0.1:9,direct",), ("http://127.0.0.1:9", "direct")])
def test_direct_is_rejected_as_a_next_proxy(proxy: tuple[str, ...]) -> None:
    """The client code would dial the target itself, without the rules on addresses."""
    with pytest.raises(UsageProblem, match=r"^proxy direct: "), Leading(*proxy):
        pass


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:3128", "localhost:3128,http://a.test", "http://0.0.0.0:3128"])
def test_the_proxy_itself_is_rejected_as_a_next_proxy(proxy: str) -> None:
    """Each tunnel would open another one to the same listener."""
    with pytest.raises(UsageProblem, match="tunnelctl itself listens on this address"):
        upstream(serve_options(proxy=(proxy,)), TraceLog())


def test_another_port_of_this_machine_is_accepted_as_a_next_proxy() -> None:
    upstream(serve_options(proxy=("http://127.0.0.1:3129",), listen=("127.0.0.1:3128", "unix:/run/proxy", "fd:3")), TraceLog())


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (AuthenticationFailed("w", "c", "login-missing"), 502),
        (Refused("w", "c", "refused", detail={"code": 403}), 403),
        (NameNotFound("w", "c", "name-unknown", detail={"code": 502}), 502),
        (NameNotFound("w", "c", "name-unknown"), 502),
        (TimedOut("w", "c", "timed-out"), 504),
        (Unreachable("w", "c", "not-connected"), 502),
    ],
)
def test_no_failure_of_the_next_proxy_becomes_a_407(error: TunnelctlError, status: int) -> None:
    assert upstream_refusal(error).status == status


def test_a_request_that_loops_back_is_refused() -> None:
    """Two proxies that forward to each other, directly or through others, would open tunnels for each other forever."""
    vias: list[bytes] = []

    def script(peer: Conversation) -> None:
        vias.append(re.findall(rb"Via: [^\r]*", peer.read_head())[0])
        peer.send(ESTABLISHED)
        peer.end_output()
        peer.wait_gone()

    with before(script) as (_, proxy):
        with proxy.tunnel(NAME, "Via: 1.1 tunnelctl-0000000000000000"):  # another proxy that runs tunnelctl
            pass
        answer = proxy.refusal(NAME, vias[0].decode() + ", 1.0 other")
    assert (answer.status, answer.error) == (502, "proxy_loop_detected")
    assert len(vias) == 1


def test_a_socks_next_proxy_causes_no_warning_about_via() -> None:
    """The program itself adds Via, and SOCKS has no fields."""
    trace = TraceLog()
    upstream(serve_options(proxy=("socks5://127.0.0.1:9",)), trace)
    assert trace.named("warning") == []


def test_probing_a_next_proxy_for_tls_delays_no_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """A next proxy that hangs up may speak TLS. The probe runs beside the sessions, once, and no refusal waits for its result."""
    monkeypatch.setattr(wrong_scheme, "SECONDS", 60.0)

    def script(peer: Conversation) -> None:
        if peer.hears_tls():
            peer.wait_gone()
        else:
            peer.read_head()

    with before(script) as (next_proxy, proxy):
        for _ in range(5):
            assert proxy.refusal(NAME).status == 502
        wait_until(lambda: len(next_proxy.conversations) == 6, what="the TLS probe")
    assert len(next_proxy.conversations) == 6
    assert proxy.warnings == []


def test_a_warning_names_a_next_proxy_that_speaks_tls() -> None:
    def script(peer: Conversation) -> None:
        if peer.hears_tls():
            peer.send(b"\x15\x03\x01\x00\x02\x02\x46")
        else:
            peer.read_head()

    with before(script) as (next_proxy, proxy):
        assert proxy.refusal(NAME).status == 502
        wait_until(lambda: proxy.warnings, what="a warning")
    assert proxy.warnings == [f"proxy {next_proxy.authority} speaks TLS, not plain HTTP: its URL is https://{next_proxy.authority}"]
