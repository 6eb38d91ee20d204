"""V21: hashing a login takes time, but does not delay other clients."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.peers.process import wait_until
from tests.peers.scripted import ScriptedServer, echo
from tests.server.harness import (
    SECONDS,
    Answer,
    Client,
    Proxy,
    basic,
    connect_request,
    digest_users_file,
    users_file,
)
from tunnelctl.proto.auth.challenge import parse_challenges
from tunnelctl.proto.auth.digest import DigestClient
from tunnelctl.server import config
from tunnelctl.server.access import throttle, users

ATTACKER, ANOTHER = "127.0.0.66", "127.0.0.77"
NOBODY_LISTENS = "127.0.0.1:1"  # the tests need no more than a login


class Hashes:
    """Replaces scrypt: each computation waits for `finish`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun: list[str] = []  # the passwords
        self.kept = users.CredentialCache()
        monkeypatch.setattr(config, "CredentialCache", lambda: self.kept)
        self._finish = threading.Semaphore(0)
        self.derive = users._derive
        monkeypatch.setattr(users, "_derive", self)

    def __call__(self, password: str, *rest: object) -> bytes:
        self.begun.append(password)
        assert self._finish.acquire(timeout=SECONDS)  # releases the interpreter lock, as scrypt does
        return self.derive(password, *rest)  # type: ignore[arg-type]

    def finish(self, count: int = 1000) -> None:
        """Lets this many computations end, current or future ones."""
        self._finish.release(count)

    def waiting(self, source: str) -> int:
        """Number of logins from an address that wait for a hash."""
        return self.kept.hashing._queued[f"{source}/32"]


@contextmanager
def guessing(proxy: Proxy, count: int, source: str = ATTACKER) -> Iterator[list[Client]]:
    """Connects this many clients, each of which sends a different wrong password."""
    clients = [proxy.client(source) for _ in range(count)]
    try:
        for number, client in enumerate(clients):
            client.send(connect_request(NOBODY_LISTENS, basic("alice", f"guess{number}")))
        yield clients
    finally:
        for client in clients:
            client.sock.close()


def status(proxy: Proxy, user: str, password: str, source: str = "127.0.0.1") -> int:
    with proxy.client(source) as client:
        client.send(connect_request(NOBODY_LISTENS, basic(user, password)))
        return client.answer().status


@pytest.mark.usefixtures("cheap_hashes", "http_version")
def test_wrong_logins_do_not_stall_a_tunnel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No login ends before the tunnel has echoed a byte."""
    path = users_file(tmp_path, alice="secret")
    right = basic("alice", "secret")
    with ScriptedServer(echo) as target, Proxy(users=path) as proxy, proxy.tunnel(target.authority, right) as live:
        hashes = Hashes(monkeypatch)
        with guessing(proxy, throttle.BURST) as guessers:
            wait_until(lambda: len(hashes.begun) == users.MAX_CONCURRENT_HASHES, SECONDS, "the limit of concurrent hashes")
            for _ in range(20):
                assert live.echoes(b"x")
            with proxy.tunnel(target.authority, right):  # a user who has logged in before does not queue
                assert len(hashes.begun) == users.MAX_CONCURRENT_HASHES
            hashes.finish()
            assert [guesser.answer().status for guesser in guessers] == [407] * throttle.BURST
    assert len(hashes.begun) == throttle.BURST


@pytest.mark.usefixtures("cheap_hashes", "http_version")
def test_concurrent_hashes_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = users_file(tmp_path, alice="secret")
    lock, under_way, most = threading.Lock(), [0], [0]

    def derive(*_: object) -> bytes:
        with lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        time.sleep(0.01)
        with lock:
            under_way[0] -= 1
        return b""

    monkeypatch.setattr(users, "_derive", derive)
    with Proxy(users=path) as proxy, guessing(proxy, throttle.BURST) as guessers:
        assert [guesser.answer().status for guesser in guessers] == [407] * throttle.BURST
    assert most[0] == users.MAX_CONCURRENT_HASHES


@pytest.mark.usefixtures("cheap_hashes", "http_version")
def test_h4_queued_logins_of_one_address_do_not_delay_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next hash is that of the other address; logins still queued when the address exceeds its limit are not computed."""
    path = users_file(tmp_path, alice="secret", bob="b-pw")
    hashes = Hashes(monkeypatch)
    with Proxy(users=path) as proxy, guessing(proxy, 40) as guessers:
        wait_until(lambda: hashes.waiting(ATTACKER) == 40 - users.MAX_CONCURRENT_HASHES, SECONDS, "all other logins queued")
        with proxy.client(ANOTHER) as other:
            other.send(connect_request(NOBODY_LISTENS, basic("bob", "b-pw")))
            wait_until(lambda: hashes.waiting(ANOTHER) == 1, SECONDS, "the other address's queued login")
            for begun in range(users.MAX_CONCURRENT_HASHES + 1, users.MAX_CONCURRENT_HASHES + 3):
                hashes.finish(1)
                wait_until(lambda begun=begun: len(hashes.begun) == begun, SECONDS, "the next hash")
            assert "b-pw" in hashes.begun
            hashes.finish()
            assert other.answer().status == 502
        statuses = [guesser.answer().status for guesser in guessers]
    assert set(statuses) == {407, 429}
    assert len(hashes.begun) <= 1 + throttle.BURST + users.MAX_CONCURRENT_HASHES


