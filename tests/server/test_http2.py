"""`serve` over HTTP/2: what is particular to many streams of one connection.

What holds for a request in either version is tested once, for both (the fixture `http_version`). Abuse is in tests/security.
"""

import json
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.peers import certificates
from tests.peers.http2 import END_STREAM, LOST, PREFACE, Flag, GoAway, Kind, Stream, frame, header_block, reset_with, settings_frame
from tests.peers.http2_client import Http2Client, tls_context
from tests.peers.process import free_port, opening, wait_until
from tests.peers.program import Serve
from tests.peers.proxies import Proxy as At
from tests.peers.scripted import Conversation, ScriptedServer, black_hole_port, echo, sample
from tests.server.harness import (
    SECONDS,
    TERM,
    Proxy,
    basic,
    connect_request,
    digest_users_file,
    refused,
    until_reset,
    users_file,
)
from tests.server.inspecting import RULES
from tunnelctl.engine.kernel import park
from tunnelctl.proto.auth.challenge import parse_challenges
from tunnelctl.proto.auth.digest import DigestClient
from tunnelctl.server import http2, tunnel
from tunnelctl.stream.http2.connection import Http2Connection

BRIEF = 0.2  # seconds: a limit meant to expire
NO_ERROR, PROTOCOL_ERROR, REFUSED_STREAM, CONNECT_ERROR, CALM = 0, 1, 7, 10, 11
FIRST_GOAWAY = GoAway((1 << 31) - 1, NO_ERROR, b"")


def connect_frames(target: str, stream: int = 1, flags: int = Flag.END_HEADERS) -> bytes:
    return frame(Kind.HEADERS, stream, header_block([(":method", "CONNECT"), (":authority", target)]), flags)


def login(user: str, password: str) -> tuple[str, str]:
    return "proxy-authorization", basic(user, password).partition(": ")[2]


def told(stream: Stream) -> tuple[str, str]:
    """The status of a refusal, and its error type."""
    stream.connection.wait_for(lambda: stream.fields or stream.ending, "a response")
    status = stream.field(":status") or stream.ending
    assert stream.read_to_end() or stream.field("content-length") is None
    return status, (stream.field("proxy-status") or "").partition("error=")[2].partition(";")[0]


def goes_on(stream: Stream) -> bool:
    """Whether the tunnel carries bytes to an echoing target and back."""
    stream.send(b"still alive")
    return stream.read_exactly(11) == b"still alive"


def ends(proxy: Proxy) -> list[dict[str, Any]]:
    return [record for record in proxy.records() if record["event"] == "closed"]


# --- the beginning of a connection


@pytest.mark.parametrize("sizes", [[1] * len(PREFACE), [3, 1, 20], [24], []], ids=["octets", "pieces", "whole", "with the rest"])
def test_the_preface_may_come_in_pieces(sizes: list[int]) -> None:
    data = PREFACE + settings_frame([]) + connect_frames("127.0.0.1:0")
    with Proxy() as proxy, proxy.client() as client:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for size in sizes:
            piece, data = data[:size], data[size:]
            client.send(piece)
        client.send(data)
        (record,) = proxy.wait_for_records(1)
    assert (record["status"], record["target"]) == (400, "")


def test_both_versions_are_served_on_one_port() -> None:
    with ScriptedServer(echo) as target, Proxy() as proxy, proxy.http2() as connection, proxy.tunnel(target.authority) as client:
        stream = connection.tunnel(target.authority)
        assert client.echoes()
        assert goes_on(stream)


def test_a_proxy_header_precedes_the_preface() -> None:
    with ScriptedServer(echo) as target, Proxy(proxy_protocol=("127.0.0.1",)) as proxy, proxy.client() as client:
        client.send(b"PROXY TCP4 192.0.2.7 192.0.2.1 1234 80\r\n" + PREFACE + settings_frame([]) + connect_frames(target.authority))
        (record,) = proxy.wait_for_records(1)
    assert (record["event"], record["client"]) == ("opened", "192.0.2.7:1234")


