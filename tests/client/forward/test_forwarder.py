"""Tests `forward`: local ports over real sockets, through our own proxy and through scripted ones."""

import errno
import os
import signal
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.client.forwarding import Forwarding, half_close, is_reset, is_turned_away, socks4a, socks5, spec, via
from tests.peers.process import end, free_port, wait_until
from tests.peers.program import Serve
from tests.peers.scripted import ESTABLISHED, Conversation, ScriptedServer, echo, refusing_port, sample
from tests.server.harness import Client, Names, basic, connect_request
from tunnelctl.cli.render.hints import hint_of
from tunnelctl.client import follow_network, tunnel
from tunnelctl.client.forward import session as local_session
from tunnelctl.client.forward.setup import Check
from tunnelctl.engine.kernel import checkpoint, sleep
from tunnelctl.engine.resolver import SocketAddress
from tunnelctl.errors import ListenError, UsageProblem
from tunnelctl.proto.refusal import Refusal, limit_reached, too_many_wrong_logins
from tunnelctl.stream import accept
from tunnelctl.stream.dial import DialError

SECONDS = 10.0
BRIEF = 0.2


# --- one target


def test_data_and_eof_pass_in_both_directions() -> None:
    data = sample(3 << 20)
    with (
        ScriptedServer(echo) as target,
        Serve() as proxy,
        Forwarding(spec(target), proxy=via(proxy)) as forwarding,
        forwarding.open() as client,
    ):
        sender = threading.Thread(target=lambda: (client.send(data), half_close(client)))
        sender.start()
        assert client.rest() == data
        sender.join(SECONDS)
        wait_until(lambda: bool(forwarding.events("closed")))
    (ended,) = forwarding.events("closed")
    assert (ended["sent"], ended["received"], ended["cause"]) == (len(data), len(data), "eof")
    assert ended["closed_by"] == "client"
    (opened,) = forwarding.events("opened")
    assert opened["target"] == target.authority
    assert opened["via"] == [proxy.url.removeprefix("http://")]
    assert opened["client"] == ended["client"]


def test_one_process_serves_several_ports() -> None:
    with ScriptedServer(lambda c: c.send(b"one")) as one, ScriptedServer(lambda c: c.send(b"two")) as two, Serve() as proxy:
        with Forwarding(spec(one), spec(two), proxy=via(proxy)) as forwarding:
            with forwarding.open(1) as client:
                assert client.rest() == b"two"
            with forwarding.open(0) as client:
                assert client.rest() == b"one"
    assert len(set(forwarding.ports)) == 2
    assert 0 not in forwarding.ports


def test_ipv6_listener_and_ipv6_target() -> None:
    with ScriptedServer(echo, host="::1") as target, Serve(allow=("[::1]:*",)) as proxy:
        with Forwarding(spec(target, "[::1]:0"), proxy=via(proxy)) as forwarding, forwarding.open() as client:
            assert client.echoes()
    assert forwarding.addresses[0].startswith("[::1]:")


def test_forwarding_without_a_proxy() -> None:
    with ScriptedServer(echo) as target, Forwarding(spec(target), proxy=("direct",)) as forwarding, forwarding.open() as client:
        assert client.echoes()


def test_forwarding_through_a_chain() -> None:
    with ScriptedServer(echo) as target, Serve() as inner, Serve() as edge:
        with Forwarding(spec(target), proxy=(edge.url, inner.url)) as forwarding, forwarding.open() as client:
            assert client.echoes()
    assert forwarding.events("opened")[0]["via"] == [proxy.url.removeprefix("http://") for proxy in (edge, inner)]


