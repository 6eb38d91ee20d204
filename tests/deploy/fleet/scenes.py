"""What happens to a fleet under load. Each scene runs in the network of the fleet, and prints what it has counted, in JSON.

python -m tests.deploy.fleet.scenes SCENE BALANCER
"""

import json
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench.workshop import Workshop
from tests.deploy.fleet import network
from tests.deploy.fleet.balancers import Balancer, balancing, by_source, prometheus
from tests.deploy.fleet.costs import Costs
from tests.deploy.fleet.load import Lasting, Load, lasting, opened
from tests.deploy.fleet.machines import Machine, machines
from tests.peers.process import wait_until
from tests.peers.program import connect
from tests.peers.scripted import RESET, Conversation, ScriptedServer
from tests.peers.targets import answer_after_eof, echo_for_many, reset_after_one_byte
from tests.server.harness import digest_users_file

Counts = dict[str, Any]

SECONDS = 40.0
LASTING = 9
LOGINS = 4
ATTEMPT_SECONDS = 1.0  # more than any tunnel takes that was under way when a process was killed


def count(name: str, directory: Path) -> Counts:
    """Tunnels as the clients, the logs and Prometheus count them, while nothing is restarted."""
    query = 'tunnelctl_requests_total{job="tunnelctl", status="200"}'
    with (
        echo_for_many() as target,
        machines(directory) as fleet,
        balancing(name, *network.MACHINES),
        prometheus(directory) as monitor,
    ):
        with Load(str(target)) as load:
            load.wait_for_more(1000)
        opened = sum(one.opened for one in load.attempts)

        def summed() -> float:
            return monitor.ask(f"sum({query})").get("", 0.0)

        def balanced() -> float:
            return monitor.ask('sum(haproxy_server_sessions_total{proxy="fleet"})').get("", 0.0)

        # The next scrape of each machine and of the balancer shows them. A sum that is wrong is reported by the test.
        deadline = time.monotonic() + SECONDS
        while (summed() != opened or balanced() < opened) and time.monotonic() < deadline:
            time.sleep(0.2)
        return {
            "opened": opened,
            "failures": [one.failure for one in load.failures()],
            "prometheus": summed(),
            "by_instance": monitor.ask(f"sum by (instance) ({query})"),
            "up": monitor.ask('up{job="tunnelctl"}'),
            "balancer": balanced(),
            "logged": {machine.address: _opened(machine) for machine in fleet},
            "clients": _hosts(fleet),
        }


class Stage(NamedTuple):
    """A fleet under load. lasting: opens so many more tunnels that last"""

    fleet: list[Machine]
    balancer: Balancer
    load: Load
    lasting: Callable[[int], list[Lasting]]

    def others(self, machine: Machine) -> list[str]:
        return [other.address for other in self.fleet if other is not machine]

    def restart(self, machine: Machine) -> None:
        """Starts its process anew, and waits until it has tunnels."""
        machine.start()
        self.balancer.wait_for(*network.MACHINES)
        before = len(machine.records())
        wait_until(lambda: len(machine.records()) > before, SECONDS, "a new tunnel at the machine")


@contextmanager
def _under_load(name: str, directory: Path) -> Iterator[Stage]:
    with ExitStack() as stack:
        target = str(stack.enter_context(echo_for_many()))
        fleet = stack.enter_context(machines(directory))
        balancer = stack.enter_context(balancing(name, *network.MACHINES))
        load = stack.enter_context(Load(target))
        yield Stage(fleet, balancer, load, lambda count: lasting(target, count, stack))


def roll(name: str, directory: Path) -> Counts:
    """Each machine is told to stop, drains, and is started anew, one after the other."""
    ended, statuses = list[Lasting](), list[int]()
    with _under_load(name, directory) as stage:
        tunnels = stage.lasting(LASTING)
        for machine in stage.fleet:
            there = _drain(stage, machine, tunnels)
            statuses.append(machine.ended())
            stage.restart(machine)
            ended += there
            tunnels = [tunnel for tunnel in tunnels if tunnel not in there] + stage.lasting(len(there))
        stage.load.stop()
        tunnels += ended
        broken = [failure for tunnel in tunnels if (failure := tunnel.ended())]
        wait_until(lambda: all(map(_balanced, stage.fleet)), SECONDS, "the last records")
        records = [record for machine in stage.fleet for record in machine.records()]
        return {
            "attempts": len(stage.load.attempts),
            "failures": [one.failure for one in stage.load.failures()],
            "lasting": len(tunnels),
            "over_drain": len(ended),
            "broken": broken,
            "bytes": sum(tunnel.moved for tunnel in tunnels),
            "statuses": statuses,
            "opened": sum(one.opened for one in stage.load.attempts) + len(tunnels),
            "logged": sum(map(_opened, stage.fleet)),
            "causes": Counter(record["cause"] for record in records if record["event"] == "closed"),
        }


def _drain(stage: Stage, machine: Machine, tunnels: list[Lasting]) -> list[Lasting]:
    """Tells the machine to stop. All tunnels go on meanwhile; then its own, which are returned, end, and with them its process."""
    machine.drain()
    stage.balancer.wait_for(*stage.others(machine))
    stage.load.wait_for_more(100)
    for tunnel in tunnels:
        tunnel.moves()
    there = [tunnel for tunnel in tunnels if tunnel.name in machine.clients()]
    for tunnel in there:
        tunnel.ended()
    return there


