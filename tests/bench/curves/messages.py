"""Cost against the size of a message, each of which is acknowledged before the next one is sent."""

from contextlib import ExitStack

from tests.bench.curves.concurrency import started
from tests.bench.curves.sweep import MIB, Sweep, settled_cpu
from tests.bench.samples import clients
from tests.bench.samples.forward import beside
from tests.bench.samples.proxies import Proxy
from tests.bench.workshop import DIRECT, Table

SIZES = (1, 10, 100, 1 << 10, 16 << 10, 64 << 10, 1 << 20)
CLIENTS = ("nc -N", "socat")


def through_proxies(sweep: Sweep) -> None:
    with ExitStack() as stack:
        target = stack.enter_context(beside(sweep.workshop, sweep.workshop.messages, "target"))
        programs: dict[str, Proxy | None] = {DIRECT: None, **started(sweep, stack)}
        for _ in sweep.rounds("messages through proxies"):
            for size in SIZES:
                for name, proxy in programs.items():
                    with sweep.excused(name, size):
                        _through_proxy(sweep, name, proxy, target, size)


def _through_proxy(sweep: Sweep, name: str, proxy: Proxy | None, target: str, size: int) -> None:
    pids = [] if proxy is None else [proxy.pid]
    words = ("tunnel", 0 if proxy is None else proxy.port, target, size, sweep.sizes.seconds)
    before = settled_cpu(pids)
    figures = sweep.workshop.sample(*words, program=sweep.workshop.messages)
    figures["cpu"] = settled_cpu(pids) - before
    # What came before the clock took time of the processor, too.
    _add(sweep, name, size, figures, figures["messages"] + figures["before"], with_cpu=proxy is not None)


def through_clients(sweep: Sweep) -> None:
    """Takes `connect` and others between two pipes; the target is their proxy as well."""
    commands = clients.commands_of(sweep.workshop, Table(), clients.PLAIN, {name: clients.PEERS[name] for name in CLIENTS})
    commands.pop(clients.BARE, None)
    with beside(sweep.workshop, sweep.workshop.messages, "target") as target:
        for _ in sweep.rounds("messages through clients"):
            for size in SIZES:
                for name, command in commands.items():
                    with sweep.excused(name, size):
                        words = [word.format(port=clients.BANNER, proxy=target) for word in command]
                        sample = ("pipes", size, sweep.sizes.seconds, *words)
                        figures = sweep.workshop.sample(*sample, program=sweep.workshop.messages)
                        _add(sweep, name, size, figures, figures["messages"])


def _add(sweep: Sweep, name: str, size: int, figures: dict[str, float], charged: float, with_cpu: bool = True) -> None:
    """charged: the number of messages that took the CPU time"""
    rate = figures["messages"] / figures["seconds"]
    sweep.add(name, size, messages_s=rate, mib_s=rate * size / MIB)
    if with_cpu:
        sweep.add(name, size, message_us=figures["cpu"] / charged * 1e6)
