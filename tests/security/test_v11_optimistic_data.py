"""V11: the client sends no data before 2xx, and the server reads nothing after a refusal as a request (RFC 9931, S18)."""

import pytest

from tests.client.harness import connect
from tests.options import connect_options
from tests.peers.scripted import Conversation, ScriptedServer, echo
from tests.server.harness import Proxy, Trap, basic, connect_request, users_file
from tunnelctl.errors import Refused
from tunnelctl.proto.address import Address

GET = b"GET http://127.0.0.1/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
REFUSED = {
    "malformed": (b"CONNECT nonsense HTTP/1.1\r\n\r\n", 400),
    "denied": (connect_request("10.0.0.1:443"), 403),
    "unreachable": (connect_request("127.0.0.1:1"), 502),
    "wrong method": (GET, 405),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("again", ["CONNECT", "GET"])
def test_a_request_pipelined_after_a_refused_one_is_ignored(kind: str, again: str) -> None:
    """In the same segment: the server sends one answer and closes; it neither answers, dials nor logs the second request."""
    first, status = REFUSED[kind]
    with Trap() as trap, Proxy() as proxy:
        second = connect_request(f"127.0.0.1:{trap.port}") if again == "CONNECT" else GET
        answer = proxy.ask(first + second)
        assert answer.status == status
        assert answer.raw.count(b"HTTP/1.1 ") == 1
        proxy.wait_for_records(1)
        proxy.refusal("127.0.0.1:0")  # a marker: earlier records have been written by now
        assert [record["status"] for record in proxy.wait_for_records(2)] == [status, 400]


def test_a_request_sent_after_a_refusal_is_not_answered() -> None:
    with Trap() as trap, Proxy() as proxy, proxy.client() as client:
        client.send(connect_request("127.0.0.1:0"))
        assert client.answer().fields["connection"] == "close"
        try:
            client.send(connect_request(f"127.0.0.1:{trap.port}"))
            assert client.rest() == b""
        except ConnectionError:
            pass


@pytest.mark.usefixtures("cheap_hashes")
def test_credentials_pipelined_after_a_407_are_ignored(tmp_path: object) -> None:
    with ScriptedServer(echo) as target, Proxy(users=users_file(tmp_path, alice="x")) as proxy:  # type: ignore[arg-type]
        right = connect_request(target.authority, basic("alice", "x"))
        assert proxy.ask(connect_request(target.authority) + right).raw.count(b"HTTP/1.1 ") == 1
        assert target.conversations == []


def test_bytes_after_an_accepted_request_reach_the_target() -> None:
    with Trap() as trap, ScriptedServer(echo) as target, Proxy() as proxy, proxy.client() as client:
        second = connect_request(f"127.0.0.1:{trap.port}")
        client.send(connect_request(target.authority) + second)
        client.head()
        assert client.exactly(len(second)) == second


def test_client_holds_payload_until_2xx() -> None:
    """stdin has data and the proxy is slow to answer: the client sends none of it."""
    seen: list[bytes] = []

    def script(peer: Conversation) -> None:
        peer.read_head()
        peer.sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            seen.append(peer.read())
        peer.send(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
        peer.sock.settimeout(10)
        seen.append(peer.wait_gone())

    with ScriptedServer(script) as proxy, pytest.raises(Refused):
        connect(connect_options(Address("target.test", 22), (proxy.url,)), stdin=b"x" * 60_000)
    assert seen == [b""]
