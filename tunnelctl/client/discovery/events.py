"""Events of `check` without a target, in the order in which it reports them."""

from __future__ import annotations

from tunnelctl.events import Event


class Named(Event):
    """A setting of this machine that names a proxy, or is about proxies.

    kind: `proxy`; `exempt` (targets to reach without one); `pac` (the URL of a PAC file); `wpad` (a name that WPAD would look up,
        or a setting that switches it on); or `program` (one that reaches the targets in a way of its own)
    tool: the program that obeys the setting; `environment` for a variable of this process
    key: the name of the setting
    place: its file, or the program that printed it; empty for a variable
    line_number: that in the file; 0 if there is none
    scope: what it is limited to, such as a host; empty if it is for everything
    value: the alternative proxies, or what else the kind says; those of a chain are joined by `, then `; passwords are masked, and
        a value that cannot be parsed is left out
    """

    kind: str
    tool: str
    key: str
    place: str
    line_number: int
    scope: str
    value: list[str]


class Unread(Event):
    """A file or a program that may name a proxy, and cannot be read; with --wpad also a name that cannot be looked up.

    tool: the program that it is for; `WPAD` for the names that --wpad looks up
    place: the file, the command or the name
    cause: why nothing comes of it
    """

    tool: str
    place: str
    cause: str


class Script(Event):
    """A PAC file was asked for the first target.

    url: of the file
    target: host and port
    proxies: what it names, in order; `direct` for none
    """

    url: str
    target: str
    proxies: list[str]


class Trying(Event):
    """All settings are known, and each proxy is tried now.

    targets: what each is asked for
    proxies: the distinct proxies; those of a chain are joined by `, then `
    seconds: the time limit for each attempt
    """

    targets: list[str]
    proxies: list[str]
    seconds: float


class Trial(Event):
    """A proxy was asked for a target. As all proxies are tried at once, the trials of several ones are mixed.

    number: of the proxy; 0 for none
    target: host and port
    ok: whether the tunnel was opened
    seconds: how long that took
    cause: why there is no tunnel; or empty
    status: of the proxy's refusal; left out if there was none
    """

    number: int
    target: str
    ok: bool
    seconds: float
    cause: str
    status: int | None = None


class Proxy(Event):
    """The result for a proxy. Its trials precede it.

    number: of the proxy, from 1; 0 for the path without a proxy
    proxy: its URL, or the URLs of the chain, nearest first; empty without a proxy
    named_by: the settings that name it
    selected: whether `connect` would use it
    ok: whether it opened a tunnel to the first target
    login: `none` (not required), `accepted`, `refused`, `required` (none was given, or none that can be used), or `unknown`
    schemes: the kinds of login that it offered
    tls: whether the first target showed a certificate of its own: `untouched`, `intercepted`, `private` (the issuer is not
        publicly trusted, and there is nothing to compare with), `none` (no TLS came), or `unknown` (not tried)
    issuer: of the certificate; or empty
    """

    number: int
    proxy: list[str]
    named_by: list[str]
    selected: bool
    ok: bool
    login: str
    schemes: list[str]
    tls: str
    issuer: str


class Outcome(Event):
    """The last object.

    ok: whether something works; false after a signal
    exit_status: the exit status
    working: the proxies that opened a tunnel to the first target; an empty text for the path without one
    """

    ok: bool
    exit_status: int
    working: list[str]


DISCOVERY = (Named, Unread, Script, Trying, Trial, Proxy, Outcome)
