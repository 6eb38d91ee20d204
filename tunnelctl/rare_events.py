"""Events of `connect` that a plain one does not report, so that it need not load them."""

from __future__ import annotations

from tunnelctl.errors import TunnelctlError
from tunnelctl.events import Closed, Connected, Dial, Event, Lookup, Opened, Request, Response, Route, Warning


class OfConnection(Event):
    """Another event, in the life of one connection to `forward`: it is shown as that event, with the id of the connection."""

    connection: str
    event: Event


class Settings(Event):
    """A settings file was read.

    file: its path
    profile: the chosen one; empty if none was
    """

    file: str
    profile: str


class Error(Event):
    """The last object before an exit status that is not 0.

    exit_status: the exit status
    what: what failed
    cause: why
    hint: what can be done; or empty
    code: where a proxy refused, the status code that it answered, or the reply of SOCKS
    error: the type of RFC 9209 that it named; without a proxy, the type for what kept the target from being reached
    """

    exit_status: int
    what: str
    cause: str
    hint: str
    code: int | None = None
    error: str | None = None


class Ignored(Event):
    """An entry of no_proxy has no meaning, and is passed over.

    variable: which variable has it
    entry: the entry
    cause: why it has no meaning
    """

    variable: str
    entry: str
    cause: str


class Alert(Event):
    """With --pac: what the script says to people.

    text: the words of the script
    """

    text: str


class TLS(Event):
    """TLS is established with a proxy or the target. What comes from the certificate is empty if it was not verified; the pin
    is not.

    to: host and port
    role: `proxy` or `target`
    version: the version of TLS
    cipher: the cipher suite
    alpn: the protocol that ALPN chose; or empty
    subject: of the certificate
    issuer: of the certificate
    expires: the end of its validity
    pin: the pin of its key
    chain: the names from it up to the authority that vouches for it; empty also where Python does not tell
    """

    to: str
    role: str
    version: str
    cipher: str
    alpn: str
    subject: str
    issuer: str
    expires: str
    pin: str
    chain: tuple[str, ...]


class Retry(Event):
    """An attempt failed, and another one follows.

    attempt: its number, from 1 on
    delay: seconds until the next
    cause: why it failed
    """

    attempt: int
    delay: float
    cause: str


class Failover(Event):
    """These proxies could not be reached, and the next are asked.

    cause: why they could not be reached
    proxies: the next; empty if no proxy is next
    """

    cause: str
    proxies: list[str]


class Skipped(Event):
    """With --via auto: a forward that leads to the same proxies did not open the tunnel, and is done without.

    cause: why it did not
    """

    cause: str


class Progress(Event):
    """With --progress, twice a second: the bytes of all tunnels up to now.

    connections: how many are open
    seconds: since the first of these events would have been due
    sent: bytes to the targets
    received: bytes from the targets
    sending: bytes to the targets in a second
    receiving: bytes from the targets in a second
    """

    connections: int
    seconds: float
    sent: int
    received: int
    sending: float
    receiving: float


def refusal_of(error: TunnelctlError) -> tuple[int | None, str | None]:
    """Returns the keys `code` and `error` for an error."""
    code, kind = error.detail.get("code"), error.detail.get("error")
    return code if isinstance(code, int) else None, kind if isinstance(kind, str) else None


CONNECT = (
    Ignored, Alert, Route, Lookup, Dial, Connected, TLS, Request, Response, Retry, Failover, Skipped, Opened, Progress, Closed,
)  # fmt: skip
EVERYWHERE = (Settings, Warning, Error)
