"""Via (RFC 9110 section 7.6.3): the names that our proxies use there, and how a proxy recognises its own."""

PREFIX, NUMBER_BYTES = "tunnelctl-", 8


def name(number: bytes) -> str:
    """Returns a name for a program. number: NUMBER_BYTES random octets, which make it unique"""
    return f"{PREFIX}{number.hex()}"


def has_passed(name: str, via: tuple[str, ...]) -> bool:
    """Whether a request with these Via values has passed through the program of that name before."""
    return any(name in value.replace(",", " ").split() for value in via)
