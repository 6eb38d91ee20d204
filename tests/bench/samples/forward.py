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
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.bench.samples import proxies
from tests.bench.workshop import Plan, Table, Unavailable, Workshop, last_line, say
from tests.peers.process import Daemon

OURS, WARM = "tunnelctl forward", "tunnelctl forward --warm 8"
SOCAT = "socat"
GIB = 1 << 30
IDLE = 1_000
STREAMS = 64
WANTED = 4  # the target in load.c's proxy that sends as much as is asked for
DELAY_MS = 20
SECONDS = 60.0  # the longest that one step of a sample may take
ECHO = b"e"  # one byte there and back

# A relay in front of the proxy makes the delay: netem is a kernel module that many a machine does not have. A connection to the
# relay stands at once, which one over such a line would not: so it holds the first bytes back for the round trip of connecting.


class Amounts(NamedTuple):
    connections: int
    latencies: int
    bulk: int  # bytes


def amounts(plan: Plan) -> Amounts:
    return Amounts(connections=plan.tunnels // 10, latencies=200 if plan.rounds > 2 else 80, bulk=plan.stream)


# ---- a process of its own: what delays ----


def delay(near: socket.socket, far_address: tuple[str, int]) -> None:
    """Relays, each piece half a round trip late."""
    stands = time.monotonic() + DELAY_MS / 1e3
    with near, contextlib.suppress(OSError), socket.create_connection(far_address) as far:
        back = threading.Thread(target=trickle, args=(far, near, 0.0), daemon=True)
        back.start()
        trickle(near, far, stands)
        back.join()


def trickle(source: socket.socket, sink: socket.socket, not_before: float) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            time.sleep(max(0.0, not_before - time.monotonic()) + DELAY_MS / 2e3)
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def serve_threads(work: Callable[..., None], *more: object) -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    print(listener.getsockname()[1], flush=True)
    while True:
        client, _ = listener.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=work, args=(client, *more), daemon=True).start()


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


RECIPES: dict[str, Recipe] = {OURS: ours(), WARM: ours("--warm", "8"), SOCAT: socat, "proxytunnel": proxytunnel, "pproxy": pproxy}


@contextmanager
def running(
    workshop: Workshop, name: str, proxy: str, goal: str, recipes: Mapping[str, Recipe] = RECIPES
) -> Iterator[proxies.Proxy]:
    """The program with its local port, which has carried a byte."""
    log = workshop.directory / f"{name.replace(' ', '-')}.log"

    def command(port: int) -> list[str]:
        return workshop.leashed(recipes[name](workshop, port, proxy, goal))

    try:
        with Daemon(command, log, workshop.environment, end_with=signal.SIGKILL) as daemon:
            set_up(daemon.port)
            yield proxies.Proxy(daemon)
    except (AssertionError, OSError) as failure:
        raise Unavailable(f"does not run: {last_line(str(failure))}") from failure


@contextmanager
def beside(workshop: Workshop, *command: object) -> Iterator[int]:
    """A process that prints its port."""
    words = workshop.leashed(list(map(str, command)))
    # What it says later is of clients that left early, as those that only look whether the way is open do.
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=workshop.root, text=True)
    try:
        assert process.stdout is not None
        with process.stdout:
            yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


# ---- the samples ----


def set_up(port: int) -> float:
    """Seconds from connecting to the first byte that came back."""
    begun = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), SECONDS) as client:
        client.sendall(ECHO)
        if client.recv(1) != ECHO:
            raise Unavailable("a connection ended before it carried a byte")
        return time.perf_counter() - begun


def hold(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), SECONDS)
    client.sendall(ECHO)
    if client.recv(1) != ECHO:
        raise Unavailable("a connection ended before it carried a byte")
    return client


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

    def rate(self, name: str, program: proxies.Proxy) -> None:
        count, before = self._amounts.connections, program.cpu()
        figures = self._workshop.sample("local", program.port, count, self._at_once)
        self._table.add(name, conns_s=count / figures["seconds"], conn_us=(program.cpu() - before) / count * 1e6)

    def latency(self, name: str, program: proxies.Proxy, suffix: str = "", share: int = 1) -> None:
        times = sorted(set_up(program.port) * 1e3 for _ in range(self._amounts.latencies // share))
        values = {f"p50{suffix}": statistics.median(times), f"p99{suffix}": times[len(times) * 99 // 100]}
        self._table.add(name, **values)

    def delayed(self, name: str, program: proxies.Proxy) -> None:
        self.latency(name, program, "_delayed", 4)  # each takes three round trips

    def one(self, name: str, program: proxies.Proxy) -> None:
        gibs, cpu = self._stream(program, 1)
        self._table.add(name, one_gibs=gibs, one_cpu=cpu)

    def many(self, name: str, program: proxies.Proxy) -> None:
        gibs, cpu = self._stream(program, STREAMS)
        self._table.add(name, many_gibs=gibs, many_cpu=cpu)

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

    def round(self, programs: dict[str, proxies.Proxy], *samples: Callable[[str, proxies.Proxy], None]) -> None:
        for sample in samples:
            for name, program in programs.items():
                try:
                    sample(name, program)
                except (Unavailable, OSError) as failure:
                    self._table.note_failure(name, sample.__name__, Unavailable(str(failure)))


def start_all(workshop: Workshop, table: Table, stack: ExitStack, proxy: str, goal: str) -> dict[str, proxies.Proxy]:
    started: dict[str, proxies.Proxy] = {}
    for name in RECIPES:
        try:
            started[name] = stack.enter_context(running(workshop, name, proxy, goal))
        except Unavailable as reason:
            table.missing[name] = str(reason)
    return started


def measure(workshop: Workshop, plan: Plan, table: Table) -> None:
    bench = Bench(workshop, plan, table)
    module = (sys.executable, "-m", "tests.bench.samples.forward")
    with ExitStack() as stack:
        proxy = stack.enter_context(proxies.running(workshop, proxies.OURS)).port
        fast = stack.enter_context(beside(workshop, workshop.load, "proxy", 0))
        echo = f"127.0.0.1:{stack.enter_context(beside(workshop, workshop.load, 'echo', '127.0.0.1'))}"
        line = stack.enter_context(beside(workshop, *module, "delay", proxy))
        small = start_all(workshop, table, stack, f"127.0.0.1:{proxy}", echo)
        large = start_all(workshop, table, stack, f"127.0.0.1:{fast}", f"127.0.0.1:{WANTED}")
        late = start_all(workshop, table, stack, f"127.0.0.1:{line}", echo)
        for number in range(1, plan.rounds + 1):
            say(f"forward: round {number} of {plan.rounds}")
            bench.round(small, bench.rate, bench.latency)
            bench.round(large, bench.one, bench.many)
            bench.round(late, bench.delayed)
        say(f"forward: {IDLE:,} idle connections")
        bench.round(small, bench.idle)


if __name__ == "__main__":
    serve_threads(delay, ("127.0.0.1", int(sys.argv[2])))
