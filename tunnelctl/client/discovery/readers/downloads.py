"""Download programs: .curlrc and .wgetrc."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tunnelctl.client.discovery.readers.lines import entries, numbered
from tunnelctl.client.discovery.readers.urls import with_curl_port, with_login
from tunnelctl.client.discovery.settings.setting import EXEMPT, PROXY, Setting

# The options that name a proxy, with the scheme that each of them implies.
_CURL_PROXIES = {
    "proxy": "",
    "x": "",
    "proxy1.0": "",
    "preproxy": "",
    "socks4": "socks4",
    "socks4a": "socks4a",
    "socks5": "socks5",
    "socks5-hostname": "socks5h",
}
_CURL_LOGIN = ("proxy-user", "U")
_CURL_LINE = re.compile(r"(--?)?([^\s=:]+)\s*[=:]?\s*(.*)", re.DOTALL)
_CURL_DASHED = re.compile(r"(--?)(\S+)\s*[=:]?\s*(.*)", re.DOTALL)
_CURL_QUOTED = re.compile(r'"((?:\\.|[^"\\])*)')
_CURL_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "v": "\v"}

_WGET_PROXIES = ("httpproxy", "httpsproxy")


def read_curl(text: str) -> list[Setting]:
    """Reads .curlrc. A login of its own (proxy-user) is put into the URLs that have none."""
    found: list[Setting] = []
    login = ""
    for line, name, value in curl_options(text):
        if name in _CURL_LOGIN:
            login = value
        elif name in _CURL_PROXIES and value:
            scheme = _CURL_PROXIES[name]
            url = with_curl_port(value)
            found.append(Setting(PROXY, name, (f"{scheme}://{url}" if scheme and "://" not in url else url,), line))
        elif name == "noproxy" and value:
            found.append(Setting(EXEMPT, name, (value,), line))
    user, colon, password = login.partition(":")
    return _with_login(found, user, password if colon else None)


def curl_options(text: str) -> Iterator[tuple[int, str, str]]:
    """Yields the lines, names and values of the options."""
    for number, line in numbered(text):
        match = (_CURL_DASHED if line.startswith("-") else _CURL_LINE).fullmatch(line)
        if match is None:
            continue
        dashes, name, value = match.groups()
        if dashes == "-" and len(name) > 1:  # -xURL
            name, value = name[0], name[1:]
        if (dashes == "-") != (len(name) == 1):  # a letter needs its hyphen
            continue
        yield number, name, _curl_value(value)


def _curl_value(text: str) -> str:
    """Removes the quotes and escapes; without quotes, a value ends at a blank."""
    if quoted := _CURL_QUOTED.match(text):
        return re.sub(r"\\(.)", lambda escape: _CURL_ESCAPES.get(escape[1], escape[1]), quoted[1], flags=re.DOTALL)
    return text.split(maxsplit=1)[0] if text.strip() else ""


def read_wget(text: str) -> list[Setting]:
    """Reads .wgetrc, where case, hyphens and underscores of a name do not matter. `use_proxy = off` switches all proxies off."""
    found: list[Setting] = []
    values: dict[str, str] = {}
    for entry in entries(text):
        name = entry.key.lower().replace("_", "").replace("-", "")
        values[name] = entry.value
        if name in _WGET_PROXIES and entry.value:
            found.append(Setting(PROXY, entry.key, (entry.value,), entry.line))
        elif name == "noproxy" and entry.value:
            found.append(Setting(EXEMPT, entry.key, (entry.value,), entry.line))
    if values.get("useproxy", "on").lower() in ("off", "no", "0"):
        return []
    return _with_login(found, values.get("proxyuser", ""), values.get("proxypassword"))


def _with_login(found: list[Setting], user: str, password: str | None) -> list[Setting]:
    return [
        setting._replace(value=(with_login(setting.value[0], user, password),)) if setting.kind == PROXY else setting
        for setting in found
    ]
