"""V32: a name service that does not answer holds up who asked it, for as long as the limit says, and nobody else."""

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
from tunnelctl.engine import outside
from tunnelctl.engine.resolver import LOOKUPS_OF_ONE, MAX_LOOKUPS

BRIEF = 0.2


class Slow(Names):
    """Names under slow.test are not answered before `release`."""

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


def test_slow_names_hold_up_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Slow(monkeypatch)
    with ScriptedServer(echo) as target, Proxy(LOOPBACK, "*.slow.test:*", "fast.test:*", dial_timeout=SECONDS) as proxy:
        stuck = [proxy.client(ATTACKER) for _ in range(50)]
        for number, client in enumerate(stuck):
            client.send(connect_request(f"n{number}.slow.test:1"))
        wait_until(lambda: names.under_way == LOOKUPS_OF_ONE, SECONDS, "all that one address may have")
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
def test_h3_a_client_that_leaves_at_once_takes_no_thread_from_others(
    leave: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """140 dead names, each asked for and left: the lookups, the first logins and the log of the others go on."""
    names = Slow(monkeypatch)
    rules = (LOOPBACK, "*.slow.test:*", "fast.test:*")
    users = users_file(tmp_path, alice="secret", bob="b-pw")
    login = basic("alice", "secret")
    with ScriptedServer(echo) as target, Proxy(*rules, users=users, dial_timeout=SECONDS) as proxy:
        with proxy.tunnel(target.authority, login):  # so that the attacker's logins cost nothing
            pass
        for number in range(140):
            client = proxy.client(ATTACKER)
            client.send(connect_request(f"n{number}.slow.test:1", login))
            client.reset() if leave == "reset" else client.sock.close()
        wait_until(lambda: names.under_way == LOOKUPS_OF_ONE, SECONDS, "all that one address may have")
        begun = time.monotonic()
        with proxy.tunnel(f"fast.test:{target.port}", basic("bob", "b-pw")) as client:
            assert client.echoes()
        assert time.monotonic() - begun < SECONDS / 2
        wait_until(lambda: any(record["target"].startswith("fast.test") for record in proxy.records()), SECONDS, "the record")
        assert names.under_way <= LOOKUPS_OF_ONE
        names.release.set()


@pytest.mark.usefixtures("cheap_hashes")
def test_h3_a_next_proxy_whose_name_is_dead_leaves_logins_and_the_log_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its lookups are nobody's, and all clients ask for them."""
    names = Slow(monkeypatch)
    users = users_file(tmp_path, alice="secret", bob="b-pw")
    with Leading("http://proxy.slow.test:3128", users=users, dial_timeout=SECONDS) as proxy:
        with ExitStack() as stack:
            for number in range(MAX_LOOKUPS + 80):
                client = proxy.client(ATTACKER)
                stack.callback(client.sock.close)
                client.send(connect_request(f"n{number}.example:443", basic("alice", "secret")))
                if number == 0:
                    wait_until(lambda: names.under_way == 1, SECONDS, "a login that is remembered")
            others = 5  # threads at most that the log and the harness have meanwhile
            wait_until(lambda: names.under_way >= MAX_LOOKUPS - others, SECONDS, "all lookups that there are threads for")
            with proxy.client() as other:
                other.send(connect_request("pub.example:443", basic("bob", "wrong")))
                assert other.answer().status == 407
            wait_until(lambda: any(record["status"] == 407 for record in proxy.records()), SECONDS, "the record")
            assert names.under_way <= MAX_LOOKUPS
            assert len(proxy.records()) == 1, "the others wait their turn"
        names.release.set()


def test_the_look_up_has_a_limit_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Slow(monkeypatch)
    with Proxy("*:*", dial_timeout=BRIEF) as proxy:
        begun = time.monotonic()
        assert proxy.refusal("a.slow.test:1").error == "dns_timeout"
        assert BRIEF * 0.9 < time.monotonic() - begun < SECONDS / 2
        names.release.set()


def test_a_name_whose_turn_does_not_come_is_not_the_fault_of_the_name_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lookups that hang have all the places of that network: the next one has waited behind them, and was never asked for."""
    names = Slow(monkeypatch)
    rules = "*.slow.test:*", "fast.test:*"
    with ScriptedServer(echo) as target, Proxy(LOOPBACK, *rules, dial_timeout=BRIEF) as proxy:
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


def test_when_all_threads_hang_it_says_so_at_once_and_recovers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outside, "MAX_THREADS", 5)  # one is the harness's own
    names = Slow(monkeypatch)
    rules = (LOOPBACK, "*.slow.test:*", "fast.test:*")
    # An access log would want a thread now and then.
    with ScriptedServer(echo) as target, Proxy(*rules, dial_timeout=BRIEF, access_log=None) as proxy:
        for number in range(4):
            assert proxy.refusal(f"n{number}.slow.test:1").error == "dns_timeout"
        answer = proxy.refusal(f"fast.test:{target.port}")
        assert (answer.status, answer.error, answer.fields["retry-after"]) == (503, "connection_limit_reached", "1")
        with proxy.tunnel(target.authority) as client:  # an address needs no look-up
            assert client.echoes()
        names.release.set()
        granted = False
        deadline = time.monotonic() + SECONDS
        while not granted and time.monotonic() < deadline:
            with proxy.client() as client:
                client.send(connect_request(f"fast.test:{target.port}"))
                granted = client.head()[9:12] == b"200"
        assert granted
