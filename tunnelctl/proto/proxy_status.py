"""The Proxy-Status field (RFC 9209): how a proxy says why it refused."""

from __future__ import annotations

from tunnelctl.namedtuple import NamedTuple

MAX_STRING = 200  # characters of a string that we render: more is of no use to a reader, and may be of use to an attacker

Parameter = tuple[str, str | int]


class ProxyStatus(NamedTuple):
    """What one proxy on the way has to say; the texts are the peer's and untrusted. Empty where it said nothing.

    params: the other parameters, in order; integers as int, everything else as text
    """

    proxy: str
    error: str = ""
    details: str = ""
    params: tuple[Parameter, ...] = ()


def render(status: ProxyStatus) -> str:
    """One member of the list. `proxy` and `error` must be tokens of ours; `details` and text parameters may be hostile."""
    parts = [status.proxy]
    if status.error:
        parts.append(f"error={status.error}")
    if status.details:
        parts.append(f"details={quote(status.details)}")
    parts += [f"{key}={value if isinstance(value, int) else quote(value)}" for key, value in status.params]
    return "; ".join(parts)


def parse(value: str) -> tuple[ProxyStatus, ...]:
    """The members of a field value, nearest the target first. What is no such list gives (): the field is only advice."""
    from tunnelctl.proto.structured import MalformedField, parse_list

    try:
        items = parse_list(value)
    except MalformedField:
        return ()
    # Text that ought to be a token or a string may turn out to be a number: it is shown to a person, so str will do.
    return tuple(
        ProxyStatus(str(proxy), str(params.pop("error", "")), str(params.pop("details", "")), tuple(params.items()))
        for proxy, params in items
    )


def quote(text: str) -> str:
    """A quoted string that is valid in a structured field and in a challenge alike, whatever the text."""
    return '"' + printable(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def printable(text: str) -> str:
    """`text` cut to length, all but printable ASCII percent-encoded. For people: nobody is meant to decode it."""
    text = text.replace("…", "...")  # the mark of a cut made elsewhere
    cut = text if len(text) <= MAX_STRING else text[:MAX_STRING] + "..."
    octets = cut.encode("utf-8", "surrogatepass")
    return "".join(chr(octet) if 0x20 <= octet < 0x7F else f"%{octet:02X}" for octet in octets)
