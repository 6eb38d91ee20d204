"""Plain http requests to a proxy, converted into requests to the origin server.

No proxy at the end of a tunnel would read the absolute form (RFC 9112 section 3.2.2). Messages are h11's; their bodies stream and
are not examined.
"""

import h11

from tunnelctl.errors import AddressError
from tunnelctl.proto import refusal
from tunnelctl.proto.address import HTTP_PORT, Address, parse_authority
from tunnelctl.proto.headers import Fields
from tunnelctl.proto.refusal import REASONS, Refusal

Headers = list[tuple[bytes, bytes]]
Received = h11._headers.Headers  # as h11 returns them: names in lower case, with the original spelling kept alongside

_SCHEME = b"http://"

# RFC 9110 section 7.6.1: for the next hop only. Proxy-Authorization is the login at this proxy, and its
# relatives are a proxy's answers (sections 11.7.1 and 11.7.3), which no web server has to send; the others predate that RFC.
_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)

_TRACED = (b"OPTIONS", b"TRACE")  # the methods to which Max-Forwards applies (RFC 9110 section 7.6.2)
_MAX_HOPS_DIGITS = 9

# Connection cannot remove these: a message needs them, and only Via reveals a loop (RFC 9110 section 7.6.3).
_INDISPENSABLE = frozenset({b"host", b"content-length", b"via"})


class NotForUs(Exception):
    """Raised for a request to which this proxy itself responds, with `answer`. cause: a few words for the log, "" for none."""

    def __init__(self, answer: Refusal, cause: str | None = None) -> None:
        super().__init__(answer.details)
        self.answer = answer
        self.cause = f"{answer.status} {REASONS[answer.status]}: {answer.details}" if cause is None else cause


def authorization(request: h11.Request) -> str | None:
    """Returns the value of Proxy-Authorization, or None."""
    return next((value.decode("latin-1") for name, value in request.headers if name == b"proxy-authorization"), None)


def via(request: h11.Request) -> tuple[str, ...]:
    """Returns the values of Via: the proxies that forwarded the request before."""
    return tuple(value.decode("latin-1") for name, value in request.headers if name == b"via")


def fields(request: h11.Request) -> Fields:
    """Returns the fields without the login, as text."""
    pairs = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers)
    return tuple(pair for pair in pairs if pair[0] != "proxy-authorization")


def to_origin(request: h11.Request, name: str) -> tuple[Address, h11.Request]:
    """Returns the destination of an absolute-form request, and the request to send there. Raises NotForUs.

    name: that of this proxy in Via, unlike that of any other

    Host is replaced by the host of the target, whatever it was (RFC 9112 section 3.2.2), so it cannot lead a neighbour elsewhere.

    Each tunnel carries one request: `Connection: close` makes the end of the response unmistakable, and the next request may be for
    another host.
    """
    authority, path = _split(request.target)
    if not path:  # RFC 9112 section 3.2.4
        path = b"*" if request.method == b"OPTIONS" else b"/"
    try:
        if b"@" in authority:
            # RFC 9110 section 4.2.4. The text does not repeat it: it is a secret.
            raise NotForUs(refusal.bad_request("user information has no place in the request target"))
        address = parse_authority(authority.decode("ascii"), HTTP_PORT)
    except (AddressError, UnicodeDecodeError):
        raise NotForUs(refusal.bad_request("the host in the request target is malformed")) from None
    host = str(address) if address.port != HTTP_PORT else str(address)[: -len(":80")]
    headers = [(b"Host", host.encode("ascii")), *(pair for pair in onward(request, name) if pair[0].lower() != b"host")]
    if request.method in _TRACED:
        headers = [(field, _one_less(value) if field.lower() == b"max-forwards" else value) for field, value in headers]
    if request.http_version < b"1.1":  # RFC 9110 section 10.1.1: HTTP/1.0 has no expectations
        headers = [pair for pair in headers if pair[0].lower() != b"expect"]
    if _chunked(request.headers):
        headers.append((b"Transfer-Encoding", b"chunked"))
    headers.append((b"Connection", b"close"))
    return address, h11.Request(method=request.method, target=path, headers=headers)


def _one_less(hops: bytes) -> bytes:
    """Returns Max-Forwards for the next recipient (RFC 9110 section 7.6.2). Raises NotForUs if there may be none."""
    if not hops.isdigit() or len(hops) > _MAX_HOPS_DIGITS:
        raise NotForUs(refusal.bad_request("Max-Forwards is no number"))
    if not int(hops):
        raise NotForUs(refusal.last_recipient())
    return b"%d" % (int(hops) - 1)


def _split(target: bytes) -> tuple[bytes, bytes]:
    if b"#" in target:  # RFC 9112 section 3.2.2: an absolute-URI has none
        raise NotForUs(refusal.bad_request("a fragment has no place in the request target"))
    if target[: len(_SCHEME)].lower() != _SCHEME:
        details = "this is a proxy: it takes CONNECT, and requests for http:// URLs"
        raise NotForUs(refusal.bad_request(details))
    rest = target[len(_SCHEME) :]
    end = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
    path = rest[end:]
    return rest[:end], b"/" + path if path.startswith(b"?") else path


def onward(message: h11.Request | h11.Response | h11.InformationalResponse, name: str) -> Headers:
    """Returns the fields of a forwarded message: the end-to-end ones, and our Via after those of others."""
    return [*end_to_end(message.headers), (b"Via", message.http_version + b" " + name.encode())]


def end_to_end(headers: "Received") -> Headers:
    """Returns the end-to-end fields in their own spelling: neither hop-by-hop nor named by Connection."""
    named = {token.strip().lower() for name, value in headers if name == b"connection" for token in value.split(b",")}
    dropped = _HOP_BY_HOP | named - _INDISPENSABLE
    if _chunked(headers):
        # RFC 9112 section 6.3: chunks override the length, which must not be forwarded: the next reader may believe it.
        dropped |= {b"content-length"}
    return [(name, value) for name, value in headers.raw_items() if name.lower() not in dropped]


def _chunked(headers: "Received") -> bool:
    return any(name == b"transfer-encoding" for name, _ in headers)
