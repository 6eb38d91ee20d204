"""V32: a name service that does not answer delays only the client that needs it, and only up to the time limit."""

import socket
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.peers.process import wait_until
from tests.peers.scripted import ScriptedServer, echo
from tests.server.harness import (
    LOOPBACK,
    SECONDS,
    Leading,
    Names,
    Proxy,
    basic,
    connect_request,
    users_file,
)
from tunnelctl.engine import wakeup
from tunnelctl.engine.resolver import LOOKUPS_OF_ONE, MAX_LOOKUPS

BRIEF = 0.2


class Slow(Names):
    """Lookups of names under slow.test return only after `release`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(monkeypatch, fast_test=[["127.0.0.1"]])
        self.release = threading.Event()
        self.under_way = 0

    def __call__(self, host: str | bytes, port: int, *rest: object) -> list[tuple[object, ...]]:
        name = (host.decode() if isinstance(host, bytes) else host).removesuffix(".")
        if name.endswith("slow.test"):
            self.under_way += 1
            assert self.release.wait(SECONDS)
            raise socket.gaierror(socket.EAI_NONAME, "x")
        return super().__call__(host, port, *rest)


ATTACKER = "127.0.0.66"


def test_slow_names_do_not_delay_other_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Slow(monkeypatch)
    with ScriptedServer(echo) as target, Proxy(LOOPBACK, "*.slow.test:*", "fast.test:*", dial_timeout=SECONDS) as proxy:
        stuck = [proxy.client(ATTACKER) for _ in range(50)]
        for number, client in enumerate(stuck):
            client.send(connect_request(f"n{number}.slow.test:1"))
        wait_until(lambda: names.under_way == LOOKUPS_OF_ONE, SECONDS, "the limit of lookups per address")
        begun = time.monotonic()
        for host in ("127.0.0.1", "fast.test"):
            with proxy.tunnel(f"{host}:{target.port}") as client:
                assert client.echoes()
        assert time.monotonic() - begun < SECONDS / 2
        assert names.under_way == LOOKUPS_OF_ONE
        names.release.set()
        for client in stuck:
            assert client.answer().error == "dns_error"
            client.sock.close()


@pytest.mark.usefixtures("cheap_hashes")
@pytest.mark.parametrize("leave", ["close", "reset"])
def test_h3_a_client_that_leaves_at_once_does_not_exhaust_threads(
    leave: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The client requests 140 dead names and leaves each; lookups, first logins and the log of other clients continue."""
    names = Slow(monkeypatch)
    rules = (LOOPBACK, "*.slow.test:*", "fast.test:*")
    users = users_file(tmp_path, alice="secret", bob="b-pw")
    login = basic("alice", "secret")
    with ScriptedServer(echo) as target, Proxy(*rules, users=users, dial_timeout=SECONDS) as proxy:
        with proxy.tunnel(target.authority, login):  # puts the attacker's login into the cache
            pass
        for number in range(140):
            client = proxy.client(ATTACKER)
            client.send(connect_request(f"n{number}.slow.test:1", login))
            client.reset() if leave == "reset" else client.sock.close()
        wait_until(lambda: names.under_way == LOOKUPS_OF_ONE, SECONDS, "the limit of lookups per address")
        begun = time.monotonic()
        with proxy.tunnel(f"fast.test:{target.port}", basic("bob", "b-pw")) as client:
            assert client.echoes()
        assert time.monotonic() - begun < SECONDS / 2
        wait_until(lambda: any(record["target"].startswith("fast.test") for record in proxy.records()), SECONDS, "the log record")
        assert names.under_way <= LOOKUPS_OF_ONE
        names.release.set()


@pytest.mark.usefixtures("cheap_hashes")
def test_h3_a_dead_name_of_the_next_proxy_blocks_neither_logins_nor_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its lookups count for no client, and every client causes them."""
    names = Slow(monkeypatch)
    users = users_file(tmp_path, alice="secret", bob="b-pw")
    with Leading("http://proxy.slow.test:3128", users=users, dial_timeout=SECONDS) as proxy:
        with ExitStack() as stack:
            for number in range(MAX_LOOKUPS + 80):
                client = proxy.client(ATTACKER)
                stack.callback(client.sock.close)
                client.send(connect_request(f"n{number}.example:443", basic("alice", "secret")))
                if number == 0:
                    wait_until(lambda: names.under_way == 1, SECONDS, "the first lookup, after a cached login")
            others = 5  # threads at most that the log and the harness use meanwhile
            wait_until(lambda: names.under_way >= MAX_LOOKUPS - others, SECONDS, "as many lookups as there are threads")
            with proxy.client() as other:
                other.send(connect_request("pub.example:443", basic("bob", "wrong")))
                assert other.answer().status == 407
            wait_until(lambda: any(record["status"] == 407 for record in proxy.records()), SECONDS, "the log record")
            assert names.under_way <= MAX_LOOKUPS
            assert len(proxy.records()) == 1, "the other requests wait for their turn"
        names.release.set()


def test_look_up_has_its_own_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Slow(monkeypatch)
    with Proxy("*:*", dial_timeout=BRIEF) as proxy:
        begun = time.monotonic()
        assert proxy.refusal("a.slow.test:1").error == "dns_timeout"
        assert BRIEF * 0.9 < time.monotonic() - begun < SECONDS / 2
        names.release.set()


def test_a_look_up_that_never_starts_is_refused_with_429(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not as an error of the name service: hanging lookups occupy all places of that network, so the next one never started."""
    names = Slow(monkeypatch)
    rules = "*.slow.test:*", "fast.test:*"
    with ScriptedServer(echo) as target, Proxy(LOOPBACK, *rules, dial_timeout=1.0) as proxy:
        stuck = [proxy.client(ATTACKER) for _ in range(LOOKUPS_OF_ONE)]
        for number, client in enumerate(stuck):
            client.send(connect_request(f"n{number}.slow.test:1"))
        for client in stuck:
            assert client.answer().error == "dns_timeout"
            client.sock.close()
        answer = proxy.ask(connect_request("fast.test:1"), ATTACKER)
        assert (answer.status, answer.error) == (429, "connection_limit_reached")
        assert b"for this network" in answer.body
        with proxy.tunnel(f"fast.test:{target.port}") as client:
            assert client.echoes()
        names.release.set()


def test_proxy_refuses_at_once_if_all_threads_hang_and_recovers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wakeup, "MAX_THREADS", 5)  # one is the harness's own
    names = Slow(monkeypatch)
    rules = (LOOPBACK, "*.slow.test:*", "fast.test:*")
    # An access log would use a thread now and then.
    with ScriptedServer(echo) as target, Proxy(*rules, dial_timeout=BRIEF, access_log=None) as proxy:
        for number in range(4):
            assert proxy.refusal(f"n{number}.slow.test:1").error == "dns_timeout"
        answer = proxy.refusal(f"fast.test:{target.port}")
        assert (answer.status, answer.error, answer.fields["retry-after"]) == (503, "connection_limit_reached", "1")
        with proxy.tunnel(target.authority) as client:  # an address needs no lookup
            assert client.echoes()
        names.release.set()
        granted = False
        deadline = time.monotonic() + SECONDS
        while not granted and time.monotonic() < deadline:
            with proxy.client() as client:
                client.send(connect_request(f"fast.test:{target.port}"))
                granted = client.head()[9:12] == b"200"
        assert granted
