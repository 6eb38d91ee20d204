"""NO_PROXY: which targets the environment's proxies are not for.

The variable has no standard. This is what curl does, with `*.` and ports as Go has them: a comma or blank separates entries; a
name matches itself and what lies below it, with or without a leading dot or `*.`; an address matches however it is spelled; a
network takes CIDR form; `*` is everything; and an entry with a port is for that port only.
"""

from tunnelctl.errors import AddressError
from tunnelctl.proto.address import Address, is_ip, parse_authority, parse_host


def exempting_entry(target: Address, no_proxy: str) -> str:
    """The entry that exempts the target, or ""."""
    for entry in no_proxy.replace(",", " ").split():
        if entry == "*" or _matches(target, entry):
            return entry
    return ""


def _matches(target: Address, entry: str) -> bool:
    if "/" in entry:
        return is_ip(target.host) and _in_network(target.host, entry)
    host, port = _split(entry.removeprefix("*").lstrip("."))
    if port not in (None, target.port):
        return False
    return target.host == host or (not is_ip(target.host) and target.host.endswith(f".{host}"))


def _split(entry: str) -> tuple[str, int | None]:
    """Host and port of an entry. One that cannot be parsed matches nothing: the variable belongs to other programs as well."""
    try:
        return parse_host(entry), None
    except AddressError:
        pass
    try:
        address = parse_authority(entry)
    except AddressError:
        return "", 0
    return address.host, address.port


def _in_network(host: str, entry: str) -> bool:
    from ipaddress import ip_address, ip_network

    try:
        return ip_address(host) in ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return False
