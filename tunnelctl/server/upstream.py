"""Tunnels that lead on through another proxy: how the server asks for one, and what its failures are called for our clients.

Who opens them is not our business: the asking end is another room, and the command line brings the two together.
"""

from collections.abc import Awaitable, Callable, Coroutine
from typing import NamedTuple

from tunnelctl.errors import AuthenticationFailed, NameNotFound, TimedOut, TunnelctlError
from tunnelctl.proto import refusal
from tunnelctl.proto.address import Address
from tunnelctl.proto.refusal import Refusal
from tunnelctl.server.dial_refusal import is_our_limit
from tunnelctl.stream.base import Stream

# Opens a tunnel to the target; the values of Via are those that the request for it came with. The stream, bytes of the tunnel that
# came early, and through whom it leads. Raises TunnelctlError.
Reach = Callable[[Address, tuple[str, ...]], Awaitable[tuple[Stream, bytes, str]]]


class Upstream(NamedTuple):
    """The way through the next proxy.

    came_round: whether a request has been here before, by its target and its values of Via
    is_probe: whether a target is no target, but asks whether the proxies of a ring lead to each other
    helper: runs beside the sessions
    """

    reach: Reach
    came_round: Callable[[Address, tuple[str, ...]], bool]
    is_probe: Callable[[Address], bool]
    helper: Callable[[], Coroutine[None, None, None]]


def upstream_refusal(error: TunnelctlError) -> Refusal:
    """What our client is told when the next proxy said no, or could not be asked.

    Never 407: the login that is wanted there is ours to give, and the client's password is not for that proxy.
    """
    code, kind = error.detail.get("code"), error.detail.get("error")
    if is_our_limit(error.__cause__):
        return refusal.limit_reached()
    if isinstance(error, AuthenticationFailed):
        return refusal.connection_failed("the next proxy does not accept this one")
    if kind == "proxy_loop_detected":
        return refusal.loop_detected()
    if kind == "connection_limit_reached" and code is None:
        return refusal.target_limit_reached()
    if code == 403 or kind == "http_request_denied":
        return refusal.request_denied("the rules of the next proxy do not allow the target")
    if isinstance(error, NameNotFound) and code is not None:
        return refusal.dns_error()
    if isinstance(error, TimedOut):
        return refusal.connection_timeout()
    if kind == "connection_refused":
        return refusal.connection_refused()
    if code is not None:
        return refusal.connection_failed(f"the next proxy refused: {code}")
    return refusal.connection_failed("the next proxy cannot be reached")
