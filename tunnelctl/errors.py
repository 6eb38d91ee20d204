"""The one exception tree. Each leaf knows its exit status; the text is built from fields, so prose and JSON agree.

    TunnelctlError
    ├── UsageProblem          2   wrong use of the command
    │   └── AddressError      2   a host, port, URL or rule that cannot be one (a server answers 400 to it)
    ├── SettingsError        78   a file that we were told to read
    ├── NameNotFound         68   the name service has no address
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
    │   └── NoAnswer         76   it closed without a word
    └── CannotRun           126   the command of `run` cannot be executed
        └── CommandNotFound 127   it does not exist

A fault of our own is no member of this tree: it stays an ordinary Python exception and ends with status 70.
"""

from tunnelctl.status import ExitStatus


class TunnelctlError(Exception):
    """A failure that has one line for the user: `tunnelctl: <what>: <cause>`, then optionally `hint: …`.

    what:   what failed, naming proxy and target as far as they are known, in lower case without a full stop
    cause:  why; text from a peer stands here as it came, and whoever prints it escapes it (see cli.render.console)
    hint:   a next step for the user, or ""
    detail: fields for --json; values are str, int or None, never secrets
    hop: which proxy of the chain was being asked for a tunnel, counted from 0; None where none was
    proxy: the address of that proxy; or ""
    may_speak_tls: that proxy failed as one does that speaks TLS and is asked in the clear; a connection more would tell
    """

    status = ExitStatus.FAULT

    def __init__(self, what: str, cause: str, hint: str = "", **detail: str | int | None) -> None:
        super().__init__(what, cause)
        self.what = what
        self.cause = cause
        self.hint = hint
        self.detail = detail
        self.hop: int | None = None
        self.proxy = ""
        self.may_speak_tls = False

    def __str__(self) -> str:
        return f"{self.what}: {self.cause}"


class UsageProblem(TunnelctlError):
    """Wrong use of the command."""

    status = ExitStatus.USAGE


class AddressError(UsageProblem):
    """A host, port, URL or rule that cannot be one."""


class SettingsError(TunnelctlError):
    """A file that we were told to read is missing, unreadable or wrong; `what` names file and line."""

    status = ExitStatus.SETTINGS


class NameNotFound(TunnelctlError):
    """The name service has no address for a host."""

    status = ExitStatus.NAME_NOT_FOUND


class Refused(TunnelctlError):
    """The proxy answered, and the answer is no; detail has `code`."""

    status = ExitStatus.REFUSED


class AuthenticationFailed(TunnelctlError):
    """407, or credentials that cannot be used.

    sent: whether a login was in the request that was refused; offered: the schemes that the proxy then named
    """

    status = ExitStatus.AUTHENTICATION
    sent = False
    offered: tuple[str, ...] = ()


class TLSFailed(TunnelctlError):
    """The two ends of a TLS connection do not agree: on a certificate, mostly."""

    status = ExitStatus.AUTHENTICATION


class SpeaksTLS(TLSFailed):
    """A proxy speaks TLS, and is spoken to in the clear."""


class NotTLS(TLSFailed):
    """The peer answered a ClientHello with something else than TLS."""


class ListenError(TunnelctlError):
    """A local address cannot be bound."""

    status = ExitStatus.CANNOT_LISTEN


class TunnelBroken(TunnelctlError):
    """An established tunnel, or one end of stdio, failed before both directions had ended."""

    status = ExitStatus.BROKEN


class Unreachable(TunnelctlError):
    """No connection could be made."""

    status = ExitStatus.UNREACHABLE


class TimedOut(Unreachable):
    """A deadline struck; `what` names the phase."""


class Unanswered(TimedOut):
    """A proxy was reached, and had not answered when the time was up: it hangs, or the target does."""


class MalformedAnswer(TunnelctlError):
    """The peer does not speak HTTP, or speaks it wrongly."""

    status = ExitStatus.MALFORMED


class NoAnswer(MalformedAnswer):
    """The peer closed without a word: what stands in front of a proxy that is down does that."""


class CannotRun(TunnelctlError):
    """The command of `run` cannot be executed."""

    status = ExitStatus.CANNOT_RUN


class CommandNotFound(CannotRun):
    """The command of `run` does not exist."""

    status = ExitStatus.COMMAND_NOT_FOUND


def reason(error: OSError) -> str:
    """Why the system refused, in the words and the case of our messages."""
    return (error.strerror or str(error)).lower()
