"""One client of the proxy: the response in each phase, and what remains if the client leaves in that phase."""

import _socket
import gc
import inspect
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from tests.peers.process import opening, wait_until
from tests.peers.scripted import Conversation, ScriptedServer, black_hole_port, echo, refusing_port
from tests.server.harness import (
    SECONDS,
    Client,
    Names,
    Proxy,
    Trap,
    admitted,
    basic,
    connect_request,
    dialled,
    users_file,
)
from tunnelctl.engine.kernel import BusyResourceError, QueueFullError, sleep
from tunnelctl.proto.http1.connect_server import ConnectServer
from tunnelctl.server import http1
from tunnelctl.server import tunnel as under_test
from tunnelctl.server.access import users
from tunnelctl.server.http1 import Http1Responder
from tunnelctl.server.observe.recorder import Recorder
from tunnelctl.server.request import TunnelRequest
from tunnelctl.stream import linger

BRIEF = 0.2  # seconds: a limit meant to expire
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


# --- the response


@pytest.mark.usefixtures("http_version")
def test_s15_s16_the_target_is_connected_before_2xx_which_has_no_framing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as target, Proxy() as proxy, proxy.client() as client:
        client.send(connect_request(f"127.0.0.1:{target.getsockname()[1]}"))
        assert client.head() == ESTABLISHED
        target.setblocking(False)
        target.accept()[0].close()  # it is in the queue of the listener


def test_s23_one_final_response_and_one_decision_record() -> None:
    with Proxy() as proxy:
        answer = proxy.refusal("127.0.0.1:0")
        assert answer.raw.count(b"HTTP/1.1 ") == 1
        assert len(answer.body) == int(answer.fields["content-length"])
        assert [record["status"] for record in proxy.wait_for_records(1)] == [400]


def test_a_refusal_names_its_cause_for_people_and_programs() -> None:
    with Proxy(deny=("target.test:*",)) as proxy:
        answer = proxy.refusal("target.test:22")
    assert answer.fields["connection"] == "close"
    assert answer.fields["proxy-status"].startswith("tunnelctl; error=http_request_denied; details=")
    assert answer.body.startswith(b"tunnelctl: 403 Forbidden: ")


@pytest.mark.parametrize(
    ("sent", "details"),
    [
        (b"CONNECT h.test:443 HTTP/1.1\n\n", "malformed head: a lone LF"),
        (b"\5\1\0", "this is a SOCKS5 greeting, and this port speaks HTTP"),
        (b"\x16\3\1", "this is a TLS ClientHello, and this port speaks plain HTTP"),
        (b"POST / HTTP/1.1\r\n", "POST is not served here, only CONNECT"),
        (connect_request("a\x1b:443"), "malformed head: the control character 0x1b"),
        (connect_request("a\xff:443"), "the target has non-ASCII characters: names are sent as A-labels"),
        (connect_request("10.0.0.1:1"), "the rules of this proxy do not allow the address of the target"),
        (connect_request("127.0.0.1:1"), "the target refused the connection"),
    ],
)
def test_the_log_has_the_same_details_as_the_response(sent: bytes, details: str) -> None:
    with Proxy(verbose=1) as proxy, proxy.client() as client:
        client.send(sent)
        answer = client.answer()
        (record,) = proxy.wait_for_records(1)
        (told,) = proxy.events("refused")
    assert f'details="{details}"' in answer.fields["proxy-status"]
    assert record["details"] == told["details"] == details


@pytest.mark.usefixtures("http_version")
def test_a_granted_tunnel_is_not_logged_as_a_refusal() -> None:
    with ScriptedServer(echo) as target, Proxy() as proxy, proxy.tunnel(target.authority):
        (record,) = proxy.wait_for_records(1)
    assert (record["event"], "details" in record, "error" in record) == ("opened", False, False)


def test_http_1_0_needs_no_host_field() -> None:
    with ScriptedServer(echo) as target, Proxy() as proxy, proxy.client() as client:
        client.send(f"CONNECT {target.authority} HTTP/1.0\r\n\r\n".encode())
        assert client.head() == ESTABLISHED
        assert client.echoes()


