"""The samples of one curve, and what all of them measure."""

import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.bench.samples.proxies import Command, Proxy, Recipe, cpu_of_tree, running
from tests.bench.samples.proxies import warm_up as open_tunnels
from tests.bench.workshop import Plan, Table, Unavailable, Workshop, say

AT_ONCE = 32
MIB = 1 << 20


class Sizes(NamedTuple):
    """How much of everything at each point of a curve."""

    rounds: int
    tunnels: int
    seconds: float  # of bulk, or of messages
    bulk: int  # bytes


def sizes_of(plan: Plan) -> Sizes:
    quick = plan.rounds <= 2
    return Sizes(min(2, plan.idle_rounds), max(2_000, plan.tunnels // 4), 0.3 if quick else 0.6, plan.stream // 2)


class Sweep:
    """The samples of one curve: metric by metric, against x."""

    def __init__(self, workshop: Workshop, sizes: Sizes, name: str, table: Table) -> None:
        self.workshop, self.sizes, self._name, self._table = workshop, sizes, name, table

    def add(self, program: str, x: int, **values: float) -> None:
        self._table.add(program, **{f"{metric}@{x}": value for metric, value in values.items()})

    @contextmanager
    def excused(self, program: str, x: int | str = "") -> Iterator[None]:
        """A failure inside is noted, and the other points go on."""
        try:
            yield
        except (Unavailable, OSError) as failure:
            self._table.note_failure(program, f"{self._name} {x}", Unavailable(str(failure)))

    @contextmanager
    def fresh(
        self, program: str, recipe: Recipe, warm_up: Callable[[Workshop, Proxy], None] = open_tunnels
    ) -> Iterator[tuple[Proxy, float]]:
        """A proxy of its own, with the seconds until it accepted connections."""
        took: list[float] = []

        def started(workshop: Workshop, proxy: Proxy) -> None:
            took.append(time.perf_counter() - begun[0])
            warm_up(workshop, proxy)

        def prepared(workshop: Workshop, directory: Path) -> Command:
            command = recipe(workshop, directory)  # what it writes for the program is not part of the start
            begun.append(time.perf_counter())
            return command

        begun: list[float] = []
        with running(self.workshop, program, {program: prepared}, started) as proxy:
            yield proxy, took[0]

    def rate(self, pids: list[int], port: int, count: int, at_once: int, *more: object, mode: str = "rate") -> dict[str, float]:
        """Short tunnels through the proxy on the port: their rate, and what each takes in these processes."""
        before = settled_cpu(pids)
        seconds = self.workshop.sample(mode, port, count, at_once, *more)["seconds"]
        return {"tunnels_s": count / seconds, "tunnel_us": (settled_cpu(pids) - before) / count * 1e6}

    def point(self, program: str, x: int, proxy: Proxy, *more: object, at_once: int = AT_ONCE) -> None:
        """Adds the rate of a proxy, at a point of the curve."""
        count = max(self.sizes.tunnels, 3 * at_once)
        self.add(program, x, **self.rate([proxy.pid], proxy.port, count, at_once, *more))

    def rounds(self, what: str) -> Iterator[int]:
        for number in range(1, self.sizes.rounds + 1):
            say(f"curves: {what}, round {number} of {self.sizes.rounds}")
            yield number


def settled_cpu(pids: list[int]) -> float:
    """CPU seconds of processes with their children, once what a sample set off has ended."""
    before, deadline = -1.0, time.monotonic() + 5.0
    while not (after := sum(map(cpu_of_tree, pids))) - before < 0.001 and time.monotonic() < deadline:
        before = after
        time.sleep(0.05)
    return after


def cpu_of_children() -> float:
    """CPU seconds of our children that have ended: of the load generator, before and after it has run."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
