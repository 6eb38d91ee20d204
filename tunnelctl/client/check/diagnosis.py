"""Diagnosis: recognises common causes of failures from the proxy's responses, and says what to do about them.

Pure functions: `check` itself sends the further probes that some causes require.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from tunnelctl.client.auth.exchange import one_of
from tunnelctl.client.upstream import PROTOCOLS
from tunnelctl.errors import AuthenticationFailed, SpeaksTLS, TunnelctlError
from tunnelctl.proto.address import Address
from tunnelctl.status import ExitStatus


class Diagnosis(NamedTuple):
    """A cause.

    name: for scripts; text: a sentence; facts: what the hint names or depends on; error: the one whose hint it is, or None
    """

    name: str
    text: str
    facts: Mapping[str, object] = MappingProxyType({})
    error: TunnelctlError | None = None


# Every name, and what it means; for the manual.
FINDINGS = {
    "login-wanted": "the proxy requires a login, but received none: no login was given, or it cannot be used",
    "login-refused": "the proxy did not accept the login",
    "login-failed": "the login could not be completed: a package or a ticket is missing, the connection was closed, or a SOCKS "
    "proxy did not accept the login",
    "refused": "the proxy refuses the target",
    "port-refused": "the proxy refuses this port of the target, but allows 443",
    "captive-portal": "a web page arrives in place of the proxy's response, or through the tunnel",
    "tls-wanted": "the URL of the proxy says http://, but that port expects TLS",
    "no-tls": "the URL of the proxy says https://, but that port expects HTTP without TLS",
    "other-protocol": "the URL of the proxy says http://, but that port expects SOCKS, or the reverse",
    "not-a-proxy": "the server there does not speak the protocol of a proxy",
    "not-trusted": "TLS failed, mostly because of a certificate",
    "name-not-found": "a name cannot be resolved",
    "unreachable": "no connection, or no response in time",
    "no-proxy": "NO_PROXY matches this target, so no proxy was used, and the target cannot be reached directly",
    "unused-proxy": "only http_proxy names a proxy; tunnelctl ignores that variable, and the target cannot be reached directly",
    "answers-everything": "the proxy opens a tunnel to a name that cannot exist, so status 200 from it proves nothing",
    "target-left": "the tunnel ended or broke as soon as it was established",
    "idle-cut": "an idle tunnel was cut off",
    "never-silent": "the target keeps sending, so silence could not be tested",
    "ipv6-broken": "the proxy has IPv6 addresses that cannot be reached from here, and others that can",
    "intercepted": "the certificate of the target was replaced on the path",
    "unexpected-certificate": "the certificate is not the expected one",
    "private-issuer": "the issuer of the certificate is not publicly trusted, and there is no other certificate to compare with",
    "failed": "anything else",
    # Without a target.
    "dead-setting": "a setting names a proxy that cannot be reached",
    "setting-malformed": "the value of a setting is not the URL of a proxy",
    "proxies-differ": "two programs have different proxies",
    "cases-differ": "a variable has different values in lower and in upper case",
    "only-http-proxy": "http_proxy is set, but https_proxy is not",
    "ignored-by-git": "git ignores this setting",
    "port-missing": "a URL has no port, and programs disagree about which one that means",
    "pac-unusable": "a PAC file cannot be used",
    "certificate-unknown": "the issuer of the certificate seen through a proxy is not publicly trusted, and there is no other "
    "certificate to compare with",
    "no-proxy-named": "no setting names a proxy",
    "unknown-to-tunnelctl": "a proxy works, but no setting names it to tunnelctl",
}

# By exit status, where nothing more exact is known.
_KINDS = {
    ExitStatus.NAME_NOT_FOUND: "name-not-found",
    ExitStatus.REFUSED: "refused",
    ExitStatus.UNREACHABLE: "unreachable",
    ExitStatus.MALFORMED: "not-a-proxy",
    ExitStatus.AUTHENTICATION: "not-trusted",
}

# The codes for a response in a recognised protocol, with the URL scheme of such a proxy.
RECOGNISED = {"socks5-proxy": "socks5", "http-proxy": "http"}

_REDIRECTIONS = (301, 302, 303, 307, 308, 511)  # 511 is for captive portals (RFC 6585 section 6)
_PAGE = re.compile(rb"\s*(<!doctype html|<html|<head|HTTP/1\.[01] )", re.IGNORECASE)


def failure(error: TunnelctlError) -> Diagnosis:
    """The finding for an error of `connect` as it is."""
    if isinstance(error, AuthenticationFailed):  # before the request, or between the legs, or by SOCKS
        return Diagnosis("login-failed", str(error), error=error)
    return Diagnosis(_KINDS.get(error.exit_status, "failed"), str(error), error=error)


def login(error: AuthenticationFailed) -> Diagnosis:
    """The finding for a proxy that requires a login. The hint of `connect` takes into account what the user has given."""
    if error.sent:
        return Diagnosis("login-refused", "the proxy did not accept the login", error=error)
    schemes = one_of(error.offered) or "no scheme named"
    return Diagnosis("login-wanted", f"the proxy requires a login ({schemes})", error=error)


def tls_wanted(error: SpeaksTLS) -> Diagnosis:
    """The finding for a proxy that speaks TLS, anywhere in a chain."""
    return Diagnosis("tls-wanted", f"proxy {error.proxy} speaks TLS on that port", error=error)


def no_tls(proxy: Address) -> Diagnosis:
    """The finding for a proxy that does not speak TLS, although its URL says so."""
    return Diagnosis("no-tls", f"proxy {proxy} does not speak TLS on that port", {"peer": proxy})


def other_protocol(proxy: Address, protocol: str) -> Diagnosis:
    """The finding for a proxy that speaks SOCKS where the URL says HTTP, or the reverse."""
    name = PROTOCOLS[protocol].name
    return Diagnosis("other-protocol", f"proxy {proxy} speaks {name} on that port", {"url": f"{protocol}://{proxy}"})


def portal(status: int) -> Diagnosis | None:
    """The finding for a login page in place of a proxy: it redirects a browser, and opens no tunnel."""
    if status in _REDIRECTIONS:
        return Diagnosis(
            "captive-portal", "the server there is not a proxy: it redirects browsers to another page; a captive portal?"
        )
    return None


def greeting_of_a_portal(said: bytes) -> Diagnosis | None:
    """The same for a portal that opens the tunnel and then sends its page through it."""
    if _PAGE.match(said):
        return Diagnosis("captive-portal", "the tunnel delivered an unsolicited web page: a captive portal?")
    return None
