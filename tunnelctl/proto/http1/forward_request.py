"""Plain http requests to a proxy, turned into what the origin server is sent: through a tunnel there is no proxy that would read
the absolute form (RFC 9112 section 3.2.2). Messages are h11's; their bodies stream and are not looked at."""

import h11

from tunnelctl.errors import AddressError
from tunnelctl.proto import refusal
from tunnelctl.proto.address import Address, parse_authority
from tunnelctl.proto.refusal import REASONS, Refusal

Headers = list[tuple[bytes, bytes]]
Received = h11._headers.Headers  # as h11 hands them out: names in lower case, with the original spelling kept beside

DEFAULT_PORT = 80
_SCHEME = b"http://"

# RFC 9110 section 7.6.1: meant for the next hop alone. Proxy-Authorization is the login at ours; the others are of before that RFC.
_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)

# Not Connection's to name: a message cannot do without them, and a loop is seen by nothing but Via (RFC 9110 section 7.6.3).
_INDISPENSABLE = frozenset({b"host", b"content-length", b"via"})


class NotForUs(Exception):
    """A request that is answered here, with `answer`. cause: a few words for us, "" where nothing is left to be said."""

    def __init__(self, answer: Refusal, cause: str | None = None) -> None:
        super().__init__(answer.details)
        self.answer = answer
        self.cause = f"{answer.status} {REASONS[answer.status]}: {answer.details}" if cause is None else cause


def authorization(request: h11.Request) -> str | None:
    """The value of Proxy-Authorization."""
    return next((value.decode("latin-1") for name, value in request.headers if name == b"proxy-authorization"), None)


def via(request: h11.Request) -> tuple[str, ...]:
    """The values of Via: who has passed the request on before."""
    return tuple(value.decode("latin-1") for name, value in request.headers if name == b"via")


def to_origin(request: h11.Request, name: str) -> tuple[Address, h11.Request]:
    """Where an absolute-form request goes, and what is sent there. Raises NotForUs.

    name: of this proxy in Via, unlike that of any other

    One request to a tunnel: `Connection: close` makes the end of the answer unmistakable, and the next request may be for another
    host.
    """
    authority, path = _split(request.target)
    if not path:  # RFC 9112 section 3.2.4
        path = b"*" if request.method == b"OPTIONS" else b"/"
    try:
        if b"@" in authority:
            # RFC 9110 section 4.2.4. Not shown: it is a secret.
            raise NotForUs(refusal.bad_request("user information has no place in the request target"))
        address = parse_authority(authority.decode("ascii"), DEFAULT_PORT)
    except (AddressError, UnicodeDecodeError):
        raise NotForUs(refusal.bad_request("the host in the request target is malformed")) from None
    host = str(address) if address.port != DEFAULT_PORT else str(address)[: -len(":80")]
    headers = [(b"Host", host.encode("ascii")), *(pair for pair in onward(request, name) if pair[0].lower() != b"host")]
    if _chunked(request.headers):
        headers.append((b"Transfer-Encoding", b"chunked"))
    headers.append((b"Connection", b"close"))
    return address, h11.Request(method=request.method, target=path, headers=headers)


def _split(target: bytes) -> tuple[bytes, bytes]:
    if target[: len(_SCHEME)].lower() != _SCHEME:
        details = "this is a proxy: it takes CONNECT, and requests for http:// URLs"
        raise NotForUs(refusal.bad_request(details))
    rest = target[len(_SCHEME) :]
    end = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
    path = rest[end:]
    return rest[:end], b"/" + path if path.startswith(b"?") else path


def onward(message: h11.Request | h11.Response | h11.InformationalResponse, name: str) -> Headers:
    """The fields of a message that is forwarded: those that travel on, and Via behind what others have said in theirs."""
    return [*end_to_end(message.headers), (b"Via", message.http_version + b" " + name.encode())]


def end_to_end(headers: "Received") -> Headers:
    """The fields that travel on, in their own spelling: neither hop-by-hop nor named by Connection."""
    named = {token.strip().lower() for name, value in headers if name == b"connection" for token in value.split(b",")}
    dropped = _HOP_BY_HOP | named - _INDISPENSABLE
    if _chunked(headers):
        # RFC 9112 section 6.3: of the two the chunks count, and the length must not travel on: the next reader may believe it.
        dropped |= {b"content-length"}
    return [(name, value) for name, value in headers.raw_items() if name.lower() not in dropped]


def _chunked(headers: "Received") -> bool:
    return any(name == b"transfer-encoding" for name, _ in headers)
