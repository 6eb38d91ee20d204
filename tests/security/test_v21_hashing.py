"""V21: logins cost time, and none of it is that of others."""

import threading
import time
from pathlib import Path

import pytest

from tests.peers.process import wait_until
from tests.peers.scripted import ScriptedServer, echo
from tests.server.harness import SECONDS, Proxy, basic, cheap_hashes, connect_request, users_file  # noqa: F401
from tunnelctl.server import users


@pytest.mark.usefixtures("cheap_hashes")
def test_wrong_logins_do_not_stall_a_tunnel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty at once, of which none ends before a byte has gone there and back."""
    path = users_file(tmp_path, alice="secret")
    right = basic("alice", "secret")
    with ScriptedServer(echo) as target, Proxy(users=path) as proxy, proxy.tunnel(target.authority, right) as live:
        derive, hashed, release = users._derive, [], threading.Event()

        def slow(*arguments: object) -> bytes:
            hashed.append(1)
            assert release.wait(SECONDS)  # as scrypt does, it lets go the interpreter's lock
            return derive(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(users, "_derive", slow)
        guessers = [proxy.client() for _ in range(20)]
        for number, guesser in enumerate(guessers):
            guesser.send(connect_request(target.authority, basic("alice", f"guess{number}")))
        wait_until(lambda: len(hashed) == users.AT_ONCE, SECONDS, "all that may be under way")
        for _ in range(20):
            assert live.echoes(b"x")
        with proxy.tunnel(target.authority, right):  # who has logged in before does not queue
            assert len(hashed) == users.AT_ONCE
        release.set()
        assert [guesser.answer().status for guesser in guessers] == [407] * 20
        for guesser in guessers:
            guesser.sock.close()
    assert len(hashed) == 20


@pytest.mark.usefixtures("cheap_hashes")
def test_no_more_are_computed_at_once_than_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    with Proxy(users=path) as proxy:
        guessers = [proxy.client() for _ in range(20)]
        for guesser in guessers:
            guesser.send(connect_request("127.0.0.1:1", basic("alice", "x")))
        for guesser in guessers:
            assert guesser.answer().status == 407
            guesser.sock.close()
    assert most[0] == users.AT_ONCE