@contextmanager
def over_tls(tmp_path: Path, alpn: tuple[str, ...], own: bool = False, **options: Any) -> Iterator[tuple[Proxy, ssl.SSLSocket]]:
    """Yields a proxy that speaks TLS, and a client that offers these protocols, with its own certificate if it has one."""
    files = certificates.make(tmp_path)
    given = {"tls_cert": str(files.chain), "tls_key": str(files.key), **({"client_ca": str(files.authority)} if own else {})}
    with Proxy(**given, **options) as proxy, proxy.client() as client:
        client.sock = tls_context(files.authority, alpn, files.client if own else None).wrap_socket(
            client.sock, server_hostname=certificates.HOST
        )
        yield proxy, client.sock


def test_tls_with_h2(tmp_path: Path) -> None:
    files = certificates.make(tmp_path)
    options = {"tls_cert": str(files.chain), "tls_key": str(files.key), "client_ca": str(files.authority)}
    with ScriptedServer(echo) as target, Proxy(**options) as proxy:
        with Http2Client(At(proxy.port, "https"), tls_context(files.authority, certificate=files.client)) as connection:
            streams = [connection.tunnel(target.authority) for _ in range(3)]
            for number, stream in enumerate(streams):
                data = sample(50_000, number)
                stream.send(data)
                assert stream.read_exactly(len(data)) == data
            told(connection.connect("127.0.0.1:0"))
        records = proxy.wait_for_records(7)
    assert {record["user"] for record in records} == {f"email={certificates.USER}"}


@pytest.mark.parametrize("alpn", [("http/1.1",), ()])
def test_tls_without_h2(alpn: tuple[str, ...], tmp_path: Path) -> None:
    with ScriptedServer(echo) as target, over_tls(tmp_path, alpn) as (_, sock):
        assert sock.selected_alpn_protocol() == (alpn[0] if alpn else None)
        sock.sendall(connect_request(target.authority))
        assert sock.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_tls_without_alpn_and_with_the_preface(tmp_path: Path) -> None:
    with over_tls(tmp_path, ()) as (proxy, sock):
        sock.sendall(PREFACE + settings_frame([]) + connect_frames("127.0.0.1:0"))
        assert proxy.wait_for_records(1)[0]["status"] == 400


def test_a_client_that_agrees_on_h2_may_speak_http1(tmp_path: Path) -> None:
    """As Go's programs do; tests/interop/setup/test_tls_proxy.py has go itself."""
    with ScriptedServer(echo) as target, over_tls(tmp_path, ("h2",)) as (_, sock):
        assert sock.selected_alpn_protocol() == "h2"
        sock.sendall(connect_request(target.authority))
        assert sock.recv(4096).startswith(b"HTTP/1.1 200 ")
        sock.sendall(b"ping")
        assert sock.recv(4) == b"ping"


@pytest.mark.parametrize(
    ("alpn", "sent", "status"), [("h2", PREFACE[:3] + b"X" + PREFACE[4:], b"400"), ("http/1.1", PREFACE, b"505")]
)
def test_what_is_neither_is_refused(alpn: str, sent: bytes, status: bytes, tmp_path: Path) -> None:
    with over_tls(tmp_path, (alpn,)) as (proxy, sock):
        sock.sendall(sent)
        got = b""
        while piece := sock.recv(4096):
            got += piece
        assert got.startswith(b"HTTP/1.1 " + status)
        assert proxy.wait_for_records(1)[0]["target"] == ""


# --- requests on one connection


@pytest.mark.usefixtures("cheap_hashes")
def test_a_login_follows_a_407_on_the_same_connection(tmp_path: Path) -> None:
    with ScriptedServer(echo) as target, Proxy(users=users_file(tmp_path, anna="her-pw")) as proxy, proxy.http2() as connection:
        first = connection.connect(target.authority)
        assert told(first) == ("407", "http_request_denied")
        assert first.field("proxy-authenticate") == 'Basic realm="tunnelctl", charset="UTF-8"'
        assert told(connection.connect(target.authority, login("anna", "wrong")))[0] == "407"
        assert goes_on(connection.tunnel(target.authority, login("anna", "her-pw")))
        assert told(connection.connect(target.authority))[0] == "407", "a login is for one stream"
        records = proxy.wait_for_records(4)
        assert len({record["connection"] for record in records}) == 1
    assert [(record["status"], record["user"]) for record in records] == [(407, ""), (407, ""), (200, "anna"), (407, "")]


