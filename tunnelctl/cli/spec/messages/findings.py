"""Hints for the findings of `check`."""

from __future__ import annotations

from tunnelctl.cli.spec.messages.model import WITHOUT_TLS, Hint, When

# By name, of those that are not errors of `connect`.
FINDINGS: dict[str, tuple[Hint, ...]] = {
    "answers-everything": ("that it says 200 tells nothing of the target",),
    "captive-portal": ("log in to the network with a browser, and try again",),
    "idle-cut": ("something has to be sent more often, as with ServerAliveInterval {interval} in ssh_config(5)",),
    "intercepted": ("whoever holds the key of that issuer reads and changes everything",),
    "ipv6-broken": ("-4 leaves them out",),
    "never-silent": ("another target may be silent; or give --idle fewer seconds",),
    "no-proxy": ("-x URL overrules NO_PROXY",),
    "no-tls": (WITHOUT_TLS,),
    "other-protocol": ("its URL is {url}",),
    "port-refused": ("let the target listen on 443 too, or have the proxy's rules changed",),
    "private-issuer": ("--expect SHA256 with the fingerprint from a safe place tells which",),
    "target-left": (
        When(
            "proxied",
            "does the target let this client in, and the proxy anything but TLS? `tunnelctl check --tls HOST 443` tells of TLS",
        ),
        "does the target let this client in?",
    ),
    "unexpected-certificate": (),
}
