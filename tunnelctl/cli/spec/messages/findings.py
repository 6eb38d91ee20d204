"""Hints for the findings of `check`."""

from __future__ import annotations

from tunnelctl.cli.spec.messages.model import SSH_ON_443, WITHOUT_TLS, Hint, When

ASK_FOR_PROXY = "ask who runs this network for its proxy, and give it with -x URL"

# By name, of those that are not errors of `connect`.
FINDINGS: dict[str, tuple[Hint, ...]] = {
    "answers-everything": ("its 200 says nothing about the target",),
    "captive-portal": ("log in to the network with a browser, and try again",),
    "idle-cut": ("send data more often, for example with ServerAliveInterval {interval} in ssh_config(5)",),
    "intercepted": ("whoever has the key of that issuer can read and change everything",),
    "ipv6-broken": ("-4 uses only IPv4",),
    "never-silent": ("try a target that sends nothing on its own, or a shorter --idle",),
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
    # Without a target.
    "cases-differ": ("give {one} and {other} the same value, or unset one of them",),
    "certificate-unknown": ("most likely something on the path intercepts TLS: ask who runs this network",),
    "dead-setting": ("is this machine on the right network, or is the setting out of date?",),
    "ignored-by-git": ("http.proxy is for https:// URLs too",),
    # The targets are the usual ones: the user has typed no name that could be misspelled.
    "name-not-found": ("this proxy cannot resolve public names: name an internal host with --target HOST:443",),
    "no-proxy-named": (
        When("wpad", f"{ASK_FOR_PROXY}; `tunnelctl check --wpad` asks the network"),
        When("stuck", ASK_FOR_PROXY),
        "no proxy is needed",
    ),
    "only-http-proxy": ('if that proxy opens tunnels: export https_proxy="${variable}"',),
    "port-missing": ("add the port: proxies mostly use 3128 or 8080",),
    "proxies-differ": ("if one of them is out of date, change it there",),
    "unknown-to-tunnelctl": ("export TUNNELCTL_PROXY={url}", "give it with -x URL, once for each proxy of the chain"),
}