def test_a_digest_login_on_the_same_connection(tmp_path: Path) -> None:
    users = digest_users_file(tmp_path, anna="her-pw")
    with ScriptedServer(echo) as target, Proxy(users=users) as proxy, proxy.http2() as connection:
        first = connection.connect(target.authority)
        assert told(first)[0] == "407"
        client = DigestClient(parse_challenges([first.field("proxy-authenticate")])[0], "anna", "her-pw", "c")
        used = client.authorize("CONNECT", target.authority)
        for answer in (used, client.authorize("CONNECT", target.authority)):
            assert goes_on(connection.tunnel(target.authority, ("proxy-authorization", answer)))
        assert told(connection.connect(target.authority, ("proxy-authorization", used)))[0] == "407", "a response is good once"


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([(":method", "GET"), (":scheme", "http"), (":authority", "h.test"), (":path", "/")], "405"),
        ([(":method", "BREW"), (":scheme", "http"), (":authority", "h.test"), (":path", "/")], "501"),
        ([(":method", "CONNECT"), (":authority", "h.test")], "400"),
        ([(":method", "CONNECT"), (":authority", "h.test:0")], "400"),
        ([(":method", "CONNECT"), (":authority", "user@h.test:443")], "400"),
        ([(":method", "CONNECT"), (":authority", "h.test:443"), ("proxy-authorization", "a"), ("proxy-authorization", "b")], "400"),
    ],
)
def test_what_is_no_usable_request_gets_the_status_of_http1(fields: list[tuple[str, str]], status: str) -> None:
    with ScriptedServer(echo) as target, Proxy() as proxy, proxy.http2() as connection:
        stream = connection.request(fields)
        assert told(stream) == (status, "http_request_error")
        assert stream.wait_end() == END_STREAM
        assert goes_on(connection.tunnel(target.authority))
        assert str(proxy.wait_for_records(1)[0]["status"]) == status


def test_the_response_to_head_has_no_content() -> None:
    with Proxy() as proxy, proxy.http2() as connection:
        stream = connection.request([(":method", "HEAD"), (":scheme", "http"), (":authority", "h.test"), (":path", "/")], end=True)
        assert connection.response(stream) == "405"
        assert stream.read_to_end() == b""
        assert int(stream.field("content-length") or 0) > 0


def test_a_refusal_waits_for_no_window() -> None:
    """It has no content then. The stream ends all the same, and its place is free."""
    with Proxy(max_tunnels=1) as proxy, proxy.http2(settings={4: 0}) as connection:
        for _ in range(3):
            stream = connection.connect("10.0.0.1:1")
            assert connection.response(stream) == "403"
            assert stream.read_to_end() == b""
            assert stream.field("content-length") is None
            assert "destination_ip_prohibited" in (stream.field("proxy-status") or "")


def test_early_data_of_a_refused_request_is_dropped() -> None:
    """V11. It counts for the window of the connection, which would leak shut otherwise."""
    with ScriptedServer(echo) as target, Proxy() as proxy, proxy.http2() as connection:
        for _ in range(80):
            stream = connection.connect("10.0.0.1:1")
            stream.send(sample(60_000))
            assert told(stream)[0] == "403"
        assert goes_on(connection.tunnel(target.authority))


def test_streams_have_records_of_their_own() -> None:
    with ScriptedServer(echo) as target, Proxy() as proxy, proxy.http2() as connection:
        for _ in range(2):
            stream = connection.tunnel(target.authority)
            assert goes_on(stream)
            stream.end()
            assert stream.read_to_end() == b""
        told(connection.connect("10.0.0.1:1"))
        records = proxy.wait_for_records(5)
    (name,) = {record["connection"] for record in records}
    seen = sorted((record["tunnel"].removeprefix(name), record["event"]) for record in records)
    assert seen == [(".1", "closed"), (".1", "opened"), (".3", "closed"), (".3", "opened"), (".5", "refused")]
    assert [(record["sent"], record["received"]) for record in records if record["event"] == "closed"] == [(11, 11)] * 2


