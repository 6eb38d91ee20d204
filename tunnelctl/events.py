"""Events: what the program reports while it works, one typed record for each kind.

The layers below the command line call a `Trace` with a record, and know nothing of what prints it. From the records come the keys
of `--json`, its schema and the lists in the manual. The sentences of the console and the lines of the access log are checked
against them. A record's docstring is its entry in the manual: what happened, and then a line for each key. This module has the
events of each `connect`, and rare_events the others of `connect`; stream, client.forward, client.check, server and cli have modules
of this name for theirs.

One name for one thing, wherever it is seen:

    event                     opened: a tunnel is established · refused: there will be none · closed: it has ended
                              interim: it is still open (access log) · failed: a local connection was turned away (forward)
    time                      when it happened: seconds since 1970; in the access log also `timestamp`, the same in RFC 3339
    seconds                   how long something took or lasted
    connection, tunnel        their ids: of one transport from a client, and of one request and its tunnel in it
    client, target, user      who asks, for what, and the name that logged in
    via, proxies              the proxies of a tunnel; those of a route that is not open yet
    to, address               the host and port that are dialled, and the address that accepted
    sent, received            bytes from client to target, and from target to client
    closed_by                 client, target, or tunnelctl: who ended a tunnel
    cause                     why: in a word for a tunnel that has ended, in a sentence for what failed
    phase                     dns, connect, tls, proxy, auth, tunnel; at a server also head and answer
    error                     the type of RFC 9209; for a broken tunnel the system's name
    version, status, phrase, fields   of a request or response, in any version of HTTP
    exit_status               the status that the program ends with, or would end with

Text from a peer is passed raw, and whoever prints it escapes it. Secrets are masked before they get here, so that no renderer can
leak one. A key whose default is None is left out of --json while it is None.

A class is a plain one: it takes 6 µs to define, where a named tuple compiles its constructor in 50, and each start of `connect`
defines all of this module: 1 % of the instructions until it dials. An instance takes 1.4 µs to make.
"""

from __future__ import annotations

# That of collections.abc, which the interpreter has loaded from here; `collections` itself takes 0.8 ms.
from _collections_abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, dataclass_transform

    from tunnelctl.errors import TunnelctlError

    Fields = tuple[tuple[str, str], ...]  # as in proto.headers
else:

    def dataclass_transform(**_: object) -> object:
        return lambda cls: cls


@dataclass_transform(frozen_default=True)
class Event:
    """A record of something that happened. A subclass declares its keys, as a frozen dataclass would."""

    def __init__(self, *values: object, **named: object) -> None:
        keys = type(self).__annotations__
        if named or len(values) != len(keys):
            values = self._completed(values, named)
        self.__dict__.update(zip(keys, values, strict=True))

    def _completed(self, values: tuple[object, ...], named: Mapping[str, object]) -> tuple[object, ...]:
        """Returns a value for each key: that in its place, that by its name, or the default."""
        kind, keys = type(self), type(self).__annotations__
        given = {**dict(zip(keys, values, strict=False)), **named}
        if len(values) > len(keys) or given.keys() - keys or any(key not in given and not hasattr(kind, key) for key in keys):
            raise TypeError(f"{kind.__name__} has the keys {', '.join(keys)}")
        return tuple(given[key] if key in given else getattr(kind, key) for key in keys)

    def __setattr__(self, key: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} cannot be changed")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in self.facts().items())})"

    def facts(self) -> dict[str, Any]:
        """Returns the values by key, in the order of the declaration, without those that are absent."""
        values = {key: getattr(self, key) for key in type(self).__annotations__}
        return {key: value for key, value in values.items() if value is not None or not hasattr(type(self), key)}


Trace = Callable[[Event], None]


def silent(event: Event, /) -> None:
    """A trace that discards every event."""


def name_of(kind: type[Event]) -> str:
    """Returns the value of the key `event`."""
    return kind.__name__.lower()


SIDES = {"left": "client", "right": "target", "": "tunnelctl"}  # the values of `closed_by`, by the side of the relay


class Warning(Event):
    """Anything worth knowing.

    text: the warning
    """

    text: str


class Explained(Event):
    """Another event, with what its words depend on. It is shown as that event; only `cli` has the words, and the hint.

    error: the error that it reports, or None; about: what a hint without an error names
    """

    event: Event
    error: TunnelctlError | None
    about: Mapping[str, object]


def explained(event: Event, error: TunnelctlError) -> Explained:
    """Returns an event that reports an error."""
    return Explained(event, error, {})


class Route(Event):
    """The route is chosen.

    proxies: URLs of the proxies, in the order of the chain; empty without a proxy
    origin: where they were named, or why there are none
    """

    proxies: list[str]
    origin: str


class Lookup(Event):
    """A name is looked up.

    host: the name
    """

    host: str


class Dial(Event):
    """A connection is tried, to all addresses of the name.

    to: host and port
    addresses: those of the host
    """

    to: str
    addresses: list[str]


class Connected(Event):
    """One of the addresses has accepted.

    to: host and port
    address: address and port that accepted
    """

    to: str
    address: str


class Request(Event):
    """CONNECT was sent to a proxy.

    target: host and port that it was asked for: the target, or the next proxy
    version: such as HTTP/1.1
    fields: the header fields, each a list of name and value; secrets are masked
    """

    target: str
    version: str
    fields: Fields


class Response(Event):
    """The proxy answered.

    version: such as HTTP/1.1
    status: the status code
    phrase: the reason phrase; or empty
    fields: the header fields, each a list of name and value; secrets are masked
    """

    version: str
    status: int
    phrase: str
    fields: Fields


class Opened(Event):
    """The tunnel is established.

    target: host and port
    via: the proxies
    seconds: how long it took
    """

    target: str
    via: list[str]
    seconds: float


class Closed(Event):
    """The tunnel has ended.

    sent: bytes to the target
    received: bytes from the target
    seconds: how long the command took, from its start to the end of the tunnel
    closed_by: `client` for standard input and output, `target` for the far side, or `tunnelctl`
    cause: `eof` (both sides were done), `reset` or `gone` (reading or writing failed), `hangup`, `idle` or
        `half-closed` (a limit), or `signal`
    """

    sent: int
    received: int
    seconds: float
    closed_by: str
    cause: str
