"""The record of a message: the text of an error, and its hints."""

from __future__ import annotations

from tunnelctl.errors import TunnelctlError
from tunnelctl.namedtuple import NamedTuple


class When(NamedTuple):
    """A hint for a fact: it counts only if the fact is there, and true."""

    fact: str
    text: str


Hint = str | When


class Message(NamedTuple):
    """The errors of one class with one code. Subclasses of `kind` have the same ones, unless they are declared themselves."""

    kind: type[TunnelctlError]
    code: str
    texts: tuple[str, ...]
    hints: tuple[Hint, ...] = ()


def declare(kind: type[TunnelctlError], code: str, texts: str | tuple[str, ...], *hints: Hint) -> Message:
    """Declares a message. texts: the patterns of its line; hints: in the order in which they count"""
    return Message(kind, code, (texts,) if isinstance(texts, str) else texts, hints)


# Parts of several texts.
ASKED = "proxy {proxy}, asked for a tunnel to {stop}"
REFUSED = "proxy {proxy} refused a tunnel to {stop}"
LOGIN_REQUIRED = "proxy {proxy} requires a login for a tunnel to {stop}"

# Hints of several messages.
BACKSLASH = When("escape", r"in double quotes a backslash is written \\; in single quotes it stands for itself")
NEAR = "did you mean {near}?"
# Names the cost of going without TLS, because an on-path attacker can make a handshake fail.
WITHOUT_TLS = "if this proxy is meant to be used without TLS, its URL is http://{peer}; anyone on the path can then read the login"
LATER_CERTIFICATE = "--proxy-cert is for the first https:// proxy of a chain, and this is a later one: can it come first?"
# For a site whose ssh server answers on port 443 as well.
SSH_ON_443 = (
    "{ssh_host} has ssh on port 443 too, at {ssh_name}: `tunnelctl ssh-config --port-443 {ssh_host}`, with the flags "
    "for the proxy, prints the lines"
)
PORT = When("target", "is the port right?")
# `check` without a target reads the settings of this machine and of other programs.
FIND_PROXY = "run `tunnelctl check` to find a proxy, and give it with -x URL"
