"""The configuration of a running `forward`: options, routes and logins. SIGHUP replaces all of it, or nothing.

It is read as at the start: the command line with the settings file as it is now, the users file, the PAC file, certificates and
passwords from files. The environment cannot change while a program runs. New connections go by the new setup. Open tunnels go on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from math import inf
from typing import NamedTuple

from tunnelctl import events
from tunnelctl.client.forward.listeners import LocalListener, refuse_strangers
from tunnelctl.client.forward.options import ForwardOptions
from tunnelctl.client.loop_detector import refuse_own_ports
from tunnelctl.client.route.fingerprint import fingerprint
from tunnelctl.client.route.planner import RoutePlanner
from tunnelctl.control.directory import Published
from tunnelctl.errors import SettingsError
from tunnelctl.events import Trace
from tunnelctl.proto.refusal import Refusal
from tunnelctl.stream.relay import TimeLimits

# Verifies the user and the password from a client at an address: True if they are right. Returns a refusal, without verifying
# them, if too many logins are being checked, or too many from that address were wrong.
Check = Callable[[str, str, str], Awaitable[bool | Refusal]]

# What the command line and the files give: the options, and the check of the logins that a dynamic port requires.
Given = tuple[ForwardOptions, Check | None]

# The options that count at the start only, by their place.
_AT_START = {
    "": ("local", "dynamic", "name", "drain", "admin", "open_admin", "background"),
    "reach": ("keepalive", "connections"),
    "output": ("verbose", "quiet", "json", "progress"),
}


class Setup(NamedTuple):
    """One version. The planner is ready for use."""

    options: ForwardOptions
    planner: RoutePlanner
    check: Check | None

    @property
    def limits(self) -> TimeLimits:
        """Of a tunnel."""
        return TimeLimits(self.options.idle_timeout or inf)

    def __str__(self) -> str:
        """Summarises it for messages."""
        selection = self.planner.outlook(None)
        if self.options.reach.pac is not None and not self.options.reach.proxy:
            return "the proxies of the PAC file"
        return ", ".join(selection.proxies) or selection.origin


class SetupReader:
    """Reads further versions."""

    def __init__(
        self,
        read: Callable[[], Given],
        started: ForwardOptions,
        local_listeners: list[LocalListener],
        environ: Mapping[str, str],
        trace: Trace,
    ) -> None:
        """read: reads the settings file and the users file; started: the options that the program started with"""
        self._read, self._started, self._local_listeners = read, started, local_listeners
        self._environ, self._trace = environ, trace
        self._options = started
        self._readings = 0
        self.publish: Callable[[Published], None] = lambda told: None  # tells other programs what has changed

    def load(self) -> Setup:
        """Reads and checks everything. Blocks. Raises TunnelctlError."""
        options, check = self._read()
        if options.reach.ask_password:
            cause = "the password was typed at the start, and is not asked for again"
            raise SettingsError("", cause, "typed-password", option="ask_password")
        self._readings += 1
        planner = RoutePlanner(options.reach, self._environ, self._trace, pooled=True, reading=self._readings)
        planner.load(list_ignored=options.output.detailed, read_pac=True)
        refuse_own_ports(planner.outlook(None).chains, (local_listener.address for local_listener in self._local_listeners))
        refuse_strangers(self._local_listeners, check is not None, options.open_proxy)
        setup = Setup(options, planner, check)
        self.publish(self.published(setup))
        self._options = options
        return setup

    def published(self, setup: Setup) -> Published:
        """Returns what other programs may know."""
        dynamic = [one.address for one in self._local_listeners if one.target is None and not one.address.path]
        ports = () if setup.check is not None else tuple(map(str, dynamic))
        return Published(fingerprint(setup.options.reach, self._environ), ports)

    def warn(self, trace: Trace) -> None:
        """Warns of what has changed and takes effect only at the next start."""
        if changed := _changed(self._started, self._options):
            trace(events.Warning(f"what has changed in {', '.join(changed)} takes effect at the next start"))


def _changed(before: ForwardOptions, now: ForwardOptions) -> list[str]:
    """Returns the keys of the settings file whose change needs a new start."""
    found = []
    for place, names in _AT_START.items():
        one, other = (getattr(before, place), getattr(now, place)) if place else (before, now)
        found += [name for name in names if getattr(one, name) != getattr(other, name)]
    return found
