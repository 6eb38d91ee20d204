"""WPAD by DNS: the names under which a browser would look for a PAC file.

Whoever owns such a name decides where all connections go, and on a foreign network that is a stranger. So `check` shows the names,
and asks for them only if the user says so. Only the domains that are configured here are taken, and never their parents: for
corp.example.co.uk, browsers used to ask for wpad.co.uk as well, which anybody could register.
"""

from __future__ import annotations

from tunnelctl.client.discovery.readers.lines import numbered
from tunnelctl.client.discovery.settings.machine import Machine, UnreadableError
from tunnelctl.client.discovery.settings.setting import WPAD, Found, Setting
from tunnelctl.errors import AddressError
from tunnelctl.proto.address import parse_host

RESOLV_CONF = "/etc/resolv.conf"
TOOL = "WPAD"
URL = "http://{name}/wpad.dat"
MOST = 4  # names; a search list has six domains at most


def read_resolv_conf(text: str) -> list[Setting]:
    """Returns the names for the domains of resolv.conf(5). Of its `search` and `domain` lines, the last one counts."""
    found: list[Setting] = []
    for line, words in ((number, text.split()) for number, text in numbered(text)):
        if words[0] in ("search", "domain"):
            found = [Setting(WPAD, name, (name,), line) for name in dict.fromkeys(map(_name, words[1:])) if name]
    return found[:MOST]


def _name(domain: str) -> str:
    try:
        return parse_host(f"wpad.{domain}")
    except AddressError:
        return ""


def possible(machine: Machine) -> list[Found]:
    """Returns the names that WPAD would look up on this machine."""
    try:
        text = machine.read(RESOLV_CONF)
    except UnreadableError:
        return []
    return [Found(TOOL, RESOLV_CONF, setting) for setting in read_resolv_conf(text or "")]
