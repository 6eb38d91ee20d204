"""Cost against the length of a chain: a local port of `forward`, through one `serve` after the other."""

import statistics
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.bench.curves.sweep import AT_ONCE, Sweep, settled_cpu
from tests.bench.samples import forward, proxies
from tests.bench.samples.proxies import GIB, Proxy
from tests.bench.workshop import Workshop

LENGTHS = (1, 2, 3, 4, 5)
LATENCIES = 100
NAME = "forward and serve"


def chained(ports: list[int], goal: str) -> forward.Recipe:
    def command(workshop: Workshop, port: int, proxy: str, _goal: str) -> list[str]:
        hops = [word for hop in ports for word in ("-x", f"http://127.0.0.1:{hop}")]
        return [str(workshop.tunnelctl()), "forward", "-q", *hops, "-L", f"{port}:{goal}"]

    return command


@contextmanager
def local_port(sweep: Sweep, ports: list[int], goal: str) -> Iterator[Proxy]:
    with forward.running(sweep.workshop, NAME, "", "", {NAME: chained(ports, goal)}) as program:
        yield program


def measure(sweep: Sweep) -> None:
    with ExitStack() as stack:
        recipe = proxies.RECIPES[proxies.OURS]
        hops = [stack.enter_context(sweep.fresh(proxies.OURS, recipe))[0] for _ in LENGTHS]
        scripted = int(stack.enter_context(forward.beside(sweep.workshop, sweep.workshop.load, "proxy", 0)))
        echo = stack.enter_context(forward.beside(sweep.workshop, sweep.workshop.load, "echo", "127.0.0.1"))
        for _ in sweep.rounds("chains"):
            for length in LENGTHS:
                with sweep.excused(NAME, length):
                    _short(sweep, hops[:length], f"127.0.0.1:{echo}")
                    _bulk(sweep, hops[:length], scripted)


def _short(sweep: Sweep, hops: list[Proxy], goal: str) -> None:
    with local_port(sweep, [hop.port for hop in hops], goal) as local:
        times = [forward.set_up(local.port) * 1e3 for _ in range(LATENCIES)]
        pids = [local.pid, *(hop.pid for hop in hops)]
        sweep.add(NAME, len(hops), setup_ms=statistics.median(times))
        sweep.add(NAME, len(hops), **sweep.rate(pids, local.port, sweep.sizes.tunnels // 4, AT_ONCE, mode="local"))


def _bulk(sweep: Sweep, hops: list[Proxy], scripted: int) -> None:
    """The last hop is the scripted proxy, which is the target as well."""
    with local_port(sweep, [*(hop.port for hop in hops), scripted], f"127.0.0.1:{forward.WANTED}") as local:
        pids = [local.pid, *(hop.pid for hop in hops)]
        before, gib = settled_cpu(pids), sweep.sizes.bulk / GIB
        seconds = sweep.workshop.sample("down", local.port, sweep.sizes.bulk, 1)["seconds"]
        sweep.add(NAME, len(hops), gibs=gib / seconds, gib_cpu=(settled_cpu(pids) - before) / gib)
