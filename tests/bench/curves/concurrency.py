"""Cost against the number of tunnels: short ones under way, idle ones beside them, and streams of bulk data."""

from contextlib import ExitStack

from tests.bench.curves.sweep import AT_ONCE, Sweep, settled_cpu
from tests.bench.samples import forward, proxies
from tests.bench.samples.proxies import GIB, Proxy, holder
from tests.bench.workshop import DIRECT, Unavailable, Workshop

FORWARD = "tunnelctl forward"
# Of those that the load generator has closed, the last ones are not closed in the proxy yet: with 9,000, it ran out of descriptors.
UNDER_WAY = (1, 10, 100, 1_000, 4_000)
IDLE = (1, 10, 100, 1_000, 9_000)
FEW = 1_000  # of fewer, the growth cannot be told from that of what the short ones leave behind
STREAMS = (1, 10, 100, 1_000)
PROXIES = (proxies.OURS, "tinyproxy", "Envoy")


def started(sweep: Sweep, stack: ExitStack) -> dict[str, Proxy]:
    found = {}
    for name in PROXIES:
        with sweep.excused(name):
            found[name] = stack.enter_context(sweep.fresh(name, proxies.RECIPES[name]))[0]
    return found


def under_way(sweep: Sweep) -> None:
    """Opens short tunnels, more and more at once."""
    with ExitStack() as stack:
        programs = started(sweep, stack)
        if proxies.OURS not in programs:
            raise Unavailable("nothing for forward to lead through")
        local = local_port(sweep.workshop, stack, programs[proxies.OURS])
        for _ in sweep.rounds("tunnels under way"):
            for count in UNDER_WAY:
                for name, proxy in programs.items():
                    with sweep.excused(name, count):
                        sweep.point(name, count, proxy, at_once=count)
                with sweep.excused(FORWARD, count):
                    amount = max(sweep.sizes.tunnels, 3 * count)
                    sweep.add(FORWARD, count, **sweep.rate([local.pid], local.port, amount, count, mode="local"))


def local_port(workshop: Workshop, stack: ExitStack, proxy: Proxy) -> Proxy:
    """A forward through our proxy to an echo."""
    port = stack.enter_context(forward.beside(workshop, workshop.load, "echo", "127.0.0.1"))
    return stack.enter_context(forward.running(workshop, forward.OURS, f"127.0.0.1:{proxy.port}", f"127.0.0.1:{port}"))


def idle(sweep: Sweep) -> None:
    """Opens short tunnels beside more and more that have carried a byte and now lie still."""
    for _ in sweep.rounds("idle tunnels"):
        for name in PROXIES:
            with sweep.excused(name), sweep.fresh(name, proxies.RECIPES[name]) as (proxy, _start):
                _beside_idle(sweep, name, proxy)


def _beside_idle(sweep: Sweep, name: str, proxy: Proxy) -> None:
    sweep.rate([proxy.pid], proxy.port, sweep.sizes.tunnels, AT_ONCE)  # what the short ones need of memory is there from now on
    base = proxy.rss_kib()
    with holder(sweep.workshop.load, "hold", proxy.port, AT_ONCE) as hold:
        for count in IDLE:
            if not proxies.enough_descriptors(count):
                raise Unavailable(f"the limit of descriptors is too low for {count} tunnels")
            hold(count)
            if count >= FEW:
                sweep.add(name, count, idle_kib=(proxy.rss_kib() - base) / count)
            sweep.point(name, count, proxy)


def streams(sweep: Sweep) -> None:
    """Pours through more and more tunnels at once, with keystrokes in one more."""
    with ExitStack() as stack:
        programs: dict[str, Proxy | None] = {DIRECT: None, **started(sweep, stack)}
        for _ in sweep.rounds("streams"):
            for count in STREAMS:
                for name, proxy in programs.items():
                    with sweep.excused(name, count):
                        _pour(sweep, name, proxy, count)


def _pour(sweep: Sweep, name: str, proxy: Proxy | None, count: int) -> None:
    pids = [] if proxy is None else [proxy.pid]
    before = settled_cpu(pids)
    figures = sweep.workshop.sample("fair", 0 if proxy is None else proxy.port, count, 2 * sweep.sizes.seconds)
    sweep.add(name, count, gibs=figures["bytes"] / GIB / figures["seconds"], p99=figures["p99"] * 1e3)
    if proxy is not None:
        sweep.add(name, count, gib_cpu=(settled_cpu(pids) - before) / (figures["bytes_in_all"] / GIB))
