"""Tunnels that lead on through another proxy: how the server asks for one, and what its failures are called for our clients.

Who opens them is not our business: the asking end is another room, and the command line brings the two together.
"""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from tunnelctl.errors import AuthenticationFailed, NameNotFound, TimedOut, TunnelctlError
from tunnelctl.proto import refusal
from tunnelctl.proto.address import Address
from tunnelctl.proto.connect_server import Request
from tunnelctl.proto.fields import get_all
from tunnelctl.proto.refusal import Refusal
from tunnelctl.stream.contract import Stream

# The stream to the target, bytes of the tunnel that came early, and through whom it leads. Raises TunnelctlError.
Reach = Callable[[Address], Awaitable[tuple[Stream, bytes, str]]]


class Upstream(NamedTuple):
    """The way through the next proxy. name: what we are called in Via (RFC 9110 section 7.6.3), unlike any other of us."""

    reach: Reach
    name: str

    def has_seen(self, request: Request) -> bool:
        """Whether the request has come through here before: two proxies that lead to each other would open tunnels for ever."""
        return any(self.name in value.replace(",", " ").split() for value in get_all(request.fields, "via"))


def upstream_refusal(error: TunnelctlError) -> Refusal:
    """What our client is told when the next proxy said no, or could not be asked.

    Never 407: the login that is wanted there is ours to give, and the client's password is not for that proxy.
    """
    code, kind = error.detail.get("code"), error.detail.get("error")
    if isinstance(error, AuthenticationFailed):
        return refusal.connection_failed("the next proxy does not accept this one")
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