def test_metrics_and_the_page_of_tunnels_count_streams() -> None:
    port = free_port()

    def page(path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=SECONDS) as answer:
            return answer.read().decode()

    def figures() -> set[str]:
        lines = page("/metrics").splitlines()
        return {line for line in lines if line.startswith(("tunnelctl_tunnels ", "tunnelctl_connections "))}

    with ScriptedServer(echo) as target, Proxy(admin=f"127.0.0.1:{port}") as proxy, proxy.http2() as connection:
        streams = [connection.tunnel(target.authority) for _ in range(3)]
        assert all(map(goes_on, streams))
        told(connection.connect("10.0.0.1:1"))
        expected = {"tunnelctl_connections 1.0", "tunnelctl_tunnels 3.0"}
        wait_until(lambda: figures() == expected, SECONDS, "the figures")
        shown = json.loads(page("/tunnels"))["tunnels"]
        name = proxy.wait_for_records(1)[0]["connection"]
        assert {(one["connection"], one["tunnel"]) for one in shown} == {(name, f"{name}.{number}") for number in (1, 3, 5)}
        for stream in streams:
            stream.reset()
        wait_until(lambda: figures() == {"tunnelctl_connections 1.0", "tunnelctl_tunnels 0.0"}, SECONDS, "the figures")
        assert json.loads(page("/tunnels"))["tunnels"] == []


def test_a_cap_refuses_one_stream_while_others_go_on() -> None:
    for cap, status in {"max_tunnels": "503", "max_per_client": "429", "max_per_target": "503"}.items():
        with ScriptedServer(echo) as target, Proxy(**{cap: 2}) as proxy, proxy.http2() as connection:
            streams = [connection.tunnel(target.authority) for _ in range(2)]
            for _ in range(3):
                assert told(connection.connect(target.authority)) == (status, "connection_limit_reached")
            assert all(map(goes_on, streams))
            for end in (Stream.end, Stream.reset):
                end(streams.pop())
                wait_until(lambda: ends(proxy), SECONDS, "the record of the end")
                wait_until(lambda: granted(connection, target, streams), SECONDS, "a free place")  # noqa: B023
                assert told(connection.connect(target.authority))[0] == status
            assert all(map(goes_on, streams))


def granted(connection: Http2Client, target: ScriptedServer, streams: list[Stream]) -> bool:
    """Whether a tunnel is granted; it is appended to the list then."""
    stream = connection.connect(target.authority)
    if connection.response(stream) == "200":
        streams.insert(0, stream)
        return True
    return False


def test_streams_beyond_the_limit_are_refused_and_may_be_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2, "MAX_STREAMS", 3)
    with ScriptedServer(echo) as target, Proxy() as proxy, proxy.http2() as connection:
        streams = [connection.tunnel(target.authority) for _ in range(3)]
        assert connection.settings[3] == 3
        assert connection.response(connection.connect(target.authority)) == reset_with(REFUSED_STREAM)
        streams[0].end()
        assert streams[0].read_to_end() == b""
        wait_until(lambda: granted(connection, target, streams), SECONDS, "a free stream")
        proxy.wait_for_records(5)
        assert len([record for record in proxy.records() if record["event"] != "closed"]) == 4, "nothing was begun for the other"


