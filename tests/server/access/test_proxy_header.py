"""PROXY headers from a load balancer: which peers may send one, and how others that send one are treated."""

import socket

import pytest

from tests.peers.process import wait_until
from tests.peers.scripted import ScriptedServer, echo
from tests.server.access.proxy_headers import LOCAL, V1, V2
from tests.server.harness import SECONDS, Answer, Client, Proxy, Trap, accepted, connect_request, parse
from tunnelctl.errors import UsageProblem
from tunnelctl.server.access.proxy_header import parse_trusted

BRIEF = 0.2  # seconds: a limit meant to expire
BALANCER = ("127.0.0.1",)
HEADERS = {"v1": V1, "v2": V2, "v2 with a TLV": V2[:14] + b"\x00\x0f" + V2[16:] + b"\x04\x00\x00"}


def test_trusted_networks_are_parsed_strictly() -> None:
    assert parse_trusted("192.0.2.7") == parse_trusted("192.0.2.7/32")
    for text in ("", "localhost", "192.0.2.7/24", "*", "unix", "10.0.0.0/33"):
        with pytest.raises(UsageProblem, match="not an address or a network"):
            parse_trusted(text)


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
@pytest.mark.parametrize("pieces", ["whole", "apart", "octets"])
def test_the_log_names_the_client_of_the_header(header: bytes, pieces: str) -> None:
    with ScriptedServer(echo) as target, Proxy(proxy_protocol=BALANCER) as proxy, proxy.client() as client:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        data = header + connect_request(target.authority) + b"early"
        at = len(header) if pieces == "apart" else 1 if pieces == "octets" else len(data)
        for start in range(0, len(data), at):
            client.send(data[start : start + at])
        assert client.head().startswith(b"HTTP/1.1 200 ")
        assert client.exactly(5) == b"early"
        assert client.echoes()
        client.sock.close()
        records = proxy.wait_for_records(2)
    assert {record["client"] for record in records} == {"192.0.2.7:4711"}


def test_caps_apply_to_the_client_of_the_header() -> None:
    with ScriptedServer(echo) as target, Proxy(proxy_protocol=BALANCER, max_per_client=1) as proxy:

        def ask(host: str) -> Client:
            client = proxy.client()
            client.send(f"PROXY TCP4 {host} 198.51.100.1 1 443\r\n".encode() + connect_request(target.authority))
            return client

        with ask("192.0.2.7") as first, ask("192.0.2.8") as other:
            assert first.head().startswith(b"HTTP/1.1 200 ")
            assert other.head().startswith(b"HTTP/1.1 200 ")
            with ask("192.0.2.7") as second:
                assert second.answer().status == 429


@pytest.mark.parametrize("header", [LOCAL, b"PROXY UNKNOWN\r\n"])
def test_a_header_without_an_address_means_the_balancer_itself(header: bytes) -> None:
    with Proxy(proxy_protocol=BALANCER) as proxy:
        assert proxy.ask(header + connect_request("10.0.0.1:1")).status == 403
        with proxy.client() as check:  # a health check: it closes without a request
            check.send(header)
            check.sock.shutdown(socket.SHUT_WR)
            assert check.rest() == b""
        (record,) = proxy.wait_for_records(1)
    assert record["client"].startswith("127.0.0.1:")
    assert proxy.warnings == []


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_v28_a_header_from_an_untrusted_peer_is_refused(header: bytes) -> None:
    with Trap() as trap, Proxy(proxy_protocol=("127.0.0.9",)) as proxy:
        answer = proxy.ask(header + connect_request(f"127.0.0.1:{trap.port}"))
        (record,) = proxy.wait_for_records(1)
    assert answer.status == 400
    assert record["client"].startswith("127.0.0.1:")


def test_v28_an_untrusted_peer_without_a_header_is_served() -> None:
    with ScriptedServer(echo) as target, Proxy(proxy_protocol=("127.0.0.9", "10.0.0.0/8")) as proxy:
        with proxy.tunnel(target.authority) as client:
            assert client.echoes()


def test_without_the_flag_every_header_is_refused() -> None:
    with Trap() as trap, Proxy() as proxy:
        assert proxy.ask(V1 + connect_request(f"127.0.0.1:{trap.port}")).status == 400


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (connect_request("127.0.0.1:1"), "it does not begin as one"),
        (b"\x16\x03\x01\x02\x00", "it does not begin as one"),
        (V1.replace(b"\r\n", b"\n"), "the line does not end in CR LF"),
        (V1.replace(b"4711", b"04711"), "a port is malformed"),
        (V2.replace(b"\x21\x11", b"\x21\x12"), "the family or the transport is none that can be here"),
    ],
)
def test_v28_a_trusted_peer_without_a_header_is_reset_and_not_served(data: bytes, why: str) -> None:
    with Trap() as trap, Proxy(proxy_protocol=BALANCER) as proxy:
        with proxy.client() as client:
            client.send(data + connect_request(f"127.0.0.1:{trap.port}"))
            with pytest.raises(ConnectionResetError):
                client.rest()
        assert proxy.records() == []
    (warning,) = proxy.warnings
    assert warning.startswith("no PROXY header from 127.0.0.1:")
    assert warning.endswith(why)


@pytest.mark.parametrize("data", [b"", V1[:20], V2[:20]])
def test_v28_an_incomplete_header_is_reset(data: bytes) -> None:
    """The peer closes inside the header, or the head timeout expires."""
    for end in (True, False):
        with Proxy(proxy_protocol=BALANCER, head_timeout=SECONDS if end else BRIEF) as proxy, proxy.client() as client:
            with pytest.raises((ConnectionResetError, BrokenPipeError)):
                client.send(data)
                if end:
                    client.sock.shutdown(socket.SHUT_WR)
                client.rest()
        assert len(proxy.warnings) == 1


def test_the_warning_about_a_missing_header_appears_once_a_minute() -> None:
    with Proxy(proxy_protocol=BALANCER) as proxy:
        for _ in range(5):
            with proxy.client() as client:
                client.send(b"\x00")
                with pytest.raises(ConnectionResetError):
                    client.rest()
    assert len(proxy.warnings) == 1


def test_a_drain_lets_a_begun_header_finish() -> None:
    with ScriptedServer(echo) as target, Proxy(proxy_protocol=BALANCER, drain=SECONDS) as proxy, proxy.client() as client:
        client.send(V1[:10])
        wait_until(lambda: accepted(proxy), SECONDS, "the accept")
        proxy.signal()
        wait_until(lambda: bool(proxy.events("drain")), SECONDS, "the drain")
        assert proxy.events("drain")[0]["connections"] == 1
        client.send(V1[10:] + connect_request(target.authority))
        assert client.head().startswith(b"HTTP/1.1 200 ")
        assert client.echoes()


def test_the_response_goes_through_the_balancer_to_the_client() -> None:
    with Proxy(proxy_protocol=BALANCER) as proxy, proxy.client() as client:
        client.send(V2 + connect_request("10.0.0.1:1"))
        answer: Answer = parse(client.rest())
    assert (answer.status, answer.error) == (403, "destination_ip_prohibited")