def test_a_silent_client_gets_no_response_and_no_record() -> None:
    with Proxy() as proxy:
        assert proxy.ask_nothing() == b""
        proxy.refusal("127.0.0.1:0")
        assert len(proxy.wait_for_records(1)) == 1


def test_an_incomplete_head_is_answered_with_400() -> None:
    with Proxy() as proxy, proxy.client() as client:
        client.send(b"CONNECT target.test:443 HTTP/1.1\r\n")
        client.sock.shutdown(socket.SHUT_WR)
        assert client.answer().status == 400


# --- status by cause (S19)


@pytest.mark.usefixtures("http_version")
def test_s19_connection_refused() -> None:
    held, port = refusing_port()
    with held, Proxy() as proxy:
        answer = proxy.refusal(f"127.0.0.1:{port}")
        (record,) = proxy.wait_for_records(1)
    assert (answer.status, answer.error) == (502, "connection_refused")
    assert (record["status"], record["error"], record["target"]) == (502, "connection_refused", f"127.0.0.1:{port}")


@pytest.mark.usefixtures("http_version")
def test_s19_connection_timeout() -> None:
    with black_hole_port() as port, Proxy(dial_timeout=BRIEF) as proxy:
        answer = proxy.refusal(f"127.0.0.1:{port}")
    assert (answer.status, answer.error) == (504, "connection_timeout")


@pytest.mark.usefixtures("http_version")
@pytest.mark.parametrize(
    ("raised", "status", "error"),
    [
        (socket.gaierror(socket.EAI_NONAME, "x"), 502, "dns_error"),
        (socket.gaierror(socket.EAI_FAIL, "x"), 502, "dns_error"),
        (UnicodeError("label"), 502, "dns_error"),
        (socket.gaierror(socket.EAI_AGAIN, "x"), 504, "dns_timeout"),
        (OSError(24, "Too many open files"), 503, "connection_limit_reached"),  # EAI_SYSTEM
        (OSError(5, "Input/output error"), 502, "dns_error"),
    ],
)
def test_s19_failed_look_ups(monkeypatch: pytest.MonkeyPatch, raised: Exception, status: int, error: str) -> None:
    Names(monkeypatch, target_test=[raised])
    with Proxy("*:*") as proxy:
        answer = proxy.refusal("target.test:1")
        (record,) = proxy.wait_for_records(1)
    assert (answer.status, answer.error) == (record["status"], record["error"]) == (status, error)


@pytest.mark.usefixtures("http_version")
def test_s19_a_hanging_look_up_is_a_dns_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(_socket, "getaddrinfo", lambda *_: release.wait(SECONDS))
    try:
        with Proxy("*:*", dial_timeout=BRIEF) as proxy:
            answer = proxy.refusal("target.test:1")
    finally:
        release.set()
    assert (answer.status, answer.error) == (504, "dns_timeout")


@pytest.mark.usefixtures("http_version")
def test_s19_look_ups_without_a_free_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    for error, status in ((BusyResourceError("no thread"), 503), (QueueFullError("256 wait already"), 429)):

        async def busy(*_: object, error: Exception = error, **__: object) -> None:
            raise error

        monkeypatch.setattr(under_test, "resolve", busy)
        with Proxy("*:*") as proxy:
            answer = proxy.refusal("target.test:1")
        assert (answer.status, answer.error, answer.fields["retry-after"]) == (status, "connection_limit_reached", "1")


