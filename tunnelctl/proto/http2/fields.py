"""The fields of CONNECT and of its response in HTTP/2: which are malformed (RFC 9113 section 8), and how we send ours.

A malformed message is a stream error, and is answered by nobody: the rules against request smuggling. A request that is well-formed
but no CONNECT, or has no usable target, gets the refusal that HTTP/1.1 gives.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from hpack import HeaderTuple, NeverIndexedHeaderTuple

from tunnelctl.errors import AddressError
from tunnelctl.proto import refusal
from tunnelctl.proto.address import Address, parse_authority
from tunnelctl.proto.headers import SECRET, TOKEN, Fields
from tunnelctl.proto.refusal import Refusal

Decoded = Iterable[tuple[bytes, bytes]]  # a header block, as hpack returns it

_NAME = TOKEN.translate({ord(letter): None for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}).encode()
# Fields of the connection in HTTP/1.1, which have no meaning here (section 8.2.2).
_CONNECTION = frozenset({b"connection", b"transfer-encoding", b"upgrade", b"keep-alive", b"proxy-connection"})
# Fields of the user that are not sent: those, and Host, whose place :authority has taken.
_NOT_SENT = frozenset({name.decode() for name in _CONNECTION} | {"host"})
_OF_REQUEST = frozenset({b":method", b":scheme", b":authority", b":path"})  # and :protocol, which we do not announce (RFC 8441)
_OF_RESPONSE = frozenset({b":status"})
LONGEST_CACHED = 300  # octets of an authority: no valid one is longer, and others would only fill memory


class Malformed(Exception):
    """The message violates section 8, and is a stream error of type PROTOCOL_ERROR."""


class Request(NamedTuple):
    """A well-formed CONNECT request. fields, authorization: as those of tunnelctl.proto.http1.connect_server.Request"""

    target: Address
    fields: Fields
    authorization: str | None

    def __repr__(self) -> str:
        """Omits the credentials: a repr ends up in logs."""
        return f"Request(target={self.target})"


class Rejected(NamedTuple):
    """A well-formed request that is no usable CONNECT. to_head: whether the method is HEAD"""

    refusal: Refusal
    to_head: bool = False


class Response(NamedTuple):
    """The head of a response."""

    status: int
    fields: Fields


def parse_request(decoded: Decoded) -> Request | Rejected:
    """Judges a request by its fields. Raises Malformed."""
    pseudo, fields = _split(decoded, _OF_REQUEST)
    method = pseudo.get(b":method")
    if not method:
        raise Malformed("no :method")
    host = _single(fields, b"host", b":authority", pseudo)
    if method != b"CONNECT":
        if not pseudo.get(b":path") or b":scheme" not in pseudo:
            raise Malformed("no :scheme or no :path")
        return Rejected(refusal.method_refused(method.decode("latin-1")), method == b"HEAD")
    if b":scheme" in pseudo or b":path" in pseudo:
        raise Malformed("CONNECT with :scheme or :path")
    if b":authority" not in pseudo:
        raise Malformed("CONNECT without :authority")
    target = (_parse_target if len(host) <= LONGEST_CACHED else _parse_target.__wrapped__)(host)
    return Rejected(target) if isinstance(target, Refusal) else _request(target, fields)


def _request(target: Address, fields: list[tuple[bytes, bytes]]) -> Request | Rejected:
    logins = [value.decode("latin-1") for name, value in fields if name == b"proxy-authorization"]
    if len(logins) > 1:
        return Rejected(refusal.bad_request("more than one Proxy-Authorization field"))
    rest = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in fields if name != b"proxy-authorization")
    return Request(target, rest, logins[0] if logins else None)


def _single(fields: list[tuple[bytes, bytes]], name: bytes, other: bytes, pseudo: dict[bytes, bytes]) -> bytes:
    """Returns the one value that a field and its pseudo-field have. Raises Malformed if they differ (section 8.3.1)."""
    values = {value for key, value in fields if key == name}
    if other in pseudo:
        values.add(pseudo[other])
    if len(values) > 1:
        raise Malformed("Host differs from :authority")
    return values.pop() if values else b""


@lru_cache(1024)  # clients repeat their targets: 0.1 µs instead of 2.6
def _parse_target(authority: bytes) -> Address | Refusal:
    if not authority.isascii():
        return refusal.bad_request("the target has non-ASCII characters: names are sent as A-labels")
    try:
        return parse_authority(authority.decode("ascii"))
    except AddressError as error:
        return refusal.bad_request(f"the target must be HOST:PORT: {error.cause}")


def parse_response(decoded: Decoded) -> Response:
    """Parses the head of a response. Raises Malformed."""
    pseudo, fields = _split(decoded, _OF_RESPONSE)
    status = pseudo.get(b":status", b"")
    if not (len(status) == 3 and status.isdigit() and status >= b"100"):
        raise Malformed("no valid :status")
    if status == b"101":  # section 8.6
        raise Malformed("status 101")
    return Response(int(status), tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in fields))


def check_trailers(decoded: Decoded) -> None:
    """Raises Malformed for trailers that contain what they may not."""
    _split(decoded, frozenset())


def _split(decoded: Decoded, known: frozenset[bytes]) -> tuple[dict[bytes, bytes], list[tuple[bytes, bytes]]]:
    """Splits a block into pseudo-fields and fields. Raises Malformed."""
    pseudo: dict[bytes, bytes] = {}
    fields: list[tuple[bytes, bytes]] = []
    for name, value in decoded:
        if b"\0" in value or b"\r" in value or b"\n" in value or value != value.strip(b" \t"):  # section 8.2.1
            raise Malformed("an invalid field value")
        if name[:1] == b":":
            if fields or name in pseudo or name not in known:
                raise Malformed("a pseudo-field that is unknown, repeated or out of place")
            pseudo[name] = value
            continue
        if not name or name.strip(_NAME) or name in _CONNECTION or (name == b"te" and value.lower() != b"trailers"):
            raise Malformed("an invalid field")
        fields.append((name, value))
    return pseudo, fields


def request_block(target: Address, fields: Fields) -> list[HeaderTuple]:
    """Returns the fields of a CONNECT request, for hpack."""
    return [HeaderTuple(":method", "CONNECT"), HeaderTuple(":authority", str(target)), *_sent(fields)]


def response_block(status: int, fields: Fields) -> list[HeaderTuple]:
    """Returns the fields of a response, for hpack."""
    return [HeaderTuple(":status", str(status)), *_sent(fields)]


def _sent(fields: Fields) -> Iterable[HeaderTuple]:
    """Secrets are never indexed, so that no later block depends on them: their length would show (RFC 7541 section 7.1)."""
    for name, value in fields:
        key = name.lower()
        if key not in _NOT_SENT:
            yield (NeverIndexedHeaderTuple if key in SECRET else HeaderTuple)(key.encode("latin-1"), value.encode("latin-1"))
