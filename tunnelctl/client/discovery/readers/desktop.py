"""Desktops: GNOME, as gsettings(1) prints it and as keyfiles have it; KDE's kioslaverc; macOS, as `scutil --proxy` prints it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tunnelctl.client.discovery.readers.lines import entries
from tunnelctl.client.discovery.readers.urls import from_parts, with_login
from tunnelctl.client.discovery.settings.setting import EXEMPT, PAC, PROXY, WPAD, Setting

_GNOME = "org.gnome.system.proxy"
_KEYFILE = "system/proxy"  # the same in dconf
_GNOME_SCHEMES = {"http": "http", "https": "http", "socks": "socks5"}  # the proxy for https:// pages is an HTTP proxy
_TEXT = re.compile(r"""'((?:\\.|[^'\\])*)'|"((?:\\.|[^"\\])*)\"""", re.DOTALL)

_KDE = {"httpProxy": "http", "httpsProxy": "http", "socksProxy": "socks5"}
_KDE_MANUAL, _KDE_PAC, _KDE_WPAD, _KDE_VARIABLES = "1", "2", "3", "4"

_MACOS = {"HTTP": "http", "HTTPS": "http", "SOCKS": "socks5"}
_MACOS_ITEM = re.compile(r"(\w+) : (.*)")

Values = dict[tuple[str, str], tuple[str, int]]  # by schema below that of the proxy, and key: a value and its line


def read_gsettings(text: str) -> list[Setting]:
    """Reads the output of `gsettings list-recursively org.gnome.system.proxy`."""
    values: Values = {}
    for line in text.split("\n"):
        schema, _, rest = line.strip().partition(" ")
        key, _, value = rest.partition(" ")
        if schema == _GNOME or schema.startswith(f"{_GNOME}."):
            values[schema[len(_GNOME) + 1 :], key] = value, 0
    return list(_gnome(values, f"{_GNOME}."))


def read_keyfile(text: str) -> list[Setting]:
    """Reads a keyfile of dconf or GSettings."""
    values: Values = {}
    for entry in entries(text):
        section = entry.section.removeprefix("org/gnome/")
        if section == _KEYFILE or section.startswith(f"{_KEYFILE}/"):
            values[section[len(_KEYFILE) + 1 :], entry.key] = entry.value, entry.line
    return list(_gnome(values, f"{_KEYFILE}/"))


def _gnome(values: Values, prefix: str) -> Iterator[Setting]:
    """Yields what is in effect: a proxy only in mode `manual`, a PAC file only in mode `auto`."""

    def get(part: str, key: str) -> tuple[str, int]:
        value, line = values.get((part, key), ("", 0))
        return (gnome_texts(value) or [value])[0], line

    mode, mode_line = get("", "mode")
    if mode == "auto":
        script, line = get("", "autoconfig-url")
        yield Setting(PAC, f"{prefix}autoconfig-url", (script,), line) if script else Setting(WPAD, f"{prefix}mode", (), mode_line)
    if mode != "manual":
        return
    user = get("http", "authentication-user")[0] if get("http", "use-authentication")[0] == "true" else ""
    for part, scheme in _GNOME_SCHEMES.items():
        host, line = get(part, "host")
        if host:
            url = with_login(from_parts(scheme, host, get(part, "port")[0]), user, get("http", "authentication-password")[0])
            yield Setting(PROXY, f"{prefix}{part}", (url,), line)
    exempt, line = values.get(("", "ignore-hosts"), ("", 0))
    if hosts := gnome_texts(exempt):
        yield Setting(EXEMPT, f"{prefix}ignore-hosts", (",".join(hosts),), line)


def gnome_texts(value: str) -> list[str]:
    """Returns the texts in a value of GVariant's format: one, or those of a list."""
    return [re.sub(r"\\(.)", r"\1", single or double) for single, double in _TEXT.findall(value)]


def read_kde(text: str) -> list[Setting]:
    """Reads kioslaverc. In ProxyType 4 its keys hold the names of variables, which are found in the environment itself."""
    values = {entry.key: entry for entry in entries(text) if entry.section == "Proxy Settings"}
    kind = values["ProxyType"].value if "ProxyType" in values else ""
    script = values.get("Proxy Config Script")
    if kind == _KDE_PAC and script is not None and script.value:
        return [Setting(PAC, script.key, (script.value,), script.line)]
    if kind == _KDE_WPAD:
        return [Setting(WPAD, "ProxyType", (), values["ProxyType"].line)]
    if kind != _KDE_MANUAL:
        return []
    found = [
        Setting(PROXY, key, (_kde_url(values[key].value, scheme),), values[key].line)
        for key, scheme in _KDE.items()
        if key in values and values[key].value
    ]
    exempt = values.get("NoProxyFor")
    return [*found, *([Setting(EXEMPT, exempt.key, (exempt.value,), exempt.line)] if exempt and exempt.value else [])]


def _kde_url(value: str, scheme: str) -> str:
    """KDE separates host and port by a blank; before version 4.7 by a colon. A scheme https here says what the proxy is for."""
    head, separator, rest = value.strip().partition("://")
    host, _, port = (rest if separator else head).rstrip("/").partition(" ")
    return f"{'socks5' if head.startswith('socks') else scheme}://{host}" + (f":{port.strip()}" if port.strip() else "")


def read_scutil(text: str) -> list[Setting]:
    """Reads the output of `scutil --proxy`, which macOS has. It has no lines for a place."""
    items = [(match[1], match[2]) for line in text.split("\n") if (match := _MACOS_ITEM.fullmatch(line.strip()))]
    values = dict(items)
    found = [
        Setting(PROXY, f"{name}Proxy", (from_parts(scheme, values[f"{name}Proxy"], values.get(f"{name}Port", "")),))
        for name, scheme in _MACOS.items()
        if values.get(f"{name}Enable") == "1" and values.get(f"{name}Proxy")
    ]
    if values.get("ProxyAutoConfigEnable") == "1" and values.get("ProxyAutoConfigURLString"):
        found.append(Setting(PAC, "ProxyAutoConfigURLString", (values["ProxyAutoConfigURLString"],)))
    if values.get("ProxyAutoDiscoveryEnable") == "1":
        found.append(Setting(WPAD, "ProxyAutoDiscoveryEnable", ()))
    exempt = [value for key, value in items if key.isdigit()]
    return [*found, *([Setting(EXEMPT, "ExceptionsList", (",".join(exempt),))] if found and exempt else [])]
