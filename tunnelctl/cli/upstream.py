"""`serve -x`: brings the two ends together, since neither room knows the other."""

import os

from tunnelctl.client.attempts import open_with_retries
from tunnelctl.client.options import ForwardOptions
from tunnelctl.client.route import DIRECT, choose_route
from tunnelctl.client.way import Ways
from tunnelctl.errors import UsageProblem
from tunnelctl.proto.address import Address
from tunnelctl.server.options import ServeOptions
from tunnelctl.server.own import OwnPorts
from tunnelctl.server.upstream import Upstream
from tunnelctl.stream.contract import Stream
from tunnelctl.stream.listen import parse_listen
from tunnelctl.stream.systemd import INHERITED
from tunnelctl.trace import Trace

LOOPBACK = "127.0.0.1", "::1"
_SHARED = frozenset(ServeOptions._fields) & frozenset(ForwardOptions._fields) - {"verbose", "quiet", "json"}


def upstream(options: ServeOptions, trace: Trace) -> Upstream:
    """How `serve` reaches targets through the next proxy: as any client of ours would."""
    if DIRECT in (text.lower() for text in options.proxy):  # what is then dialled here would have escaped the rules on addresses
        raise UsageProblem("-x direct", "serve goes straight to the targets unless it has a proxy", "leave -x out")
    name = f"tunnelctl-{os.urandom(4).hex()}"
    chosen = {name: value for name, value in options._asdict().items() if name in _SHARED}
    reaching = ForwardOptions(**chosen)._replace(timeout=options.dial_timeout)
    ways = Ways(reaching, os.environ, trace, own=(("Via", f"1.1 {name}"),))
    _refuse_loop(options)

    async def reach(target: Address) -> tuple[Stream, bytes, str]:
        tunnel, way = await open_with_retries(ways, target, 0, _unsaid)
        return tunnel.stream, tunnel.early, ", ".join(way.via)

    return Upstream(reach, name)


def _refuse_loop(options: ServeOptions) -> None:
    """One tunnel through ourselves would open another, until no descriptor is left."""
    own = OwnPorts([parse_listen(text) for text in options.listen if not text.startswith(INHERITED)])
    for nearest, *_ in choose_route(None, options.proxy, {}).chains:
        host, port = nearest.address
        if any(own.contains(ip, port) for ip in (LOOPBACK if host == "localhost" else (host,))):
            raise UsageProblem(f"-x {nearest}", "that is where this server itself listens", "-x names the next proxy on the way")


def _unsaid(event: str, /, **fields: object) -> None:
    """The access log has what becomes of each tunnel."""
