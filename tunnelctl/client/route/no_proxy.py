"""NO_PROXY: the targets to reach without the environment's proxies.

The variable has no standard, and people copy its value from the settings of other programs. The forms that curl defines work as in
curl: a comma or blank separates entries; a name matches itself and its subdomains, with or without a leading dot; an address
matches in any spelling; and a network has CIDR form. The other forms are found in such lists too:

    `;` and `|` between entries, `*` for every target      Windows, Java
    `*.DOMAIN`, and :PORT after a host                     Go
    `*` and `?` anywhere: `10.*`, `*.corp.*`               cntlm, px, Java, Windows
    ADDRESS-ADDRESS                                        px
    `<local>`, for names without a dot                     Windows
    `169.254/16`, [NETWORK], ADDRESS/NETMASK               macOS, and people
    quotes around an entry or the list                     .env files, which keep them

No name is looked up: a name is compared with names, an address with addresses. An entry without a meaning is skipped, because the
variable is for other programs as well. `unusable_entries` lists those entries, for -v.
"""

from __future__ import annotations

from tunnelctl.errors import AddressError
from tunnelctl.namedtuple import NamedTuple
from tunnelctl.proto.address import MAX_NAME, Address, is_ip, parse_host, parse_port, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from ipaddress import IPv4Address, IPv6Address

_SEPARATORS = str.maketrans(",;|", "   ")
_QUOTES = "\"'"
_WILDCARDS = frozenset("*?")
_HEX_DIGITS = "0123456789abcdef"
_IPV6_PATTERN = _HEX_DIGITS + ":.*?"
_PATTERN = "abcdefghijklmnopqrstuvwxyz0123456789-_.*?"


# Kinds of entries.
EVERYTHING, WITHOUT_DOT, DOMAIN, ADDRESS, PATTERN, NETWORK = "everything", "without-dot", "domain", "address", "pattern", "network"


class Entry(NamedTuple):
    """An entry in canonical form, for another notation. It has no character but those of names, addresses and patterns.

    text: a DOMAIN, which includes the names below it, an ADDRESS, a PATTERN or a NETWORK; "" for the other kinds
    port: 0 is every port
    """

    kind: str
    text: str = ""
    port: int = 0


def exempting_entry(target: Address, no_proxy: str) -> str:
    """The entry that exempts the target, or ""."""
    for entry in _split(no_proxy):
        # Networks are skipped for names: parsing one costs an import.
        if (is_ip(target.host) or not _is_network(entry)) and _matches(target, entry):
            return entry
    return ""


def unusable_entries(no_proxy: str) -> list[tuple[str, str]]:
    """The entries without a meaning, each in printable form and with the reason."""
    found = []
    for entry in _split(no_proxy):
        try:
            parse_entry(entry)
        except AddressError as error:
            found.append((_without_secrets(entry), error.cause))
    return found


def usable_entries(no_proxy: str) -> list[Entry]:
    """The entries with a meaning. A range of addresses becomes networks."""
    found = []
    for text in _split(no_proxy):
        try:
            parse_entry(text)
        except AddressError:
            continue
        found += _canonical(text)
    return found


def _canonical(text: str) -> list[Entry]:
    if text == "*":
        return [Entry(EVERYTHING)]
    if text[0] == "<":
        return [Entry(WITHOUT_DOT)]
    host, port = _split_port(text)
    if _is_network(host):
        from ipaddress import summarize_address_range

        first, last = _ends(host)
        return [Entry(NETWORK, str(network), port) for network in summarize_address_range(first, last)]
    domain = host.removeprefix("*.").lstrip(".")
    if not _WILDCARDS.isdisjoint(domain):
        return [Entry(PATTERN, _parse_pattern(host), port)]
    name = parse_host(domain)
    return [Entry(ADDRESS if is_ip(name) else DOMAIN, name, port)]


def _without_secrets(entry: str) -> str:
    """Masks the password in the URL of a proxy, which `;` or `|` may have cut in two."""
    if "://" in entry:
        return entry.partition("://")[0] + "://***"
    return "***" + entry[entry.rindex("@") :] if "@" in entry else entry


def parse_entry(entry: str) -> Callable[[Address], bool]:
    """Returns a function that tells whether a target matches. Raises AddressError for an entry without a meaning."""
    if entry == "*":
        return lambda target: True
    if entry[0] == "<":
        return _parse_word(entry)
    if "://" in entry:
        raise AddressError(f"entry {shown(entry)}", "a URL: an entry is a host, without a scheme", "no-proxy-entry")
    host, port = _split_port(entry)
    includes = _parse_network(host) if _is_network(host) else _parse_names(host)
    return lambda target: port in (0, target.port) and includes(target.host)


def _split(no_proxy: str) -> list[str]:
    return [entry for text in no_proxy.translate(_SEPARATORS).split() if (entry := text.strip(_QUOTES))]


def _matches(target: Address, entry: str) -> bool:
    try:
        return parse_entry(entry)(target)
    except AddressError:
        return False


