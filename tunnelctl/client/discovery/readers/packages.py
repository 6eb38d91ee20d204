"""Package managers: apt.conf(5), .npmrc, pip.conf."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tunnelctl.client.discovery.readers.lines import entries, unquoted
from tunnelctl.client.discovery.settings.setting import EXEMPT, PROGRAM, PROXY, Setting

# The tokens of apt.conf(5): comments, words in quotes, { } and ;, and bare words. A comment ends a bare word: a URL needs quotes.
_TOKEN = re.compile(r'//[^\n]*|/\*.*?(?:\*/|\Z)|#[^\n]*|"([^"\n]*)"?|([{};])|((?:(?!//|/\*)[^\s{};"#])+)', re.DOTALL)
_APT_PROXY = re.compile(r"(?i)acquire::(?:https?|ftp)::proxy(?:::(.+))?")
_APT_PROGRAM = re.compile(r"(?i)acquire::https?::proxy-?auto-?detect")
_APT_NONE = ("direct", "false", "none")

_NPM = {"proxy": PROXY, "http-proxy": PROXY, "https-proxy": PROXY, "noproxy": EXEMPT, "no-proxy": EXEMPT}
_NPM_NONE = ("null", "false", "undefined", "")


def read_apt(text: str) -> list[Setting]:
    """Reads apt.conf(5). A program that finds the proxy is named, and not run."""
    found = []
    for line, name, value in apt_items(text):
        if _APT_PROGRAM.fullmatch(name):
            found.append(Setting(PROGRAM, name, (value.split(maxsplit=1)[0].rpartition("/")[2],), line))
        elif (proxy := _APT_PROXY.fullmatch(name)) and value.lower() not in _APT_NONE:
            found.append(Setting(PROXY, name, (value,), line, proxy[1] or ""))
    return found


def apt_items(text: str) -> Iterator[tuple[int, str, str]]:
    """Yields the lines, full names and values of all items that have a value."""
    scopes: list[str] = []
    words: list[str] = []
    line, end, begun = 1, 0, 1
    for token in _TOKEN.finditer(text):
        line, end = line + text.count("\n", end, token.start()), token.start()
        quoted, sign, bare = token.groups()
        if sign == "{":
            scopes.append(words[0] if words else "")
        elif sign and len(words) > 1 and words[1].strip():
            yield begun, "::".join(filter(None, (*scopes, words[0]))), words[1].strip()
        if sign == "}" and scopes:
            scopes.pop()
        if sign:
            words = []
        elif quoted is not None or bare is not None:
            begun = begun if words else line
            words.append(bare if quoted is None else quoted)


def read_npm(text: str) -> list[Setting]:
    """Reads .npmrc. ${NAME} in a value stays as it is."""
    return [
        Setting(_NPM[entry.key], entry.key, (value,), entry.line)
        for entry in entries(text)
        if not entry.section and entry.key in _NPM and (value := unquoted(entry.value)) not in _NPM_NONE
    ]


def read_pip(text: str) -> list[Setting]:
    """Reads pip.conf. A section other than [global] is for one command of pip."""
    return [
        Setting(PROXY, f"{entry.section}.proxy", (entry.value,), entry.line, "" if entry.section == "global" else entry.section)
        for entry in entries(text, "=:")
        if entry.section and entry.key.lower() == "proxy" and entry.value
    ]
