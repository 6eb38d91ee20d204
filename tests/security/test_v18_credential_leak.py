"""V18: no log, answer, warning or repr contains a password, and neither target nor next hop receives it.

For the client see tests/client/test_connect.
"""

from pathlib import Path

import pytest

from tests.peers.scripted import Conversation, ScriptedServer
from tests.server.harness import Proxy, basic, connect_request, users_file
from tunnelctl.proto.auth.basic import encode_basic
from tunnelctl.proto.http1.connect_server import ConnectServer, Request

CANARY = "canary-7f3a"
FORMS = (CANARY.encode(), encode_basic("alice", CANARY)[6:].encode(), encode_basic("bob", CANARY)[6:].encode())


@pytest.mark.usefixtures("cheap_hashes")
def test_no_failure_reveals_the_password(tmp_path: Path) -> None:
    right, wrong = basic("alice", CANARY), basic("bob", CANARY)
    requests = [
        connect_request("127.0.0.1:1", right),
        connect_request("127.0.0.1:1", wrong),
        connect_request("10.0.0.1:1", right),
        connect_request("127.0.0.1:0", right),
        connect_request("127.0.0.1:1", right, wrong),
        connect_request("127.0.0.1:1", f"Proxy-Authorization: Bearer {CANARY}"),
        connect_request("127.0.0.1:1", f"Proxy-Authorization: {CANARY}"),
        connect_request("127.0.0.1:1", f"Proxy-Authorization : {CANARY}"),
        connect_request(f"alice:{CANARY}@127.0.0.1:1"),
        connect_request("127.0.0.1:1", right)[:-2],
        connect_request("127.0.0.1:1", right + "\x00"),
        connect_request("127.0.0.1:1", right, "X: " + "x" * 20_000),
        b"GET http://alice:" + CANARY.encode() + b"@127.0.0.1/ HTTP/1.1\r\nHost: x\r\n\r\n",
        CANARY.encode() + b" / HTTP/1.1\r\n\r\n",
    ]
    with Proxy(users=users_file(tmp_path, alice=CANARY), max_tunnels=1) as proxy:
        answers = []
        for request in requests:
            with proxy.client() as client:
                client.send(request)
                client.sock.shutdown(1)
                answers.append(client.rest())
        log = proxy.log()
        warnings = proxy.warnings
    for form in FORMS:
        assert not any(form in answer for answer in answers)
        assert form.decode() not in log + str(warnings)
    assert len({answer[9:12] for answer in answers}) > 3


@pytest.mark.usefixtures("cheap_hashes")
def test_target_receives_only_the_bytes_of_the_tunnel(tmp_path: Path) -> None:
    received: list[bytes] = []

    def script(peer: Conversation) -> None:
        received.append(peer.read_to_end())

    with (
        ScriptedServer(script) as target,
        Proxy(users=users_file(tmp_path, alice=CANARY)) as proxy,
        proxy.tunnel(target.authority, basic("alice", CANARY)) as client,
    ):
        client.send(b"payload")
    assert received == [b"payload"]


def test_request_repr_shows_neither_credentials_nor_payload() -> None:
    request = ConnectServer().feed(connect_request("a.test:1", basic("alice", CANARY)) + CANARY.encode())
    assert isinstance(request, Request)
    assert CANARY not in f"{request!r} {request}"
    assert FORMS[1].decode() not in f"{request!r} {request} {request.fields}"


@pytest.mark.usefixtures("cheap_hashes")
def test_a_fault_in_the_password_check_does_not_reveal_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tunnelctl.server.access import users

    async def broken(self: users.Users, user: str, password: str, client: str) -> bool:
        raise ValueError("a fault of ours")

    path = users_file(tmp_path, alice=CANARY)
    monkeypatch.setattr(users.Users, "check", broken)
    proxy = Proxy(users=path)
    with pytest.raises(AssertionError, match="a fault of ours"), proxy, proxy.client() as client:
        client.send(connect_request("127.0.0.1:1", basic("alice", CANARY)))
        client.rest()
    assert proxy.warnings == ["fault in a tunnel: ValueError: a fault of ours"]
