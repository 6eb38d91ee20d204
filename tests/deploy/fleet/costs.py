"""What tunnels cost in `serve` and in the balancer: time of a processor, and memory.

The load generator is that of the benchmarks.
"""

from typing import NamedTuple

from tests.bench.samples.proxies import GIB, cpu_of_tree, holder, resident_kib, tree
from tests.bench.workshop import Workshop
from tests.deploy.fleet.machines import Machine
from tests.deploy.fleet.network import PORT

TUNNELS, LIMITED_TUNNELS, AT_ONCE = 3000, 1000, 32
IDLE = 3000
ROUNDS = 2
SHARE = 0.1  # of a processor, for each process of `serve`


class Cost(NamedTuple):
    """A rate, and what one unit costs in `serve` (all machines together) and in the balancer."""

    rate: float
    serve: float
    balancer: float


class Costs:
    """Measures the machines at an address, which is that of one machine or of the balancer in front of several."""

    def __init__(self, workshop: Workshop, address: str, fleet: list[Machine], balancer: int = 0) -> None:
        """balancer: its process ID; 0 without one"""
        self._workshop, self._at, self._fleet = workshop, f"{address}:{PORT}", fleet
        self._pids = [[machine.pid for machine in fleet], [balancer] if balancer else []]

    def of_bytes(self) -> dict[str, Cost]:
        """Returns the costs of bulk, GiB/s in one tunnel and seconds a GiB, and of an idle tunnel: no rate, and KiB."""
        return {"idle": self._idle(), "bulk": self._best(1.0, "bulk", GIB)}

    def of_tunnels(self) -> dict[str, Cost]:
        """Returns the costs of opening tunnels: tunnels a second, and µs a tunnel.

        limited: where each process of `serve` has a small share of one processor, and that for itself. On a machine with few
            processors, generator, balancer and machines share them otherwise. It is missing if the system forbids that.
        """
        found = {"tunnels": self._tunnels(TUNNELS)}
        if all(machine.limit(SHARE) for machine in self._fleet):
            found["limited"] = self._tunnels(LIMITED_TUNNELS)
        return found

    def _tunnels(self, count: int) -> Cost:
        rate, *costs = self._best(count, "rate", count, AT_ONCE)
        return Cost(rate, *(cost * 1e6 for cost in costs))

    def _best(self, amount: float, mode: str, *words: int) -> Cost:
        """Returns the costs in the quickest round of the load generator: the machine may do other things, too."""
        rounds = []
        for _ in range(ROUNDS):
            before = self._cpu()
            seconds = self._workshop.sample(mode, self._at, *words)["seconds"]
            rounds.append(
                Cost(amount / seconds, *((after - begun) / amount for begun, after in zip(before, self._cpu(), strict=True)))
            )
        return max(rounds)

    def _idle(self) -> Cost:
        """Opens tunnels that have carried a byte and then lie still."""
        before = self._resident()
        with holder(self._workshop.load, "hold", self._at, AT_ONCE) as hold:
            hold(IDLE)
            serve, balancer = ((after - begun) / IDLE for begun, after in zip(before, self._resident(), strict=True))
        return Cost(0.0, serve, balancer)

    def _cpu(self) -> list[float]:
        return [sum(map(cpu_of_tree, pids)) for pids in self._pids]

    def _resident(self) -> list[int]:
        return [sum(resident_kib(one) for pid in pids for one in tree(pid)) for pids in self._pids]