@pytest.mark.usefixtures("http_version")
@pytest.mark.parametrize(
    ("number", "status", "error"),
    [
        (111, 502, "connection_refused"),
        (110, 504, "connection_timeout"),
        (101, 502, "destination_ip_unroutable"),
        (113, 502, "destination_ip_unroutable"),
        (24, 503, "connection_limit_reached"),
        (23, 503, "connection_limit_reached"),
        (105, 503, "connection_limit_reached"),
        (1, 502, "connection_terminated"),
        (22, 502, "connection_terminated"),
    ],
)
def test_s19_failed_dials(monkeypatch: pytest.MonkeyPatch, number: int, status: int, error: str) -> None:
    from tunnelctl.stream.dial import DialError

    async def dial(addresses: list[object], *_: object) -> None:
        raise DialError([(addresses[0], OSError(number, "x"))])  # type: ignore[list-item]

    monkeypatch.setattr(under_test, "dial", dial)
    with Proxy() as proxy:
        answer = proxy.refusal("127.0.0.1:1")
    assert (answer.status, answer.error) == (status, error)


@pytest.mark.usefixtures("http_version")
def test_s21_the_next_address_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing listens at the first address."""
    with ScriptedServer(echo) as target, Proxy("both.test:*") as proxy:
        Names(monkeypatch, both_test=[["127.0.0.2", "127.0.0.1"]])
        with proxy.tunnel(f"both.test:{target.port}") as client:
            assert client.echoes()
        record = proxy.wait_for_records(1)[0]
    assert record["address"] == f"127.0.0.1:{target.port}"
    assert record["target"] == f"both.test:{target.port}"


def test_s20_a_refusal_has_no_field_that_allows_caching() -> None:
    with Proxy() as proxy:
        names = {name for target in ("127.0.0.1:0", "10.0.0.1:1", "127.0.0.1:1") for name in proxy.refusal(target).fields}
    assert names == {"proxy-status", "connection", "content-type", "content-length"}


# --- after a refusal


def test_s18_a_refusal_closes_the_connection_and_reads_no_more_requests() -> None:
    """V11: a second request in the same segment gets neither a response nor a record."""
    with Trap() as trap, Proxy() as proxy:
        answer = proxy.ask(connect_request("127.0.0.1:0") + connect_request(f"127.0.0.1:{trap.port}"))
        assert answer.raw.count(b"HTTP/1.1") == 1
        assert len(proxy.wait_for_records(1)) == 1
    assert len(proxy.records()) == 1


@pytest.mark.parametrize("sent", ["HEAD http://h.test/ HTTP/1.1\r\nHost: h.test\r\n\r\n", "HEAD / HTTP/1.0\n\n"])
def test_the_response_to_head_has_no_content(sent: str) -> None:
    """RFC 9110 section 9.3.2: its Content-Length is that of the content it would have."""
    with Proxy() as proxy, proxy.client() as client, proxy.client() as other:
        client.send(sent.encode())
        other.send(sent.replace("HEAD", "POST").encode())
        head, answer = client.rest(), other.answer()
    assert head.startswith(b"HTTP/1.1 405 ")
    assert head == answer.raw.removesuffix(answer.body).replace(b"POST", b"HEAD")
    assert answer.body


def test_s18_the_response_is_not_lost_to_a_reset() -> None:
    """The client still sends when the proxy refuses: closing at once would reset the connection and discard the response."""
    with Proxy() as proxy, proxy.client() as client:
        client.send(connect_request("127.0.0.1:0") + b"x" * 300_000)
        assert client.answer().status == 400


def test_a_client_that_floods_after_a_refusal_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linger, "LINGER_BYTES", 100_000)
    with Proxy() as proxy, proxy.client() as client, pytest.raises(ConnectionError):
        client.send(connect_request("127.0.0.1:0"))
        for _ in range(10_000):
            client.send(b"x" * 65536)


def test_a_client_that_lingers_after_a_refusal_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "LINGER_SECONDS", BRIEF)
    with Proxy() as proxy, proxy.client() as client:
        client.send(connect_request("127.0.0.1:0"))
        client.rest()
        with pytest.raises(ConnectionError):
            while True:
                client.send(b"x")
                time.sleep(0.02)


# --- time limits of each phase


@pytest.mark.usefixtures("http_version")
def test_the_head_timeout_ends_with_the_head() -> None:
    """A slow dial and a quiet tunnel have limits of their own."""
    with ScriptedServer(echo) as target, Proxy(head_timeout=1.0) as proxy, proxy.tunnel(target.authority) as client:
        time.sleep(1.2)
        assert client.echoes()


@pytest.mark.usefixtures("http_version")
def test_an_idle_tunnel_is_reset_after_the_idle_timeout() -> None:
    with ScriptedServer(echo) as target, Proxy(idle_timeout=BRIEF) as proxy:
        with proxy.tunnel(target.authority) as client, pytest.raises(ConnectionResetError):
            client.rest()
        end = proxy.wait_for_records(2)[1]
    assert (end["cause"], end["closed_by"]) == ("idle", "tunnelctl")
    assert BRIEF <= end["idle"] <= end["seconds"]


# --- a client or target that leaves (see also V24 in tests/security)


@pytest.mark.usefixtures("http_version")
def test_l6_a_client_reset_cancels_the_dial_at_once() -> None:
    """It leaves one record, with status 499: no response was sent."""
    with black_hole_port() as port, Proxy(dial_timeout=SECONDS) as proxy:
        before, client = opening(port), proxy.client()
        client.send(connect_request(f"127.0.0.1:{port}"))
        wait_until(lambda: opening(port) > before, SECONDS, "the dial")
        client.reset()
        (record,) = proxy.wait_for_records(1)
        assert opening(port) == before
    assert (record["event"], record["status"], record["error"], record["rule"]) == ("refused", 499, "", "the client left")
    assert record["phases"]["connect"] < SECONDS / 2


@pytest.mark.usefixtures("http_version")
def test_l6_a_client_reset_cancels_a_look_up_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, release = threading.Event(), threading.Event()

    def lookup(*_: object) -> None:
        asked.set()
        assert release.wait(SECONDS)

    monkeypatch.setattr(_socket, "getaddrinfo", lookup)
    try:
        with Proxy("*.test:*", dial_timeout=SECONDS) as proxy:
            client = proxy.client()
            client.send(connect_request("target.test:1"))
            assert asked.wait(SECONDS)
            client.reset()
            (record,) = proxy.wait_for_records(1)
            assert (record["status"], record["phase"]) == (499, "dns")
            release.set()
    finally:
        release.set()


@pytest.mark.usefixtures("http_version")
def test_l6_a_half_closed_client_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have sent everything already, as `printf ... | nc -N` does."""

    def script(peer: Conversation) -> None:
        assert peer.read_to_end() == b"question"
        peer.send(b"answer")

    with ScriptedServer(script) as target, Proxy() as proxy, proxy.client() as client:
        client.send(connect_request(target.authority) + b"question")
        client.sock.shutdown(socket.SHUT_WR)
        assert client.rest() == b"HTTP/1.1 200 Connection established\r\n\r\nanswer"


