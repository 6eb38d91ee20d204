"""Refusals of the server: one constructor per cause, with its status, its RFC 9209 error type and a sentence for a person.

The codes follow RFC 9209 section 2.3, except for addresses that policy forbids: it recommends 502, this server sends 403 (as h2o
does), because the request was refused and the target is not at fault. 407 is for credentials alone: clients react to it by
prompting for a password. The texts never reveal more than the client knows already. For a forbidden address they are the same
whatever is there, so that the proxy is no port scanner.
"""

from collections.abc import Iterable
from typing import NamedTuple

from tunnelctl.proto.headers import Fields
from tunnelctl.proto.proxy_status import Parameter, ProxyStatus, printable, quote
from tunnelctl.proto.proxy_status import render as render_status

REASONS = {
    400: "Bad Request",
    403: "Forbidden",
    405: "Method Not Allowed",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    414: "URI Too Long",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
}


# Methods that are registered and that a client may mean; anything else is unknown (RFC 9110 section 9.1).
_KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"})

NO_CREDENTIALS = "credentials are required"
STALE_CREDENTIALS = "the credentials are too old or used up"  # of Digest: the client tries again by itself
REALM = "tunnelctl"  # names the purpose of the credentials in a password prompt


class Refusal(NamedTuple):
    """A final response that refuses the request; the connection is closed after it.

    error: an RFC 9209 error type; details: a sentence, may contain text from outside
    fields: header fields that belong to the status; params: further parameters of Proxy-Status
    """

    status: int
    error: str
    details: str
    fields: Fields = ()
    params: tuple[Parameter, ...] = ()


def response(refusal: Refusal, proxy: str = "tunnelctl") -> tuple[Fields, bytes]:
    """Returns the fields and the body of the response, alike in all versions of HTTP.

    proxy: a token that names this deployment in Proxy-Status
    """
    body = f"{proxy}: {refusal.status} {REASONS[refusal.status]}: {printable(refusal.details)}\n".encode("ascii")
    status = ProxyStatus(proxy, refusal.error, refusal.details, refusal.params)
    fields = (
        ("Proxy-Status", render_status(status)),
        ("Content-Type", "text/plain; charset=us-ascii"),
        ("Content-Length", str(len(body))),
        *refusal.fields,
    )
    return fields, body


def _request_error(status: int, details: str, fields: Fields = ()) -> Refusal:
    return Refusal(status, "http_request_error", details, fields, (("status-code", status),))


def bad_request(details: str, status: int = 400) -> Refusal:
    """The request violates the grammar."""
    return _request_error(status, details)


def method_not_allowed(method: str) -> Refusal:
    """A method that is known but not served."""
    return _request_error(405, f"{method} is not served here, only CONNECT", (("Allow", "CONNECT"),))


def head_timeout() -> Refusal:
    """The request head was not complete in time."""
    return _request_error(408, "the request head took too long")


def tls_wanted() -> Refusal:
    """A plain-text request on a TLS port."""
    return bad_request("this port speaks TLS, and the request came without it: the URL of this proxy begins with https://")


def tls_failed() -> Refusal:
    """A failed handshake. For the log only: TLS itself reports the failure to the client."""
    return Refusal(400, "tls_protocol_error", "the TLS handshake failed")


def uri_too_long() -> Refusal:
    """The request line exceeds the limit."""
    return _request_error(414, "the request line is too long")


def head_too_large() -> Refusal:
    """The head exceeds the limit on octets or fields."""
    return _request_error(431, "the request head is too large")


def method_unknown() -> Refusal:
    """A method that is not registered, or a known one in lower case."""
    return _request_error(501, "the method is unknown, only CONNECT is served here")


def method_too_long() -> Refusal:
    """A method longer than any that is registered."""
    return _request_error(501, "the method is unknown")


def last_recipient() -> Refusal:
    """OPTIONS or TRACE that may go no further: it asks about this proxy itself, where no method but CONNECT has a meaning."""
    return _request_error(405, "Max-Forwards ends the request here, and only CONNECT is served here", (("Allow", "CONNECT"),))


def method_refused(method: str) -> Refusal:
    """A method other than CONNECT."""
    return method_not_allowed(method) if method in _KNOWN_METHODS else method_unknown()