def test_rules_on_the_content_of_a_tunnel(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(RULES["tls"])
    with ScriptedServer(until_reset) as target, Proxy(policy=str(policy), allow=()) as proxy, proxy.http2() as connection:
        stream = connection.tunnel(target.authority)
        stream.send(b"SSH-2.0-x\r\n")
        assert stream.wait_end() == reset_with(CONNECT_ERROR)
        wait_until(lambda: ends(proxy), SECONDS, "the record of the end")
    assert (ends(proxy)[0]["cause"], ends(proxy)[0]["seen"]) == ("cut", "no TLS")


def test_a_reload_applies_to_the_next_stream(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text("[[allow]]\ntargets = ['127.0.0.1:*']\n")
    with ScriptedServer(echo) as target, Proxy(policy=str(policy), allow=()) as proxy, proxy.http2() as connection:
        stream = connection.tunnel(target.authority)
        policy.write_text("[[deny]]\ntargets = ['127.0.0.1:*']\n")
        proxy.hang_up()
        wait_until(lambda: told(connection.connect("127.0.0.1:1"))[0] == "403", SECONDS, "the new policy")
        assert goes_on(stream)


def test_v49_requests_end_with_the_connection_if_responses_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    async def stuck(connection: Http2Connection) -> None:
        """The transport takes nothing: the client's receive queue and our send queue are full."""
        connection._rest = b"something"
        await park()

    monkeypatch.setattr(Http2Connection, "_write_next", stuck)
    monkeypatch.setattr(http2, "MAX_UNREAD", 300)
    with Proxy() as proxy, proxy.http2() as connection:
        records: list[dict[str, Any]] = []
        while len(records) < 20 and all(record["status"] == 403 for record in records):
            connection.connect("10.0.0.1:1", end=True)
            records = proxy.wait_for_records(len(records) + 1)
        assert connection.wait_lost() == "reset"
    assert (records[-1]["status"], records[-1]["details"]) == (429, "HTTP/2: ENHANCE_YOUR_CALM: the responses are not read")


# --- time limits


def test_a_connection_without_a_request_ends_after_the_head_timeout() -> None:
    with Proxy(head_timeout=BRIEF) as proxy, proxy.http2() as connection:
        assert connection.wait_lost() == "closed"
        assert connection.goaways == [GoAway(0, NO_ERROR, b"")]
        (record,) = proxy.wait_for_records(1)
    assert (record["status"], record["target"], record["tunnel"]) == (408, "", record["connection"] + ".0")


@pytest.mark.parametrize("sent", [b"", connect_frames("h.test:1", flags=0)], ids=["nothing", "a part of a header block"])
def test_v23_the_head_timeout_is_not_renewed_by_frames(sent: bytes) -> None:
    data = sent or frame(Kind.PING, payload=bytes(8))
    with Proxy(head_timeout=1.0) as proxy, proxy.http2() as connection:
        connection.ping()  # the client has acknowledged the settings: no other frame may interrupt a header block
        connection.send_raw(sent)
        due = time.monotonic()
        while not connection.lost:
            if not sent and time.monotonic() >= due:
                connection.send_raw(data)
                due += BRIEF / 4  # as fast as they are answered, they would be a flood
            connection.poll(BRIEF / 4)
            connection.move()
        assert proxy.wait_for_records(1)[0]["status"] == 408


def test_v38_a_block_that_is_never_complete_ends_the_connection_with_its_tunnels() -> None:
    """No other frame may come before its end (RFC 9113 section 6.10). The time limit is that of a head in HTTP/1.1."""
    with ScriptedServer(until_reset) as target, Proxy(head_timeout=1.0) as proxy, proxy.http2() as connection:
        connection.tunnel(target.authority)
        connection.send_raw(connect_frames(target.authority, 3, flags=0))
        assert connection.wait_lost() == "closed"
        assert connection.goaways == [GoAway(1, CALM, b"a header block is not complete in time")]
        wait_until(lambda: ends(proxy), SECONDS, "the record of the end")
        (refusal,) = [record for record in proxy.records() if record["tunnel"].endswith(".0")]
        assert (refusal["event"], refusal["status"]) == ("refused", 429)
        assert "a header block is not complete in time" in refusal["details"]


def test_a_connection_is_closed_once_it_has_been_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2, "IDLE_SECONDS", BRIEF)
    with ScriptedServer(echo) as target, Proxy(head_timeout=1.0) as proxy, proxy.http2() as connection:
        stream = connection.tunnel(target.authority)
        connection.poll(2 * BRIEF)
        assert goes_on(stream), "a tunnel keeps it open"
        stream.end()
        assert stream.read_to_end() == b""
        assert connection.wait_lost() == "closed"
        assert connection.goaways == [GoAway(1, NO_ERROR, b"")]
        assert [record["event"] for record in proxy.wait_for_records(2)] == ["opened", "closed"], "that is no refusal"


def test_the_connection_idle_for_longest_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """V52: the limit is one of a client network."""
    monkeypatch.setattr(http2, "MAX_IDLE", 3)
    with ScriptedServer(echo) as target, Proxy() as proxy, proxy.http2(source="127.0.0.2") as other, proxy.http2() as busy:
        stream = busy.tunnel(target.authority)
        told(other.connect("10.0.0.1:1"))
        connections = [proxy.http2() for _ in range(4)]
        for connection in connections:
            told(connection.connect("10.0.0.1:1"))
        assert connections[0].wait_lost() == "closed"
        assert [goaway.code for goaway in connections[0].goaways] == [NO_ERROR]
        for connection in (other, *connections[1:]):
            connection.ping()
        for connection in connections:
            connection.close()
        assert goes_on(stream)


def test_time_limits_of_a_stream_leave_the_connection_open() -> None:
    with ScriptedServer(echo) as target, black_hole_port() as hole, Proxy(dial_timeout=BRIEF) as proxy, proxy.http2() as connection:
        stream = connection.tunnel(target.authority)
        assert told(connection.connect(f"127.0.0.1:{hole}")) == ("504", "connection_timeout")
        assert goes_on(stream)


@pytest.mark.parametrize(("option", "cause"), [("idle_timeout", "idle"), ("max_lifetime", "lifetime")])
def test_a_tunnel_that_reaches_a_limit_is_reset(option: str, cause: str) -> None:
    with ScriptedServer(until_reset) as target, Proxy(**{option: BRIEF}) as proxy, proxy.http2() as connection:
        stream = connection.tunnel(target.authority)
        assert stream.wait_end() == reset_with(CONNECT_ERROR)
        connection.ping()
        assert proxy.wait_for_records(2)[1]["cause"] == cause


# --- how a tunnel ends


def ends_with(proxy: Proxy) -> dict[str, Any]:
    wait_until(lambda: ends(proxy), SECONDS, "the record of the end")
    return ends(proxy)[0]


def test_an_end_of_either_direction_is_passed_on() -> None:
    heard: list[bytes] = []

    def script(peer: Conversation) -> None:
        heard.append(peer.read_to_end())
        peer.send(b"answer")

    with ScriptedServer(script) as target, Proxy() as proxy, proxy.http2() as connection:
        stream = connection.tunnel(target.authority)
        stream.send(b"question", end=True)
        assert stream.read_to_end() == b"answer"
        assert heard == [b"question"]
        assert stream.reset_code is None
        assert (ends_with(proxy)["cause"], ends_with(proxy)["closed_by"]) == ("eof", "client")


def test_the_target_may_end_first() -> None:
    heard: list[bytes] = []

    def script(peer: Conversation) -> None:
        peer.send(b"banner")
        peer.end_output()
        heard.append(peer.read_to_end())

    with ScriptedServer(script) as target, Proxy() as proxy, proxy.http2() as connection:
        stream = connection.tunnel(target.authority)
        assert stream.read_to_end() == b"banner"
        stream.send(b"goodbye", end=True)
        assert (ends_with(proxy)["cause"], ends_with(proxy)["closed_by"]) == ("eof", "target")
    assert heard == [b"goodbye"]


@pytest.mark.parametrize("size", [0, 6, 300_000])
@pytest.mark.parametrize("half_closed", [False, True])
def test_a_reset_of_the_target_is_connect_error_behind_its_data(size: int, half_closed: bool) -> None:
    data = sample(size)

    def script(peer: Conversation) -> None:
        assert peer.read() == (b"go")
        if half_closed:
            assert peer.read_to_end() == b""
        peer.send(data)
        assert peer.sock.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK) == b"" if half_closed else True
        arrived.wait(SECONDS)
        peer.reset()

    arrived = threading.Event()
    with ScriptedServer(script) as target, Proxy() as proxy, proxy.http2() as connection:
        stream = connection.tunnel(target.authority)
        stream.send(b"go", end=half_closed)
        assert stream.read_exactly(size) == data
        arrived.set()
        assert stream.wait_end() == reset_with(CONNECT_ERROR)
        assert (ends_with(proxy)["cause"], ends_with(proxy)["closed_by"]) in (("reset", "target"), ("gone", "target"))


