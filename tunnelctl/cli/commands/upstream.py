"""`serve -x`: gives the server the client's code; here because `client` and `server` import nothing from each other."""

import os

from tunnelctl.client.follow_network import follow_network
from tunnelctl.client.loop_detector import LoopDetector, refuse_own_ports
from tunnelctl.client.pool import ConnectionPool
from tunnelctl.client.retry import open_with_retries
from tunnelctl.client.route.planner import RoutePlanner
from tunnelctl.client.route.selection import DIRECT, select_proxies
from tunnelctl.client.upstream.tls_probe import BackgroundProbe
from tunnelctl.engine.kernel import Nursery, run
from tunnelctl.errors import UsageProblem
from tunnelctl.events import Trace, silent
from tunnelctl.proto.address import Address
from tunnelctl.server.options import ServeOptions
from tunnelctl.server.upstream import Upstream
from tunnelctl.stream.base import Stream
from tunnelctl.stream.listen import parse_listen
from tunnelctl.stream.service_manager import INHERITED


def upstream(options: ServeOptions, trace: Trace) -> Upstream:
    """Returns the means by which `serve` reaches targets through the next proxy, as any client of ours would."""
    # A target dialled from here would escape the rules on addresses.
    if DIRECT in (text.strip().lower() for text in options.reach.proxy):
        raise UsageProblem("direct", "serve goes straight to the targets unless it has a proxy", "serve-direct", option="proxy")
    chains = select_proxies(None, options.reach.proxy, {}).chains
    if () in chains:
        cause = "serve does not go around its proxy, whose rules its own do not replace"
        raise UsageProblem("direct", cause, "serve-direct-in-list", option="proxy")
    planner = RoutePlanner(options.reach._replace(timeout=options.dial_timeout), os.environ, trace, pooled=True)
    run(planner.prepare, ask_now=True)  # here, because the workers must not each ask for the password
    listeners = (parse_listen(text) for text in options.listen if not text.startswith(INHERITED))
    refuse_own_ports(chains, listeners)
    detector = LoopDetector()  # created before the workers are forked, which share it
    scheme_probe = BackgroundProbe(trace)
    pool: ConnectionPool | None = None

    async def helper() -> None:
        nonlocal pool
        async with Nursery() as nursery:
            pool = ConnectionPool(nursery, options.reach.connections)
            nursery.start_soon(follow_network, lambda: planner, pool, silent)
            await scheme_probe.run()

    # Nobody is told of each step: the access log records the outcome of each tunnel.
    async def reach(target: Address, via: tuple[str, ...]) -> tuple[Stream, bytes, str]:
        async with detector.opening(target, probe):
            fields = (detector.via(via),)
            tunnel, route = await open_with_retries(planner, target, 0, silent, pool, scheme_probe.suspect, fields)
        return tunnel.stream, tunnel.early, ", ".join(route.via)

    async def probe(target: Address) -> None:
        tunnel, _ = await open_with_retries(planner, target, 0, silent, pool, scheme_probe.suspect)
        tunnel.stream.close()

    return Upstream(reach, detector.came_round, detector.is_any_probe, helper, detector.name)
