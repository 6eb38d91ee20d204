"""Which requests a private HTTP listener answers: none that a web page has made a browser send.

A page can let its own name lead to 127.0.0.1 (DNS rebinding). To the browser our answers then belong to that page, which may read
them. Host has the page's name in it, so a listener that is asked by address or as localhost alone is safe. One that was opened to
others may be asked by any name. There, as everywhere, what a browser marks as a request of another site is turned away; that is
no help against rebinding, but all that can be told.
"""

from collections.abc import Iterable
from typing import NamedTuple

from tunnelctl.errors import AddressError
from tunnelctl.proto.address import is_ip, parse_authority

_HTTP_PORT = 80  # of a Host without a port


class Denial(NamedTuple):
    """The answer to a request that is turned away."""

    status: int
    text: str


MALFORMED = Denial(400, "the Host field is malformed")
MISDIRECTED = Denial(421, "this listener is private: ask it by its address, or as localhost")
FOREIGN = Denial(403, "this is a request of another site")


def deny(headers: Iterable[tuple[bytes, bytes]], any_host: bool) -> Denial | None:
    """Why a request is not answered, None if it is. Names of `headers` are in lower case.

    any_host: whether the listener may be asked by any name, as a unix socket or one that was opened to others
    """
    fields = {name: value.decode("latin-1") for name, value in headers}
    host = fields.get(b"host")
    denial = None if any_host or host is None else _deny_host(host)  # HTTP/1.0 may do without
    return denial or (FOREIGN if _is_foreign(fields, host or "") else None)


def _deny_host(host: str) -> Denial | None:
    try:
        name = parse_authority(host, _HTTP_PORT).host
    except AddressError:
        return MALFORMED
    return None if is_ip(name) or name == "localhost" else MISDIRECTED


def _is_foreign(fields: dict[bytes, str], host: str) -> bool:
    """Whether a browser tells that another site has caused the request; to follow a link from there is no such thing."""
    origin = fields.get(b"origin")  # RFC 6454 section 7; "null" where it is not to be known
    if origin is not None and origin.partition("://")[2].lower() != host.lower():
        return True
    followed = fields.get(b"sec-fetch-mode") == "navigate" and fields.get(b"sec-fetch-dest") == "document"
    return fields.get(b"sec-fetch-site") == "cross-site" and not followed  # W3C Fetch Metadata
