"""http:// where https:// is meant, told apart from a proxy that is down.

Spoken to in the clear, most proxies that speak TLS hang up without a word, as does what stands in front of a dead one. One more
connection tells them apart: it says ClientHello, and is told neither the target nor a login.

A command for one tunnel asks when it gives up. A process with many tunnels asks beside them: the client whose tunnel failed has its
answer at once, and a proxy is asked once in AGAIN seconds, however many tunnels fail there.
"""

from __future__ import annotations

from time import monotonic

from tunnelctl.client.route.route import Way
from tunnelctl.client.tunnel import open_tunnel
from tunnelctl.engine.kernel import move_on_after
from tunnelctl.engine.sync import Event
from tunnelctl.errors import TunnelctlError
from tunnelctl.proto.address import without_scope
from tunnelctl.trace import Trace, silent

# Who hung up on one connection answers the next one as fast, or hangs up on it too. The rest is for the round trips of a far proxy.
SECONDS = 2.0
AGAIN = 300.0


async def speaks_tls_there(way: Way, place: int, until: float) -> bool:
    """Whether the proxy at that place of the way answers ClientHello in TLS, by a moment at the latest."""
    # Through the proxies before it as ever; it is itself the target now, of which no byte is sent but the greeting.
    to_it = way._replace(target=way.hops[place].address, hops=way.hops[:place], exact=False, tls=None)
    with move_on_after(min(SECONDS, until - monotonic())):
        return await _answers_tls(to_it)
    return False


async def _answers_tls(way: Way) -> bool:
    from tunnelctl.stream.tls.stream import answers_tls  # loads ssl, which a process may do without until it doubts

    try:
        tunnel = await open_tunnel(way, silent)
    except TunnelctlError:
        return False
    try:
        return await answers_tls(tunnel.stream, without_scope(way.target.host), tunnel.early)
    except OSError:
        return False
    finally:
        tunnel.stream.close()


class BackgroundProbe:
    """Asks the proxies that may speak TLS, one after the other, and warns of those that do."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._asked: dict[str, float] = {}  # by proxy, the moment from which it may be asked again
        self._suspects: list[tuple[Way, int]] = []
        self._suspected = Event()

    def suspect(self, way: Way, place: int) -> None:
        """Has the proxy at that place of the way asked, unless that was done lately."""
        now = monotonic()
        self._asked = {proxy: until for proxy, until in self._asked.items() if until > now}
        if way.via[place] not in self._asked:
            self._asked[way.via[place]] = now + AGAIN
            self._suspects.append((way, place))
            self._suspected.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._suspected.wait()
            way, place = self._suspects.pop(0)
            if not self._suspects:
                self._suspected = Event()
            if await speaks_tls_there(way, place, monotonic() + SECONDS):
                proxy = way.via[place]
                self._trace("warning", text=f"proxy {proxy} speaks TLS, not HTTP in the clear: its URL is https://{proxy}")
