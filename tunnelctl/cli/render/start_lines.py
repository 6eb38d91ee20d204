"""The lines that `serve` starts with, one fact each. A list is cut so that its line fits into 80 columns."""

from collections.abc import Callable, Mapping, Sequence
from shlex import quote
from typing import Any

from tunnelctl.cli.render.help import WIDTH
from tunnelctl.cli.render.text import chain, show

PAGES = 2  # those named besides the first: with these, the line fits into 80 columns
Facts = Mapping[str, Any]  # of an event, by key

WHERE = {"socket": "anyone who may open the socket", "machine": "this machine"}


def serving(facts: Facts) -> str:
    """Renders the known facts, one a line."""
    log = show(facts["access_log"])
    lines = {
        "targets": listed("targets", facts["allow"]) or "every public address, port 443",
        "denied": listed("denied", facts["deny"]),
        "report only": listed("report only", facts["report"]),
        "policy file": show(facts["policy"]),
        "clients": clients(facts),
        "use it": f"export https_proxy={url(facts)}" if facts["url"] else "",
        "plain http": plain_http(facts) if facts["plain_http"] else "",
        "next proxy": chain(facts["proxies"]),
        "TLS": f"certificate {show(facts['certificate'])}" if facts["certificate"] else "",
        "workers": show(facts["workers"]) if facts["workers"] != 1 else "",
        "access log": "stdout" if log == "-" else log,
    }
    return "\n".join(f"{name}: {text}" for name, text in lines.items() if text)


def listed(name: str, values: Sequence[str], after: str = "") -> str:
    """Joins as many of the values as the line of that name has columns for, at least one; says how many more there are.

    after: what follows the list on the line
    """
    columns = WIDTH - len(f"tunnelctl: {name}: {after}")
    texts = [*map(show, values[: max(columns, 1)])]  # no more fit
    for count in range(len(texts), 0, -1):
        left = len(values) - count
        text = ", ".join(texts[:count]) + (f" and {left} more" if left else "")
        if len(text) <= columns or count == 1:
            return text + after
    return ""


def clients(facts: Facts) -> str:
    """Describes the clients that may use the proxy: where they are, and the login or the certificate that they need."""
    needs = ", ".join(("", *requirements(facts)))
    networks, reach = facts["networks"], facts["reach"]
    # A balancer on this machine names others, by its PROXY header.
    if networks and (reach == "network" or (reach == "machine" and not any(map(_is_of_loopback, networks)))):
        return listed("clients", networks, needs)
    if facts["personal"] and not needs:
        return "nobody: the rules name users, and no login is set up"
    return WHERE.get(facts["reach"], "anyone") + needs


def _is_of_loopback(network: str) -> bool:
    return network.startswith(("127.", "::1"))


def requirements(facts: Facts) -> list[str]:
    """Returns what a client must have."""
    users, authority = facts["users"], facts["client_ca"]
    known = f"{show(users)} user{'s' * (users != 1)}" if users else "the users file names nobody"
    login = [] if users is None else [f"login required ({known})"]
    return login + ([f"certificate of {show(authority)} required"] if authority else [])


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
    page, *others = map(show, facts["pages"])
    address = show(facts["address"])
    if not address.startswith("unix:"):
        more = " …" if len(others) > PAGES else ""
        return f"status page: http://{address}{page} (also {', '.join(others[:PAGES])}{more})"
    # curl is of no use for the page for people.
    return f"metrics: curl --unix-socket {quote(address.removeprefix('unix:'))} http://localhost{others[0]}"


START_LINES: dict[str, Callable[[Facts], str]] = {"serving": serving, "admin": admin}
