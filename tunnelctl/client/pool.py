"""Connections to proxies that tunnels share or find ready, so that a new tunnel saves the round trips of connecting.

A multiplexed connection is offered from the moment it is made until it is unusable, to every route that begins with the proxies it
leads through. One of HTTP/1.1 or SOCKS serves a single tunnel, which takes it out: `--warm` keeps some of them ready.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from math import inf

from tunnelctl.client.route.route import Hop, Route
from tunnelctl.client.upstream.base import FIRST_RETRY, LONGEST_RETRY, ProxyConnection
from tunnelctl.engine.kernel import CancelScope, Nursery, current_time, sleep
from tunnelctl.engine.sync import Event
from tunnelctl.errors import TunnelctlError
from tunnelctl.stream.network import is_cut_off

MOST_DIALS = 8  # connections made by others that a tunnel waits for, where each turns out to be full

PROXIES = 4  # proxies that connections are kept ready to; more are rarely in use, and each costs its connections

Hops = tuple[Hop, ...]  # the proxies of a route up to and including the one that a connection ends at


class _Entry:
    """A connection on offer."""

    __slots__ = ("connection", "released", "scope", "taken")

    def __init__(self, connection: ProxyConnection) -> None:
        self.connection = connection
        self.scope = CancelScope()  # encloses what the pool does with the connection
        self.released = Event()  # set when it is offered no more, and no task of the pool waits on it
        self.taken = False


class Dial:
    """A connection that is being made, for others to wait for."""

    __slots__ = ("_connection", "_ended", "_others", "waiting")

    def __init__(self, others: list[Dial]) -> None:
        """others: under way to the same proxy"""
        self._others, self._ended = others, Event()
        self._connection: ProxyConnection | None = None
        self.waiting = 1  # tunnels that are to be opened on it: that of the task that makes it, and those that wait for it
        others.append(self)

    def end(self, connection: ProxyConnection | None = None) -> None:
        """Ends the waiting of others. connection: what has been made, if others can use it too"""
        if not self._ended.is_set():
            self._others.remove(self)
            self._connection = connection
            self._ended.set()

    async def wait(self) -> ProxyConnection | None:
        self.waiting += 1
        try:
            await self._ended.wait()
        finally:
            self.waiting -= 1
        return self._connection


class ConnectionPool:
    """The connections of one process."""

    def __init__(self, nursery: Nursery, connections: int = 1) -> None:
        """nursery: runs the multiplexed connections, which end with it

        connections: to one proxy, among which tunnels are spread; more only where all of these are full
        """
        self._nursery, self._most = nursery, connections
        self._entries: dict[Hops, list[_Entry]] = {}
        self._dials: dict[Hops, list[Dial]] = {}
        self._running: dict[ProxyConnection, None] = {}  # in the order in which they were made

    async def take(self, route: Route) -> ProxyConnection | None:
        """Returns a connection to one of the proxies of this route, with a place reserved on it; None if there is none."""
        return self.share(route) or await self._take_idle(route.hops[:1])

    def share(self, route: Route, may_wait: bool = True) -> ProxyConnection | None:
        """The same, but only a multiplexed connection: of those that lead farthest, the one with the fewest tunnels.

        may_wait: whether to return None if there will soon be one that leads farther, for which the caller can wait
        """
        for length in range(len(route.hops), 0, -1):
            hops = route.hops[:length]
            shared = self._shared(hops)
            free = [connection for connection in shared if connection.capacity]
            if free:
                least = min(free, key=lambda connection: connection.tunnels)
                if least.tunnels and len(shared) + len(self._dials.get(hops, ())) < self._most:
                    return None  # another connection carries more (naiveproxy#70)
                least.reserve()
                return least
            if may_wait and self._coming(hops) is not None:
                return None
        return None

    def _shared(self, hops: Hops) -> list[ProxyConnection]:
        """Returns the multiplexed connections on offer that end at the last of these proxies."""
        return [entry.connection for entry in self._entries.get(hops, ()) if entry.connection.multiplexed]

    def _coming(self, hops: Hops) -> Dial | ProxyConnection | None:
        """Returns what may soon have a place for one more tunnel: a connection being made, or one that has not told its limit."""
        dials, shared = self._dials.get(hops, []), self._shared(hops)
        if len(dials) + len(shared) < self._most:
            return None
        # As long as the proxy's limit is unknown, one connection is expected to suffice.
        places = min((connection.limit or inf for connection in shared if connection.ready), default=inf)
        joinable = [dial for dial in dials if dial.waiting < places]
        if joinable:
            return min(joinable, key=lambda dial: dial.waiting)
        return next((connection for connection in shared if not connection.ready), None)

    async def wait_for(self, route: Route) -> ProxyConnection | None:
        """Waits for a connection that is being made, if it may carry this tunnel too. Returns it, with a place reserved.

        Otherwise a burst of tunnels would make as many connections. A dial that fails must not delay them all in turn, so none of
        them waits for another one then.
        """
        for length in range(len(route.hops), 0, -1):
            hops, dials = route.hops[:length], 0
            while dials < MOST_DIALS and (coming := self._coming(hops)) is not None:
                dials += 1
                connection = await coming.wait() if isinstance(coming, Dial) else coming
                if connection is None:
                    break
                await connection.wait_until_ready()
                if connection.capacity:
                    connection.reserve()
                    return connection
        return self.share(route, may_wait=False)

    def dial(self, hops: Hops) -> Dial:
        """Lets others know that a connection to the last of these proxies is being made. The caller ends it."""
        return Dial(self._dials.setdefault(hops, []))

    async def _take_idle(self, hops: Hops) -> ProxyConnection | None:
        """Takes out the newest connection for a single tunnel, which the proxy is least likely to close soon."""
        idle = [entry for entry in self._entries.get(hops, ()) if not entry.connection.multiplexed]
        if not idle:
            return None
        entry = idle[-1]
        self._withdraw(entry)
        entry.connection.reserve()
        entry.taken = True
        entry.scope.cancel()
        try:
            await entry.released.wait()
        except BaseException:
            entry.connection.release()
            raise
        return entry.connection

    def add(self, connection: ProxyConnection) -> None:
        """Runs a multiplexed connection, and offers it while it has capacity."""
        self._start(connection)

    async def hold(self, connection: ProxyConnection) -> bool:
        """Offers a connection until it is unusable, or taken for a single tunnel (returns True)."""
        if connection.multiplexed:
            return await self._hold_shared(self._start(connection))
        entry = self._offer(connection)
        try:
            with entry.scope:
                await connection.wait_until_unusable()
        finally:
            entry.released.set()
            if not entry.taken:
                self._withdraw(entry)
                connection.close()
        return entry.taken

    async def _hold_shared(self, entry: _Entry) -> bool:
        try:
            await entry.released.wait()  # an unusable connection ends by itself, after its last tunnel
        except BaseException:
            if not entry.connection.tunnels:  # else it goes on for those
                entry.scope.cancel()
            raise
        return False

    def _start(self, connection: ProxyConnection) -> _Entry:
        entry = self._offer(connection)
        self._nursery.start_soon(self._run, entry)
        return entry

    async def _run(self, entry: _Entry) -> None:
        """Runs a multiplexed connection to its end. Its tunnels may outlast the time for which it accepts new ones."""
        self._running[entry.connection] = None
        try:
            with entry.scope:
                async with Nursery() as nursery:
                    nursery.start_soon(self._watch, entry)
                    await entry.connection.run()
                    nursery.cancel_scope.cancel()
        except OSError:  # it is of no more use, and its tunnels meet the same error
            pass
        finally:
            del self._running[entry.connection]
            entry.connection.close()

    async def finish(self) -> None:
        """Delivers what tunnels that have ended left behind, before the nursery is cancelled. That is a matter of seconds."""
        for connection in reversed([*self._running]):  # one may lead through another
            await connection.finish()

    async def _watch(self, entry: _Entry) -> None:
        try:
            await entry.connection.wait_until_unusable()
        finally:
            self._withdraw(entry)
            entry.released.set()

    def _offer(self, connection: ProxyConnection) -> _Entry:
        entry = _Entry(connection)
        self._entries.setdefault(connection.hops, []).append(entry)
        return entry

    def drop_cut_off(self) -> int:
        """Drops the connections that the kernel would no longer route as they are; see `is_cut_off`. Returns their number.

        On a multiplexed one, the tunnels that are open go on.
        """
        return self._drop([entry for entry in self._all() if is_cut_off(entry.connection.stream)])

    def drop_all(self) -> None:
        """Drops all connections likewise: those to other proxies, or by other settings, take their places."""
        self._drop(self._all())

    def _all(self) -> list[_Entry]:
        return [entry for entries in self._entries.values() for entry in entries]

    @staticmethod
    def _drop(entries: list[_Entry]) -> int:
        for entry in entries:
            if entry.connection.multiplexed:
                entry.connection.retire()
            else:
                entry.scope.cancel()
        return len(entries)

    def _withdraw(self, entry: _Entry) -> None:
        entries = self._entries[entry.connection.hops]
        entries.remove(entry)
        if not entries:
            del self._entries[entry.connection.hops]


class WarmConnections:
    """Keeps connections to each of the nearest proxies used most recently: a list or a PAC file alternates between several."""

    def __init__(
        self, nursery: Nursery, pool: ConnectionPool, connect: Callable[[Route], Awaitable[ProxyConnection]], count: int
    ) -> None:
        """nursery: runs the tasks that connect; connect: connects to the nearest proxy of a route; count: connections to each"""
        self._nursery, self._pool, self._connect, self._count = nursery, pool, connect, count
        self._scopes: dict[Hops, CancelScope] = {}  # by nearest proxy, the one used last at the end

    def keep(self, route: Route) -> None:
        """Keeps connections to the nearest proxy of this route ready from now on."""
        nearest = route.hops[:1]
        if not nearest:
            return
        scope = self._scopes.pop(nearest, None)
        if scope is None:
            scope = CancelScope()
            self._nursery.start_soon(self._keep_all, route, scope)
        self._scopes[nearest] = scope
        if len(self._scopes) > PROXIES:
            self._scopes.pop(next(iter(self._scopes))).cancel()

    def stop(self) -> None:
        """Keeps none ready any more."""
        for scope in self._scopes.values():
            scope.cancel()
        self._scopes.clear()

    async def _keep_all(self, route: Route, scope: CancelScope) -> None:
        with scope:
            async with Nursery() as nursery:
                for _ in range(self._count):
                    nursery.start_soon(self._keep, route)

    async def _keep(self, route: Route) -> None:
        """Keeps one connection ready. Replaces it when it is used, or when the proxy closes it."""
        pause = FIRST_RETRY
        while True:
            begun = current_time()
            try:
                taken = await self._pool.hold(await self._connect(route))
            except TunnelctlError:  # a requested tunnel will meet the same error, and reports it
                taken = False
            # A proxy that is down, or that closes a silent connection at once, must not be dialled in a tight loop.
            if taken or current_time() - begun > LONGEST_RETRY:
                pause = FIRST_RETRY
            else:
                await sleep(pause)
                pause = min(2 * pause, LONGEST_RETRY)