@pytest.mark.parametrize("how", ["reset", "lost by FIN", "lost by RST"])
@pytest.mark.parametrize("half_closed", [False, True])
def test_what_the_client_breaks_off_resets_the_target(how: str, half_closed: bool) -> None:
    """RFC 9113 section 8.5: the target gets a TCP reset, and never a clean end. What came before is delivered."""
    outcomes: list[object] = []

    def script(peer: Conversation) -> None:
        peer.send(b"!")
        if half_closed:
            peer.end_output()
        assert peer.read_exactly(4) == b"data"
        try:
            outcomes.append(peer.sock.recv(1))
        except ConnectionResetError:
            outcomes.append("reset")

    with ScriptedServer(script) as target, Proxy() as proxy, proxy.http2() as connection:
        streams = [connection.tunnel(target.authority) for _ in range(3)]
        for stream in streams:
            assert stream.read_exactly(1) == b"!"
            if half_closed:
                assert stream.wait_end() == END_STREAM
            stream.send(b"data")
        if how == "reset":
            for stream in streams:
                stream.reset()
            connection.ping()
        elif how == "lost by FIN":
            connection.close()
        else:
            connection.abort()
        wait_until(lambda: len(ends(proxy)) == 3, SECONDS, "the records of the ends")
        assert {(end["closed_by"], end["cause"]) for end in ends(proxy)} <= {("client", "reset"), ("client", "gone")}
    assert outcomes == ["reset"] * 3


