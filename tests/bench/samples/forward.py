"""`forward` and what people use in its place: each with a local port that leads through the same proxy to the same target.

Connections and streams are opened by load.c, and echoed or fed by it; latencies are measured from here, where the program under
test is what takes the time. Streams go through the proxy of load.c, which is the target as well: that is two processes less, and no
copy in those that are left, so that the cores are busy with the program under test.
"""

import contextlib
import signal
import socket
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.bench.samples import proxies
from tests.bench.workshop import SPLICE, Plan, Table, Unavailable, Workshop, last_line, say
from tests.peers.process import Daemon

OURS, WARM = "tunnelctl forward", "tunnelctl forward --warm 8"
SOCAT, PROXYTUNNEL = "socat", "proxytunnel"
GIB = 1 << 30
IDLE = 1_000
STREAMS = 64
WANTED = 4  # the target in load.c's proxy that sends as much as is asked for
SECONDS = 60.0  # the longest that one step of a sample may take
ECHO = b"e"  # one byte there and back


class Amounts(NamedTuple):
    connections: int
    latencies: int
    bulk: int  # bytes


def amounts(plan: Plan) -> Amounts:
    return Amounts(connections=plan.tunnels // 10, latencies=200 if plan.rounds > 2 else 80, bulk=plan.stream)


# ---- the programs: the argument list for a local port, a proxy and a target ----

Recipe = Callable[[Workshop, int, str, str], list[str]]


def ours(*more: str) -> Recipe:
    def command(workshop: Workshop, port: int, proxy: str, goal: str) -> list[str]:
        return [str(workshop.tunnelctl()), "forward", "-q", "-x", f"http://{proxy}", "-L", f"{port}:{goal}", *more]

    return command


def socat(workshop: Workshop, port: int, proxy: str, goal: str) -> list[str]:
    host, _, proxy_port = proxy.partition(":")
    return [
        proxies.installed("socat"),
        f"TCP-LISTEN:{port},fork,reuseaddr,backlog=1024",
        f"PROXY:{host}:{goal},proxyport={proxy_port}",
    ]


def proxytunnel(workshop: Workshop, port: int, proxy: str, goal: str) -> list[str]:
    # -o, because it would name the proxy in Host, and a proxy that is strict refuses that.
    return [proxies.installed("proxytunnel"), "-q", "-a", str(port), "-p", proxy, "-d", goal, "-o", goal]


def pproxy(workshop: Workshop, port: int, proxy: str, goal: str) -> list[str]:
    return [str(workshop.pproxy()), "-m", "pproxy", "-l", f"tunnel{{{goal}}}://127.0.0.1:{port}", "-r", f"http://{proxy}"]


RECIPES: dict[str, Recipe] = {OURS: ours(), WARM: ours("--warm", "8"), SOCAT: socat, PROXYTUNNEL: proxytunnel, "pproxy": pproxy}


def splice_loop(workshop: Workshop, port: int, proxy: str, goal: str) -> list[str]:
    """For bulk only: it waits for the answer of the proxy, and does nothing else meanwhile."""
    return [str(workshop.splice), "forward", str(port), proxy.rpartition(":")[2], goal]


BULK_RECIPES: dict[str, Recipe] = {**RECIPES, SPLICE: splice_loop}


def hold(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), SECONDS)
    client.sendall(ECHO)
    if client.recv(1) != ECHO:
        raise Unavailable("a connection ended before it carried a byte")
    return client


def set_up(port: int) -> float:
    """Seconds from connecting to the first byte that came back."""
    begun = time.perf_counter()
    with hold(port):
        return time.perf_counter() - begun


@contextmanager
def running(
    workshop: Workshop,
    name: str,
    proxy: str,
    goal: str,
    recipes: Mapping[str, Recipe] = RECIPES,
    carry_a_byte: Callable[[int], object] = set_up,
) -> Iterator[proxies.Proxy]:
    """The program with its local port, which has carried a byte."""
    log = workshop.directory / f"{name.replace(' ', '-')}.log"

    def command(port: int) -> list[str]:
        return workshop.leashed(recipes[name](workshop, port, proxy, goal))

    try:
        with Daemon(command, log, workshop.environment, end_with=signal.SIGKILL) as daemon:
            carry_a_byte(daemon.port)
            yield proxies.Proxy(daemon)
    except (AssertionError, OSError) as failure:
        raise Unavailable(f"does not run: {last_line(str(failure))}") from failure


@contextmanager
def beside(workshop: Workshop, *command: object) -> Iterator[str]:
    """A process; its first line, which is its port or address."""
    words = workshop.leashed(list(map(str, command)))
    # What it says later is of clients that left early, as those that only look whether the way is open do.
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=workshop.root, text=True)
    try:
        assert process.stdout is not None
        with process.stdout:
            if not (word := process.stdout.readline().strip()):
                raise Unavailable(f"{command[-2:]}: ended before it was ready")
            yield word
    finally:
        process.kill()
        process.wait()


