"""One client of the proxy: what it is answered in each phase, and what remains when it leaves in each phase."""

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
from tunnelctl.server import http1
from tunnelctl.server import tunnel as under_test
from tunnelctl.server.access import users
from tunnelctl.stream import linger

BRIEF = 0.2  # seconds: a limit that is meant to strike
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


# --- the answer


def test_s15_s16_the_target_is_connected_before_2xx_which_has_no_framing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as target, Proxy() as proxy, proxy.client() as client:
        client.send(connect_request(f"127.0.0.1:{target.getsockname()[1]}"))
        assert client.head() == ESTABLISHED
        target.setblocking(False)
        target.accept()[0].close()  # it is in the queue


def test_s23_one_final_answer_and_one_decision() -> None:
    with Proxy() as proxy:
        answer = proxy.refusal("127.0.0.1:0")
        assert answer.raw.count(b"HTTP/1.1 ") == 1
        assert len(answer.body) == int(answer.fields["content-length"])
        assert [record["status"] for record in proxy.wait_for_records(1)] == [400]


def test_the_answer_names_the_cause_for_people_and_programs() -> None:
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
        (b"\x16\3\1", "this is a TLS ClientHello, and this port speaks HTTP in the clear"),
        (b"POST / HTTP/1.1\r\n", "POST is not served here, only CONNECT"),
        (connect_request("a\x1b:443"), "malformed head: the control character 0x1b"),
        (connect_request("a\xff:443"), "the target has non-ASCII characters: names are sent as A-labels"),
        (connect_request("10.0.0.1:1"), "the rules of this proxy do not allow the address of the target"),
        (connect_request("127.0.0.1:1"), "the target refused the connection"),
    ],
)
def test_the_operator_is_told_what_the_client_is_told(sent: bytes, details: str) -> None:
    with Proxy(verbose=1) as proxy, proxy.client() as client:
        client.send(sent)
        answer = client.answer()
        (record,) = proxy.wait_for_records(1)
        (told,) = proxy.events("refused")
    assert f'details="{details}"' in answer.fields["proxy-status"]
    assert record["details"] == told["details"] == details


def test_a_tunnel_that_is_granted_is_no_refusal() -> None:
    with ScriptedServer(echo) as target, Proxy() as proxy, proxy.tunnel(target.authority):
        (record,) = proxy.wait_for_records(1)
    assert (record["event"], "details" in record, "error" in record) == ("opened", False, False)


def test_http_1_0_without_host() -> None:
    with ScriptedServer(echo) as target, Proxy() as proxy, proxy.client() as client:
        client.send(f"CONNECT {target.authority} HTTP/1.0\r\n\r\n".encode())
        assert client.head() == ESTABLISHED
        assert client.echoes()


def test_a_client_that_says_nothing_gets_no_answer_and_no_record() -> None:
    with Proxy() as proxy:
        assert proxy.ask_nothing() == b""
        proxy.refusal("127.0.0.1:0")
        assert len(proxy.wait_for_records(1)) == 1


def test_a_client_that_leaves_inside_its_head_is_told() -> None:
    with Proxy() as proxy, proxy.client() as client:
        client.send(b"CONNECT target.test:443 HTTP/1.1\r\n")
        client.sock.shutdown(socket.SHUT_WR)
        assert client.answer().status == 400


# --- status by cause (S19)


def test_s19_connection_refused() -> None:
    held, port = refusing_port()
    with held, Proxy() as proxy:
        answer = proxy.refusal(f"127.0.0.1:{port}")
        (record,) = proxy.wait_for_records(1)
    assert (answer.status, answer.error) == (502, "connection_refused")
    assert (record["status"], record["error"], record["target"]) == (502, "connection_refused", f"127.0.0.1:{port}")