def test_a_stream_reset_during_the_dial_frees_it() -> None:
    with ScriptedServer(echo) as target, black_hole_port() as hole, Proxy(dial_timeout=SECONDS) as proxy:
        with proxy.http2() as connection:
            stream, before = connection.tunnel(target.authority), opening(hole)
            pending = connection.connect(f"127.0.0.1:{hole}")
            wait_until(lambda: opening(hole) > before, SECONDS, "the dial")
            pending.reset()
            wait_until(lambda: opening(hole) == before, SECONDS, "the end of the dial")
            assert goes_on(stream)
            assert [record["status"] for record in proxy.wait_for_records(2)] == [200, 499]


def test_a_lost_connection_frees_its_dials() -> None:
    with black_hole_port() as hole, Proxy(dial_timeout=SECONDS) as proxy:
        with proxy.http2() as connection:
            before = opening(hole)
            for _ in range(3):
                connection.connect(f"127.0.0.1:{hole}")
            wait_until(lambda: opening(hole) == before + 3, SECONDS, "the dials")
        wait_until(lambda: opening(hole) == before, SECONDS, "the end of the dials")
        assert [record["status"] for record in proxy.wait_for_records(3)] == [499] * 3


# --- the end of the process


def draining(proxy: Proxy) -> None:
    proxy.signal()
    wait_until(lambda: bool(proxy.events("drain")), SECONDS, "the drain")


def test_a_drain_tells_the_client_and_lets_tunnels_finish() -> None:
    with ScriptedServer(echo) as target, Proxy(drain=SECONDS) as proxy, proxy.http2(mute=(Kind.PING,)) as connection:
        first = connection.tunnel(target.authority)
        draining(proxy)
        connection.wait_for(lambda: connection.pings, "the PING")
        assert connection.goaways == [FIRST_GOAWAY]
        second = connection.tunnel(target.authority)  # it was under way
        connection.send_raw(frame(Kind.PING, payload=connection.pings[0], flags=Flag.ACK))
        connection.wait_for(lambda: len(connection.goaways) == 2, "the second GOAWAY")
        assert connection.goaways[1] == GoAway(second.number, NO_ERROR, b"")
        assert connection.response(connection.connect(target.authority)) == reset_with(REFUSED_STREAM)
        assert refused(("127.0.0.1", proxy.port))
        for stream in (first, second):
            assert goes_on(stream)
        first.end()
        assert first.read_to_end() == b""
        second.send(b"the last words", end=True)
        assert second.read_to_end() == b"the last words"
        assert connection.wait_lost() == "closed"
        assert proxy.ended() == 0
        assert [end["cause"] for end in ends(proxy)] == ["eof", "eof"]
        assert len([record for record in proxy.records() if record["event"] != "closed"]) == 2


