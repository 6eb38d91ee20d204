"""V20, and V18 and V19 for Digest: which responses the proxy accepts, and what an unauthenticated client learns.

For the syntax see tests/proto/auth/test_digest_server.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.scripted import ScriptedServer, echo
from tests.server.harness import Answer, Proxy, basic, connect_request, digest_users_file
from tunnelctl.proto.auth.challenge import Challenge, parse_challenges
from tunnelctl.proto.auth.digest import DigestClient, is_stale
from tunnelctl.server.access import throttle
from tunnelctl.server.access.users import digest_line, hash_password

pytestmark = pytest.mark.usefixtures("http_version")

CANARY = "canary-7f3a"


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    with Proxy(users=digest_users_file(tmp_path, alice=CANARY, bob="x")) as running:
        yield running


@pytest.fixture
def target() -> Iterator[ScriptedServer]:
    with ScriptedServer(echo) as running:
        yield running


def offered(answer: Answer) -> tuple[Challenge, ...]:
    assert answer.status == 407
    return parse_challenges([answer.fields["proxy-authenticate"]])


def login(proxy: Proxy, target: str, user: str = "alice", password: str = CANARY, which: int = 0) -> DigestClient:
    challenge = offered(proxy.ask(connect_request(target)))[which]
    return DigestClient(challenge, user, password, "c")


def field(client: DigestClient, target: str) -> str:
    return "Proxy-Authorization: " + client.authorize("CONNECT", target)


@pytest.mark.parametrize("which", [0, 1], ids=["SHA-256", "MD5"])
def test_one_challenge_serves_many_tunnels(which: int, proxy: Proxy, target: ScriptedServer) -> None:
    client = login(proxy, target.authority, which=which)
    for _ in range(3):
        with proxy.tunnel(target.authority, field(client, target.authority)) as tunnel:
            assert tunnel.echoes(b"x")


def test_v19_a_response_is_accepted_once(proxy: Proxy, target: ScriptedServer) -> None:
    """An on-path attacker who replays it gets a new challenge. The client's next response is accepted."""
    client = login(proxy, target.authority)
    overheard = field(client, target.authority)
    with proxy.tunnel(target.authority, overheard) as tunnel:
        assert tunnel.echoes()
        replayed = proxy.ask(connect_request(target.authority, overheard))
    assert [is_stale(challenge) for challenge in offered(replayed)] == [True, True]
    with proxy.tunnel(target.authority, field(client, target.authority)) as tunnel:
        assert tunnel.echoes()
    assert len(target.conversations) == 2


def test_v19_a_response_is_valid_for_one_target(proxy: Proxy, target: ScriptedServer) -> None:
    overheard = field(login(proxy, target.authority), target.authority)
    assert proxy.ask(connect_request("198.41.0.4:443", overheard)).status == 400
    assert target.conversations == []


def test_v20_refusal_does_not_reveal_whether_the_user_exists(
    proxy: Proxy, target: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong password and an unknown user, with the user name hashed or not, get the same answer except for the nonce."""
    monkeypatch.setattr(throttle, "LONGEST_DELAY", 0.0)
    answers = set()
    for user, password in (("alice", "wrong"), ("mallory", "wrong"), ("bob", CANARY)):
        client = login(proxy, target.authority, user, password)
        for value in (field(client, target.authority), field(client, target.authority).replace(", userhash=true", "")):
            answers.add(re.sub(rb'nonce="[^"]*"', b"", proxy.ask(connect_request(target.authority, value)).raw))
        answers.add(re.sub(rb'nonce="[^"]*"', b"", proxy.ask(connect_request(target.authority, basic(user, password))).raw))
    assert len(answers) == 1
    assert target.conversations == []


def test_v19_a_nonce_from_before_a_restart_is_stale(tmp_path: Path, target: ScriptedServer) -> None:
    """So the client answers the new challenge without asking its user."""
    users = digest_users_file(tmp_path, alice=CANARY)
    with Proxy(users=users) as before:
        client = login(before, target.authority)
    with Proxy(users=users) as after:
        answer = after.ask(connect_request(target.authority, field(client, target.authority)))
    assert [is_stale(challenge) for challenge in offered(answer)] == [True, True]


@pytest.mark.usefixtures("cheap_hashes")
def test_v19_digest_and_basic_side_by_side(tmp_path: Path, target: ScriptedServer) -> None:
    """A user with a digest line, or with both lines, may use either scheme; a user without a digest line cannot use Digest."""
    path = tmp_path / "users"
    lines = [digest_line("alice", "tunnelctl", CANARY), hash_password("bob", "x"), digest_line("bob", "tunnelctl", "y")]
    path.write_text("\n".join([*lines, hash_password("carol", "z")]))
    with Proxy(users=str(path)) as proxy:
        assert [each.scheme for each in offered(proxy.ask(connect_request(target.authority)))] == ["digest", "digest", "basic"]
        for name, password in (("alice", CANARY), ("bob", "x"), ("carol", "z")):
            with proxy.tunnel(target.authority, basic(name, password)):
                pass
        with proxy.tunnel(target.authority, field(login(proxy, target.authority, "bob", "y"), target.authority)):
            pass
        carol = login(proxy, target.authority, "carol", "z")
        assert proxy.ask(connect_request(target.authority, field(carol, target.authority))).status == 407


def test_the_log_has_the_user_name_and_no_secret(proxy: Proxy, target: ScriptedServer) -> None:
    """V18: nor anything that could be replayed. The log has the plain name although the client sent its hash."""
    client = login(proxy, target.authority)
    sent = [field(client, target.authority) for _ in range(2)]
    with proxy.tunnel(target.authority, sent[0]):
        pass
    answers = [proxy.ask(connect_request(target.authority, value)).raw for value in (sent[0], sent[1][:-9], sent[1] + ", x")]
    with proxy.tunnel(target.authority, basic("alice", CANARY)):
        pass
    assert [record["user"] for record in proxy.wait_for_records(8) if record.get("status") == 200] == ["alice", "alice"]
    for value in sent:
        (response,) = re.findall(r'response="([^"]*)"', value)
        for secret in (CANARY, response, client._login):
            assert secret not in proxy.log() + str(proxy.warnings)
            assert not any(secret.encode() in answer for answer in answers)