def test_s19_connection_timeout() -> None:
    with black_hole_port() as port, Proxy(dial_timeout=BRIEF) as proxy:
        answer = proxy.refusal(f"127.0.0.1:{port}")
    assert (answer.status, answer.error) == (504, "connection_timeout")


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
def test_s19_look_ups_that_fail(monkeypatch: pytest.MonkeyPatch, raised: Exception, status: int, error: str) -> None:
    Names(monkeypatch, target_test=[raised])
    with Proxy("*:*") as proxy:
        answer = proxy.refusal("target.test:1")
        (record,) = proxy.wait_for_records(1)
    assert (answer.status, answer.error) == (record["status"], record["error"]) == (status, error)


def test_s19_a_look_up_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: release.wait(SECONDS))
    try:
        with Proxy("*:*", dial_timeout=BRIEF) as proxy:
            answer = proxy.refusal("target.test:1")
    finally:
        release.set()
    assert (answer.status, answer.error) == (504, "dns_timeout")


def test_s19_look_ups_that_hang_take_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    for error, status in ((BusyResourceError("no thread"), 503), (QueueFullError("256 wait already"), 429)):

        async def busy(*_: object, error: Exception = error, **__: object) -> None:
            raise error

        monkeypatch.setattr(under_test, "resolve", busy)
        with Proxy("*:*") as proxy:
            answer = proxy.refusal("target.test:1")
        assert (answer.status, answer.error, answer.fields["retry-after"]) == (status, "connection_limit_reached", "1")


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
def test_s19_dials_that_fail(monkeypatch: pytest.MonkeyPatch, number: int, status: int, error: str) -> None:
    from tunnelctl.stream.dial import DialError

    async def dial(addresses: list[object], *_: object) -> None:
        raise DialError([(addresses[0], OSError(number, "x"))])  # type: ignore[list-item]

    monkeypatch.setattr(under_test, "dial", dial)
    with Proxy() as proxy:
        answer = proxy.refusal("127.0.0.1:1")
    assert (answer.status, answer.error) == (status, error)