def _parse_word(entry: str) -> Callable[[Address], bool]:
    if entry.lower() != "<local>":
        raise AddressError(
            f"entry {shown(entry)}", "<local> is the only word in angle brackets that is supported", "no-proxy-entry"
        )
    return lambda target: "." not in target.host and not is_ip(target.host)


def _split_port(entry: str) -> tuple[str, int]:
    """Host and port of an entry; 0 is every port. IPv6 may come without brackets, and then has no port."""
    host, colon, port = entry.rpartition(":")
    in_ipv6 = ":" in host and not ("]" in host and host.count("[") == host.count("]"))
    ipv6_pattern = port == "*" and not host.lower().strip(_HEX_DIGITS) and not host.isalpha()  # such as fd00:*, but not db:*
    if not colon or in_ipv6 or ipv6_pattern:
        return entry, 0
    try:
        return host, 0 if port == "*" else parse_port(port)
    except AddressError:  # for an entry, only the cause is shown, so it names the port
        raise AddressError(
            f"entry {shown(entry)}", f"port {shown(port)} is not a number from 1 to 65535", "no-proxy-entry"
        ) from None


def _parse_names(text: str) -> Callable[[str], bool]:
    """A domain, an address, or a pattern."""
    domain = text.removeprefix("*.").lstrip(".")
    if not _WILDCARDS.isdisjoint(domain):
        pattern = _parse_pattern(text)
        # 10.* means addresses: anybody can register a name like 10.example.
        numeric = pattern[0].isdigit() and not pattern.strip("0123456789.*?")
        return lambda host: (is_ip(host) or not numeric) and matches_pattern(host, pattern)
    same = parse_host(domain)
    below = f".{same}"
    return lambda host: host == same or (not is_ip(host) and host.endswith(below))


def _parse_pattern(text: str) -> str:
    pattern = text.lower().strip("[]").removesuffix(".")
    characters = _IPV6_PATTERN if ":" in pattern else _PATTERN
    if len(pattern) > MAX_NAME or pattern.strip(characters):
        cause = "too long, or it contains a character that neither ASCII names nor addresses have"
        raise AddressError(f"pattern {shown(text)}", cause, "no-proxy-pattern")
    return f"*{pattern}" if pattern[0] == "." else pattern


def matches_pattern(text: str, pattern: str) -> bool:
    """Whether the pattern matches the whole text: `*` matches any number of characters, `?` matches one.

    Only the last `*` is ever tried again, so the time is bounded by the product of the lengths. (A regular expression made from the
    pattern could take exponential time.)
    """
    at = place = resume = 0
    star = -1
    while at < len(text):
        if place < len(pattern) and pattern[place] == "*":
            star, resume, place = place, at, place + 1
        elif place < len(pattern) and pattern[place] in ("?", text[at]):
            at, place = at + 1, place + 1
        elif star >= 0:
            resume += 1
            at, place = resume, star + 1
        else:
            return False
    return not pattern[place:].strip("*")


def _is_network(text: str) -> bool:
    """Whether the text is meant as a network or an address range. Host names have hyphens too, but not after an address."""
    first, dash, _ = text.partition("-")
    return "/" in text or bool(dash and (":" in first or (first.count(".") == 3 and first.replace(".", "").isdigit())))


def _parse_network(text: str) -> Callable[[str], bool]:
    from ipaddress import ip_address

    first, last = _ends(text)

    def includes(host: str) -> bool:
        address: IPv4Address | IPv6Address | None = ip_address(host) if is_ip(host) else None
        return address is not None and address.version == first.version and int(first) <= int(address) <= int(last)

    return includes


def _ends(text: str) -> tuple[IPv4Address | IPv6Address, IPv4Address | IPv6Address]:
    """The first and the last address of a network or a range, of one family and in order. Raises AddressError."""
    from ipaddress import ip_address, ip_network

    try:
        if "/" in text:
            network = ip_network(_complete(_without_brackets(text)), strict=False)
            return network[0], network[-1]
        first, last = (ip_address(_without_brackets(end)) for end in text.split("-"))
        if first.version == last.version and int(first) <= int(last):
            return first, last
    except ValueError:
        pass
    cause = "neither a network ADDRESS/BITS nor a range of addresses FIRST-LAST"
    raise AddressError(f"network {shown(text)}", cause, "no-proxy-network")


def _without_brackets(text: str) -> str:
    """Removes the brackets of [ADDRESS/BITS], [ADDRESS]/BITS and [ADDRESS]."""
    if text[:1] == "[" and text.count("]") == 1 and (text[-1] == "]" or "]/" in text):
        return text[1:].replace("]", "")
    return text


def _complete(text: str) -> str:
    """Completes an IPv4 network: macOS writes 169.254/16 for 169.254.0.0/16."""
    address, slash, bits = text.partition("/")
    return text if ":" in address else address + ".0" * (3 - address.count(".")) + slash + bits