# ---- the samples ----


def latencies(port: int, count: int) -> dict[str, float]:
    """Quantiles of `count` set-ups, in milliseconds."""
    times = sorted(set_up(port) * 1e3 for _ in range(count))
    return {"p50": statistics.median(times), "p99": times[len(times) * 99 // 100]}


def has_known_cpu(name: str) -> bool:
    """Whether the CPU time of a program can be known: proxytunnel does not wait for its processes, so theirs is lost."""
    return name != PROXYTUNNEL


def memory_kib(pid: int) -> int:
    """Proportional KiB of a process and its children: pages that they share count once."""
    total = 0
    for process in proxies.tree(pid):
        with contextlib.suppress(OSError, StopIteration):
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total


class Bench:
    def __init__(self, workshop: Workshop, plan: Plan, table: Table) -> None:
        self._workshop, self._amounts, self._at_once, self._table = workshop, amounts(plan), plan.at_once, table

    def _add(self, name: str, metric: str, cpu: float, **values: float) -> None:
        """metric: that of the CPU time"""
        self._table.add(name, **values, **({metric: cpu} if has_known_cpu(name) else {}))

    def rate(self, name: str, program: proxies.Proxy) -> None:
        count, before = self._amounts.connections, program.cpu()
        figures = self._workshop.sample("local", program.port, count, self._at_once)
        cpu = (program.cpu() - before) / count * 1e6
        self._add(name, "conn_us", cpu, conns_s=count / figures["seconds"])

    def latency(self, name: str, program: proxies.Proxy) -> None:
        self._table.add(name, **latencies(program.port, self._amounts.latencies))

    def one(self, name: str, program: proxies.Proxy) -> None:
        gibs, cpu = self._stream(program, 1)
        self._add(name, "one_cpu", cpu, one_gibs=gibs)

    def many(self, name: str, program: proxies.Proxy) -> None:
        gibs, cpu = self._stream(program, STREAMS)
        self._add(name, "many_cpu", cpu, many_gibs=gibs)

    def _stream(self, program: proxies.Proxy, streams: int) -> tuple[float, float]:
        """GiB/s over so many connections, and the CPU seconds that a GiB took."""
        before, gib = program.cpu(), self._amounts.bulk / GIB
        figures = self._workshop.sample("down", program.port, self._amounts.bulk, streams)
        return gib / figures["seconds"], (program.cpu() - before) / gib

    def idle(self, name: str, program: proxies.Proxy) -> None:
        before = memory_kib(program.pid)
        with ExitStack() as open_ones:
            for _ in range(IDLE):
                open_ones.enter_context(hold(program.port))
            self._table.add(name, idle_kib=(memory_kib(program.pid) - before) / IDLE)


def sample_each(table: Table, programs: dict[str, proxies.Proxy], *samples: Callable[[str, proxies.Proxy], None]) -> None:
    for sample in samples:
        for name, program in programs.items():
            try:
                sample(name, program)
            except (Unavailable, OSError) as failure:
                table.note_failure(name, sample.__name__, Unavailable(str(failure)))


def start_all(
    workshop: Workshop,
    table: Table,
    stack: ExitStack,
    proxy: str,
    goal: str,
    recipes: Mapping[str, Recipe] = RECIPES,
    carry_a_byte: Callable[[int], object] = set_up,
) -> dict[str, proxies.Proxy]:
    started: dict[str, proxies.Proxy] = {}
    for name in recipes:
        try:
            started[name] = stack.enter_context(running(workshop, name, proxy, goal, recipes, carry_a_byte))
        except Unavailable as reason:
            table.missing[name] = str(reason)
    return started


def measure(workshop: Workshop, plan: Plan, table: Table) -> None:
    bench = Bench(workshop, plan, table)
    with ExitStack() as stack:
        proxy = stack.enter_context(proxies.running(workshop, proxies.OURS)).port
        fast = stack.enter_context(beside(workshop, workshop.load, "proxy", 0))
        echo = f"127.0.0.1:{stack.enter_context(beside(workshop, workshop.load, 'echo', '127.0.0.1'))}"
        small = start_all(workshop, table, stack, f"127.0.0.1:{proxy}", echo)
        large = start_all(workshop, table, stack, f"127.0.0.1:{fast}", f"127.0.0.1:{WANTED}", BULK_RECIPES)
        for number in range(1, plan.rounds + 1):
            say(f"forward: round {number} of {plan.rounds}")
            sample_each(table, small, bench.rate, bench.latency)
            sample_each(table, large, bench.one, bench.many)
        say(f"forward: {IDLE:,} idle connections")
        sample_each(table, small, bench.idle)