def test_unix_socket_listener_is_private_and_removed_at_exit(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with ScriptedServer(echo) as target, Serve() as proxy:
        with Forwarding(f"{path}:{target.authority}", proxy=via(proxy)) as forwarding, forwarding.open() as client:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert client.echoes()
    assert not path.exists()


def test_bytes_behind_the_response_head_reach_the_client() -> None:
    def script(peer: Conversation) -> None:
        peer.accept_tunnel(ESTABLISHED + b"220 ready\r\n")
        assert peer.read_to_end() == b""

    with ScriptedServer(script) as proxy, Forwarding("0:host.test:25", proxy=via(proxy)) as forwarding, forwarding.open() as client:
        assert client.exactly(11) == b"220 ready\r\n"
        half_close(client)
        assert client.rest() == b""


def test_a_reset_by_the_target_resets_the_client() -> None:
    with ScriptedServer(Conversation.reset) as target, Forwarding(spec(target), proxy=("direct",)) as forwarding:
        assert is_turned_away(forwarding)


@pytest.mark.parametrize("dynamic", [False, True], ids=["-L", "-D"])
def test_a_listener_beyond_loopback_gives_a_warning(dynamic: bool) -> None:
    local, ports = ((), ("*:0",)) if dynamic else (("*:0:host.test:22",), ())
    with Forwarding(*local, dynamic=ports, proxy=("direct",), open_proxy=True) as forwarding:
        assert forwarding.addresses[0].startswith("0.0.0.0:")
    assert "can be reached from other machines" in forwarding.warnings[0]


def test_a_loopback_listener_gives_no_warning() -> None:
    with Forwarding("0:host.test:22", proxy=("direct",)) as forwarding:
        pass
    assert forwarding.warnings == []


# --- any target

Dynamic = tuple[ScriptedServer, Serve, Forwarding]


@pytest.fixture
def dynamic() -> Iterator[Dynamic]:
    with ScriptedServer(echo) as target, Serve() as proxy, Forwarding(dynamic=("0",), proxy=via(proxy)) as forwarding:
        yield target, proxy, forwarding


def test_socks5_on_a_dynamic_port(dynamic: Dynamic) -> None:
    target, _, forwarding = dynamic
    with forwarding.open() as client:
        assert socks5(client, "127.0.0.1", target.port) == 0
        assert client.echoes()


def test_socks4a_on_a_dynamic_port(dynamic: Dynamic) -> None:
    target, _, forwarding = dynamic
    with forwarding.open() as client:
        assert socks4a(client, "127.0.0.1", target.port) == 90
        assert client.echoes()


def test_connect_on_a_dynamic_port(dynamic: Dynamic) -> None:
    target, _, forwarding = dynamic
    with forwarding.open() as client:
        assert client.tunnel(target.authority).echoes()


def test_early_data_behind_the_request_enters_the_tunnel(dynamic: Dynamic) -> None:
    target, _, forwarding = dynamic
    with forwarding.open() as client:
        client.send(b"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01" + target.port.to_bytes(2, "big") + b"early")
        assert client.exactly(2 + 10 + 5) == b"\x05\x00" + b"\x05\x00\x00\x01\0\0\0\0\0\0" + b"early"


def test_the_proxy_resolves_target_names(dynamic: Dynamic) -> None:
    _, _, forwarding = dynamic
    with forwarding.open() as client:
        assert socks5(client, "nobody.knows.test", 80) == 4  # the proxy, not the forwarder, did the lookup
    assert "proxy 127.0.0.1" in str(forwarding.failures()[0]["what"])


REFUSALS = [
    (b"HTTP/1.1 403 Forbidden\r\n\r\n", 2, "403"),
    (b"HTTP/1.1 502 Bad Gateway\r\nProxy-Status: p; error=connection_refused\r\n\r\n", 5, "502"),
    (b"HTTP/1.1 502 Bad Gateway\r\nProxy-Status: p; error=dns_error\r\n\r\n", 4, "502"),
    (b"HTTP/1.1 504 Gateway Timeout\r\n\r\n", 6, "504"),
    (b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=x\r\n\r\n", 1, "502"),
    (b"SSH-2.0-not a proxy\r\n", 1, "502"),
]


@pytest.mark.parametrize(("answer", "reply", "status"), REFUSALS, ids=range(len(REFUSALS)))
def test_each_protocol_reports_a_refusal_in_its_own_codes(answer: bytes, reply: int, status: str) -> None:
    def refuse(peer: Conversation) -> None:
        peer.read_head()
        peer.send(answer)

    with ScriptedServer(refuse) as proxy, Forwarding(dynamic=("0",), proxy=via(proxy)) as forwarding:
        with forwarding.open() as client:
            assert socks5(client, "host.test", 22) == reply
            assert client.rest() == b""
        with forwarding.open() as client:
            assert socks4a(client, "host.test", 22) == 91
        with forwarding.open() as client:
            client.send(b"CONNECT host.test:22 HTTP/1.1\r\nHost: host.test:22\r\n\r\n")
            assert client.answer().status == int(status)
        with forwarding.open() as client:
            client.send(b"GET http://host.test:22/ HTTP/1.1\r\nHost: host.test:22\r\n\r\n")
            assert client.answer().status == int(status)
        failures = forwarding.failures(4)
    assert {str(failure["target"]) for failure in failures} == {"host.test:22"}
    assert all(str(failure["what"]).startswith(("proxy ", "answer ")) for failure in failures)


DIRECT = [
    (errno.ECONNREFUSED, 5, 502, "connection_refused"),
    (errno.EHOSTUNREACH, 4, 502, "destination_unavailable"),
    (errno.ENETUNREACH, 3, 502, "destination_ip_unroutable"),
    (errno.ETIMEDOUT, 6, 504, "connection_timeout"),
    (errno.EPERM, 2, 403, "destination_ip_prohibited"),
    (errno.EMFILE, 1, 502, "destination_unavailable"),
]


@pytest.mark.parametrize(("number", "reply", "status", "error"), DIRECT)
def test_each_protocol_reports_a_direct_connection_error_in_its_own_codes(
    number: int, reply: int, status: int, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dial(addresses: list[SocketAddress], *_: object) -> None:
        raise DialError([(addresses[0], OSError(number, os.strerror(number)))])

    monkeypatch.setattr(tunnel, "dial", dial)
    with Forwarding(dynamic=("0",), proxy=("direct",)) as forwarding:
        with forwarding.open() as client:
            assert socks5(client, "127.0.0.1", 22) == reply
        with forwarding.open() as client:
            assert socks4a(client, "127.0.0.1", 22) == 91
        for request in (
            b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n",
            b"GET http://127.0.0.1:22/ HTTP/1.0\r\n\r\n",
        ):
            with forwarding.open() as client:
                client.send(request)
                answer = client.answer()
                assert (answer.status, answer.error) == (status, error)
        forwarding.failures(4)


def test_direct_lookup_distinguishes_an_unknown_name_from_a_dns_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, none_test=[socket.gaierror(socket.EAI_NONAME, "x")], dead_test=[socket.gaierror(socket.EAI_AGAIN, "x")])
    with Forwarding(dynamic=("0",), proxy=("direct",)) as forwarding:
        for name, reply in (("none.test", 4), ("dead.test", 6)):
            with forwarding.open() as client:
                assert socks5(client, name, 22) == reply
        forwarding.failures(2)


@pytest.mark.parametrize(
    "data",
    [
        b"\x05\x01\xff",
        b"\x04\x02\x00\x16\x7f\x00\x00\x01\x00",
        b"\x16\x03\x01\x00",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x00\x00",
    ],
)
def test_a_malformed_request_does_not_stop_the_listener(dynamic: Dynamic, data: bytes) -> None:
    target, _, forwarding = dynamic
    with forwarding.open() as client:
        client.send(data)
        half_close(client)
        client.rest()
    with forwarding.open() as client:
        assert client.tunnel(target.authority).echoes()


def test_a_silent_client_is_reset_after_the_request_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_session, "REQUEST_SECONDS", BRIEF)
    with Forwarding(dynamic=("0",), proxy=("direct",)) as forwarding, forwarding.open() as client:
        assert is_reset(client)
        assert forwarding.failures()[0]["what"] == "request to the local port"


def test_a_client_that_disconnects_without_a_request_is_not_reported(dynamic: Dynamic) -> None:
    target, _, forwarding = dynamic
    with forwarding.open() as client:
        half_close(client)
        assert client.rest() == b""
    with forwarding.open() as client:
        assert client.tunnel(target.authority).echoes()
    assert forwarding.events("failed") == []


# --- logins


async def anna(user: str, password: str, _: str) -> bool:
    """Accepts one user."""
    await checkpoint()
    return (user, password) == ("anna", "s3cret")


ANNA: Check = anna


def socks5_login(client: Client, user: bytes, password: bytes) -> bytes:
    """Logs in as in RFC 1929; returns the server's response."""
    client.send(b"\x05\x02\x00\x02")
    assert client.exactly(2) == b"\x05\x02"
    client.send(bytes((1, len(user))) + user + bytes((len(password),)) + password)
    return client.exactly(2)


def to_ipv4(port: int) -> bytes:
    return b"\x05\x01\x00\x01\x7f\x00\x00\x01" + port.to_bytes(2, "big")


Logins = tuple[ScriptedServer, Forwarding]


@pytest.fixture
def logins() -> Iterator[Logins]:
    with ScriptedServer(echo) as target, Forwarding(dynamic=("0",), proxy=("direct",), check=ANNA) as forwarding:
        yield target, forwarding


def test_http_and_socks5_clients_can_log_in(logins: Logins) -> None:
    target, forwarding = logins
    with forwarding.open() as client:
        assert client.tunnel(target.authority, basic("anna", "s3cret")).echoes()
    with forwarding.open() as client:
        assert socks5_login(client, b"anna", b"s3cret") == b"\x01\x00"
        client.send(to_ipv4(target.port))
        assert client.exactly(10)[:2] == b"\x05\x00"
        assert client.echoes()


def test_the_socks5_request_may_arrive_together_with_the_login(logins: Logins) -> None:
    target, forwarding = logins
    with forwarding.open() as client:
        client.send(b"\x05\x01\x02\x01\x04anna\x06s3cret" + to_ipv4(target.port) + b"early")
        assert client.exactly(2 + 2 + 10 + 5)[-5:] == b"early"


def test_missing_and_wrong_logins_are_refused(logins: Logins) -> None:
    target, forwarding = logins
    heads = [
        connect_request(target.authority),
        connect_request(target.authority, basic("anna", "wrong")),
        connect_request(target.authority, "Proxy-Authorization: Basic !"),
        connect_request(target.authority, "Proxy-Authorization: Bearer x"),
        f"GET {target.url}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
        f"GET {target.url}/ HTTP/1.1\r\nHost: x\r\n{basic('eve', 's3cret')}\r\n\r\n".encode(),
    ]
    for head in heads:
        with forwarding.open() as client:
            client.send(head)
            answer = client.answer()
            assert (answer.status, answer.fields["proxy-authenticate"]) == (407, 'Basic realm="tunnelctl", charset="UTF-8"')
    with forwarding.open() as client:
        assert socks5_login(client, b"anna", b"wrong") == b"\x01\x01"
        assert client.rest() == b""
    with forwarding.open() as client:
        client.send(b"\x05\x01\x00")
        assert client.rest() == b"\x05\xff"
    with forwarding.open() as client:
        client.send(b"\x04\x01\x00\x16\x7f\x00\x00\x01\x00")
        assert client.rest()[1] == 93
    assert not target.conversations
    causes = [str(failure["cause"]) for failure in forwarding.failures(7)]
    assert len(causes) == 7, "a challenge without credentials is not a failure"
    assert all("s3cret" not in cause and "wrong" not in cause.replace("wrong user", "") for cause in causes)


def test_a_port_with_a_fixed_target_requires_no_login() -> None:
    with ScriptedServer(echo) as target, Forwarding(spec(target), proxy=("direct",), check=ANNA) as forwarding:
        with forwarding.open() as client:
            assert client.echoes()


def test_a_login_refused_by_a_limit_gets_503_or_429() -> None:
    for refusal, status in ((limit_reached(), 503), (too_many_wrong_logins(6), 429)):

        async def check(*_: str, refusal: Refusal = refusal) -> Refusal:
            return refusal

        with Forwarding(dynamic=("0",), proxy=("direct",), check=check) as forwarding:
            for head in (
                connect_request("h.test:1", basic("a", "b")),
                f"GET http://h.test/ HTTP/1.1\r\nHost: h\r\n{basic('a', 'b')}\r\n\r\n",
            ):
                with forwarding.open() as client:
                    client.send(head if isinstance(head, bytes) else head.encode())
                    assert client.answer().status == status
            with forwarding.open() as client:
                assert socks5_login(client, b"a", b"b") == b"\x01\x01"
            forwarding.failures(3)


def test_the_check_receives_user_password_and_client_address() -> None:
    told: list[tuple[str, str, str]] = []

    async def check(*facts: str) -> bool:
        told.append(facts)  # type: ignore[arg-type]
        return False

    with Forwarding(dynamic=("0",), proxy=("direct",), check=check) as forwarding, forwarding.open() as client:
        client.send(connect_request("h.test:1", basic("anna", "a:b")))
        assert client.answer().status == 407
    assert told == [("anna", "a:b", "127.0.0.1")]


def test_the_check_is_cancelled_when_the_client_leaves() -> None:
    """A check takes this long because of a password hash, or the queue for one."""
    waiting, left = threading.Event(), threading.Event()

    async def check(*_: str) -> bool:
        waiting.set()
        try:
            await sleep(600)
        finally:
            left.set()
        return True

    for request in (
        connect_request("h.test:1", basic("a", "b")),
        b"GET http://h.test/ HTTP/1.1\r\nHost: h\r\n" + basic("a", "b").encode() + b"\r\n\r\n",
    ):
        waiting.clear(), left.clear()
        with Forwarding(dynamic=("0",), proxy=("direct",), check=check) as forwarding, forwarding.open() as client:
            client.send(request)
            assert waiting.wait(SECONDS)
            client.reset()
            assert left.wait(SECONDS)
        assert forwarding.events("failed") == []


# --- access from other machines


OPEN_PROXY = "no login is required there, so it would be an open proxy"


@pytest.mark.parametrize("place", ["*:0", "[::]:0"])
def test_a_dynamic_port_beyond_loopback_requires_a_login(place: str) -> None:
    with pytest.raises(UsageProblem, match=OPEN_PROXY) as raised, Forwarding(dynamic=(place,), proxy=("direct",)):
        pass
    assert (
        hint_of(raised.value)
        == "give --users FILE, listen on 127.0.0.1, or give --open-proxy if something else, such as a firewall, keeps strangers out"
    )
    with Forwarding(dynamic=(place,), proxy=("direct",), check=ANNA) as forwarding:
        assert len(forwarding.addresses) == 1
    assert forwarding.warnings == []


def test_a_fixed_port_beyond_loopback_requires_open_proxy() -> None:
    with pytest.raises(UsageProblem, match="and a port that leads to one target cannot require a login") as raised:
        with Forwarding("*:0:host.test:22", dynamic=("*:0",), proxy=("direct",), check=ANNA):
            pass
    assert "--users" not in hint_of(raised.value)
    with Forwarding("*:0:host.test:22", dynamic=("*:0",), proxy=("direct",), check=ANNA, open_proxy=True) as forwarding:
        pass
    assert len(forwarding.warnings) == 1, "the port that requires a login gives no warning"


def test_local_only_listeners_require_no_login(tmp_path: Path) -> None:
    with Forwarding(
        f"{tmp_path}/a:h:1", "[::1]:0:h:1", dynamic=("0", "127.0.0.2:0", f"{tmp_path}/b"), proxy=("direct",)
    ) as forwarding:
        assert len(forwarding.addresses) == 5
    assert forwarding.warnings == []


# --- failures of single connections


def test_an_unreachable_proxy_is_reported() -> None:
    held, port = refusing_port()
    with held, Forwarding("0:host.test:22", proxy=(f"http://127.0.0.1:{port}",)) as forwarding:
        assert is_turned_away(forwarding)
        (failure,) = forwarding.failures()
    assert failure["what"] == f"cannot connect to proxy 127.0.0.1:{port}"
    assert (failure["cause"], failure["exit_status"]) == ("connection refused", 75)


def test_failing_targets_do_not_affect_the_other_ports() -> None:
    held, port = refusing_port()
    with held, ScriptedServer(echo) as target, Serve() as proxy:
        with Forwarding(f"0:127.0.0.1:{port}", "0:127.0.0.2:22", spec(target), proxy=via(proxy)) as forwarding:
            for place in (0, 1):
                assert is_turned_away(forwarding, place)
            with forwarding.open(2) as client:
                assert client.echoes()
            dead, forbidden = forwarding.failures(2)
    assert (dead["code"], dead["error"], dead["exit_status"]) == (502, "connection_refused", 69)
    assert (forbidden["code"], forbidden["error"]) == (403, "destination_ip_prohibited")


def test_forwarding_resumes_after_the_proxy_restarts() -> None:
    place = f"127.0.0.1:{free_port()}"
    with ScriptedServer(echo) as target, Forwarding(spec(target), proxy=(f"http://{place}",)) as forwarding:
        with Serve("--listen", place) as first, forwarding.open() as client:
            assert client.echoes()
            first.ended_on_purpose = True
            end(first.process, signal.SIGKILL)
            assert client.rest() == b""  # the kernel closes a killed program's connections in an orderly manner
        assert is_turned_away(forwarding)
        with Serve("--listen", place), forwarding.open() as client:
            assert client.echoes()


def test_a_retry_bridges_a_proxy_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    held, port = refusing_port()
    with (
        ScriptedServer(echo) as target,
        Forwarding(spec(target), proxy=(f"http://127.0.0.1:{port}",), retry=20, verbose=2) as forwarding,
        forwarding.open() as client,
    ):
        client.send(b"x")
        wait_until(lambda: bool(forwarding.events("retry")))
        held.close()
        with Serve("--listen", f"127.0.0.1:{port}", "--drain", "0"):
            assert client.exactly(1) == b"x"


def test_a_client_reset_abandons_the_pending_proxy_request() -> None:
    gone = threading.Event()

    def silent(peer: Conversation) -> None:
        peer.read_head()
        peer.wait_gone()
        gone.set()

    with ScriptedServer(silent) as proxy, Forwarding("0:host.test:22", proxy=via(proxy)) as forwarding:
        with forwarding.open() as client:
            wait_until(lambda: bool(proxy.heads and proxy.heads[0]))
            client.reset()
        assert gone.wait(SECONDS)
    assert forwarding.events("failed") == []


@pytest.mark.parametrize("dynamic", [False, True], ids=["-L", "-D"])
def test_a_client_half_close_abandons_the_pending_proxy_request(dynamic: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even without a --timeout; and the drain does not wait for it."""
    monkeypatch.setattr(local_session, "HALF_CLOSED_SECONDS", BRIEF)

    def silent(peer: Conversation) -> None:
        peer.read_head()
        peer.wait_gone()

    ports: dict[str, Any] = {"dynamic": ("0",)} if dynamic else {}
    local = () if dynamic else ("0:host.test:22",)
    with ScriptedServer(silent) as proxy:
        with Forwarding(*local, **ports, proxy=via(proxy), timeout=0.0, drain=600.0) as forwarding, forwarding.open() as client:
            if dynamic:
                client.send(b"CONNECT host.test:22 HTTP/1.1\r\nHost: host.test:22\r\n\r\n")
            wait_until(lambda: bool(proxy.heads and proxy.heads[0]))
            half_close(client)
            assert is_reset(client)
            forwarding.signal()
            assert forwarding.ended() == 0
    assert forwarding.events("failed") == []


def test_data_sent_before_a_unix_client_closed_arrives(tmp_path: Path) -> None:
    """The kernel reports the close before the tunnel is established; a TCP client's close is not even noticed then."""
    got, may_answer = [], threading.Event()

    def slow(peer: Conversation) -> None:
        peer.read_head()
        assert may_answer.wait(SECONDS)
        peer.send(ESTABLISHED)
        got.append(peer.wait_gone())

    with ScriptedServer(slow) as proxy, Forwarding(f"{tmp_path / 's'}:host.test:9", proxy=via(proxy)) as forwarding:
        with forwarding.open() as client:
            client.send(b"last words")
        wait_until(lambda: bool(proxy.heads and proxy.heads[0].endswith(b"\r\n\r\n")))
        may_answer.set()
        wait_until(lambda: bool(got))
    assert got == [b"last words"]


def test_connections_over_the_limit_are_refused_and_others_continue() -> None:
    with ScriptedServer(echo) as target, Forwarding(spec(target), proxy=("direct",), max_connections=1) as forwarding:
        with forwarding.open() as client:
            assert client.echoes()
            assert is_turned_away(forwarding)
            assert client.echoes()
            assert "the limit is 1" in str(forwarding.failures()[0]["cause"])
            half_close(client)
            client.rest()
        wait_until(lambda: len(forwarding.events("closed")) == 1)
        with forwarding.open() as client:
            assert client.echoes()


def test_the_idle_timeout_resets_the_client() -> None:
    with ScriptedServer(Conversation.wait_gone) as target:
        with Forwarding(spec(target), proxy=("direct",), idle_timeout=BRIEF) as forwarding, forwarding.open() as client:
            assert is_reset(client)
            wait_until(lambda: bool(forwarding.events("closed")))
    (closed,) = forwarding.events("closed")
    assert closed["cause"] == "idle"
    assert round(closed["seconds"], 3) >= BRIEF


def test_accepting_resumes_after_descriptors_run_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """accept() fails as it does at the limit; the client in the backlog is served afterwards."""
    failing = threading.Event()
    failing.set()
    real = socket.socket._accept  # type: ignore[attr-defined]

    def limited(self: socket.socket):
        if failing.is_set() and threading.current_thread().daemon:
            failing.clear()
            raise OSError(24, "Too many open files")
        return real(self)

    monkeypatch.setattr(accept, "EXHAUSTED_PAUSE", 0.01)
    with ScriptedServer(echo) as target, Forwarding(spec(target), proxy=("direct",)) as forwarding:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(socket.socket, "_accept", limited)
            with forwarding.open() as client:
                assert client.echoes()
        assert forwarding.warnings == ["no new connections: Too many open files; 0 remain open"]


# --- shutdown


def test_a_new_listener_may_take_the_socket_path_of_a_draining_one(tmp_path: Path) -> None:
    """The old process has nothing at that path any more, and leaves the new socket in place when it ends."""
    path = tmp_path / "s"
    with ScriptedServer(echo) as target, socket.socket(socket.AF_UNIX) as new:
        with Forwarding(f"{path}:{target.authority}", proxy=("direct",), drain=SECONDS) as old:
            with old.open() as client:
                assert client.echoes()
                old.signal()
                wait_until(lambda: bool(old.events("drain")))
                new.bind(str(path))
            assert old.ended() == 0
        assert path.exists()


def test_a_drain_lets_tunnels_finish_and_refuses_new_clients() -> None:
    with ScriptedServer(echo) as target, Forwarding(spec(target), proxy=("direct",), drain=SECONDS) as forwarding:
        with forwarding.open() as client:
            assert client.echoes()
            forwarding.signal()
            wait_until(lambda: bool(forwarding.events("drain")))
            assert forwarding.events("drain") == [{"connections": 1, "tunnels": 1, "seconds": SECONDS}]
            assert client.echoes()
            with pytest.raises(ConnectionRefusedError):
                forwarding.open()
            half_close(client)
            assert client.rest() == b""
        assert forwarding.ended() == 0


def test_a_second_signal_stops_the_drain() -> None:
    with pytest.raises(AssertionError):  # the exit status is not 0, which the harness reports
        with ScriptedServer(Conversation.wait_gone) as target:
            with Forwarding(spec(target), proxy=("direct",), drain=SECONDS) as forwarding, forwarding.open() as client:
                wait_until(lambda: bool(forwarding.events("opened")))
                forwarding.signal()
                wait_until(lambda: bool(forwarding.events("drain")))
                forwarding.signal()
                assert forwarding.ended() == 128 + 15
                assert is_reset(client)


# --- errors at startup


def test_no_local_port_is_a_usage_error() -> None:
    with pytest.raises(UsageProblem, match="no local port is named"), Forwarding():
        pass


def test_a_port_in_use_is_a_listen_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"{taken.getsockname()[1]}:host.test:22"
        with pytest.raises(ListenError, match="address already in use") as raised, Forwarding(place, proxy=("direct",)):
            pass
    assert hint_of(raised.value) == "port 0 picks a free port"


@pytest.mark.parametrize("kind", ["local", "dynamic"])
def test_the_hint_for_a_path_in_use_has_no_syntax_of_another_flag(kind: str, tmp_path: Path) -> None:
    """-L and -D take a bare path, and not unix:PATH as --listen does."""
    path = str(tmp_path / "port")
    local, dynamic = ((f"{path}:host.test:22",), ()) if kind == "local" else ((), (path,))
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(path)
        taken.listen()
        with pytest.raises(ListenError) as raised, Forwarding(*local, dynamic=dynamic, proxy=("direct",)):
            pass
    assert hint_of(raised.value) == "choose another path"


def test_the_network_is_followed_before_a_port_is_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who knows the port may rely on it that no change is missed."""
    announced: list[int] = []

    def open_changes() -> None:
        announced.append(len(forwarding.addresses))

    monkeypatch.setattr(follow_network, "open_changes", open_changes)
    forwarding = Forwarding("0:h.test:1", proxy=("direct",))
    with forwarding:
        assert announced == [0]


def test_a_wrong_proxy_setting_is_reported_at_startup() -> None:
    with pytest.raises(UsageProblem, match="ftp:// is not supported"), Forwarding("0:h:1", proxy=("ftp://proxy",)):
        pass
    with pytest.raises(UsageProblem, match="no password"), Forwarding("0:h:1", proxy=("http://anna@proxy",)):
        pass


# --- events


def test_the_listening_event_names_target_and_route() -> None:
    local, chain = "0:db.test:5432", ("http://a.test:1,http://b.test:2", "socks5://anna:s3cret@c.test:3")
    with Forwarding(local, dynamic=("0",), proxy=chain, check=ANNA) as forwarding:
        fixed, any_target = forwarding.events("listening")
    leads = {"via": ["http://a.test:1,http://b.test:2", "socks5://anna:***@c.test:3"], "origin": "-x"}
    assert fixed == {"address": forwarding.addresses[0], "target": "db.test:5432", **leads, "login": False}
    assert any_target == {"address": forwarding.addresses[1], "target": "", **leads, "login": True}


def test_the_listening_event_shows_a_direct_route_and_its_origin() -> None:
    environ = {"https_proxy": "http://proxy.test:3128", "no_proxy": "db.test"}
    with Forwarding(dynamic=("0",)) as forwarding:
        assert [(fields["via"], fields["origin"]) for fields in forwarding.events("listening")] == [([], "no proxy is configured")]
    with Forwarding("0:db.test:1", "0:other.test:1", environ=environ) as forwarding:
        exempt, other = forwarding.events("listening")
    assert (exempt["via"], exempt["origin"]) == ([], "no_proxy has db.test")
    assert (other["via"], other["origin"]) == (["http://proxy.test:3128"], "https_proxy")


def test_the_listening_event_shows_that_a_pac_file_decides(tmp_path: Path) -> None:
    pac = tmp_path / "proxy.pac"
    pac.write_text("function FindProxyForURL() { return 'DIRECT' }")
    with Forwarding("0:db.test:1", pac=str(pac)) as forwarding:
        (fields,) = forwarding.events("listening")
    assert (fields["via"], fields["origin"]) == ([], "--pac")


def test_progress_counts_connections_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunnelctl.client.progress.SECONDS", 0.02)
    with ScriptedServer(echo) as target, Forwarding(spec(target), proxy=("direct",), progress=True) as forwarding:
        with forwarding.open() as client:
            assert client.echoes(b"12345")
            wait_until(lambda: any(e["received"] == 5 and e["connections"] == 1 for e in forwarding.events("progress")))
        wait_until(lambda: forwarding.events("progress")[-1]["connections"] == 0)
    assert forwarding.events("progress")[-1]["sent"] == 5


def test_unix_socket_clients_are_numbered(tmp_path: Path) -> None:
    with ScriptedServer(echo) as target, Forwarding(f"{tmp_path / 's'}:{target.authority}", proxy=("direct",)) as forwarding:
        with forwarding.open() as client:
            assert client.echoes()
    assert forwarding.events("opened")[0]["client"] == "unix:0"
