"""Hints for the findings of `check`."""

from __future__ import annotations

from tunnelctl.cli.spec.messages.model import SSH_ON_443, WITHOUT_TLS, Hint, When

# By name, of those that are not errors of `connect`.
FINDINGS: dict[str, tuple[Hint, ...]] = {
    "answers-everything": ("that it says 200 tells nothing of the target",),
    "captive-portal": ("log in to the network with a browser, and try again",),
    "idle-cut": ("send something more often, for example with ServerAliveInterval {interval} in ssh_config(5)",),
    "intercepted": ("whoever holds the key of that issuer reads and changes everything",),
    "ipv6-broken": ("-4 uses only IPv4",),
    "never-silent": ("try a target that sends nothing by itself, or a shorter --idle",),
    "no-proxy": ("-x URL overrules NO_PROXY",),
    "no-tls": (WITHOUT_TLS,),
    "other-protocol": ("its URL is {url}",),
    "port-refused": (
        SSH_ON_443,
        "let the target listen on 443 too, or have the proxy's rules changed",
    ),
    "private-issuer": ("to tell which, give --expect SHA256 with a fingerprint from a trusted source",),
    "target-left": (
        When(
            "proxied",
            "does the target let this client in, and does the proxy allow more than TLS? "
            "`tunnelctl check --tls HOST 443` tests TLS",
        ),
        "does the target let this client in?",
    ),
    "unexpected-certificate": (),
}
