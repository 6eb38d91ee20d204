"""Commands that connect ssh or git through a proxy: a ProxyCommand of ssh_config(5), core.gitProxy, core.sshCommand.

A command is read, and never run. Where the proxy is named by the command line of a program that is known here, its URL is returned;
else only the name of the program, since the rest of the line may hold a password.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import quote

from tunnelctl.client.discovery.settings.setting import PROGRAM, PROXY, Setting

MOST_SHELLS = 3  # shells in each other: sh -c "exec sh -c '...'"

Chain = tuple[str, ...]  # URLs, nearest first

_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_PREFIXES = ("exec", "env", "command", "nohup")
_SHELLS = ("sh", "bash", "dash", "zsh", "ksh")
_PYTHON = re.compile(r"python[\d.]*")
_OPTION = re.compile(r"(?i)(?:-o)?ProxyCommand[= ]")


class Words(NamedTuple):
    """A command line: its options with all their values, and the other words."""

    options: dict[str, list[str]]
    others: list[str]

    def get(self, *names: str) -> str:
        """Returns the last value of an option by any of its names; "" without one."""
        return next((self.options[name][-1] for name in names if name in self.options), "")


def settings_of_command(key: str, command: str, line: int = 0, scope: str = "") -> list[Setting]:
    """Returns the setting for a command; none if it reaches its targets without a proxy."""
    words = split_shell(command)
    inner = _proxy_command_in(words)
    if inner is not None:
        words = split_shell(inner)
    elif key.lower() in ("core.sshcommand", "git_ssh_command"):
        return []  # ssh itself, which has its ProxyCommand elsewhere
    words = _program(words)
    name = _name(words[0]) if words else ""
    if name in ("", "none"):
        return []
    chain = PROGRAMS[name](words[1:]) if name in PROGRAMS else ()
    return [Setting(PROXY, key, chain, line, scope) if chain else Setting(PROGRAM, key, (name,), line, scope)]


def split_shell(command: str) -> list[str]:
    """Splits a command as a shell does; at blanks if its quotes do not match."""
    try:
        return shlex.split(command)
    except ValueError:
        return command.split()


def _proxy_command_in(words: list[str]) -> str | None:
    """Returns the ProxyCommand among the options of an ssh command line."""
    return next((word[found.end() :] for word in words if (found := _OPTION.match(word))), None)


def _program(words: list[str], left: int = MOST_SHELLS) -> list[str]:
    """Returns the words from the program on that does the work: without shells, assignments and `exec` before it."""
    while words and (words[0] in _PREFIXES or _ASSIGNMENT.match(words[0])):
        words = words[1:]
    if len(words) > 2 and _name(words[0]) in _SHELLS and words[1] == "-c" and left:
        return _program(split_shell(words[2]), left - 1)
    if len(words) > 2 and _PYTHON.fullmatch(_name(words[0])) and words[1:3] == ["-m", "tunnelctl"]:
        return words[2:]
    if len(words) > 1 and _PYTHON.fullmatch(_name(words[0])) and _name(words[1]) in PROGRAMS:
        return words[1:]
    return words


def _name(word: str) -> str:
    return word.rpartition("/")[2]


def _parse(words: list[str], letters: str, names: tuple[str, ...] = ()) -> Words:
    """Sorts the words. letters: short options that take a value; names: long ones that do"""
    options: dict[str, list[str]] = {}
    others: list[str] = []
    left = list(reversed(words))
    while left:
        word = left.pop()
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            value = value if equals else left.pop() if name in names and left else ""
            options.setdefault(name, []).append(value)
        elif word.startswith("-") and len(word) > 1:
            _short(word[1:], letters, left, options)
        else:
            others.append(word)
    return Words(options, others)


def _short(cluster: str, letters: str, left: list[str], options: dict[str, list[str]]) -> None:
    """Adds the options of a word such as -qX, where the rest of the word, or the next one, is the value of the last."""
    for place, letter in enumerate(cluster):
        takes = letter in letters
        value = (cluster[place + 1 :] or (left.pop() if left else "")) if takes else ""
        options.setdefault(letter, []).append(value)
        if takes:
            return


def url(scheme: str, peer: str, port: int, login: str = "") -> str:
    """Returns a URL. peer: [USER@]HOST[:PORT], where HOST may be an IPv6 address in brackets; port: if there is none in it"""
    user, at, host = peer.rpartition("@")
    name, colon, password = (login or user).partition(":")
    userinfo = quote(name, safe="") + colon + quote(password, safe="") + "@" if login or at else ""
    return f"{scheme}://{userinfo}{with_port(host, port)}"


def with_port(host: str, port: int) -> str:
    """Adds a port to a host that has none."""
    bare = host.rpartition("]")[2] if host.startswith("[") else host
    if not host or ":" in bare:
        return host
    return f"{host}:{port}"


def _corkscrew(words: list[str]) -> Chain:
    return (url("http", words[0], int(words[1])),) if len(words) > 3 and _is_port(words[1]) else ()


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 6


_NC_SCHEMES = {"connect": ("http", 3128), "5": ("socks5", 1080), "4": ("socks4", 1080), "": ("socks5", 1080)}
_NCAT_SCHEMES = {"http": ("http", 3128), "": ("http", 3128), "socks5": ("socks5", 1080), "socks4": ("socks4", 1080)}


def _nc(words: list[str]) -> Chain:
    """OpenBSD's nc, or ncat under that name."""
    given = _parse(words, "IiMmOPpqsTVWwXx", ("proxy", "proxy-type", "proxy-auth"))
    if "proxy" in given.options:
        return _ncat(words)
    scheme, port = _NC_SCHEMES.get(given.get("X").lower(), ("", 0))
    proxy = given.get("x")
    return (url(scheme, proxy, port, given.get("P")),) if proxy and scheme else ()