def test_s21_the_next_address_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first has nobody, the second is there."""
    with ScriptedServer(echo) as target, Proxy("both.test:*") as proxy:
        Names(monkeypatch, both_test=[["127.0.0.2", "127.0.0.1"]])
        with proxy.tunnel(f"both.test:{target.port}") as client:
            assert client.echoes()
        record = proxy.wait_for_records(1)[0]
    assert record["address"] == f"127.0.0.1:{target.port}"
    assert record["target"] == f"both.test:{target.port}"


def test_s20_nothing_invites_a_cache() -> None:
    with Proxy() as proxy:
        names = {name for target in ("127.0.0.1:0", "10.0.0.1:1", "127.0.0.1:1") for name in proxy.refusal(target).fields}
    assert names == {"proxy-status", "connection", "content-type", "content-length"}


# --- after a refusal


def test_s18_the_connection_is_closed_and_nothing_more_is_read_as_a_request() -> None:
    """V11: a second request in the same segment is neither answered nor logged."""
    with Trap() as trap, Proxy() as proxy:
        answer = proxy.ask(connect_request("127.0.0.1:0") + connect_request(f"127.0.0.1:{trap.port}"))
        assert answer.raw.count(b"HTTP/1.1") == 1
        assert len(proxy.wait_for_records(1)) == 1
    assert len(proxy.records()) == 1


@pytest.mark.parametrize("sent", ["HEAD http://h.test/ HTTP/1.1\r\nHost: h.test\r\n\r\n", "HEAD / HTTP/1.0\n\n"])
def test_the_answer_to_head_has_no_content(sent: str) -> None:
    """RFC 9110 section 9.3.2: but the Content-Length that it would have."""
    with Proxy() as proxy, proxy.client() as client, proxy.client() as other:
        client.send(sent.encode())
        other.send(sent.replace("HEAD", "POST").encode())
        head, answer = client.rest(), other.answer()
    assert head.startswith(b"HTTP/1.1 405 ")
    assert head == answer.raw.removesuffix(answer.body).replace(b"POST", b"HEAD")
    assert answer.body


def test_s18_the_answer_is_not_lost_to_a_reset() -> None:
    """The client is still sending when it is refused: closing at once would reset the connection, and the answer with it."""
    with Proxy() as proxy, proxy.client() as client:
        client.send(connect_request("127.0.0.1:0") + b"x" * 300_000)
        assert client.answer().status == 400


def test_a_client_that_goes_on_sending_after_a_refusal_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linger, "LINGER_BYTES", 100_000)
    with Proxy() as proxy, proxy.client() as client, pytest.raises(ConnectionError):
        client.send(connect_request("127.0.0.1:0"))
        for _ in range(10_000):
            client.send(b"x" * 65536)


def test_a_client_that_stays_after_a_refusal_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "LINGER_SECONDS", BRIEF)
    with Proxy() as proxy, proxy.client() as client:
        client.send(connect_request("127.0.0.1:0"))
        client.rest()
        with pytest.raises(ConnectionError):
            while True:
                client.send(b"x")
                time.sleep(0.02)


# --- time limits of each phase


def test_the_head_limit_ends_with_the_head() -> None:
    """A slow dial, a quiet tunnel have limits of their own."""
    with ScriptedServer(echo) as target, Proxy(head_timeout=1.0) as proxy, proxy.tunnel(target.authority) as client:
        time.sleep(1.2)
        assert client.echoes()


def test_idle_limit() -> None:
    with ScriptedServer(echo) as target, Proxy(idle_timeout=BRIEF) as proxy:
        with proxy.tunnel(target.authority) as client, pytest.raises(ConnectionResetError):
            client.rest()
        end = proxy.wait_for_records(2)[1]
    assert (end["cause"], end["closed_by"]) == ("idle", "tunnelctl")
    assert end["seconds"] >= BRIEF
    assert BRIEF <= end["idle"] <= end["seconds"]


# --- the other end leaves (and V24 in tests/security)


def test_l6_a_client_that_resets_in_the_dial_is_given_up_at_once() -> None:
    """And has one record, for nobody told it anything."""
    with black_hole_port() as port, Proxy(dial_timeout=SECONDS) as proxy:
        before, client = opening(port), proxy.client()
        client.send(connect_request(f"127.0.0.1:{port}"))
        wait_until(lambda: opening(port) > before, SECONDS, "the dial")
        client.reset()
        (record,) = proxy.wait_for_records(1)
        assert opening(port) == before
    assert (record["event"], record["status"], record["error"], record["rule"]) == ("refused", 499, "", "the client left")
    assert record["phases"]["connect"] < SECONDS / 2


def test_l6_a_client_that_resets_in_a_lookup_is_given_up_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, release = threading.Event(), threading.Event()

    def lookup(*_: object) -> None:
        asked.set()
        assert release.wait(SECONDS)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
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


def test_l6_a_client_that_has_only_half_closed_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have sent all that it ever sends: `printf ... | nc -N` does."""

    def script(peer: Conversation) -> None:
        assert peer.read_to_end() == b"question"
        peer.send(b"answer")

    with ScriptedServer(script) as target, Proxy() as proxy, proxy.client() as client:
        client.send(connect_request(target.authority) + b"question")
        client.sock.shutdown(socket.SHUT_WR)
        assert client.rest() == b"HTTP/1.1 200 Connection established\r\n\r\nanswer"


def test_l6_a_client_that_has_half_closed_or_left_is_not_served_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "HALF_CLOSED_SECONDS", BRIEF)
    with black_hole_port() as port, Proxy(dial_timeout=SECONDS) as proxy, proxy.client() as client:
        client.send(connect_request(f"127.0.0.1:{port}"))
        client.sock.shutdown(socket.SHUT_WR)
        assert client.answer().error == "connection_timeout"
        (record,) = proxy.wait_for_records(1)
    assert sum(record["phases"].values()) < SECONDS / 2


def test_a_target_that_resets_at_once() -> None:
    """Before or after it was told to be there; either way there is a decision, and no fault."""
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