def version_unsupported() -> Refusal:
    """HTTP of another major version."""
    return _request_error(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")


def basic_challenge(realm: str = REALM) -> str:
    """Returns a value for Proxy-Authenticate. `realm` is a text of ours."""
    return f'Basic realm={quote(realm)}, charset="UTF-8"'


def auth_required(challenges: Iterable[str] = (basic_challenge(),), details: str = NO_CREDENTIALS) -> Refusal:
    """No credentials, or wrong ones. Each challenge gets its own field: some clients cannot parse several in one."""
    return Refusal(407, "http_request_denied", details, tuple(("Proxy-Authenticate", challenge) for challenge in challenges))


def request_denied(details: str = "the rules of this proxy do not allow the target") -> Refusal:
    """A rule refuses the name or the port."""
    return Refusal(403, "http_request_denied", details)


def ip_prohibited() -> Refusal:
    """Policy refuses the address. The text is the same for all of them: it must not reveal what is there."""
    return Refusal(403, "destination_ip_prohibited", "the rules of this proxy do not allow the address of the target")


def dns_timeout(details: str = "the name lookup took too long") -> Refusal:
    """The name lookup reached its deadline, or the name service gave up."""
    return Refusal(504, "dns_timeout", details)


def dns_error(details: str = "the name of the target cannot be resolved", rcode: str = "") -> Refusal:
    """The name lookup failed. rcode: the response code if known, such as NXDOMAIN"""
    return Refusal(502, "dns_error", details, (), (("rcode", rcode),) if rcode else ())


def answer_failed(error: str, details: str, status: int = 502) -> Refusal:
    """The target of a plain http request is connected, but its response has not come, or is none."""
    return Refusal(status, error, details)


def ip_unroutable() -> Refusal:
    """No route to any address of the target."""
    return Refusal(502, "destination_ip_unroutable", "there is no route to the target")


def connection_refused() -> Refusal:
    """The target responded with a reset."""
    return Refusal(502, "connection_refused", "the target refused the connection")


def connection_timeout() -> Refusal:
    """The target did not respond in time."""
    return Refusal(504, "connection_timeout", "the target did not answer in time")


def connection_failed(details: str = "the connection to the target failed") -> Refusal:
    """The dial failed for another reason."""
    return Refusal(502, "connection_terminated", details)


def limit_reached(details: str = "this proxy has too many connections", retry_after: int = 1) -> Refusal:
    """A cap of this proxy is reached, whoever the client is. `retry_after` is in seconds."""
    return Refusal(503, "connection_limit_reached", details, (("Retry-After", str(retry_after)),))


def client_limit_reached() -> Refusal:
    """A cap is reached for this client but not for others, so the status is 429 (RFC 6585 section 4)."""
    return limit_reached("too many tunnels are open from this address")._replace(status=429)


def client_busy(details: str) -> Refusal:
    """The client's network already has as much work waiting as it may have."""
    return limit_reached(details)._replace(status=429)


def is_failed_login(status: int, details: str) -> bool:
    """Whether a refusal is due to wrong credentials. Most clients send none, or old ones, before they are asked."""
    return status == 407 and details not in (NO_CREDENTIALS, STALE_CREDENTIALS)


def too_many_wrong_logins(retry_after: int) -> Refusal:
    """No login from the client's network is checked for now. `retry_after` is in seconds."""
    fields = (("Retry-After", str(retry_after)),)
    return Refusal(429, "http_request_denied", "too many wrong logins from this network", fields)


def user_limit_reached() -> Refusal:
    """The cap on one user's tunnels is reached, wherever they come from."""
    return limit_reached("too many tunnels are open for this user")._replace(status=429)


def target_limit_reached() -> Refusal:
    """The cap on tunnels to one target is reached, whoever opened them."""
    return limit_reached("too many tunnels are open to this target")


def stopping() -> Refusal:
    """The proxy stops while it resolves or dials the target. Of the error types in use, a limit comes nearest."""
    return limit_reached("this proxy is being stopped")


def loop_detected() -> Refusal:
    """The target is this proxy itself."""
    return Refusal(502, "proxy_loop_detected", "the request leads back to this proxy")
