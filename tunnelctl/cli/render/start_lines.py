"""The lines that `serve` starts with: one fact each, no wider than a terminal if the names in them are short."""

from collections.abc import Callable, Mapping
from shlex import quote
from typing import Any

from tunnelctl.cli.render.text import chain, show

Facts = Mapping[str, Any]  # of an event, by key

ANYBODY = {"socket": "whoever may open the socket", "machine": "anybody on this machine", "network": "anybody who reaches it"}


def serving(facts: Facts) -> str:
    """Renders the known facts, one a line."""
    log = show(facts["access_log"])
    lines = {
        "targets": targets(facts),
        "clients": clients(facts),
        "use it": f"export https_proxy={url(facts)}" if facts["url"] else "",
        "plain http": plain_http(facts) if facts["plain_http"] else "",
        "next proxy": chain(facts["proxies"]),
        "TLS": f"certificate {show(facts['certificate'])}" if facts["certificate"] else "",
        "workers": show(facts["workers"]) if facts["workers"] != 1 else "",
        "access log": "stdout" if log == "-" else log,
    }
    return "\n".join(f"{name}: {text}" for name, text in lines.items() if text)


def targets(facts: Facts) -> str:
    """Describes the targets that clients may reach."""
    kinds = ("allow", "deny", "report")
    rules = [f"{show(facts[kind])} {kind} rule{'s' * (facts[kind] != 1)}" for kind in kinds if facts[kind]]
    text = ", ".join(rules if facts["allow"] else ["port 443 of public addresses", *rules])
    return f"{text} ({show(facts['policy'])})" if facts["policy"] else text


def clients(facts: Facts) -> str:
    """Describes the clients that may use the proxy."""
    users, authority = facts["users"], facts["client_ca"]
    if users is None and not authority:
        return "those whom the rules name" if facts["personal"] else ANYBODY[facts["reach"]]
    who = "anybody" if users is None else f"{show(users)} user{'s' * (users != 1)}"
    return f"{who} with a certificate by {show(authority)}" if authority else who


def plain_http(facts: Facts) -> str:
    """Returns the command that makes programs use this proxy for http:// URLs, or the rules that are missing for it."""
    if not facts["port_80"]:
        others = "" if facts["allow"] else " --allow '*:443'"
        return f"no rule for port 80: --allow 'HOST:80'{others}"
    return f"export http_proxy={url(facts)}" if facts["url"] else "served"


def url(facts: Facts) -> str:
    """Returns the proxy URL for clients, with a placeholder for the login if one is required."""
    text = show(facts["url"])
    return text if facts["users"] is None else text.replace("://", "://USER:PASSWORD@", 1)


def admin(facts: Facts) -> str:
    """Shows where the admin pages are, ready to paste: as a URL, or for a unix socket as a curl command."""
    pages = [*map(show, facts["pages"])]
    address = show(facts["address"])
    if not address.startswith("unix:"):
        return f"admin: {', '.join([f'http://{address}{pages[0]}', *pages[1:]])}"
    text = next(page for page in pages if page != "/")  # the page for people is of no use to curl
    return f"admin: curl --unix-socket {quote(address.removeprefix('unix:'))} http://localhost{text}"


START_LINES: dict[str, Callable[[Facts], str]] = {"serving": serving, "admin": admin}