def test_the_lifetime_of_a_tunnel_that_is_busy() -> None:
    with ScriptedServer(echo) as target, Proxy(max_lifetime=BRIEF) as proxy, proxy.tunnel(target.authority) as client:
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            while True:
                client.send(b"x")
                client.sock.recv(1)
        end = proxy.wait_for_records(2)[1]
    assert (end["closed_by"], end["cause"], end["phase"]) == ("tunnelctl", "lifetime", "tunnel")
    assert end["seconds"] >= BRIEF


@pytest.mark.parametrize("target", ["127.0.0.1:0", "denied.test:1", "unknown.test:1", "10.0.0.1:1", "127.0.0.1:1"])
def test_caps_are_given_back_by_every_refusal(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, unknown_test=[socket.gaierror(socket.EAI_NONAME, "x")])
    dialled(monkeypatch)
    with Proxy("*:*", "127.0.0.1:*", deny=("denied.test:*",), max_tunnels=1) as proxy:
        statuses = {proxy.refusal(target).status for _ in range(5)}
    assert len(statuses) == 1
    assert statuses != {503}


def test_a_session_that_fails_gives_its_slot_back(monkeypatch: pytest.MonkeyPatch) -> None:
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


# --- credentials


@pytest.fixture
def locked(tmp_path: Path, cheap_hashes: None) -> dict[str, str]:
    return {"users": users_file(tmp_path, alice="se:cret", bob="ключ")}


def status(proxy: Proxy, target: str, *fields: str, version: str = "HTTP/1.1") -> int:
    with proxy.client() as client:
        client.send(connect_request(target, *fields, version=version))
        return int(client.head()[9:12])


def test_s17_407_has_a_challenge_with_a_realm(locked: dict[str, str]) -> None:
    with Proxy(**locked) as proxy:
        answer = proxy.refusal("127.0.0.1:1")
    assert answer.status == 407
    assert answer.fields["proxy-authenticate"] == 'Basic realm="tunnelctl", charset="UTF-8"'
    assert answer.fields["connection"] == "close"
    assert answer.error == "http_request_denied"


def test_credentials_come_after_form_and_before_rules(locked: dict[str, str]) -> None:
    """A stranger learns nothing about the rules; a malformed request is not worth a hash."""
    with Proxy(**locked) as proxy:
        assert status(proxy, "127.0.0.1:0") == 400
        assert status(proxy, "10.0.0.1:443") == 407
        assert status(proxy, "10.0.0.1:443", basic("alice", "se:cret")) == 403


def test_a_user_is_logged_by_name(locked: dict[str, str]) -> None:
    with Proxy(**locked) as proxy:
        status(proxy, "10.0.0.1:443", basic("bob", "ключ"))
        (record,) = proxy.wait_for_records(1)
    assert record["user"] == "bob"


def test_credentials_are_checked_within_the_time_for_the_head_and_said_to_be_a_limit(
    locked: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many logins at once wait for their turn. Who waits too long did send its head in time, and may try again."""

    async def hangs(*_: object) -> bool:
        await sleep(SECONDS)
        return False

    monkeypatch.setattr(users.Users, "check", hangs)
    with Proxy(head_timeout=1.0, **locked) as proxy:
        answer = proxy.refusal("127.0.0.1:1", basic("alice", "x"))
    assert (answer.status, answer.error, answer.fields["retry-after"]) == (503, "connection_limit_reached", "1")


def test_without_a_thread_left_for_a_login(locked: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_all_clients_of_one_user_at_a_unix_socket_are_one_for_the_cap(tmp_path: Path) -> None:
    path = str(tmp_path / "proxy")
    with ScriptedServer(echo) as target, Proxy(listen=(f"unix:{path}",), max_per_client=1), Client(path) as first:
        first.tunnel(target.authority)
        with Client(path) as second:
            second.send(connect_request(target.authority))
            assert second.answer().status == 429
