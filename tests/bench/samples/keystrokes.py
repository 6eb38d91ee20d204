"""How long a keystroke takes: round trips of a small message through one program, alone and beside bulk.

`alone`, a message follows the last one without a pause, and everything runs on one core. The processes take turns anyway, and on
two cores the figure depends on whether the scheduler wakes an idle one: a direct connection took 13 or 55 µs. What a program adds
to the direct connection is what it takes itself, with the switches to it and back.

`beside` uses all cores, and its messages come at random moments, while one bulk stream goes down through the same process.
`connect` and its like have a process for each tunnel: beside one of them, a second client of the same proxy carries the bulk.

pingpong.c sends and receives, http2.c over HTTP/2; the scripted proxy of load.c is proxy and target, in a blocking process for each
connection. A direct connection leads to that target.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from tests.bench.samples import clients, forward, http2, proxies
from tests.bench.workshop import DIRECT, SPLICE, Plan, Table, Unavailable, Workshop, say

SIZES = (1, 100, 1_400)
QUANTILES = ("p50", "p99", "p999")
TARGET = 5  # the port of load.c's proxy whose target echoes or pours, and the last number of its address
GIB = 1 << 30
ALONE, BESIDE = "alone", "beside"
FORWARD_SERVE, FORWARD_SERVE_HTTP2 = "tunnelctl forward to serve", "tunnelctl forward --http 2 to serve"


class Amounts(NamedTuple):
    trips: int  # at most
    seconds: float  # likewise


def amounts(plan: Plan, load: str) -> Amounts:
    if load == ALONE:
        return Amounts(trips=10_000 if plan.rounds > 2 else 5_000, seconds=3.0)
    return Amounts(trips=10_000, seconds=1.5 if plan.rounds > 2 else 0.5)


class Way(NamedTuple):
    """How a message gets to the target."""

    words: tuple[object, ...]  # for a C helper
    process: proxies.Proxy | None = None  # whose CPU time counts; that of a client, the helper knows
    http2: str = ""  # "clear" or "tls", for http2.c


Ways = dict[str, Way]


@contextmanager
def on_one_core() -> Iterator[None]:
    """Everything that is started meanwhile stays on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


# ---- the programs ----


class Scene:
    """What runs for the samples of one table, and how it is reached."""

    def __init__(self, workshop: Workshop, table: Table, stack: ExitStack) -> None:
        self.workshop, self.table, self.stack = workshop, table, stack
        # Its targets are left early, and it says so.
        self.scripted = stack.enter_context(forward.beside(workshop, workshop.load, "proxy", 0))
        self.target = f"127.0.0.{10 + TARGET}:{self.scripted}"
        self.ways: Ways = {DIRECT: Way(("to", self.target))}

    def add(self, name: str, start: Callable[..., Way], *arguments: object) -> None:
        try:
            self.ways[name] = start(name, *arguments)
        except Unavailable as reason:
            self.table.missing[name] = str(reason)

    def start(self, name: str, recipes: Mapping[str, proxies.Recipe] = proxies.RECIPES) -> proxies.Proxy:
        return self.stack.enter_context(proxies.running(self.workshop, name, recipes, lambda *_: None))

    def local(self, name: str, proxy: int | str, goal: str) -> Way:
        """Through a forward, or its like, whose port leads to the target."""
        started = self.stack.enter_context(forward.running(self.workshop, name, f"127.0.0.1:{proxy}", goal, LOCAL))
        return Way(("to", f"127.0.0.1:{started.port}"), started if forward.has_known_cpu(name) else None)

    def http1(self, name: str) -> Way:
        proxy = self.start(name)
        return Way(("by", proxy.port, self.target), proxy)

    def http2(self, name: str, way: http2.Way) -> Way:
        proxy = self.start(name, way.recipes)
        return Way((proxy.port,), proxy, way.word)


LOCAL: dict[str, forward.Recipe] = {
    forward.OURS: forward.ours(),
    forward.SOCAT: forward.socat,
    forward.PROXYTUNNEL: forward.proxytunnel,
    "pproxy": forward.pproxy,
    FORWARD_SERVE: forward.ours(),
    FORWARD_SERVE_HTTP2: forward.ours("--http", "2"),
}
BEHIND_SERVE = (FORWARD_SERVE, FORWARD_SERVE_HTTP2)


