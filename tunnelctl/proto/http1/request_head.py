"""Rules for the head of every request, whatever its method: the request line, fields that occur once, common faults."""

from tunnelctl.proto import refusal
from tunnelctl.proto.headers import is_token
from tunnelctl.proto.http1.head import HeadError, HeadTooLarge, LineTooLong
from tunnelctl.proto.refusal import Refusal

# RFC 9110 section 2.5: a higher minor version is read as the highest we know.
_VERSIONS_1 = frozenset(b"HTTP/1.%d" % minor for minor in range(10))
_VERSIONS = frozenset(b"HTTP/%d.%d" % divmod(version, 10) for version in range(100))
# Two of one kind contradict each other, or will do so to some reader (RFC 9112 sections 3.2 and 6.3); none of them is a list here.
SINGLE = frozenset({"host", "proxy-authorization", "content-length", "transfer-encoding"})
# The first octets of other protocols, none of which can be the first of an HTTP request.
_FOREIGN = {
    b"\x04": "this is a SOCKS4 request, and this port speaks HTTP",
    b"\x05": "this is a SOCKS5 greeting, and this port speaks HTTP",
    b"\x16": "this is a TLS ClientHello, and this port speaks plain HTTP",
}
# The longest registered method has 17 octets. A method goes into the access log.
_MAX_METHOD = 32
_CONNECT, _HTTP = b"CONNECT ", b"http://"
_EMPTY_LINE = b"\r\n"


class RefusedHead(Exception):
    """Raised for a head that gets a refusal in place of service."""

    def __init__(self, answer: Refusal) -> None:
        super().__init__(answer.details)
        self.answer = answer


def is_connect(data: bytes) -> bool | None:
    """Whether a request that begins with `data` is for ConnectServer, which also describes the faults of foreign protocols.

    None: more octets have to come first.
    """
    if data[:1] in _FOREIGN:
        return True
    start = data.removeprefix(_EMPTY_LINE)  # RFC 9112 section 2.2: an empty line before the request
    if start.startswith(_CONNECT):
        return True
    return None if _CONNECT.startswith(start) or data == _EMPTY_LINE[:1] else False


def split_request_line(line: bytes) -> tuple[bytes, bytes, bytes]:
    """Returns method, target and version. Raises RefusedHead.

    Checks the version first: another protocol may well have other methods.
    """
    parts = line.split(b" ")
    if len(parts) != 3:
        raise RefusedHead(refusal.bad_request("not a request line: METHOD TARGET VERSION with one space between"))
    method, target, version = parts
    if version not in _VERSIONS_1:
        if version in _VERSIONS:
            raise RefusedHead(refusal.version_unsupported())
        raise RefusedHead(refusal.bad_request("not a request line: no HTTP version at its end"))
    if not is_token(method.decode("latin-1")):
        raise RefusedHead(refusal.bad_request("not a request line: no method at its start"))
    if len(method) > _MAX_METHOD:  # RFC 9112 section 3
        raise RefusedHead(refusal.method_too_long())
    return method, target, version


def method_of(line: bytes) -> str:
    """Returns the method in a request line that may be malformed; "" if there is none."""
    method, blank, _ = line.partition(b" ")
    text = method.decode("latin-1")
    return text if blank and is_token(text) and len(text) <= _MAX_METHOD else ""


def is_for_url(line: bytes) -> bool:
    """Whether a request line that may be malformed is for an http:// URL."""
    return line.partition(b" ")[2][: len(_HTTP)].lower() == _HTTP


def refuse_head(error: HeadError, first: bytes) -> Refusal:
    """Returns the refusal of a head that breaks the grammar. first: its first octet"""
    if isinstance(error, LineTooLong):
        return refusal.uri_too_long()
    if isinstance(error, HeadTooLarge):
        return refusal.head_too_large()
    if first in _FOREIGN:
        return refusal.bad_request(_FOREIGN[first])
    return refusal.bad_request(f"malformed head: {error}")
