"""Follows the network: after a change, discards what was learnt on the previous one.

An idle connection that the kernel would no longer route as before would be found dead only by the next tunnel, after its whole time
limit. The proxies of a PAC file depend on the addresses of this machine, and those that could not be reached may be reachable now.
Tunnels in use are left alone: their ends decide whether to wait until the network is back.

Where the kernel reports no changes, failures lead to the same: see `retry`.
"""

from __future__ import annotations

from collections.abc import Callable

from tunnelctl.client.forward.events import Network
from tunnelctl.client.pool import ConnectionPool
from tunnelctl.client.route.planner import RoutePlanner
from tunnelctl.events import Trace
from tunnelctl.stream.network import open_changes


async def follow_network(planner: Callable[[], RoutePlanner], pool: ConnectionPool, trace: Trace) -> None:
    """Runs until it is cancelled, or returns at once where the kernel reports nothing. planner: returns the one in use"""
    changes = open_changes()
    if changes is None:
        return
    try:
        while True:
            await changes.wait()
            planner().forget()
            trace(Network(pool.drop_cut_off()))
    finally:
        changes.close()