def _ncat(words: list[str]) -> Chain:
    given = _parse(words, "cegGmdowpsix", ("proxy", "proxy-type", "proxy-auth"))
    scheme, port = _NCAT_SCHEMES.get(given.get("proxy-type").lower(), ("", 0))
    proxy = given.get("proxy")
    return (url(scheme, proxy, port, given.get("proxy-auth")),) if proxy and scheme else ()


def _connect_proxy(words: list[str]) -> Chain:
    given = _parse(words, "HSTpPaRwc")
    if proxy := given.get("H"):
        return (url("http", proxy, 80),)
    proxy, scheme = given.get("S"), "socks4" if "4" in given.options else "socks5"
    return (url(scheme, proxy, 1080),) if proxy else ()


def _proxytunnel(words: list[str]) -> Chain:
    names = ("proxy", "remproxy", "dest", "proxyauth", "remproxyauth", "passfile", "standalone", "cacert", "domain", "header")
    given = _parse(words, "aprdCFPRtHox", (*names, "proctitle"))
    encrypted = {"E", "encrypt-proxy", "B", "buggy-encrypt-proxy"} & given.options.keys()
    nearest, second = given.get("p", "proxy"), given.get("r", "remproxy")
    chain = [url("https" if encrypted else "http", nearest, 8080, given.get("P", "proxyauth"))] if nearest else []
    if second:
        inner = {"X", "encrypt-remproxy"} & given.options.keys()
        chain.append(url("https" if inner else "http", second, 8080, given.get("R", "remproxyauth")))
    return tuple(chain)


_SOCAT = {
    "proxy": ("http", "proxyport", "proxyauth", 8080),
    "proxy-connect": ("http", "proxyport", "proxyauth", 8080),
    "socks4": ("socks4", "socksport", "socksuser", 1080),
    "socks4a": ("socks4a", "socksport", "socksuser", 1080),
}


def _socat(words: list[str]) -> Chain:
    for word in words:
        kind, _, rest = word.partition(":")
        if kind.lower() in _SOCAT:
            scheme, port_key, login_key, usual = _SOCAT[kind.lower()]
            address, *options = rest.split(",")
            settings = {name.lower(): value for name, _, value in (option.partition("=") for option in options)}
            port, login = settings.get(port_key, ""), settings.get(login_key, "")
            host = address[: address.find("]") + 1] if address.startswith("[") else address.partition(":")[0]
            return (url(scheme, host, int(port) if _is_port(port) else usual, login),) if host else ()
    return ()


def _tunnelctl(words: list[str]) -> Chain:
    """tunnelctl itself, whose -x may be repeated. `direct` is no proxy."""
    values = ("pac", "auth", "header", "timeout", "retry", "via", "profile", "http")
    given = _parse(words, "x", ("proxy", "proxy-user", "proxy-password-file", "password-command", "proxy-auth-file", *values))
    chain = tuple(filter(None, (*given.options.get("x", []), *given.options.get("proxy", []))))
    return chain if chain != ("direct",) else ()


PROGRAMS: dict[str, Callable[[list[str]], Chain]] = {
    "corkscrew": _corkscrew,
    "nc": _nc,
    "nc.openbsd": _nc,
    "netcat": _nc,
    "ncat": _ncat,
    "connect-proxy": _connect_proxy,
    "connect": _connect_proxy,
    "proxytunnel": _proxytunnel,
    "socat": _socat,
    "tunnelctl": _tunnelctl,
    "tunnelctl.pyz": _tunnelctl,
}