@pytest.mark.usefixtures("cheap_hashes", "http_version")
def test_h4_wrong_logins_are_delayed_then_refused_for_that_address_only(tmp_path: Path) -> None:
    path = users_file(tmp_path, alice="secret", bob="b-pw")
    with Proxy(users=path) as proxy:
        begun = time.monotonic()
        assert [status(proxy, "alice", f"guess{number}", ATTACKER) for number in range(3)] == [407] * 3
        assert time.monotonic() - begun >= 6 * throttle.FIRST_DELAY
        with guessing(proxy, throttle.BURST - 3) as rest:
            assert {client.answer().status for client in rest} == {407}
        with proxy.client(ATTACKER) as client:
            client.send(connect_request(NOBODY_LISTENS, basic("alice", "secret")))
            answer = client.answer()
        assert (answer.status, answer.error) == (429, "http_request_denied")
        assert 1 <= int(answer.fields["retry-after"]) <= throttle.REFILL_SECONDS
        assert "proxy-authenticate" not in answer.fields, "a browser would prompt its user for another password"
        assert status(proxy, "bob", "b-pw", ANOTHER) == 502


@pytest.mark.usefixtures("cheap_hashes", "http_version")
def test_h4_a_cached_login_is_accepted_from_a_throttled_address(tmp_path: Path) -> None:
    path = users_file(tmp_path, alice="secret")
    with Proxy(users=path) as proxy:
        assert status(proxy, "alice", "secret") == 502
        with guessing(proxy, throttle.BURST) as clients:
            assert {client.answer().status for client in clients} == {407}
        assert status(proxy, "alice", "guess", ATTACKER) == 429
        assert status(proxy, "alice", "secret", ATTACKER) == 502


def test_h4_wrong_digest_responses_count_as_wrong_logins(tmp_path: Path) -> None:
    with Proxy(users=digest_users_file(tmp_path, alice="secret")) as proxy:
        challenges = parse_challenges([proxy.ask(connect_request(NOBODY_LISTENS)).fields["proxy-authenticate"]])
        clients = [proxy.client(ATTACKER) for _ in range(throttle.BURST)]
        for number, client in enumerate(clients):
            wrong = DigestClient(challenges[0], "alice", f"guess{number}", "c")
            client.send(connect_request(NOBODY_LISTENS, f"Proxy-Authorization: {wrong.authorize('CONNECT', NOBODY_LISTENS)}"))
        assert {client.answer().status for client in clients} == {407}
        for client in clients:
            client.sock.close()
        right = DigestClient(challenges[0], "alice", "secret", "c")
        for source, expected in ((ATTACKER, 429), (ANOTHER, 502)):
            with proxy.client(source) as client:
                client.send(connect_request(NOBODY_LISTENS, f"Proxy-Authorization: {right.authorize('CONNECT', NOBODY_LISTENS)}"))
                assert client.answer().status == expected


def answered(proxy: Proxy, client: DigestClient, source: str) -> Answer:
    """The proxy's answer to the client's next response to its challenge."""
    with proxy.client(source) as connection:
        login = client.authorize("CONNECT", NOBODY_LISTENS)
        connection.send(connect_request(NOBODY_LISTENS, f"Proxy-Authorization: {login}"))
        return connection.answer()


