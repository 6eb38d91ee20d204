"""CONNECT as the server: octets in, one Request or one Refusal out.

It judges the form of the request alone. `policy` decides whether the target may be reached, and the dialler finds out whether it
can be.

Each connection carries one request (RFC 9931): tunnel bytes follow a Request, and nothing is read after a Refusal.

Host decides nothing: a CONNECT has its target in the request line. HTTP/1.1 requires the field nevertheless, and a value that
differs from the target is refused, because a neighbour might use it. HTTP/1.0 has no Host, so there it is ignored. Two old
programs that many people still have break the rule of HTTP/1.1, and are served: see `_names_its_proxy` and `_NTLM`.
"""

from functools import lru_cache
from typing import NamedTuple

from tunnelctl.errors import AddressError
from tunnelctl.proto import refusal
from tunnelctl.proto.address import Address, parse_authority, parse_host
from tunnelctl.proto.headers import Fields
from tunnelctl.proto.http1.fast_head import match_plain_head
from tunnelctl.proto.http1.head import SERVER_LIMITS, Head, HeadError, HeadReader, Limits
from tunnelctl.proto.http1.request_head import SINGLE, RefusedHead, is_for_url, method_of, refuse_head, split_request_line
from tunnelctl.proto.refusal import Refusal

# cntlm, in all versions up to 0.94, sends no Host field for a local port (-L). It is recognised by its authentication scheme:
# it sends NTLM without a challenge, and no other client does that here.
_NTLM = "NTLM "
_NOWHERE = Address("", 0)


class Request(NamedTuple):
    """A well-formed CONNECT request.

    fields: all but Proxy-Authorization, which is for this proxy alone and must not be forwarded (RFC 9110 section 11.7.2)
    authorization: the value of Proxy-Authorization, None without one
    leftover: octets after the head; they are the target's once that is connected, and nobody's if the request is refused
    """

    target: Address
    fields: Fields
    authorization: str | None
    leftover: bytes

    def __repr__(self) -> str:
        """Omits credentials and tunnel bytes: a repr ends up in logs."""
        authorization = None if self.authorization is None else "***"
        return f"Request(target={self.target}, authorization={authorization}, leftover={len(self.leftover)} bytes)"


# Requests by the exact octets of their heads, as parsed before: clients repeat themselves. A head found here costs 0.1 µs, a parsed
# one 5.6, of some 110 µs of CPU a tunnel.
_known: dict[bytes, Request] = {}
_KNOWN_HEADS, _KNOWN_BYTES = 512, 512  # limits on number and length: 7 MiB, if each is full of tiny fields


def known_request(data: bytes) -> Request | None:
    """Returns the request of a head that arrives whole, if a `ConnectServer` has read the same octets before."""
    return _known.get(data)


def _remember(data: bytes, request: Request) -> None:
    """Keeps a request, unless it has leftover octets, which are one client's, or Proxy-Authorization, which is kept nowhere."""
    if request.authorization is None and not request.leftover:
        if len(_known) == _KNOWN_HEADS:
            _known.clear()
        _known[data] = request


