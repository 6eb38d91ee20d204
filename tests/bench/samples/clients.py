"""`connect` and the C clients that do the same, each between two pipes and a scripted proxy that is faster than they are."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.bench.workshop import DIRECT, SPLICE, Plan, Table, Unavailable, Workshop, say
from tests.peers.process import end, which

GIB = 1 << 30
OURS, BARE, PYZ = "tunnelctl connect", "python -I -c pass", "tunnelctl.pyz connect"
# The ports that the scripted proxy of load.c knows; the name is never looked up.
BANNER, DOWN, UP = 1, 2, 3

ONE_WAY = {"curl"}  # those that upload nothing
ONLY_STARTED = {BARE, PYZ}

Commands = dict[str, list[str]]

PLAIN = "connect -x http://127.0.0.1:{proxy} target.test {port}"
SPLICE_LOOP = "connect {proxy} target.test:{port}"
# As their manuals say, with nothing tuned; nc with -N, without which it never ends.
PEERS: dict[str, str] = {
    "nc -N": "nc -N -X connect -x 127.0.0.1:{proxy} target.test {port}",
    "ncat": "ncat --proxy 127.0.0.1:{proxy} --proxy-type http target.test {port}",
    "socat": "socat - PROXY:127.0.0.1:target.test:{port},proxyport={proxy}",
    "corkscrew": "corkscrew 127.0.0.1 {proxy} target.test {port}",
    "connect-proxy": "connect-proxy -H 127.0.0.1:{proxy} target.test {port}",
    "proxytunnel": "proxytunnel -q -p 127.0.0.1:{proxy} -d target.test:{port}",
}


@contextmanager
def scripted_proxy(workshop: Workshop, size: int) -> Iterator[int]:
    """The port of load.c's proxy, whose downloads and uploads are `size` bytes."""
    process = subprocess.Popen([str(workshop.load), "proxy", str(size)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        with process.stdout as announced:
            yield int(announced.readline())
    finally:
        end(process)


def commands_of(workshop: Workshop, table: Table, ours: str, peers: dict[str, str]) -> Commands:
    """The command lines that can be run here, with their {places} open; what is missing goes into the table."""
    found: Commands = {}
    try:
        script = workshop.tunnelctl()
        found[OURS] = [str(script), *ours.split()]
        found[BARE] = [str(script.with_name("python")), "-I", "-c", "pass"]
    except Unavailable as reason:
        table.missing[OURS] = str(reason)
    for name, line in peers.items():
        if which(line.split()[0]):
            found[name] = line.split()
        else:
            table.missing[name] = "not installed"
    return found


def straight(workshop: Workshop, plan: Plan, table: Table, port: int) -> None:
    """Takes the same bulk over a connection to the targets of the scripted proxy, without a client."""
    for direction in ("down", "up"):
        figures = workshop.sample("straight", direction, port, plan.stream)
        table.add(DIRECT, **{f"{direction}_gibs": plan.stream / GIB / figures["bulk"]})


class Bench:
    def __init__(self, workshop: Workshop, plan: Plan, table: Table, **places: object) -> None:
        """places: what is filled into the command lines, beside the target's {port}"""
        self._workshop = workshop
        self._plan = plan
        self._table = table
        self._places = places
        self._hung: set[tuple[str, str]] = set()  # each took a minute and a half, and would do so again in the next round

    def _run(self, mode: str, port: int, command: list[str]) -> dict[str, float]:
        words = [word.format(port=port, **self._places) for word in command]
        return self._workshop.sample("run", mode, self._plan.stream, *words)

    def start(self, name: str, command: list[str]) -> dict[str, float]:
        figures = self._run("exit" if name == BARE else "start", BANNER, command)
        # The bare interpreter sends no byte: all that it uses comes after the one that it does not send.
        cpu = figures["cpu"] if name == BARE else figures["start_cpu"]
        return {"start_ms": figures["first"] * 1000, "start_cpu_ms": cpu * 1000}

    def down(self, name: str, command: list[str]) -> dict[str, float]:
        figures = self._run("down", DOWN, command)
        gib = self._plan.stream / GIB
        return {"down_gibs": gib / figures["bulk"], "down_cpu": figures["cpu"] / gib, "rss_mib": figures["rss"] / 1024}

    def up(self, name: str, command: list[str]) -> dict[str, float]:
        figures = self._run("up", UP, command)
        gib = self._plan.stream / GIB
        return {"up_gibs": gib / figures["bulk"], "up_cpu": figures["cpu"] / gib}

    def probe(self, commands: Commands) -> Commands:
        """Those that reach the target at all; once each, which also brings their files into memory."""
        able: Commands = {}
        for name, command in commands.items():
            try:
                self.start(name, command)
                able[name] = command
            except Unavailable as reason:
                self._table.missing[name] = f"does not start: {reason}"
        return able

    def round(self, commands: Commands) -> None:
        for _ in range(self._plan.starts):
            self.each(self.start, commands)
        streaming = {name: command for name, command in commands.items() if name not in ONLY_STARTED}
        self.each(self.down, streaming)
        self.each(self.up, {name: command for name, command in streaming.items() if name not in ONE_WAY})

    def each(self, sample: Callable[[str, list[str]], dict[str, float]], commands: Commands) -> None:
        for name, command in commands.items():
            if (name, sample.__name__) in self._hung:
                continue
            try:
                self._table.add(name, **sample(name, command))
            except Unavailable as failure:
                self._hung.add((name, sample.__name__))
                self._table.note_failure(name, sample.__name__, failure)


def add_pyz(commands: Commands, workshop: Workshop, table: Table) -> None:
    """Adds the one file, started by the same interpreter as the console script."""
    try:
        python = workshop.tunnelctl().with_name("python")
        commands[PYZ] = [str(python), str(workshop.pyz()), *PLAIN.split()]
    except Unavailable as reason:
        table.missing[PYZ] = str(reason)


def measure(workshop: Workshop, plan: Plan, table: Table) -> None:
    commands = commands_of(workshop, table, PLAIN, PEERS)
    add_pyz(commands, workshop, table)
    commands[SPLICE] = [str(workshop.splice), *SPLICE_LOOP.split()]
    with scripted_proxy(workshop, plan.stream) as port:
        bench = Bench(workshop, plan, table, proxy=port)
        measure_each("connect", commands, bench, plan, lambda: straight(workshop, plan, table, port))


def measure_each(name: str, commands: Commands, bench: Bench, plan: Plan, more: Callable[[], None] = lambda: None) -> None:
    """more: what is measured in each round beside the commands"""
    commands = bench.probe(commands)
    for number in range(plan.rounds):
        say(f"{name}: round {number + 1} of {plan.rounds}")
        bench.round(commands)
        more()