def test_h4_a_digest_user_who_logged_in_is_accepted_if_throttled(tmp_path: Path) -> None:
    """The user may also answer the next challenge when the first has become stale; no other user may."""
    with Proxy(users=digest_users_file(tmp_path, alice="secret", bob="b-pw")) as proxy:
        (challenge, _) = parse_challenges([proxy.ask(connect_request(NOBODY_LISTENS)).fields["proxy-authenticate"]])
        alice = DigestClient(challenge, "alice", "secret", "c")
        assert answered(proxy, alice, ATTACKER).status == 502
        wrong = [proxy.client(ATTACKER) for _ in range(throttle.BURST)]
        for number, client in enumerate(wrong):
            login = DigestClient(challenge, "bob", f"guess{number}", "c").authorize("CONNECT", NOBODY_LISTENS)
            client.send(connect_request(NOBODY_LISTENS, f"Proxy-Authorization: {login}"))
        for client in wrong:
            assert client.answer().status == 407
            client.sock.close()
        assert answered(proxy, DigestClient(challenge, "bob", "b-pw", "c"), ATTACKER).status == 429
        assert answered(proxy, alice, ATTACKER).status == 502
        stale = answered(proxy, DigestClient(challenge, "alice", "secret", "c"), ATTACKER)  # reuses a nonce count
        assert (stale.status, "stale=true" in stale.fields["proxy-authenticate"]) == (407, True)
        (challenge, _) = parse_challenges([stale.fields["proxy-authenticate"]])
        assert answered(proxy, DigestClient(challenge, "bob", "b-pw", "c"), ATTACKER).status == 429
        assert answered(proxy, DigestClient(challenge, "alice", "secret", "c"), ATTACKER).status == 502


@pytest.mark.usefixtures("cheap_hashes", "http_version")
def test_h4_a_wrong_login_counts_although_its_client_has_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a client that resets at once could guess as fast as we hash."""
    path = users_file(tmp_path, alice="secret")
    hashes = Hashes(monkeypatch)
    with Proxy(users=path) as proxy:
        for begun in range(users.MAX_CONCURRENT_HASHES, throttle.BURST + 1, users.MAX_CONCURRENT_HASHES):
            with guessing(proxy, users.MAX_CONCURRENT_HASHES) as clients:
                wait_until(lambda begun=begun: len(hashes.begun) == begun, SECONDS, "the limit of concurrent hashes")
                for client in clients:
                    client.reset()
                proxy.wait_for_records(begun)
            hashes.finish(users.MAX_CONCURRENT_HASHES)
            wait_until(lambda: not hashes.kept.hashing._held, SECONDS, "the end of all hashes")
        assert {record["status"] for record in proxy.records()} == {499}
        hashes.finish()
        assert status(proxy, "alice", "guess", ATTACKER) == 429
        assert status(proxy, "alice", "secret", ANOTHER) == 502
    assert len(hashes.begun) == throttle.BURST + 1


@pytest.mark.usefixtures("cheap_hashes", "http_version")
def test_h4_a_queued_login_is_not_hashed_once_its_client_has_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = users_file(tmp_path, alice="secret")
    hashes = Hashes(monkeypatch)
    with Proxy(users=path) as proxy:
        with guessing(proxy, throttle.BURST) as clients:
            wait_until(lambda: len(hashes.begun) == users.MAX_CONCURRENT_HASHES, SECONDS, "the limit of concurrent hashes")
            for client in clients:
                client.reset()
            proxy.wait_for_records(throttle.BURST)
        hashes.finish()
        assert {record["status"] for record in proxy.records()} == {499}
        assert status(proxy, "alice", "secret", ANOTHER) == 502
    assert len(hashes.begun) == users.MAX_CONCURRENT_HASHES + 1


@pytest.mark.usefixtures("cheap_hashes")
def test_many_tunnels_of_a_browser_cost_few_hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first logins are computed; those queued behind them find the password in the cache."""
    path = users_file(tmp_path, alice="secret")
    hashes = Hashes(monkeypatch)
    with Proxy(users=path) as proxy:
        clients = [proxy.client() for _ in range(30)]
        for client in clients:
            client.send(connect_request(NOBODY_LISTENS, basic("alice", "secret")))
        wait_until(lambda: hashes.waiting("127.0.0.1") == 30 - users.MAX_CONCURRENT_HASHES, SECONDS, "all other logins queued")
        wait_until(lambda: len(hashes.begun) == users.MAX_CONCURRENT_HASHES, SECONDS, "the first logins begun")
        hashes.finish()
        assert {client.answer().status for client in clients} == {502}
        for client in clients:
            client.sock.close()
    assert len(hashes.begun) == users.MAX_CONCURRENT_HASHES
