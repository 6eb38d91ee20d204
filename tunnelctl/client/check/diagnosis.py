"""Causes of failures that people meet, and what to do about them, recognised from the proxy's responses.

Pure functions: `check` itself sends the further probes that some causes require.
"""

import re
from typing import NamedTuple

from tunnelctl.client.auth.exchange import one_of
from tunnelctl.errors import AuthenticationFailed, SpeaksTLS, TunnelctlError
from tunnelctl.proto.address import Address
from tunnelctl.proto.http1.connect_client import LOOKS_LIKE_SOCKS5, WITHOUT_TLS
from tunnelctl.proto.socks.client import LOOKS_LIKE_HTTP
from tunnelctl.status import ExitStatus


class Diagnosis(NamedTuple):
    """A cause: a name for scripts, a sentence, and a next step or ""."""

    name: str
    text: str
    hint: str


# Every name, and what it means; for the manual.
FINDINGS = {
    "login-wanted": "the proxy requires a login, and was sent none: none was given, or it cannot be used",
    "login-refused": "the proxy did not accept the login",
    "login-failed": "the login could not be done: a package or a ticket is missing, or the connection did not last; "
    "or a SOCKS proxy did not accept it",
    "refused": "the proxy refuses the target",
    "port-refused": "the proxy refuses this port of the target, and lets 443 pass",
    "captive-portal": "a page for browsers comes in place of the proxy's answer, or out of the tunnel",
    "tls-wanted": "the URL of the proxy says http://, and it speaks TLS there",
    "no-tls": "the URL of the proxy says https://, and it speaks HTTP in the clear there",
    "other-protocol": "the URL of the proxy says http://, and it speaks SOCKS there, or the reverse",
    "not-a-proxy": "what answers does not speak the protocol of a proxy",
    "not-trusted": "TLS failed, mostly for a certificate",
    "name-not-found": "a name has no address",
    "unreachable": "no connection, or no answer in time",
    "no-proxy": "NO_PROXY has this target, so no proxy was asked, and it cannot be reached without one",
    "unused-proxy": "only http_proxy names a proxy, which is not looked at, so none was asked, and the target cannot be reached "
    "without one",
    "answers-everything": "the proxy opens a tunnel to a name that cannot exist, so its 200 says nothing",
    "target-left": "the tunnel was ended or broken as soon as it stood",
    "idle-cut": "a silent tunnel was cut off",
    "never-silent": "the target goes on sending, so silence could not be tested",
    "ipv6-broken": "the proxy has IPv6 addresses that cannot be reached from here, and others that can",
    "intercepted": "somebody in the middle has replaced the certificate of the target",
    "unexpected-certificate": "the certificate is not the one of --expect",
    "private-issuer": "the issuer of the certificate is not publicly known, and nothing is there to compare it with",
    "failed": "anything else",
}

# By exit status, where nothing more exact is known.
_KINDS = {
    ExitStatus.NAME_NOT_FOUND: "name-not-found",
    ExitStatus.REFUSED: "refused",
    ExitStatus.UNREACHABLE: "unreachable",
    ExitStatus.MALFORMED: "not-a-proxy",
    ExitStatus.AUTHENTICATION: "not-trusted",
}

# The hints for a response in a recognised protocol, with the URL scheme of such a proxy.
RECOGNISED = {LOOKS_LIKE_SOCKS5: "socks5", LOOKS_LIKE_HTTP: "http"}

PORTAL = "log in to the network with a browser, and try again"
_REDIRECTIONS = (301, 302, 303, 307, 308, 511)  # 511 is for captive portals (RFC 6585 section 6)
_PAGE = re.compile(rb"\s*(<!doctype html|<html|<head|HTTP/1\.[01] )", re.IGNORECASE)


def failure(error: TunnelctlError) -> Diagnosis:
    """The finding for an error of `connect` as it is."""
    if isinstance(error, AuthenticationFailed):  # before the request, or between the legs, or by SOCKS
        return Diagnosis("login-failed", str(error), error.hint)
    return Diagnosis(_KINDS.get(error.status, "failed"), str(error), error.hint)


def login(request: bytes, answer: bytes, error: TunnelctlError) -> Diagnosis:
    """The finding for a proxy that requires a login. The hint of `connect` takes into account what the user has given."""
    if b"\nproxy-authorization:" in request.lower():
        return Diagnosis("login-refused", "the proxy did not accept the login", error.hint)
    offered = re.findall(rb"(?im)^(?:proxy|www)-authenticate:[ \t]*([!-~]+)", answer)
    schemes = one_of(list(dict.fromkeys(scheme.decode("ascii").rstrip(",") for scheme in offered))) or "no scheme named"
    return Diagnosis("login-wanted", f"the proxy requires a login ({schemes})", error.hint)


def tls_wanted(error: SpeaksTLS) -> Diagnosis:
    """The finding for a proxy that speaks TLS, anywhere in a chain: the error begins with its name."""
    return Diagnosis("tls-wanted", f"{error.what.partition(',')[0]} speaks TLS on that port", error.hint)


def no_tls(proxy: Address) -> Diagnosis:
    """The finding for a proxy that does not speak TLS, although its URL says so."""
    return Diagnosis("no-tls", f"proxy {proxy} does not speak TLS on that port", WITHOUT_TLS.format(peer=proxy))


def other_protocol(proxy: Address, protocol: str) -> Diagnosis:
    """The finding for a proxy that speaks SOCKS where the URL says HTTP, or the reverse."""
    name = "HTTP" if protocol == "http" else "SOCKS"
    return Diagnosis("other-protocol", f"proxy {proxy} speaks {name} on that port", f"its URL is {protocol}://{proxy}")


def portal(answer: bytes) -> Diagnosis | None:
    """The finding for a login page in place of a proxy: it redirects a browser, and opens no tunnel."""
    code = answer.split(b" ", 2)[1:2]
    if code and code[0][:3].isdigit() and int(code[0][:3]) in _REDIRECTIONS:
        return Diagnosis(
            "captive-portal", "what answers is no proxy but sends a browser to another page: a captive portal?", PORTAL
        )
    return None


def greeting_of_a_portal(said: bytes) -> Diagnosis | None:
    """The same for a portal that opens the tunnel and then sends its page through it."""
    if _PAGE.match(said):
        return Diagnosis("captive-portal", "a web page comes out of the tunnel, unasked: a captive portal?", PORTAL)
    return None