def kill(name: str, directory: Path) -> Counts:
    """One machine's process is killed: its tunnels are lost with it, and nothing else."""
    with _under_load(name, directory) as stage:
        tunnels = stage.lasting(LASTING)
        stage.load.wait_for_more(300)
        for tunnel in tunnels:
            tunnel.moves()
        names = {tunnel.name for tunnel in tunnels}
        victim = max(stage.fleet, key=lambda machine: len(names & machine.clients()))  # Envoy chooses at random
        there = names & victim.clients()
        before = time.monotonic() - ATTEMPT_SECONDS
        victim.kill()
        gone = time.monotonic()
        stage.load.wait_for_more(300)
        stage.balancer.wait_for(*stage.others(victim))
        noticed = time.monotonic() - gone
        stage.restart(victim)
        stage.load.stop()
        broken = {tunnel.name for tunnel in tunnels if tunnel.ended()}
        failed = stage.load.failures()
        return {
            "after": sum(one.begun > gone for one in stage.load.attempts),
            "lost_before": [one.failure for one in failed if one.begun < before],
            "cut": [one.failure for one in failed if before <= one.begun <= gone],
            "lost_after": [one.failure for one in failed if one.begun > gone],
            "lasting": len(tunnels),
            "there": sorted(there),
            "broken": sorted(broken),
            "noticed": noticed,
        }


def ends(name: str, directory: Path) -> Counts:
    """How the end of one side reaches the other one, through balancer and proxy."""
    endings: list[str] = []

    def one_byte(peer: Conversation) -> None:
        peer.send(peer.read_exactly(1))
        try:
            endings.append("EOF" if peer.read(1) == b"" else "data")
        except ConnectionError:
            endings.append("reset")

    with (
        ScriptedServer(answer_after_eof) as late,
        ScriptedServer(reset_after_one_byte) as resetting,
        ScriptedServer(one_byte) as reading,
        machines(directory),
        balancing(name, *network.MACHINES),
    ):
        with opened(late.authority) as client:
            client.sendall(b"abc")
            client.shutdown(socket.SHUT_WR)
            half_closed = b"".join(iter(lambda: client.recv(100), b""))
        with opened(resetting.authority) as client:
            client.sendall(b"a")
            try:
                by_target = "EOF" if client.recv(100) == b"" else "data"
            except ConnectionResetError:
                by_target = "reset"
        client = opened(reading.authority)
        client.sendall(b"a")
        client.recv(1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        client.close()
        wait_until(lambda: endings, SECONDS, "the end at the target")
        return {"half_closed": half_closed.decode(), "reset_by_target": by_target, "reset_by_client": endings[0]}


def login(name: str, directory: Path) -> Counts:
    """Logins by Digest. The response to a challenge comes on a new connection, which may lead to another machine."""
    users = digest_users_file(directory, alice="secret")
    proxy = f"http://alice:secret@{network.BALANCER}:{network.PORT}"

    def statuses(file: Path | None) -> list[int]:
        with balancing(name, *network.MACHINES, file=file):
            return [connect(proxy, str(target), "--auth", "digest").returncode for _ in range(LOGINS)]

    with echo_for_many() as target, machines(directory, "--users", users):
        return {"as it is": statuses(None), "by source": statuses(by_source(name, directory))}


def rates(name: str, directory: Path) -> Counts:
    """What tunnels cost: with one machine and no balancer, and with one to three behind it."""
    found: Counts = {}
    with Workshop(network.ROOT) as workshop:
        with machines(directory, count=1, trusting=False) as fleet:
            found["direct"] = _costs(Costs(workshop, network.MACHINES[0], fleet))
        for number in range(1, len(network.MACHINES) + 1):
            with machines(directory, count=number) as fleet, balancing(name, *network.MACHINES[:number]) as used:
                costs = Costs(workshop, network.BALANCER, fleet, used.pid)
                found[str(number)] = _costs(costs) if number == 1 else costs.of_tunnels()
    return found


def _costs(costs: Costs) -> Counts:
    return {**costs.of_bytes(), **costs.of_tunnels()}  # in this order, because the second leaves the processes limited


def _opened(machine: Machine) -> int:
    return sum(record["event"] == "opened" for record in machine.records())


def _balanced(machine: Machine) -> bool:
    """Whether every tunnel that was opened has been closed."""
    events = Counter(record["event"] for record in machine.records())
    return events["opened"] == events["closed"]


def _hosts(fleet: list[Machine]) -> list[str]:
    return sorted({client.rpartition(":")[0] for machine in fleet for client in machine.clients()})


SCENES: dict[str, Callable[[str, Path], Counts]] = {scene.__name__: scene for scene in (count, roll, kill, ends, login, rates)}


def main(scene: str, balancer: str) -> None:
    network.prepare()
    with tempfile.TemporaryDirectory(prefix="tunnelctl-fleet-") as directory:
        with redirect_stdout(sys.stderr):
            counts = SCENES[scene](balancer, Path(directory))
    json.dump(counts, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