class ConnectServer:
    """Reads one CONNECT request from one connection.

    method: of a request that is refused; "" as long as it is unknown
    for_url: whether that request is for an http:// URL
    """

    __slots__ = ("_authority", "_done", "_http_1_0", "_limits", "_reader", "_target", "for_url", "method")

    def __init__(self, limits: Limits = SERVER_LIMITS) -> None:
        self._limits = limits
        self._reader: HeadReader | None = None  # created for a head that is not plain
        self._done = False
        self._authority = ""
        self._target = _NOWHERE
        self._http_1_0 = False
        self.method, self.for_url = "", False

    @property
    def to_head(self) -> bool:
        """Whether a Refusal responds to HEAD; False as long as the method is unknown."""
        return self.method == "HEAD"

    def feed(self, data: bytes) -> Request | Refusal | None:
        """Takes octets from the client; returns the outcome once it is known. After that nothing more is read."""
        if self._done:
            raise RuntimeError("the request is over: what follows is tunnel bytes, or nothing")
        outcome = self._outcome(data)
        self._done = outcome is not None
        return outcome

    def _outcome(self, data: bytes) -> Request | Refusal | None:
        try:
            if self._reader is None:
                request = self._read_plain(data)
                if request is not None:
                    return request
                self._reader = HeadReader(self._limits, strict=True)
            return self._read(self._reader, data)
        except RefusedHead as refused:
            return refused.answer

    def _read_plain(self, data: bytes) -> Request | None:
        """Returns the request if its head has arrived whole and is plain, else None."""
        head = match_plain_head(data, self._limits)
        if head is None:
            return None
        self._read_request_line(head.start_line)
        request = self._read_fields(head)
        if self._limits is SERVER_LIMITS and len(data) <= _KNOWN_BYTES:
            _remember(data, request)
        return request

    def _read(self, reader: HeadReader, data: bytes) -> Request | Refusal | None:
        head, wrong = None, None
        try:
            head = reader.feed(data)
        except HeadError as error:
            wrong = refuse_head(error, reader.peek(1))
        if self._target is _NOWHERE and (line := reader.start_line) is not None:
            self._read_request_line(line)
        return wrong if head is None else self._read_fields(head)

    def eof(self) -> Refusal | None:
        """Returns the refusal for a client that ended its side before the head was complete; None if it sent nothing."""
        return refusal.bad_request("the request ended inside its head") if self._reader and self._reader.peek(1) else None

    def _read_request_line(self, line: bytes) -> None:
        try:
            self._authority, self._target, self._http_1_0 = _parse_request_line(line)
        except RefusedHead:
            self.method, self.for_url = method_of(line), is_for_url(line)
            raise
        self.method = "CONNECT"

    def _read_fields(self, head: Head) -> Request:
        seen: dict[str, str] = {}
        for name, value in head.fields:
            key = name.lower()
            if key in SINGLE:
                if key in seen:
                    raise RefusedHead(refusal.bad_request(f"more than one {name} field"))
                seen[key] = value
        if not self._http_1_0:
            self._check_host(seen, head.fields)
        _check_framing(seen)
        authorization = seen.get("proxy-authorization")
        if authorization is None:
            return Request(self._target, head.fields, None, head.leftover)
        fields = tuple(field for field in head.fields if field[0].lower() != "proxy-authorization")
        return Request(self._target, fields, authorization, head.leftover)

    def _check_host(self, seen: dict[str, str], fields: Fields) -> None:
        """Raises RefusedHead if Host is missing or contradicts the target."""
        host = seen.get("host")
        if host is None:
            if not seen.get("proxy-authorization", "").startswith(_NTLM):
                raise RefusedHead(refusal.bad_request("the Host field is missing"))
        elif host != self._authority and not self._is_target(host) and not _names_its_proxy(host, fields):
            raise RefusedHead(refusal.bad_request("the Host field differs from the target"))

    def _is_target(self, host: str) -> bool:
        """Whether Host is another spelling of the target. Several clients omit the port there, which contradicts nothing."""
        try:
            return host.isascii() and parse_authority(host, self._target.port) == self._target
        except AddressError:
            return False


def _names_its_proxy(host: str, fields: Fields) -> bool:
    """Whether Host may be the name by which the client knows this proxy, as proxytunnel 1.10 to 1.12 send it (Debian has 1.10).

    It has no port, and comes with Proxy-Connection, a field that RFC 9112 appendix C.2.2 discourages.
    """
    if not host.isascii() or all(name.lower() != "proxy-connection" for name, _ in fields):
        return False
    try:
        parse_host(host)
    except AddressError:
        return False
    return True


@lru_cache(1024)  # for heads that `_known` does not keep, such as those with a login: 0.1 µs instead of 2.6
def _parse_request_line(line: bytes) -> tuple[str, Address, bool]:
    """Returns the target as sent and as parsed, and whether the version is HTTP/1.0. Raises RefusedHead."""
    method, target, version = split_request_line(line)
    if method != b"CONNECT":
        raise RefusedHead(refusal.method_refused(method.decode("latin-1")))
    if not target.isascii():
        raise RefusedHead(refusal.bad_request("the target has non-ASCII characters: names are sent as A-labels"))
    authority = target.decode("ascii")
    try:
        return authority, parse_authority(authority), version == b"HTTP/1.0"
    except AddressError as error:
        raise RefusedHead(refusal.bad_request(f"the target must be HOST:PORT: {error.cause}")) from None


def _check_framing(seen: dict[str, str]) -> None:
    """Raises RefusedHead for a declared body. A CONNECT has no content (RFC 9110 section 9.3.6): if a length were believed, tunnel
    bytes would be read as a body, here or by a neighbour. Only `Content-Length: 0` passes: HTTP libraries add it by themselves."""
    if "transfer-encoding" in seen:
        raise RefusedHead(refusal.bad_request("a CONNECT request has no Transfer-Encoding"))
    if seen.get("content-length", "0") != "0":
        raise RefusedHead(refusal.bad_request("a CONNECT request has no content"))
