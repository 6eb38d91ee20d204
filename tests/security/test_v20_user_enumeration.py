"""V20: neither the answer nor its cost reveals which users exist. For Digest see test_v20_digest."""

import hmac
from pathlib import Path

import pytest

from tests.server.harness import Proxy, basic, users_file
from tunnelctl.server.access import throttle, users

TARGET = "10.0.0.1:1"
WRONG = [("alice", "wrong"), ("alice", ""), ("alice", "secre"), ("alice", "secrets"), ("nobody", "secret"), ("ALICE", "secret")]


@pytest.mark.usefixtures("cheap_hashes", "http_version")
def test_every_wrong_login_costs_one_hash_and_gets_the_same_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []
    derive = users._derive

    def noted(password: str, *costs: object) -> bytes:
        hashed.append(password)
        return derive(password, *costs)  # type: ignore[arg-type]

    path = users_file(tmp_path, alice="secret", bob="other")
    monkeypatch.setattr(users, "_derive", noted)
    monkeypatch.setattr(throttle, "LONGEST_DELAY", 0.0)
    with Proxy(users=path) as proxy:
        answers = {proxy.refusal(TARGET, basic(user, password)).raw for user, password in WRONG}
        assert len(answers) == 1
        assert hashed == [password for _, password in WRONG]
        proxy.refusal(TARGET, basic("alice", "secret"))
        proxy.refusal(TARGET, basic("nobody", "secret"))
        assert hashed[len(WRONG) :] == ["secret", "secret"], "a password cached for one user is not used for another"


@pytest.mark.usefixtures("cheap_hashes")
def test_password_hashes_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """With hmac.compare_digest, at one fixed length: the timing of `==` would reveal where the first difference is."""
    compared: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return one == other

    stored = users.StoredPassword(4, 8, 1, b"salt", users._derive("secret", b"salt", 4, 8, 1))
    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert [stored.matches(password) for password in ("secret", "", "s" * 1000)] == [True, False, False]
    assert {len(digest) for pair in compared for digest in pair} == {users.KEY}
