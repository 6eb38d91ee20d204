"""All the curves, each in a table of its own."""

from collections.abc import Callable

from tests.bench.curves import chain, concurrency, messages, rules, users, workers
from tests.bench.curves.sweep import Sweep, sizes_of
from tests.bench.workshop import Plan, Table, Workshop

CURVES: dict[str, Callable[[Sweep], None]] = {
    "under-way": concurrency.under_way,
    "idle": concurrency.idle,
    "streams": concurrency.streams,
    "messages": messages.through_proxies,
    "messages-connect": messages.through_clients,
    "rules": rules.measure,
    "users": users.measure,
    "chain": chain.measure,
    "workers": workers.measure,
}


def measure(workshop: Workshop, plan: Plan, table_of: Callable[[str], Table]) -> None:
    for name, curve in CURVES.items():
        sweep = Sweep(workshop, sizes_of(plan), name, table_of(f"curve-{name}"))
        with sweep.excused("one of the programs"):
            curve(sweep)
