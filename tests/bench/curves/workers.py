"""The rate of short tunnels against the number of workers, and what the load generator takes of the same processors.

Measured without a quota, and then with a CPU quota for each worker, which leaves room for the load generator.
"""

from pathlib import Path

from tests.bench.curves.sweep import AT_ONCE, Sweep, cpu_of_children, settled_cpu
from tests.bench.quota import join, quotas
from tests.bench.samples import proxies
from tests.bench.samples.proxies import Command, Proxy, Recipe, tree
from tests.bench.workshop import Workshop

WORKERS = (1, 2)
SHARE = 0.5  # of a core, for each worker. For a worker on a whole core, the load generator uses more than half of another
LIMITED = "tunnelctl serve, half a core for each worker"


def with_workers(count: int) -> Recipe:
    def recipe(workshop: Workshop, directory: Path) -> Command:
        return proxies.tunnelctl(workshop, directory, "--workers", str(count))

    return recipe


def measure(sweep: Sweep) -> None:
    for _ in sweep.rounds("workers"):
        for program in (proxies.OURS, LIMITED):
            with sweep.excused(program):
                rates = [_rate_of(sweep, program, count) for count in WORKERS]
                sweep.add(program, WORKERS[-1], ratio=rates[-1] / rates[0])


def _rate_of(sweep: Sweep, program: str, count: int) -> float:
    """Returns tunnels a second, measured with `count` workers."""
    with quotas(count if program == LIMITED else 0, SHARE) as groups, sweep.fresh(program, with_workers(count)) as (proxy, _start):
        # The last of the tree are the workers; a single one is the program itself.
        for group, pid in zip(groups, tree(proxy.pid)[-count:], strict=False):
            join(group, pid)
        return _rate(sweep, program, count, proxy)


def _rate(sweep: Sweep, program: str, count: int, proxy: Proxy) -> float:
    tunnels = 4 * sweep.sizes.tunnels
    of_load, of_proxy = cpu_of_children(), settled_cpu([proxy.pid])
    seconds = sweep.workshop.sample("rate", proxy.port, tunnels, 2 * AT_ONCE)["seconds"]
    busy = {"load_busy": cpu_of_children() - of_load, "serve_busy": settled_cpu([proxy.pid]) - of_proxy}
    sweep.add(program, count, tunnels_s=tunnels / seconds, **{name: cpu / seconds for name, cpu in busy.items()})
    return tunnels / seconds
