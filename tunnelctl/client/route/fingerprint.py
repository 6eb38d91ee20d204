"""The fingerprint of a route: a text that two processes share only if they reach every target alike."""

from __future__ import annotations

import os
from collections.abc import Mapping

from tunnelctl.client.route.selection import VARIABLES, select_proxies
from tunnelctl.options import ReachOptions
from tunnelctl.proto import headers as header

# What decides neither where a tunnel leads nor as which user: limits, and the sources of a password.
_LEFT_OUT = (
    *("proxy_origin", "timeout", "connect_timeout", "keepalive", "retry", "http", "connections"),
    *("proxy_password_file", "password_command", "ask_password"),
)
_FILES = ("pac", "proxy_auth_file", "proxy_cacert", "proxy_cert", "proxy_key")  # relative to where each process was started


def fingerprint(options: ReachOptions, environ: Mapping[str, str]) -> str:
    """Returns the text, a line for each setting, without passwords; "" if it would need a secret, and must not equal any other.

    Raises UsageProblem for a proxy or a field that cannot be one.
    """
    fields = tuple(map(header.parse, options.header))
    if any(name.lower() in header.SECRET for name, _ in fields):
        return ""
    values: dict[str, object] = {name: getattr(options, name) for name in options._fields if name not in _LEFT_OUT}
    values.update((name, _absolute(getattr(options, name))) for name in _FILES)
    values.update(header=fields, proxy=_proxies(options, environ), proxy_user=(options.proxy_user or "").partition(":")[0])
    return "".join(f"{name}={value!r}\n" for name, value in values.items())


def _absolute(file: str | None) -> str:
    """Returns the path of a file, or a URL without a login in it."""
    if not file:
        return ""
    scheme, is_url, rest = file.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if is_url else os.path.abspath(file)


def _proxies(options: ReachOptions, environ: Mapping[str, str]) -> list[object]:
    """The chains; if a variable names them, the targets exempted from it as well."""
    if options.pac is not None and not options.proxy:
        return []
    selection = select_proxies(None, options.proxy, environ)
    chains: list[object] = [[str(proxy._replace(password=None)) for proxy in chain] for chain in selection.chains]
    exempt = [environ.get("no_proxy") or environ.get("NO_PROXY", "")] if selection.origin in VARIABLES else []
    return [*chains, *exempt]
