"""Host names, IP literals, ports and authorities, parsed to one canonical form or refused.

Everything that is later compared, resolved, sent or logged passes through here. So two spellings of one host compare equal, and
no spelling means one thing here and another to getaddrinfo, which reads `2130706433`, `0x7f.1` and `0177.0.0.1` as 127.0.0.1 and
cuts a name at a NUL.

Every ssh connection runs this code: it uses str methods instead of patterns, and imports `ipaddress` (2 ms) and `idna` only when
needed.
"""

from __future__ import annotations

from tunnelctl.errors import AddressError
from tunnelctl.namedtuple import NamedTuple

MAX_NAME = 253  # RFC 1035 section 2.3.4: 255 octets on the wire, less the first length octet and the root
MAX_LABEL = 63
MAX_PORT = 65535
HTTP_PORT = 80  # of an http:// URL without a port

# RFC 1123 allows no underscore in host names, but service names and some real hosts contain one, and every resolver accepts it.
_NAME_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789-_."
_HEX_DIGITS = "0123456789abcdef"
_OCTETS = frozenset(map(str, range(256)))  # without leading zeros, which some parsers read as octal
_NO_URL = "it takes a host, not a URL"
_SHOWN = 80  # characters of a refused text that an error message repeats


class Address(NamedTuple):
    """A canonical host and a port from 1 to 65535; `str` gives the authority form, with IPv6 in brackets.

    host: a dotted quad, compressed lower-case IPv6 without brackets, or a lower-case name of A-labels without trailing dot. The
        IPv6 address of a proxy that this machine dials may end in a scope id: `fe80::1%eth0`
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def without_scope(host: str) -> str:
    """Returns the host without its scope id (RFC 4007), which has a meaning on this machine only and is never sent to a peer."""
    return host.partition("%")[0]


def is_ip(host: str) -> bool:
    """True if a canonical host is an IP address. In canonical form only a dotted quad consists of nothing but digits and dots."""
    return ":" in host or host.replace(".", "").isdigit()


def shown(text: str) -> str:
    """Quotes `text` for an error message: in ASCII, cut to length, with everything before an `@` masked."""
    _, at, rest = text.rpartition("@")
    rest = f"***@{rest}" if at else rest
    return ascii(rest) if len(rest) <= _SHOWN else ascii(rest[:_SHOWN]) + "..."


def parse_port(text: str) -> int:
    """Parses a port from 1 to 65535 in plain ASCII digits: no sign, blank or leading zero (int() accepts ' +٤٤٣')."""
    if text.isascii() and text.isdigit() and len(text) <= 5 and text[0] != "0" and int(text) <= MAX_PORT:
        return int(text)
    raise AddressError(f"port {shown(text)}", "not a number from 1 to 65535", "port")


def parse_authority(text: str, default_port: int | None = None) -> Address:
    """Parses HOST:PORT or [V6]:PORT. The port may be missing if there is a default for it."""
    if text[:1] == "[":
        bracketed, bracket, rest = text.partition("]")
        host = bracketed + bracket
        if rest and rest[0] != ":":
            raise AddressError(f"address {shown(text)}", "only :PORT can follow ]", "after-bracket")
        port = rest[1:] if rest else None
    else:
        host, colon, rest = text.partition(":")
        if ":" in rest or rest[:2] == "//":
            cause = _NO_URL if "://" in text else "an IPv6 address needs brackets: [ADDRESS]:PORT"
            raise AddressError(f"address {shown(text)}", cause, "colons")
        port = rest if colon else None
    if port:
        return Address(parse_host(host), parse_port(port))
    if port is not None or default_port is None:
        raise AddressError(f"address {shown(text)}", "the port is missing", "port-missing")
    return Address(parse_host(host), default_port)


def unbracketed(text: str) -> str:
    """Strips the brackets from `[NAME]` and `[NAME]:PORT`, which people write after ssh's -W '[%h]:%p'. Keeps anything else.

    For text that a user types. On the wire, brackets belong round an IPv6 address alone (RFC 3986 section 3.2.2).
    """
    name, bracket, rest = text[1:].partition("]")
    return name + rest if text[:1] == "[" and bracket and ":" not in name and rest[:1] in ("", ":") else text


def parse_host(text: str) -> str:
    """Returns the canonical form of a host: IPv4, IPv6 with or without brackets, or a name."""
    if text.isascii():
        name = text.lower()
        if ":" in name or name[:1] == "[":
            return _ipv6(name)
    else:
        name = _to_ascii(text)
    if name[-1:] == ".":
        name = name[:-1]  # one trailing dot marks the root: the same host
    if name.strip(_NAME_CHARACTERS) or not name or not _labels_fit(name):
        raise _name_error(text, name)
    if name[0].isdigit() and not _is_quad(name) and _is_number_like(name):
        raise AddressError(
            f"host {shown(text)}", "an IPv4 address must be four decimal numbers with dots, like 192.0.2.1", "numeric-host"
        )
    return name


def _labels_fit(name: str) -> bool:
    """True if name and labels are not too long, and no label is empty or starts with a hyphen (as an option of a command does)."""
    if name[0] in ".-" or name[-1] == "." or ".." in name or ".-" in name:
        return False
    return len(name) <= MAX_LABEL or (len(name) <= MAX_NAME and max(map(len, name.split("."))) <= MAX_LABEL)


def _is_quad(name: str) -> bool:
    parts = name.split(".")
    return len(parts) == 4 and _OCTETS.issuperset(parts)


def _is_number_like(name: str) -> bool:
    """True if inet_aton, and so getaddrinfo, could read the name as an address: it has decimal, octal or hex numbers only."""
    return all(part.isdigit() or (part[:2] == "0x" and not part[2:].strip(_HEX_DIGITS)) for part in name.split("."))


def _ipv6(name: str) -> str:
    if "://" in name:
        raise AddressError(f"host {shown(name)}", _NO_URL, "url-for-host")
    if name[0] == "[":
        if name[-1] != "]" or ":" not in name:
            raise AddressError(f"host {shown(name)}", "brackets are for IPv6 addresses only", "brackets")
        name = name[1:-1]
    if "%" in name:
        raise AddressError(
            f"host {shown(name)}", "it has a scope id (after %), which is meaningful on one machine only", "scope-id"
        )
    import ipaddress  # 2 ms, not needed for names and IPv4

    try:
        address = ipaddress.IPv6Address(name)
    except ValueError:
        raise AddressError(f"host {shown(name)}", "not an IPv6 address", "ipv6") from None
    # RFC 5952 section 5. str() of a mapped address differs between Python versions; logs should not.
    return str(address) if address.ipv4_mapped is None else f"::ffff:{address.ipv4_mapped}"


def _to_ascii(text: str) -> str:
    """Returns the A-labels of a non-ASCII name, mapped by UTS #46. Full-width digits become digits, and are checked as such."""
    import idna  # 10 ms, for the few names that need it

    if len(text) > MAX_NAME:  # before idna, whose work grows faster than the length of the text
        raise _name_error(text, text)
    try:
        labels = idna.uts46_remap(text, std3_rules=False, transitional=False).split(".")
        return ".".join(label if label.isascii() else idna.alabel(label).decode("ascii") for label in labels)
    except UnicodeError as error:  # the base class of idna's errors; their texts repeat the input
        cause = "not a valid international name"
        raise AddressError(f"host {shown(text)}", cause, "international-name") from error


def _name_error(text: str, name: str) -> AddressError:
    if not name:
        cause = "empty"
    elif "@" in name:
        cause = "a host must not have user information"
    elif len(name) > MAX_NAME:
        cause = f"longer than {MAX_NAME} characters"
    elif any(c.isspace() or not c.isprintable() for c in name):
        cause = "it contains a blank or a control character"
    elif name.strip(_NAME_CHARACTERS):
        cause = "it contains a character that no host name has"
    else:
        cause = f"labels have 1 to {MAX_LABEL} characters and do not start with a hyphen"
    return AddressError(f"host {shown(text)}", cause, "host")
