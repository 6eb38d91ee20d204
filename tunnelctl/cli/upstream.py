"""`serve -x`: brings the two ends together, since neither room knows the other."""

import os

from tunnelctl.client.attempts import open_with_retries
from tunnelctl.client.options import ForwardOptions
from tunnelctl.client.route import DIRECT
from tunnelctl.client.way import Ways
from tunnelctl.errors import UsageProblem
from tunnelctl.proto.address import Address
from tunnelctl.server.options import ServeOptions
from tunnelctl.server.upstream import Reach
from tunnelctl.stream.contract import Stream
from tunnelctl.trace import Trace

_SHARED = frozenset(ServeOptions._fields) & frozenset(ForwardOptions._fields) - {"verbose", "quiet", "json"}


def upstream(options: ServeOptions, trace: Trace) -> Reach:
    """How `serve` reaches targets through the next proxy: as any client of ours would."""
    if DIRECT in options.proxy:  # what is then dialled here would have escaped the rules on addresses
        raise UsageProblem("-x direct", "serve goes straight to the targets unless it has a proxy", "leave -x out")
    chosen = {name: value for name, value in options._asdict().items() if name in _SHARED}
    ways = Ways(ForwardOptions(**chosen)._replace(timeout=options.dial_timeout), os.environ, trace)

    async def reach(target: Address) -> tuple[Stream, bytes, str]:
        tunnel, way = await open_with_retries(ways, target, 0, _unsaid)
        return tunnel.stream, tunnel.early, ", ".join(way.via)

    return reach


def _unsaid(event: str, /, **fields: object) -> None:
    """The access log has what becomes of each tunnel."""
