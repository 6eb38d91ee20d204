"""http:// where https:// is meant, told apart from a proxy that is down.

Spoken to in the clear, most proxies that speak TLS hang up without a word, as what stands in front of a dead one does. So who is
about to give up opens one more connection and says ClientHello. It is told neither the target nor a login.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import monotonic

from tunnelctl.client.hop import Way
from tunnelctl.client.tunnel import open_tunnel
from tunnelctl.engine.kernel import move_on_after
from tunnelctl.errors import SpeaksTLS, TunnelctlError
from tunnelctl.proto.address import without_scope
from tunnelctl.proto.connect_client import speaks_tls
from tunnelctl.stream.tls import answers_tls
from tunnelctl.trace import silent

# Who hung up on one connection answers the next one as fast, or hangs up on it too. The rest is for the round trips of a far proxy.
SECONDS = 2.0


def inquiry(way: Way, place: int, what: str) -> Callable[[float], Awaitable[SpeaksTLS | None]]:
    """Asks whether the proxy at that place of the way speaks TLS, until a moment at the latest. what: for the error"""
    proxy = way.hops[place].address
    # Through the proxies before it as ever; it is itself the target now, of which no byte is sent but what is sent below.
    to_it = way._replace(target=proxy, hops=way.hops[:place], exact=False, tls=None)

    async def inquire(until: float) -> SpeaksTLS | None:
        with move_on_after(min(SECONDS, until - monotonic())):
            if await _answers_tls(to_it):
                return speaks_tls(what)
        return None

    return inquire


async def _answers_tls(way: Way) -> bool:
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