def connect_ways(scene: Scene) -> None:
    commands = clients.commands_of(scene.workshop, scene.table, clients.PLAIN, clients.PEERS)
    commands[SPLICE] = [str(scene.workshop.splice), *clients.SPLICE_LOOP.split()]
    for name, command in commands.items():
        if name not in clients.ONLY_STARTED:
            words = [word.format(proxy=scene.scripted, port=TARGET) for word in command]
            scene.ways[name] = Way(("run", *words))


def forward_ways(scene: Scene) -> None:
    """Beside the scripted proxy, which leaves the program under test the only one, two processes of ours: forward and serve."""
    scene.add(SPLICE, scene.http1)  # it knows CONNECT only, and relays between two sockets as they all do
    serve = scene.start(proxies.OURS)
    for name in LOCAL:
        if name in BEHIND_SERVE:
            scene.add(name, scene.local, serve.port, scene.target)
        else:
            scene.add(name, scene.local, scene.scripted, f"127.0.0.1:{TARGET}")


def serve_ways(scene: Scene) -> None:
    for name in proxies.RECIPES:
        scene.add(name, scene.http1)


def http2_ways(scene: Scene) -> None:
    for way in http2.WAYS:
        for name in way.recipes:
            scene.add(name, scene.http2, way)


GROUPS: dict[str, Callable[[Scene], None]] = {
    "connect": connect_ways,
    "forward": forward_ways,
    "serve": serve_ways,
    "http2": http2_ways,
}


OURS = {"connect": clients.OURS, "forward": forward.OURS, "serve": proxies.OURS, "http2": http2.OURS}
TABLES = {(group, load): f"keystrokes-{group}-{load}" for load in (ALONE, BESIDE) for group in GROUPS}


# ---- the samples ----


class Bench:
    def __init__(self, workshop: Workshop, plan: Plan, load: str) -> None:
        self._workshop, self._amounts, self._load = workshop, amounts(plan, load), load

    def _helper(self, way: Way, size: int) -> dict[str, float]:
        amount = (size, *self._amounts)
        if way.http2:
            return self._workshop.sample("pingpong", way.http2, *way.words, *amount, self._load, program=self._workshop.http2)
        return self._workshop.sample(*amount, self._load, *way.words, program=self._workshop.pingpong)

    def sample(self, way: Way, size: int) -> dict[str, float]:
        """Quantiles in microseconds; alone, also the CPU time of the program for one round trip."""
        before = way.process.cpu() if way.process else 0.0
        figures = self._helper(way, size)
        values = {f"{quantile}_{size}": figures[quantile] * 1e6 for quantile in QUANTILES}
        if self._load == BESIDE:
            return {**values, f"gibs_{size}": figures["bytes"] / GIB / figures["seconds"]}
        cpu = (way.process.cpu() - before) / figures["all_trips"] if way.process else figures["cpu"] / figures["trips"]
        return {**values, f"cpu_{size}": cpu * 1e6} if cpu else values

    def round(self, table: Table, ways: Ways) -> None:
        for size in SIZES:
            for name, way in ways.items():
                try:
                    table.add(name, **self.sample(way, size))
                except Unavailable as failure:
                    table.note_failure(name, f"{size} bytes {self._load}", failure)


def measure(workshop: Workshop, plan: Plan, table_of: Callable[[str], Table]) -> None:
    with on_one_core():
        _measure_load(workshop, plan, table_of, ALONE, plan.rounds)
    _measure_load(workshop, plan, table_of, BESIDE, plan.idle_rounds)


def _measure_load(workshop: Workshop, plan: Plan, table_of: Callable[[str], Table], load: str, rounds: int) -> None:
    bench = Bench(workshop, plan, load)
    for group, add_ways in GROUPS.items():
        table = table_of(TABLES[group, load])
        try:
            with ExitStack() as stack:
                scene = Scene(workshop, table, stack)
                add_ways(scene)
                for turn in range(1, rounds + 1):
                    say(f"keystrokes, {group}, {load}: round {turn} of {rounds}")
                    bench.round(table, scene.ways)
        except Unavailable as failure:  # one that had ended before it was told to; its samples have failed already
            table.note_failure("one of the programs", "at the end", failure)