def test_a_drain_does_not_wait_for_the_answer_to_its_ping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2, "SHUTDOWN_SECONDS", BRIEF)
    with ScriptedServer(echo) as target, Proxy(drain=SECONDS) as proxy, proxy.http2(mute=(Kind.PING,)) as connection:
        stream = connection.tunnel(target.authority)
        draining(proxy)
        connection.wait_for(lambda: len(connection.goaways) == 2, "the second GOAWAY")
        assert goes_on(stream)


@pytest.mark.parametrize("used", [False, True])
def test_a_drain_closes_connections_without_a_tunnel(used: bool) -> None:
    with Proxy(drain=SECONDS) as proxy, proxy.http2() as connection:
        connection.ping()
        if used:
            told(connection.connect("10.0.0.1:1"))
        proxy.signal()
        assert connection.wait_lost() == "closed"
        assert connection.goaways[0] == FIRST_GOAWAY
        assert connection.goaways[-1].code == NO_ERROR
        assert proxy.ended() == 0
        assert len(proxy.records()) == used


def test_tunnels_left_at_the_end_of_the_drain_are_aborted() -> None:
    with ScriptedServer(until_reset) as target, Proxy(drain=BRIEF) as proxy, proxy.http2() as connection:
        stream = connection.tunnel(target.authority)
        proxy.signal()
        assert stream.wait_end() in (LOST, reset_with(CONNECT_ERROR))
        assert proxy.ended() == 0
    assert [(end["closed_by"], end["cause"]) for end in ends(proxy)] == [("tunnelctl", "drained")]


def test_the_end_of_the_drain_answers_a_pending_request_with_503(monkeypatch: pytest.MonkeyPatch) -> None:
    dialling = threading.Event()

    async def dial(*_: object) -> None:
        dialling.set()
        await park()

    monkeypatch.setattr(tunnel, "dial", dial)
    with Proxy() as proxy, proxy.http2() as connection:
        stream = connection.connect("127.0.0.1:1")
        assert dialling.wait(SECONDS)
        proxy.signal()
        assert told(stream) == ("503", "connection_limit_reached")
        assert proxy.ended() == 0
    assert [record["status"] for record in proxy.records()] == [503]


def test_a_process_drains_and_ends() -> None:
    """The second signal becomes its status."""
    for second in (False, True):
        with ScriptedServer(echo if not second else until_reset) as target, Serve() as serve:
            with Http2Client(At(serve.port)) as connection:
                stream = connection.tunnel(target.authority)
                serve.process.terminate()
                connection.wait_for(lambda: len(connection.goaways) == 2, "the GOAWAYs")
                assert connection.goaways == [FIRST_GOAWAY, GoAway(1, NO_ERROR, b"")]
                if second:
                    serve.process.terminate()
                    assert stream.wait_end() in (LOST, reset_with(CONNECT_ERROR))
                else:
                    assert goes_on(stream)
                    stream.end()
                    assert stream.read_to_end() == b""
                assert serve.process.wait(SECONDS) == (-TERM if second else 0)
                serve.ended_on_purpose = True


# --- several processes


def test_workers_count_the_streams_of_all_connections(tmp_path: Path) -> None:
    """The caps hold over all workers, and each drains."""
    with ScriptedServer(echo) as target, Serve("--workers", "2", "--max-tunnels", "4") as serve:
        connections = [Http2Client(At(serve.port)) for _ in range(6)]
        streams: list[Stream] = []
        for connection in connections:
            for _ in range(2):
                granted(connection, target, streams)
        assert len(streams) == 4
        assert all(map(goes_on, streams))
        serve.process.terminate()
        for stream in streams:
            assert goes_on(stream)
            stream.end()
            assert stream.read_to_end() == b""
        for connection in connections:
            assert connection.wait_lost() == "closed"
            connection.close()
        assert serve.process.wait(SECONDS) == 0
        serve.ended_on_purpose = True
