"""Proxy URLs, as given with `-x` and in the environment. They carry passwords: no error and no repr shows one.

A SOCKS proxy always receives the target's name, if it has one, and resolves it. curl's socks5:// resolves names locally and its
socks5h:// does not; here both mean the same, and so do socks4:// and socks4a://. socks:// is version 5, as in GNOME.
"""

from __future__ import annotations

from tunnelctl.errors import AddressError
from tunnelctl.namedtuple import NamedTuple
from tunnelctl.proto.address import Address, parse_authority, shown

# From RFC 9110 section 4.2; the port of SOCKS is IANA's.
DEFAULT_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks4a": 1080}

_OTHER_NAMES = {"socks5h": "socks5", "socks": "socks5", "socks4": "socks4a"}

_SCHEME_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789+-."
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


class ProxyURL(NamedTuple):
    """The URL of a proxy. user and password are decoded, None where the URL has none; str and repr mask the password.

    scheme: one of DEFAULT_PORTS
    """

    scheme: str
    address: Address
    user: str | None
    password: str | None

    def __str__(self) -> str:
        if self.user is None:
            return f"{self.scheme}://{self._authority}"
        password = "" if self.password is None else ":***"
        return f"{self.scheme}://{_encode(self.user)}{password}@{self._authority}"

    @property
    def _authority(self) -> str:
        return str(self.address).replace("%", "%25")  # RFC 6874; only a scope id has a %

    def __repr__(self) -> str:
        return f"ProxyURL({str(self)!r})"


def parse_proxy_url(text: str, nearest: bool = True) -> ProxyURL:
    """Parses [SCHEME://][USER[:PASSWORD]@]HOST[:PORT][/], with or without surrounding white space.

    nearest: this machine dials the proxy, so its address may have a scope id. Raises AddressError, whose text shows nothing that
    precedes an `@`.
    """
    text = text.strip()
    try:
        return _parse(text, nearest)
    except AddressError as error:
        from tunnelctl.proto.proxy_url_fault import explained  # needed on failure only

        raise explained(text, error) from None


def _parse(text: str, nearest: bool) -> ProxyURL:
    scheme, rest = _split_scheme(text)
    if scheme not in DEFAULT_PORTS:
        raise AddressError(f"proxy URL {shown(text)}", f"{scheme}:// is not supported", "scheme")
    authority = rest.removesuffix("/")
    if any(delimiter in authority for delimiter in "/?#"):
        cause = "it must not have a path, query or fragment"
        raise AddressError(f"proxy URL {shown(text)}", cause, "url-path", facts={"user": "@" in rest})
    userinfo, at, hostport = authority.rpartition("@")
    user, colon, password = userinfo.partition(":")
    try:
        hostport, scope = _split_scope(hostport) if nearest else (hostport, "")
        address = parse_authority(hostport, DEFAULT_PORTS[scheme])
        if scope:
            address = address._replace(host=f"{address.host}%{scope}")
    except AddressError as error:
        cause = f"{error.what} is {error.cause}" if error.what.startswith("port ") else error.cause
        raise AddressError(f"proxy URL {shown(text)}", cause, "url-part", inner=error) from None
    return ProxyURL(scheme, address, _decode(user) if at else None, _decode(password) if colon else None)


def parse_proxy_list(text: str, nearest: bool = True) -> tuple[ProxyURL, ...]:
    """Parses alternative proxies, separated by commas. Raises AddressError as above.

    A comma in a password would make two proxies of one. So no error shows a part that may precede an `@`, and a part that seems to
    continue user information needs a scheme.
    """
    parts = text.split(",")
    proxies = []
    for place, part in enumerate(parts):
        behind = parts[place + 1 :]
        try:
            proxies.append(parse_proxy_url(part, nearest))
        except AddressError:
            if not any("@" in other for other in behind):
                raise
            raise _ambiguous(text, f"part {place + 1} of {len(parts)} is not a proxy URL") from None
        if behind and "@" in behind[0] and "@" not in part and "://" not in behind[0]:
            raise _ambiguous(text, f"part {place + 2} of {len(parts)} has a user but no scheme")
    return tuple(proxies)


def _ambiguous(text: str, cause: str) -> AddressError:
    return AddressError(f"proxy URL {shown(text)}", cause, "comma")


def _split_scheme(text: str) -> tuple[str, str]:
    """Returns scheme and rest. Text before :// counts as a scheme only if it can be one; it may be part of a password."""
    scheme, separator, rest = text.partition("://")
    scheme = scheme.lower()
    if not separator or not scheme or scheme.strip(_SCHEME_CHARACTERS):
        return "http", text
    return _OTHER_NAMES.get(scheme, scheme), rest


def _split_scope(hostport: str) -> tuple[str, str]:
    """Returns [ADDRESS%SCOPE]:PORT without its scope id, and the scope id or "".

    RFC 6874 writes the % as %25 in a URL. curl accepts both: `%25` with something after it, or else `%`.
    """
    address, percent, rest = hostport.partition("%")
    scope, bracket, port = rest.partition("]")
    if not (percent and bracket and address[:1] == "["):
        return hostport, ""
    scope = scope[2:] if scope[:2] == "25" and len(scope) > 2 else scope
    if not scope or not _UNRESERVED.issuperset(scope):
        raise AddressError(f"scope id {shown(scope)}", "not the name or number of a network interface", "scope-id")
    return f"{address}]{port}", scope


def _decode(text: str) -> str:
    """Percent-decodes as UTF-8. Other octets survive as surrogate escapes. A % without two hex digits stays as it is."""
    head, *parts = text.split("%")
    octets = _octets(head)
    for part in parts:
        try:
            octets += bytes.fromhex(part[:2]) + _octets(part[2:]) if len(part[:2].strip()) == 2 else b"%" + _octets(part)
        except ValueError:
            octets += b"%" + _octets(part)
    return octets.decode("utf-8", "surrogateescape")


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _encode(text: str) -> str:
    """Percent-encodes all but the characters that are plainly harmless on a terminal and in a URL."""
    return "".join(c if c in _UNRESERVED else "".join(f"%{octet:02X}" for octet in _octets(c)) for c in text)
