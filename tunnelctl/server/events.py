"""Events of `serve`. Those of a tunnel are also the records of the access log, which `server.observe.access_log` writes."""

from __future__ import annotations

from tunnelctl.events import Event
from tunnelctl.stream.events import Admin, Drain, Reloaded, Stopped


class Listening(Event):
    """An address accepts connections.

    address: address and port, or unix:PATH
    """

    address: str


class Serving(Event):
    """After the last of those: what is served. A text is empty where it does not apply.

    allow: the targets of the allow rules; none means port 443 of public addresses
    deny: the targets of the deny rules
    report: the targets of the report rules
    policy: the policy file
    reach: where clients can come from: `network`, `machine` or `socket`
    personal: whether each allow rule names its clients
    networks: the client networks that the allow rules admit; none if any network can use one of them
    users: the number of users; null without a users file
    client_ca: the file of the authority for client certificates
    proxies: the next proxies, with commas between those that are alternatives
    certificate: the validity of the server's certificate
    plain_http: whether requests for http:// URLs are served
    port_80: whether an allow rule covers port 80, where most of those lead
    workers: the number of processes
    access_log: its file
    url: the URL of this proxy for the settings of clients
    """

    allow: list[str]
    deny: list[str]
    report: list[str]
    policy: str
    reach: str
    personal: bool
    networks: list[str]
    users: int | None
    client_ca: str
    proxies: list[str]
    certificate: str
    plain_http: bool
    port_80: bool
    workers: int
    access_log: str
    url: str


# -- a tunnel -------------------------------------------------------------------------------------------------------------------


class Opened(Event):
    """A tunnel is established, or the target of a plain http request is connected: what follows of its URL is not recorded.

    connection: the id of the client's connection; unique over workers and restarts
    tunnel: the id of the request and its tunnel: that of the connection, a dot, and a number
    client: address and port of the client; unix:0 for one at a unix socket
    user: the name that logged in, or empty
    method: `CONNECT`, or that of a plain http request
    target: host and port that were asked for
    address: address and port that the tunnel was connected to
    local: address and port that it was connected from; empty if it leads on through another proxy
    status: the status code of the answer; 200 for a plain http request, too, whatever the target answers
    rule: what decided: `allow` and the rule, or what applied in its place
    reports: the `report` rules that would have refused it
    phases: an object: the seconds of each phase before the answer, of `tls`, `head`, `auth`, `dns` and `connect`
    """

    connection: str
    tunnel: str
    client: str
    user: str
    method: str
    target: str
    address: str
    local: str
    status: int
    rule: str
    reports: list[str]
    phases: dict[str, float]


class Refused(Event):
    """A request was refused.

    connection: the id of the client's connection
    tunnel: the id of the request
    client: address and port of the client; unix:0 for one at a unix socket
    user: the name that logged in, or empty
    method: that of the request; empty where it was not understood
    target: host and port that were asked for; empty where the request was not understood
    status: the status code of the answer; nobody is told that of a failed TLS handshake, nor 499, for a client that
        had left before
    rule: what decided: `deny` and the rule, or what applied in its place; empty where no rule was asked
    reports: the `report` rules that would have refused what was allowed
    error: the error type of RFC 9209 that the client was told, or empty
    details: the reason that the client was told, in words, or empty
    phase: where it was decided: the last of the phases
    phases: an object: the seconds of each phase before the answer, of `tls`, `head`, `auth`, `dns` and `connect`
    """

    connection: str
    tunnel: str
    client: str
    user: str
    method: str
    target: str
    status: int
    rule: str
    reports: list[str]
    error: str
    details: str
    phase: str
    phases: dict[str, float]


class Interim(Event):
    """In the access log only, with --log-interval or --log-bytes: a tunnel is still open.

    connection: the id of the client's connection
    tunnel: the id of the tunnel
    client: address and port of the client
    user: the name that logged in, or empty
    method: `CONNECT`, or that of a plain http request
    target: host and port that were asked for
    seconds: how long the tunnel is open
    sent: bytes from the client to the target so far
    received: bytes from the target to the client so far
    """

    connection: str
    tunnel: str
    client: str
    user: str
    method: str
    target: str
    seconds: float
    sent: int
    received: int


class Closed(Event):
    """A tunnel or a plain http request has ended. The last four keys are there where a rule asked what a tunnel carries.

    connection: the id of the client's connection
    tunnel: the id of the tunnel
    client: address and port of the client
    user: the name that logged in, or empty
    method: `CONNECT`, or that of a plain http request
    target: host and port that were asked for
    seconds: how long the tunnel was open
    sent: bytes from the client to the target
    received: bytes from the target to the client
    idle: seconds since the last byte, or the end of one side; null without --idle-timeout, and where there was no tunnel
    closed_by: `client` or `target`, which failed or else ended first; or `tunnelctl`: a limit, a rule, or a stop of serve
    cause: `eof` (both sides were done), `reset` or `gone` (reading or writing failed), `malformed` (a plain http request,
        or the response to it), `idle` or `half-closed` (a limit), `lifetime` (the limit of its age), `cut` (a rule on what
        it carries), or `drained` (serve was stopped)
    error: the system's name of what failed, such as ECONNRESET; else empty
    phase: `tunnel`, or `answer` where the client left before it had its answer
    seen: `TLS`, `TLS with ECH` (the extension was there), or what was there instead
    sni: the server name that the client named in the clear, in the last ClientHello that was judged; or empty
    cut_by: the rule that ended the tunnel, or empty
    reports: the `report` rules that would have ended it
    """

    connection: str
    tunnel: str
    client: str
    user: str
    method: str
    target: str
    seconds: float
    sent: int
    received: int
    idle: float | None
    closed_by: str
    cause: str
    error: str
    phase: str
    seen: str | None = None
    sni: str | None = None
    cut_by: str | None = None
    reports: list[str] | None = None


SERVE = (Listening, Serving, Admin, Opened, Refused, Closed, Reloaded, Drain, Stopped)
ACCESS_LOG = (Opened, Refused, Interim, Closed)
