"""Names of services as ports, such as `ssh` for 22, on the command line only: on the wire and in rules a port is a number.

`connect` loads this module only for a name: with ssh's %p, a port is a number.
"""

from difflib import get_close_matches
from socket import getservbyname

from tunnelctl.errors import AddressError
from tunnelctl.proto.address import Address, parse_authority, shown, unbracketed

_NAME_CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-"  # RFC 6335 section 5.1

# For systems without /etc/services, such as minimal containers.
USUAL = {
    "ssh": 22, "smtp": 25, "http": 80, "imap": 143, "ldap": 389, "https": 443, "imaps": 993, "mysql": 3306, "postgresql": 5432,
    "git": 9418,
}  # fmt: skip


def parse_target(text: str) -> Address:
    """Parses HOST:PORT or [V6]:PORT as a user types it. Raises AddressError."""
    return parse_authority(numbered(unbracketed(text)))


def numbered(text: str) -> str:
    """Replaces the name of a service in PORT or HOST:PORT by its number. Keeps anything else. Raises AddressError."""
    host, colon, port = text.rpartition(":")
    is_name = port.strip("0123456789-") and not port.strip(_NAME_CHARACTERS)
    if not is_name or (":" in host and host[-1] != "]"):  # an IPv6 address without brackets is another error
        return text
    return f"{host}{colon}{port_of(port)}"


def port_of(name: str) -> int:
    """Returns the TCP port of a service, by the system's database (services(5)). Raises AddressError."""
    try:
        return getservbyname(name, "tcp")
    except OSError:
        if name in USUAL:
            return USUAL[name]
    near = " or ".join(get_close_matches(name, USUAL))
    raise AddressError(f"port {shown(name)}", "no service of that name", "service", facts={"near": near})
