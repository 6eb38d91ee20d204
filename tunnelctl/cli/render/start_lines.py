"""The lines that `serve` starts with: one fact each, no wider than a terminal if the names in them are short."""

from collections.abc import Callable, Mapping
from shlex import quote

from tunnelctl.cli.render.text import chain, show

ANYBODY = {"socket": "whoever may open the socket", "machine": "anybody on this machine", "network": "anybody who reaches it"}


def serving(fields: Mapping[str, object]) -> str:
    """Renders the known facts, one a line."""
    log, proxies = show(fields.get("access_log", "")), fields.get("proxies")
    lines = {
        "targets": targets(fields),
        "clients": clients(fields),
        "use it": f"export https_proxy={url(fields)}" if fields.get("url") else "",
        "next proxy": chain(proxies) if isinstance(proxies, list) else "",
        "TLS": f"certificate {show(fields['certificate'])}" if fields.get("certificate") else "",
        "workers": show(fields["workers"]) if fields.get("workers", 1) != 1 else "",
        "access log": "stdout" if log == "-" else log,
    }
    return "\n".join(f"{name}: {text}" for name, text in lines.items() if text)


def targets(fields: Mapping[str, object]) -> str:
    """Describes the targets that clients may reach."""
    kinds = ("allow", "deny", "report")
    rules = [f"{show(fields[kind])} {kind} rule{'s' * (fields[kind] != 1)}" for kind in kinds if fields.get(kind)]
    text = ", ".join(rules if fields.get("allow") else ["port 443 of public addresses", *rules])
    return f"{text} ({show(fields['policy'])})" if fields.get("policy") else text


def clients(fields: Mapping[str, object]) -> str:
    """Describes the clients that may use the proxy."""
    users, authority = fields.get("users"), fields.get("client_ca")
    if users is None and not authority:
        return "those whom the rules name" if fields.get("personal") else ANYBODY.get(show(fields.get("reach")), "?")
    who = "anybody" if users is None else f"{show(users)} user{'s' * (users != 1)}"
    return f"{who} with a certificate by {show(authority)}" if authority else who


def url(fields: Mapping[str, object]) -> str:
    """Returns the proxy URL for clients, with a placeholder for the login if one is required."""
    text = show(fields.get("url"))
    return text if fields.get("users") is None else text.replace("://", "://USER:PASSWORD@", 1)


def admin(fields: Mapping[str, object]) -> str:
    """Shows where the admin pages are, ready to paste: as a URL, or for a unix socket as a curl command."""
    pages = fields.get("pages")
    first, *others = map(show, pages) if isinstance(pages, list) else [""]
    address = show(fields.get("address", ""))
    if not address.startswith("unix:"):
        return f"admin: {', '.join([f'http://{address}{first}', *others])}"
    return f"admin: curl --unix-socket {quote(address.removeprefix('unix:'))} http://localhost{first}"


START_LINES: dict[str, Callable[[Mapping[str, object]], str]] = {"serving": serving, "admin": admin}
