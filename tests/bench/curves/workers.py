"""The rate of short tunnels against the number of workers, and what the load generator takes of the same processors."""

from pathlib import Path

from tests.bench.curves.sweep import AT_ONCE, Sweep, cpu_of_children, settled_cpu
from tests.bench.samples import proxies
from tests.bench.samples.proxies import Command, Proxy, Recipe
from tests.bench.workshop import Workshop

WORKERS = (1, 2)


def with_workers(count: int) -> Recipe:
    def recipe(workshop: Workshop, directory: Path) -> Command:
        return proxies.tunnelctl(workshop, directory, "--workers", str(count))

    return recipe


def measure(sweep: Sweep) -> None:
    for _ in sweep.rounds("workers"):
        rates = {}
        for count in WORKERS:
            with sweep.excused(proxies.OURS, count), sweep.fresh(proxies.OURS, with_workers(count)) as (proxy, _start):
                rates[count] = _rate(sweep, count, proxy)
        if len(rates) == len(WORKERS):
            sweep.add(proxies.OURS, WORKERS[-1], ratio=rates[WORKERS[-1]] / rates[WORKERS[0]])


def _rate(sweep: Sweep, count: int, proxy: Proxy) -> float:
    tunnels = 4 * sweep.sizes.tunnels
    of_load, of_proxy = cpu_of_children(), settled_cpu([proxy.pid])
    seconds = sweep.workshop.sample("rate", proxy.port, tunnels, 2 * AT_ONCE)["seconds"]
    busy = {"load_busy": cpu_of_children() - of_load, "serve_busy": settled_cpu([proxy.pid]) - of_proxy}
    sweep.add(proxies.OURS, count, tunnels_s=tunnels / seconds, **{name: cpu / seconds for name, cpu in busy.items()})
    return tunnels / seconds
