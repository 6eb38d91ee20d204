"""Events of whatever accepts connections: `serve` and `forward` alike."""

from __future__ import annotations

from tunnelctl.events import Event


class Admin(Event):
    """With --admin: where its pages are.

    address: address and port, or unix:PATH
    pages: the paths of the most useful ones
    """

    address: str
    pages: list[str]


class Drain(Event):
    """No new connections are accepted; open ones may end.

    connections: how many are open
    tunnels: how many tunnels `serve` has on them; 0 for `forward`, which does not count them
    seconds: how long they may take
    """

    connections: int
    tunnels: int
    seconds: float


class Reloaded(Event):
    """SIGHUP came, and new tunnels go by what a file says now.

    what: of `serve` the `policy`, the `users file` or the `certificate`; of `forward` the `configuration`
    now: a summary of it
    """

    what: str
    now: str


class Stopped(Event):
    """The command has ended."""
