"""Request filter of a private HTTP listener: refuses requests that a web page has made a browser send.

A page can make its own name resolve to 127.0.0.1 (DNS rebinding). To the browser the listener's responses then belong to that
page, which may read them. Host holds the page's name, so a listener that accepts only an address or localhost there is safe. A
listener that was opened to others accepts any name. Every listener refuses requests that a browser marks as caused by another
site. That is no help against rebinding, but an open listener can detect nothing else.
"""

from collections.abc import Iterable
from typing import NamedTuple

from tunnelctl.errors import AddressError
from tunnelctl.proto.address import is_ip, parse_authority

_HTTP_PORT = 80  # for a Host without a port


class Denial(NamedTuple):
    """The response to a refused request."""

    status: int
    text: str


MALFORMED = Denial(400, "the Host field is malformed")
MISDIRECTED = Denial(421, "this listener is private: ask it by its address, or as localhost")
FOREIGN = Denial(403, "this is a request of another site")


def deny(headers: Iterable[tuple[bytes, bytes]], any_host: bool) -> Denial | None:
    """Returns the refusal of a request, or None to serve it. Names in `headers` are in lower case.

    any_host: whether Host may hold any name, as for a unix socket or a listener that was opened to others
    """
    fields = {name: value.decode("latin-1") for name, value in headers}
    host = fields.get(b"host")
    denial = None if any_host or host is None else _deny_host(host)  # HTTP/1.0 may omit it
    return denial or (FOREIGN if _is_foreign(fields, host or "") else None)


def _deny_host(host: str) -> Denial | None:
    try:
        name = parse_authority(host, _HTTP_PORT).host
    except AddressError:
        return MALFORMED
    return None if is_ip(name) or name == "localhost" else MISDIRECTED


def _is_foreign(fields: dict[bytes, str], host: str) -> bool:
    """True if a browser marks the request as caused by another site. Following a link from there does not count."""
    origin = fields.get(b"origin")  # RFC 6454 section 7; "null" where the browser hides it
    if origin is not None and origin.partition("://")[2].lower() != host.lower():
        return True
    followed = fields.get(b"sec-fetch-mode") == "navigate" and fields.get(b"sec-fetch-dest") == "document"
    return fields.get(b"sec-fetch-site") == "cross-site" and not followed  # W3C Fetch Metadata
