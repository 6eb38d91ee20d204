"""The argument and the result of a PAC file: FindProxyForURL of the Netscape specification, as Chromium reads it."""

from __future__ import annotations

from tunnelctl.errors import AddressError
from tunnelctl.namedtuple import NamedTuple
from tunnelctl.proto.address import Address, parse_authority
from tunnelctl.proto.proxy_url import DEFAULT_PORTS, ProxyURL

DIRECT = None

Choice = ProxyURL | None  # None is DIRECT

# SOCKS without a number is version 4 (net/docs/proxy.md of Chromium); we speak 4a, so that the proxy resolves names.
_SCHEMES = {
    "PROXY": "http",
    "HTTP": "http",
    "HTTPS": "https",
    "SOCKS": "socks4a",
    "SOCKS4": "socks4a",
    "SOCKS4A": "socks4a",
    "SOCKS5": "socks5",
}


class Answer(NamedTuple):
    """The choices in their order, and the entries that mean nothing here. No choice at all: the result is no such list."""

    choices: tuple[Choice, ...]
    skipped: tuple[str, ...]


def url_of(target: Address) -> str:
    """The URL that represents a tunnel to a target.

    A browser passes https:// when it is going to send a CONNECT, with neither the path nor the port 443 (net/docs/proxy.md of
    Chromium, "Arguments passed to FindProxyForURL()"). So files that decide by the URL decide as in a browser.
    """
    return f"https://{target}/".replace(":443/", "/")


def parse_answer(text: str) -> Answer:
    """Parses `PROXY a:8080; SOCKS5 b; DIRECT`, in any case; empty means DIRECT. As in browsers, malformed entries are skipped."""
    entries = [entry for entry in (part.strip() for part in text.split(";")) if entry]
    choices: dict[Choice, None] = {}
    skipped = []
    for entry in entries:
        try:
            choices[_choice(entry)] = None
        except AddressError:
            skipped.append(entry)
    return Answer(tuple(choices) if entries else (DIRECT,), tuple(skipped))


def _choice(entry: str) -> Choice:
    kind, *rest = entry.split()
    if kind.upper() == "DIRECT" and not rest:
        return DIRECT
    scheme = _SCHEMES.get(kind.upper())
    if scheme is None or len(rest) != 1:
        raise AddressError("entry", "none of the known entries", "pac-entry")
    return ProxyURL(scheme, parse_authority(rest[0], DEFAULT_PORTS[scheme]), None, None)
