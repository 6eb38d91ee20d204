"""Tunnels through another proxy: how the server opens one, and how it reports the failures to its clients.

The server does not open them itself: the command line passes in a function of the client package that does.
"""

from collections.abc import Awaitable, Callable, Coroutine
from typing import NamedTuple

from tunnelctl.errors import AuthenticationFailed, NameNotFound, TimedOut, TunnelctlError
from tunnelctl.proto import refusal
from tunnelctl.proto.address import Address
from tunnelctl.proto.refusal import Refusal
from tunnelctl.server.dial_refusal import is_our_limit
from tunnelctl.stream.base import Stream

# Opens a tunnel to the target; the values of Via are those of the client's request. Returns the stream, early data of the tunnel,
# and the proxies that it leads through. Raises TunnelctlError.
Reach = Callable[[Address, tuple[str, ...]], Awaitable[tuple[Stream, bytes, str]]]


class Upstream(NamedTuple):
    """The route through the next proxy.

    came_round: whether a request has passed through this proxy before, by its target and its values of Via
    is_probe: whether a target is only a probe for a ring of proxies
    helper: a task that runs beside the sessions
    name: of this proxy in Via
    """

    reach: Reach
    came_round: Callable[[Address, tuple[str, ...]], bool]
    is_probe: Callable[[Address], bool]
    helper: Callable[[], Coroutine[None, None, None]]
    name: str


def upstream_refusal(error: TunnelctlError) -> Refusal:
    """Returns the refusal for our client when the next proxy has refused, or could not be reached.

    Never 407: the next proxy requires our credentials, and must not receive the client's.
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
