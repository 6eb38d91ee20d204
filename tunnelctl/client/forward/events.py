"""Events of `forward` and `run`, besides those of opening a tunnel."""

from __future__ import annotations

from tunnelctl.events import Event, Route
from tunnelctl.rare_events import Ignored, Progress
from tunnelctl.stream.events import Admin, Drain, Reloaded, Stopped


class Listening(Event):
    """A local port is open.

    address: its address and port
    target: where it leads; empty for a dynamic port
    via: the proxies, with commas between those that are alternatives; empty without a proxy, and with --pac
    origin: where they were named, or why there are none
    login: whether clients have to log in
    """

    address: str
    target: str
    via: list[str]
    origin: str
    login: bool


class Control(Event):
    """The control socket is open: `connect --via NAME` opens tunnels through it.

    name: the name of this forward
    address: the socket, as unix:PATH
    """

    name: str
    address: str


class Network(Event):
    """The network has changed: links, addresses or routes. A PAC file is asked anew.

    dropped: idle connections to proxies that no longer had a route; shared ones carry no new tunnels
    """

    dropped: int


class Opened(Event):
    """A local connection has its tunnel.

    connection: its id
    client: address and port of the local program
    target: host and port
    via: the proxies
    seconds: how long it took
    """

    connection: str
    client: str
    target: str
    via: list[str]
    seconds: float


class Failed(Event):
    """A local connection was turned away, or the server of a plain HTTP request has failed it. Printed even with -q.

    connection: its id
    client: address and port of the local program
    target: host and port; empty where it is not known
    code: where a proxy refused, the status code that it answered, or the reply of SOCKS; else null
    error: the type of RFC 9209 for it; else null
    exit_status: the exit status of `connect` in that case
    what: what failed
    cause: why
    hint: what can be done; or empty
    """

    connection: str
    client: str
    target: str
    code: int | None
    error: str | None
    exit_status: int
    what: str
    cause: str
    hint: str


class Closed(Event):
    """A tunnel has ended.

    connection: the id of its connection
    client: address and port of the local program
    target: host and port
    sent: bytes from the client to the target
    received: bytes from the target to the client
    seconds: how long the tunnel was open
    closed_by: `client`, `target` or `tunnelctl`
    cause: as with `connect`, `malformed` (a plain HTTP request, or the response to it), or `drained` (forward was stopped)
    """

    connection: str
    client: str
    target: str
    sent: int
    received: int
    seconds: float
    closed_by: str
    cause: str


FORWARD = (Ignored, Route, Listening, Control, Admin, Network, Opened, Failed, Closed, Progress, Reloaded, Drain, Stopped)
