"""The server of a dynamic local port: SOCKS5, SOCKS4, CONNECT and plain http requests, distinguished by their first octets.

No HTTP request begins with the octet of a SOCKS version, so the first octets are unambiguous.
"""

from __future__ import annotations

from tunnelctl.errors import AuthenticationFailed, NameNotFound, TimedOut, TunnelctlError
from tunnelctl.namedtuple import NamedTuple
from tunnelctl.proto import refusal
from tunnelctl.proto.address import Address
from tunnelctl.proto.auth.basic import decode_basic, wrong_with
from tunnelctl.proto.headers import get_all
from tunnelctl.proto.http1.connect_server import ConnectServer, Request
from tunnelctl.proto.http1.render import ESTABLISHED, render_refusal
from tunnelctl.proto.http1.request_head import is_connect
from tunnelctl.proto.refusal import REASONS, Refusal
from tunnelctl.proto.socks import server as socks

SOCKS5, SOCKS4, CONNECT, PLAIN = "socks5", "socks4", "connect", "http"

_SOCKS = {4: SOCKS4, 5: SOCKS5}


class LocalRequest(NamedTuple):
    """The request of a client.

    target: None for plain http, where each request on the connection has its own
    leftover: octets after the request; for plain http everything received so far
    via: the values of Via in a CONNECT request
    """

    protocol: str
    target: Address | None
    leftover: bytes
    via: tuple[str, ...] = ()


class LocalLogin(NamedTuple):
    """Credentials that a client has sent. The caller decides whether to accept them: see `LocalServer.go_on`."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"LocalLogin({self.user!r})"


class LocalRefusal(NamedTuple):
    """The client is refused. answer: octets to send to it; cause: a few words for the log, "" if nothing is wrong."""

    answer: bytes
    cause: str


Outcome = LocalRequest | LocalLogin | LocalRefusal | None


class LocalServer:
    """Reads one request. With `login`, clients must log in: a LocalLogin precedes the LocalRequest.

    Plain http is an exception: there each request carries its own login, which `read_login` finds.
    """

    __slots__ = ("_buffer", "_connect", "_login", "_request", "_socks")

    def __init__(self, login: bool = False) -> None:
        self._login = login
        self._buffer = b""
        self._socks: socks.SocksServer | None = None
        self._connect: ConnectServer | None = None
        self._request: LocalRequest | None = None  # held until its login is accepted

    def feed(self, data: bytes) -> Outcome:
        """Takes octets from the client; returns the outcome once it is known."""
        if self._socks is not None:
            return self._from_socks(self._socks.feed(data))
        if self._connect is not None:
            return self._from_connect(self._connect.feed(data))
        self._buffer += data
        return self._choose(self._buffer)

    def _choose(self, first: bytes) -> Outcome:
        if first[0] in _SOCKS:
            self._socks = socks.SocksServer(self._login)
            return self._from_socks(self._socks.feed(first))
        connect = is_connect(first)
        if connect:
            self._connect = ConnectServer()
            return self._from_connect(self._connect.feed(first))
        return None if connect is None else LocalRequest(PLAIN, None, first)

    def go_on(self, answer: Refusal | None) -> Outcome:
        """Continues after a LocalLogin. answer: the refusal of the login; None accepts it."""
        if self._socks is not None:
            return self._from_socks(self._socks.go_on("" if answer is None else answer.details))
        return self._request if answer is None else _no(answer)

    def eof(self) -> LocalRefusal | None:
        """Returns the refusal for a client that ended its side before its request was complete; None if it sent nothing."""
        if self._socks is not None:
            gone = self._socks.eof()
            return None if gone is None else LocalRefusal(*gone)
        if self._connect is not None:
            answer = self._connect.eof()
            return None if answer is None else _no(answer)
        return LocalRefusal(b"", "it ended inside its request") if self._buffer else None

    def take_output(self) -> bytes:
        """Returns octets to send now, before anything else: SOCKS5 has a dialogue before its request."""
        return b"" if self._socks is None else self._socks.take_output()

    def _from_socks(self, outcome: socks.SocksRequest | socks.SocksLogin | socks.SocksRefusal | None) -> Outcome:
        if isinstance(outcome, socks.SocksLogin):
            return LocalLogin(*outcome)
        if isinstance(outcome, socks.SocksRefusal):
            return LocalRefusal(*outcome)
        return None if outcome is None else LocalRequest(_SOCKS[outcome.version], outcome.target, outcome.leftover)

    def _from_connect(self, outcome: Request | Refusal | None) -> Outcome:
        if outcome is None:
            return None
        if isinstance(outcome, Refusal):
            return _no(outcome)
        request = LocalRequest(CONNECT, outcome.target, outcome.leftover, get_all(outcome.fields, "via"))
        if not self._login:
            return request
        self._request, login = request, read_login(outcome.authorization)
        if isinstance(login, LocalLogin):
            return login
        # Many clients (git, for one) send credentials only after a challenge, so there is no cause to report.
        return _no(login) if outcome.authorization is not None else _no(login)._replace(cause="")


def read_login(authorization: str | None) -> LocalLogin | Refusal:
    """Returns the login in a Proxy-Authorization value, or the refusal that challenges the client to log in."""
    if authorization is None:
        return refusal.auth_required()
    given = decode_basic(authorization)
    return refusal.auth_required(details=wrong_with(authorization)) if given is None else LocalLogin(*given)


def granted(protocol: str) -> bytes:
    """Returns the response for an established tunnel, in the client's own protocol."""
    return ESTABLISHED if protocol == CONNECT else socks.granted(_version(protocol))


def refused(protocol: str, error: TunnelctlError) -> bytes:
    """Returns the response for a tunnel that could not be opened, in the client's own protocol."""
    if protocol in (CONNECT, PLAIN):
        return render_refusal(refusal_for(error))
    return socks.refused(_version(protocol), error)


# Statuses for RFC 9209 types that came without one (section 2.3; `refusal` explains the 403 for rules). All others map to 502.
_STATUSES = {
    "connection_timeout": 504,
    "dns_timeout": 504,
    "http_request_denied": 403,
    "destination_ip_prohibited": 403,
    "connection_limit_reached": 503,
}


def refusal_for(error: TunnelctlError) -> Refusal:
    """Returns the response to a failure further along the chain. Never 407: the login at the next proxy is not the client's."""
    if isinstance(error, AuthenticationFailed):
        return Refusal(502, "http_request_denied", str(error))
    said, code = error.detail.get("error"), error.detail.get("code")
    kind = str(said or "")
    if isinstance(error, TimedOut):
        return Refusal(504, kind if said else "connection_timeout", str(error))
    if isinstance(error, NameNotFound):
        return Refusal(502, "dns_error", str(error))
    if isinstance(code, int) and code in REASONS:
        status = code if code >= 500 else 403 if code == 403 else 502
    else:  # the failure was not reported over HTTP
        status = _STATUSES.get(kind, 502)
    return Refusal(status, kind if said else "http_request_denied" if status == 403 else "destination_unavailable", str(error))


def _version(protocol: str) -> int:
    return 4 if protocol == SOCKS4 else 5


def _no(answer: Refusal) -> LocalRefusal:
    return LocalRefusal(render_refusal(answer), f"{answer.status} {REASONS[answer.status]}: {answer.details}")