@pytest.mark.usefixtures("http_version")
def test_l6_the_dial_for_a_half_closed_client_has_a_shorter_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "HALF_CLOSED_SECONDS", BRIEF)
    with black_hole_port() as port, Proxy(dial_timeout=SECONDS) as proxy, proxy.client() as client:
        client.send(connect_request(f"127.0.0.1:{port}"))
        client.sock.shutdown(socket.SHUT_WR)
        assert client.answer().error == "connection_timeout"
        (record,) = proxy.wait_for_records(1)
    assert sum(record["phases"].values()) < SECONDS / 2


@pytest.mark.usefixtures("http_version")
def test_a_target_that_resets_at_once_leaves_one_decision_record() -> None:
    """Before or after the 200; either way the log has a decision and no fault."""
    told: list[bytes] = []

    def resets(peer: Conversation) -> None:
        peer.reset()

    with ScriptedServer(resets) as target, Proxy() as proxy:
        for _ in range(20):
            with proxy.client() as client:
                client.send(connect_request(target.authority))
                try:
                    told.append(client.rest()[9:12])
                except ConnectionResetError:
                    pass

        def decisions() -> list[dict[str, object]]:
            return [record for record in proxy.records() if record["event"] in ("opened", "refused")]

        wait_until(lambda: len(decisions()) == 20, SECONDS, "all decisions")
    assert {record["status"] for record in decisions()} <= {200, 502}
    assert set(told) <= {b"200", b"502", b""}


