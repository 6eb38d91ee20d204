"""Connections to the nearest proxy, kept ready so that a new tunnel saves the round trips of connecting."""

from collections.abc import Awaitable, Callable

from tunnelctl.client.retry import FIRST_RETRY, LONGEST_RETRY
from tunnelctl.client.route.route import Hop, Route
from tunnelctl.engine.kernel import CancelScope, Nursery, current_time, sleep
from tunnelctl.engine.sync import Event
from tunnelctl.errors import TunnelctlError
from tunnelctl.stream.base import Stream

PROXIES = 4  # proxies with a pool; more are rarely in use, and each costs its connections


class _Ready:
    """One connection that is ready for use."""

    __slots__ = ("released", "scope", "stream", "taken")

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.scope = CancelScope()
        self.released = Event()  # set when no task waits on the stream any more
        self.taken = False


class WarmPool:
    """Keeps `count` connections ready. Replaces one that is used or that the proxy closes."""

    def __init__(self, dial: Callable[[], Awaitable[Stream]], count: int) -> None:
        """dial: opens one connection"""
        self._dial, self._count = dial, count
        self._ready: list[_Ready] = []
        self.scope = CancelScope()

    async def run(self) -> None:
        """Runs until cancelled."""
        with self.scope:
            await self._keep_all()

    async def _keep_all(self) -> None:
        async with Nursery() as nursery:
            for _ in range(self._count):
                nursery.start_soon(self._keep)

    async def take(self) -> Stream | None:
        """Takes out the newest connection, which the proxy is least likely to close soon; None if none is ready."""
        if not self._ready:
            return None
        ready = self._ready.pop()
        ready.taken = True
        ready.scope.cancel()
        try:
            await ready.released.wait()
        except BaseException:
            ready.stream.close()
            raise
        return ready.stream

    async def _keep(self) -> None:
        pause = FIRST_RETRY
        while True:
            begun = current_time()
            try:
                taken = await self._hold(await self._dial())
            except TunnelctlError:  # a requested tunnel will meet the same error, and reports it
                taken = False
            # A proxy that is down, or that closes a silent connection at once, must not be dialled in a tight loop.
            if taken or current_time() - begun > LONGEST_RETRY:
                pause = FIRST_RETRY
            else:
                await sleep(pause)
                pause = min(2 * pause, LONGEST_RETRY)

    async def _hold(self, stream: Stream) -> bool:
        """Offers a connection until it is taken (returns True) or of no more use."""
        ready = _Ready(stream)
        self._ready.append(ready)
        try:
            with ready.scope:
                await _spoiled(stream)
        finally:
            ready.released.set()
            if not ready.taken:
                self._ready.remove(ready)
                stream.close()
        return ready.taken


async def _spoiled(stream: Stream) -> None:
    """Waits until the proxy closes the connection, or sends data without a request."""
    while True:
        await stream.wait_readable()
        try:
            if stream.receive_nowait(1) is None:  # a TLS session ticket, for example
                continue
        except OSError:
            pass
        return  # data, EOF or an error: no tunnel can begin with any of them


class WarmPools:
    """A pool for each of the nearest proxies used most recently: a list or a PAC file alternates between several."""

    def __init__(self, nursery: Nursery, dial: Callable[[Route], Awaitable[Stream]], count: int) -> None:
        """nursery: runs the pools; dial: connects to the nearest proxy of a route; count: connections to each proxy"""
        self._nursery, self._dial, self._count = nursery, dial, count
        self._pools: dict[tuple[Hop, ...], WarmPool] = {}

    def keep(self, route: Route) -> None:
        """Keeps connections to the nearest proxy of this route ready from now on."""
        nearest = route.hops[:1]
        if not nearest:
            return
        pool = self._pools.pop(nearest, None)
        if pool is None:
            pool = WarmPool(lambda: self._dial(route), self._count)
            self._nursery.start_soon(pool.run)
        self._pools[nearest] = pool
        if len(self._pools) > PROXIES:
            self._pools.pop(next(iter(self._pools))).scope.cancel()

    async def take(self, route: Route) -> Stream | None:
        """Takes a connection to the nearest proxy of this route out of its pool; None if none is ready."""
        pool = self._pools.get(route.hops[:1])
        return await pool.take() if pool is not None else None
