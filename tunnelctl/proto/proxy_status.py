"""The Proxy-Status field (RFC 9209), in which a proxy gives the reason for a refusal."""

from __future__ import annotations

from tunnelctl.namedtuple import NamedTuple
from tunnelctl.proto.headers import quoted

MAX_STRING = 200  # characters of a rendered string: more is of no use to a reader, and may be of use to an attacker

Parameter = tuple[str, str | int]


class ProxyStatus(NamedTuple):
    """The report of one proxy in the chain. The texts are the peer's and untrusted; a text that it did not send is empty.

    params: the other parameters, in order; integers as int, everything else as text
    """

    proxy: str
    error: str = ""
    details: str = ""
    params: tuple[Parameter, ...] = ()


def render(status: ProxyStatus) -> str:
    """Returns one member of the list. `proxy` and `error` must be tokens of ours; `details` and text parameters may be hostile."""
    parts = [status.proxy]
    if status.error:
        parts.append(f"error={status.error}")
    if status.details:
        parts.append(f"details={quote(status.details)}")
    parts += [f"{key}={value if isinstance(value, int) else quote(value)}" for key, value in status.params]
    return "; ".join(parts)


def parse(value: str) -> tuple[ProxyStatus, ...]:
    """Returns the members of a field value, nearest the target first; () for a malformed list, as the field is only advice."""
    from tunnelctl.proto.structured import MalformedField, parse_list

    try:
        items = parse_list(value)
    except MalformedField:
        return ()
    # A value that should be a token or a string may be a number. It is only shown to a person, so str suffices.
    return tuple(
        ProxyStatus(str(proxy), str(params.pop("error", "")), str(params.pop("details", "")), tuple(params.items()))
        for proxy, params in items
    )


def quote(text: str) -> str:
    """Returns a quoted string that is valid both in a structured field and in a challenge, whatever the text."""
    return quoted(printable(text))


def printable(text: str) -> str:
    """Cuts `text` to length and percent-encodes all but printable ASCII. For people: the result is not meant to be decoded."""
    text = text.replace("…", "...")  # the mark of a cut made elsewhere
    cut = text if len(text) <= MAX_STRING else text[:MAX_STRING] + "..."
    octets = cut.encode("utf-8", "surrogatepass")
    return "".join(chr(octet) if 0x20 <= octet < 0x7F else f"%{octet:02X}" for octet in octets)