# --- caps


@pytest.mark.usefixtures("http_version")
def test_a_busy_tunnel_is_reset_at_the_end_of_its_lifetime() -> None:
    with ScriptedServer(echo) as target, Proxy(max_lifetime=BRIEF) as proxy, proxy.tunnel(target.authority) as client:
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            while True:
                client.send(b"x")
                client.sock.recv(1)
        end = proxy.wait_for_records(2)[1]
    assert (end["closed_by"], end["cause"], end["phase"]) == ("tunnelctl", "lifetime", "tunnel")
    assert end["seconds"] >= BRIEF


@pytest.mark.usefixtures("http_version")
@pytest.mark.parametrize("target", ["127.0.0.1:0", "denied.test:1", "unknown.test:1", "10.0.0.1:1", "127.0.0.1:1"])
def test_every_refusal_releases_its_place_in_the_caps(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, unknown_test=[socket.gaierror(socket.EAI_NONAME, "x")])
    dialled(monkeypatch)
    with Proxy("*:*", "127.0.0.1:*", deny=("denied.test:*",), max_tunnels=1) as proxy:
        statuses = {proxy.refusal(target).status for _ in range(5)}
    assert len(statuses) == 1
    assert statuses != {503}


def test_a_failing_session_releases_its_place_in_the_caps(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError("a fault of ours")

    with ScriptedServer(echo) as target, pytest.raises(AssertionError, match="a fault of ours"), Proxy(max_tunnels=1) as proxy:
        with monkeypatch.context() as patch:
            patch.setattr(under_test, "dial", broken)
            for _ in range(3):
                with proxy.client() as client:
                    client.send(connect_request(target.authority))
                    client.rest()
        assert admitted(proxy, target)
    assert proxy.warnings == ["fault in a tunnel: ZeroDivisionError: a fault of ours"] * 3


@pytest.mark.usefixtures("http_version")
def test_a_fault_at_the_end_of_a_tunnel_ends_only_that_and_releases_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a fault of ours")

    with ScriptedServer(echo) as target, pytest.raises(AssertionError, match="a fault of ours"), Proxy(max_tunnels=1) as proxy:
        with monkeypatch.context() as patch:
            patch.setattr(Recorder, "on_end", broken)
            with proxy.client() as client:
                assert client.tunnel(target.authority).echoes()
                client.sock.shutdown(socket.SHUT_WR)
                assert client.rest() == b""
            wait_until(lambda: proxy.warnings, SECONDS, "the warning, which follows the end that the client sees")
        assert admitted(proxy, target)
    assert proxy.warnings == ["fault in a tunnel: ZeroDivisionError: a fault of ours"]


# --- credentials


@pytest.fixture
def locked(tmp_path: Path, cheap_hashes: None) -> dict[str, str]:
    return {"users": users_file(tmp_path, alice="se:cret", bob="ключ")}


def status(proxy: Proxy, target: str, *fields: str, version: str = "HTTP/1.1") -> int:
    with proxy.client() as client:
        client.send(connect_request(target, *fields, version=version))
        return int(client.head()[9:12])


def test_s17_a_407_has_a_challenge_with_a_realm(locked: dict[str, str]) -> None:
    with Proxy(**locked) as proxy:
        answer = proxy.refusal("127.0.0.1:1")
    assert answer.status == 407
    assert answer.fields["proxy-authenticate"] == 'Basic realm="tunnelctl", charset="UTF-8"'
    assert answer.fields["connection"] == "close"
    assert answer.error == "http_request_denied"


@pytest.mark.usefixtures("http_version")
def test_credentials_are_checked_after_syntax_and_before_rules(locked: dict[str, str]) -> None:
    """An unauthenticated client learns nothing about the rules; a malformed request costs no hash."""
    with Proxy(**locked) as proxy:
        assert status(proxy, "127.0.0.1:0") == 400
        assert status(proxy, "10.0.0.1:443") == 407
        assert status(proxy, "10.0.0.1:443", basic("alice", "se:cret")) == 403


@pytest.mark.usefixtures("http_version")
def test_the_log_has_the_name_of_the_user(locked: dict[str, str]) -> None:
    with Proxy(**locked) as proxy:
        status(proxy, "10.0.0.1:443", basic("bob", "ключ"))
        (record,) = proxy.wait_for_records(1)
    assert record["user"] == "bob"


@pytest.mark.usefixtures("http_version")
def test_a_login_not_checked_within_the_head_timeout_is_a_503(locked: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Concurrent logins wait for their turn. A client whose login waits too long did send its head in time, and may retry."""

    async def hangs(*_: object) -> bool:
        await sleep(SECONDS)
        return False

    monkeypatch.setattr(users.Users, "check", hangs)
    with Proxy(head_timeout=1.0, **locked) as proxy:
        answer = proxy.refusal("127.0.0.1:1", basic("alice", "x"))
    assert (answer.status, answer.error, answer.fields["retry-after"]) == (503, "connection_limit_reached", "1")


@pytest.mark.usefixtures("http_version")
def test_a_login_without_a_free_thread_is_a_503(locked: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    async def busy(*_: object) -> bool:
        raise BusyResourceError("no thread")

    monkeypatch.setattr(users.Users, "check", busy)
    with Proxy(**locked) as proxy:
        assert proxy.refusal("127.0.0.1:1", basic("alice", "x")).status == 503


# --- unix sockets


def test_a_client_on_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "proxy")
    with ScriptedServer(echo) as target, Proxy(listen=(f"unix:{path}",)) as proxy:
        with Client(path) as client:
            assert client.tunnel(target.authority).echoes()
        with Client(path) as client:
            client.send(connect_request("127.0.0.1:0"))
            assert client.answer().status == 400
        with Client(path) as client:
            client.send(b"CONN")
        records = proxy.wait_for_records(3)
    assert {record["client"] for record in records if "client" in record} == {"unix:0"}
    assert not os.path.exists(path)


def test_all_unix_socket_clients_of_one_user_share_one_cap(tmp_path: Path) -> None:
    path = str(tmp_path / "proxy")
    with ScriptedServer(echo) as target, Proxy(listen=(f"unix:{path}",), max_per_client=1), Client(path) as first:
        first.tunnel(target.authority)
        with Client(path) as second:
            second.send(connect_request(target.authority))
            assert second.answer().status == 429


def test_an_idle_tunnel_keeps_nothing_of_its_request() -> None:
    """A head may have 16 KiB, and a client may hold its tunnels for days."""
    before = _requests_and_frames()  # an exception that another test was given to raise keeps the frames that it went through
    with ScriptedServer(echo) as target, Proxy() as proxy, proxy.client() as client:
        client.send(connect_request(target.authority, f"X-Long: {'a' * 6000}") + b"early")
        client.head()
        assert client.exactly(5) == b"early"
        after = _requests_and_frames()
        (responder,) = [after[key] for key in after.keys() - before.keys()]
        assert isinstance(responder, Http1Responder)
        assert responder._leftover == b""


def _requests_and_frames() -> dict[int, object]:
    """What holds the head of a request or watches its client: parts, frames of early steps, callbacks. By identity."""
    parts = (TunnelRequest, ConnectServer, Http1Responder)
    return {id(thing): thing for thing in gc.get_objects() if isinstance(thing, parts) or _is_early_step(thing)}


def _is_early_step(thing: object) -> bool:
    if inspect.iscoroutine(thing):
        return thing.cr_code.co_name in {"_begin", "serve", "_establish"}
    return inspect.isfunction(thing) and "_watch_client.<locals>" in thing.__qualname__
