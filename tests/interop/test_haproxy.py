"""A fleet behind HAProxy with the settings of the manual: its members restart one by one under load without losing a tunnel."""

import json
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.man.examples import EXAMPLES
from tests.peers.process import Daemon, answers, end, free_port, path_of, wait_until
from tests.peers.program import MODULE, environment
from tests.peers.scripted import ScriptedServer, echo
from tests.server.harness import SECONDS, Client, connect_request

pytestmark = pytest.mark.peer("haproxy")

CLIENT = "127.0.0.5"  # the clients' address; the balancer's is 127.0.0.1
LASTING = 30


class Member:
    """One machine of the fleet: a constant address and the successive processes that listen on it."""

    def __init__(self, directory: Path, number: int) -> None:
        self.port = free_port()
        self.log = directory / f"log-{number}"
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        options = ["--listen", f"127.0.0.1:{self.port}", "--allow", "127.0.0.1:*", "--proxy-protocol", "127.0.0.1"]
        command = [*MODULE, "serve", *options, "--drain", "60", "--access-log", str(self.log), "-q"]
        self._processes.append(subprocess.Popen(command, env=environment()))
        wait_until(lambda: answers(self.port), SECONDS, "a listening member")

    def restart(self) -> None:
        """Restarts like a service manager, except that the new process does not wait for the last tunnel of the old one."""
        self._processes[-1].send_signal(signal.SIGTERM)
        wait_until(lambda: not answers(self.port), SECONDS, "the closing of the member's listener")
        self.start()

    def statuses(self) -> list[int]:
        return [process.wait(SECONDS) for process in self._processes[:-1]]

    def stop(self) -> None:
        for process in self._processes:
            end(process)

    def records(self) -> list[dict[str, object]]:
        whole = self.log.read_text().rpartition("\n")[0]  # the last line may be incomplete
        return [json.loads(line) for line in whole.splitlines()]


def settings(port: int, members: list[Member]) -> str:
    """The settings of the manual, with our addresses."""
    text = EXAMPLES["serve"][-1].replace("192.0.2.10:3128", f"127.0.0.1:{port}")
    for number, member in enumerate(members, 11):
        text = text.replace(f"192.0.2.{number}:3128", f"127.0.0.1:{member.port}")
    assert "192.0.2." not in text
    return text


@contextmanager
def fleet(directory: Path) -> Iterator[tuple[list[Member], Daemon]]:
    members = [Member(directory, number) for number in range(3)]
    with ExitStack() as stack:
        for member in members:
            stack.callback(member.stop)
            member.start()
        file = directory / "haproxy.cfg"

        def command(port: int) -> list[str]:
            file.write_text(settings(port, members))
            return [path_of("haproxy"), "-db", "-f", str(file)]

        yield members, stack.enter_context(Daemon(command, directory / "haproxy.log"))


class Load(threading.Thread):
    """Opens one tunnel after another and records the failures."""

    def __init__(self, port: int, target: str) -> None:
        super().__init__(daemon=True)
        self._address, self._target, self.stopping = ("127.0.0.1", port), target, threading.Event()
        self.opened, self.failures = 0, list[BaseException | bytes]()

    def __enter__(self) -> "Load":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self.join(SECONDS)

    def run(self) -> None:
        while not self.stopping.is_set():
            try:
                with Client(self._address, CLIENT) as client:
                    assert client.tunnel(self._target).echoes()
                self.opened += 1
            except (OSError, AssertionError) as failure:
                self.failures.append(failure)


def test_a_rolling_restart_under_load_loses_no_tunnel(tmp_path: Path) -> None:
    with ScriptedServer(echo) as target, fleet(tmp_path) as (members, balancer):
        lasting = [Client(("127.0.0.1", balancer.port), CLIENT).tunnel(target.authority) for _ in range(LASTING)]
        with Load(balancer.port, target.authority) as one, Load(balancer.port, target.authority) as other:
            for member in members:
                member.restart()
                before = len(member.records())
                wait_until(lambda: len(member.records()) > before, SECONDS, "the balancer's return to the member")  # noqa: B023
                assert all(client.echoes() for client in lasting)
        for load in (one, other):
            assert load.opened > 10
            assert load.failures == []
        assert all(client.echoes() for client in lasting)
        for client in lasting:
            client.sock.shutdown(socket.SHUT_WR)
            assert client.rest() == b""
            client.sock.close()
        assert [member.statuses() for member in members] == [[0], [0], [0]]
        wait_until(lambda: all(balanced(member.records()) for member in members), SECONDS, "the last records")
    records = [record for member in members for record in member.records()]
    assert {str(record["client"]).partition(":")[0] for record in records} == {CLIENT}, "the log must have the real client"
    assert {record["status"] for record in records if record["event"] in ("opened", "refused")} == {200}
    assert {record["cause"] for record in records if record["event"] == "closed"} == {"eof"}
    assert all(sum(record["event"] in ("opened", "refused") for record in member.records()) >= LASTING // 6 for member in members)


def balanced(records: list[dict[str, object]]) -> bool:
    """Whether every opened tunnel has ended."""
    return sum(1 if record["event"] in ("opened", "refused") else -1 for record in records) == 0


def test_health_checks_of_the_balancer_are_not_logged(tmp_path: Path) -> None:
    """The balancer connects once a second, sends a header that names no client, and closes."""
    with fleet(tmp_path) as (members, balancer):
        deadline = time.monotonic() + 2.5
        while time.monotonic() < deadline:
            with Client(("127.0.0.1", balancer.port), CLIENT) as client:
                client.send(connect_request("10.0.0.1:1"))
                assert client.answer().status == 403
        wait_until(lambda: all(member.log.exists() and member.records() for member in members), SECONDS, "a record of every member")
    assert {record["status"] for member in members for record in member.records()} == {403}
