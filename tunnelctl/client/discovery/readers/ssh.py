"""ssh_config(5): the ProxyCommand lines."""

from __future__ import annotations

import re

from tunnelctl.client.discovery.readers.lines import numbered
from tunnelctl.client.discovery.readers.proxy_command import settings_of_command
from tunnelctl.client.discovery.settings.setting import INCLUDE, Setting

_KEYWORD = re.compile(r'"?([A-Za-z]+)"?(?:\s*=\s*|\s+)(.*)', re.DOTALL)


def read_ssh(text: str) -> list[Setting]:
    """Reads ~/.ssh/config. The scope is the line Host or Match above; a percent sign of a command is written twice."""
    found: list[Setting] = []
    scope = ""
    for number, line in numbered(text):
        keyword = _KEYWORD.fullmatch(line)
        if keyword is None:
            continue
        name, value = keyword[1].lower(), keyword[2]
        if name in ("host", "match"):
            scope = "" if value.strip('" ').lower() in ("*", "all") else f"{keyword[1]} {value}"
        elif name == "include":
            found += [Setting(INCLUDE, keyword[1], (word.strip('"'),), number, scope) for word in value.split()]
        elif name == "proxycommand":
            found += settings_of_command(keyword[1], value.replace("%%", "%"), number, scope)
    return found
