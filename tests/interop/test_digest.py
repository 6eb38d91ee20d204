"""The client side of Digest against squid, which accepts its responses, several on one challenge."""

import socket
from collections.abc import Iterator

import pytest

from tests.peers import guards
from tests.peers.proxies import PASSWORD, USER, Proxy
from tests.peers.scripted import ScriptedServer
from tunnelctl.proto.address import Address
from tunnelctl.proto.auth.challenge import parse_challenges
from tunnelctl.proto.auth.digest import DigestClient, is_stale
from tunnelctl.proto.auth.preference import strongest
from tunnelctl.proto.headers import get_all
from tunnelctl.proto.http1.connect_client import ConnectClient, Established, Rejected

pytestmark = pytest.mark.peer("squid", "digest_file_auth")
SECONDS = 20


@pytest.fixture(scope="module")
def squid() -> Iterator[Proxy]:
    with guards.squid_digest() as running:
        yield running


def ask(proxy: Proxy, target: str, digest: DigestClient | None = None) -> Established | Rejected:
    host, _, port = target.rpartition(":")
    value = (("Proxy-Authorization", digest.authorize("CONNECT", target)),) if digest is not None else ()
    machine = ConnectClient(Address(host, int(port)), value)
    with socket.create_connection(("127.0.0.1", proxy.port), SECONDS) as sock:
        sock.sendall(machine.request())
        while True:
            data = sock.recv(65536)
            answer = machine.feed(data) if data else machine.eof()
            if answer is not None:
                return answer


def login(proxy: Proxy, target: str, password: str) -> DigestClient:
    refused = ask(proxy, target)
    assert refused.status == 407
    challenge = strongest(parse_challenges(get_all(refused.fields, "proxy-authenticate")), {"digest"})
    assert challenge is not None
    assert challenge.get("realm") == guards.REALM
    return DigestClient(challenge, USER, password, "8f3a1c05")


def test_squid_accepts_several_responses_to_one_challenge(squid: Proxy, echo_target: ScriptedServer) -> None:
    digest = login(squid, echo_target.authority, PASSWORD)
    assert [ask(squid, echo_target.authority, digest).status for _ in range(3)] == [200, 200, 200]


def test_squid_does_not_mark_a_wrong_password_as_stale(squid: Proxy, echo_target: ScriptedServer) -> None:
    """So a wrong password differs from an expired nonce, and the user must be prompted."""
    refused = ask(squid, echo_target.authority, login(squid, echo_target.authority, "wrong"))
    assert refused.status == 407
    assert not any(is_stale(challenge) for challenge in parse_challenges(get_all(refused.fields, "proxy-authenticate")))
