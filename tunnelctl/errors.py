"""The one exception tree. Each leaf knows its exit status; the text is built from fields, so prose and JSON agree.

    TunnelctlError
    ├── UsageProblem          2   a wrong command line
    │   └── AddressError      2   a host, port, URL or rule that cannot be one (a server answers 400 to it)
    ├── SettingsError        78   a file that we were told to read
    ├── NameNotFound         68   a host name cannot be resolved
    ├── Refused              69   the proxy answered, and the answer is no
    ├── AuthenticationFailed 77   407, or no usable credentials
    ├── TLSFailed            77   a certificate, or TLS itself
    │   ├── SpeaksTLS        77   a proxy does, and its URL says that it does not
    │   └── NotTLS           77   the peer does not, and it was to
    ├── ListenError          71   a local address cannot be bound
    ├── TunnelBroken         74   an established tunnel, or stdio, failed
    ├── Unreachable          75   no connection
    │   └── TimedOut         75   a deadline struck; `what` names the phase
    │       └── Unanswered   75   while a proxy that was reached had not answered
    ├── MalformedAnswer      76   the peer does not speak HTTP, or speaks it wrongly
    │   └── NoAnswer         76   it closed without a response
    └── CannotRun           126   the command of `run` cannot be executed
        └── CommandNotFound 127   it does not exist

A fault of our own is no member of this tree: it stays an ordinary Python exception and ends with status 70.
"""

from tunnelctl.status import ExitStatus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class TunnelctlError(Exception):
    """A failure that has one line for the user, `tunnelctl: <what>: <cause>`, and perhaps a hint, which only `cli` has words for.

    what:   what failed, naming proxy and target as far as they are known, in lower case without a full stop
    cause:  why; text from a peer is in it as received, and whoever prints it escapes it (see cli.render.console)
    code:   which fault of its class it is; class and code are the key to cli.spec.messages
    option: the field of the options record that is at fault, or ""; the line begins with the name of its flag
    inner:  the error that this one reports for a larger thing; its hint fits here too
    facts:  what the hint names or depends on; never printed otherwise
    detail: fields for --json; values are str, int or None, never secrets
    hop: which proxy of the chain it concerns, counted from 0; None: the target, or no proxy
    proxy: the address of that proxy; or ""
    may_speak_tls: that proxy failed like one that speaks TLS and receives plain text; another connection would tell
    """

    exit_status = ExitStatus.FAULT

    def __init__(
        self,
        what: str,
        cause: str,
        code: str,
        *,
        option: str = "",
        inner: "TunnelctlError | None" = None,
        facts: "Mapping[str, object] | None" = None,
        detail: "Mapping[str, str | int | None] | None" = None,
    ) -> None:
        super().__init__(what, cause)
        self.what = what
        self.cause = cause
        self.code = code
        self.option = option
        self.inner = inner
        self.facts = facts or {}
        self.detail = detail or {}
        self.hop: int | None = None
        self.proxy = ""
        self.may_speak_tls = False

    def within(self, what: str, **facts: object) -> "TunnelctlError":
        """Returns this error as that of a larger thing, named by `what`, with more facts for the hint."""
        wider = type(self)(what, self.cause, self.code)
        wider.__dict__.update({**self.__dict__, "what": what, "facts": {**self.facts, **facts}})
        return wider

    def __str__(self) -> str:
        return f"{' '.join(filter(None, (self.option, self.what)))}: {self.cause}"


class UsageProblem(TunnelctlError):
    """A wrong command line."""

    exit_status = ExitStatus.USAGE


class AddressError(UsageProblem):
    """A host, port, URL or rule that cannot be one."""


class SettingsError(TunnelctlError):
    """A file that we were told to read is missing, unreadable or wrong; `what` names file and line."""

    exit_status = ExitStatus.SETTINGS


class NameNotFound(TunnelctlError):
    """The name service knows no address of a host."""

    exit_status = ExitStatus.NAME_NOT_FOUND


class Refused(TunnelctlError):
    """The proxy answered, and the answer is no; detail has `code`."""

    exit_status = ExitStatus.REFUSED


class AuthenticationFailed(TunnelctlError):
    """407, or credentials that cannot be used.

    sent: whether a login was in the request that was refused; offered: the schemes that the proxy then named
    """

    exit_status = ExitStatus.AUTHENTICATION
    sent = False
    offered: tuple[str, ...] = ()


class TLSFailed(TunnelctlError):
    """The two ends of a TLS connection do not agree: on a certificate, mostly."""

    exit_status = ExitStatus.AUTHENTICATION


class SpeaksTLS(TLSFailed):
    """A proxy speaks TLS, but its URL says that it does not."""


class NotTLS(TLSFailed):
    """The peer answered a ClientHello with something else than TLS."""


class ListenError(TunnelctlError):
    """A local address cannot be bound."""

    exit_status = ExitStatus.CANNOT_LISTEN


class TunnelBroken(TunnelctlError):
    """An established tunnel, or one end of stdio, failed before both directions had ended."""

    exit_status = ExitStatus.BROKEN


class Unreachable(TunnelctlError):
    """No connection could be made."""

    exit_status = ExitStatus.UNREACHABLE


class TimedOut(Unreachable):
    """A deadline struck; `what` names the phase."""


class Unanswered(TimedOut):
    """A proxy was reached, and had not answered when the time was up: it hangs, or the target does."""


class MalformedAnswer(TunnelctlError):
    """The peer does not speak HTTP, or speaks it wrongly."""

    exit_status = ExitStatus.MALFORMED


class NoAnswer(MalformedAnswer):
    """The peer closed without a response: a load balancer in front of a proxy that is down does that."""


class CannotRun(TunnelctlError):
    """The command of `run` cannot be executed."""

    exit_status = ExitStatus.CANNOT_RUN


class CommandNotFound(CannotRun):
    """The command of `run` does not exist."""

    exit_status = ExitStatus.COMMAND_NOT_FOUND


def reason(error: OSError) -> str:
    """Returns the reason of a system error, in the wording and the case of our messages."""
    return (error.strerror or str(error)).lower()
