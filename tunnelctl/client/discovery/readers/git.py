"""git-config(1): its syntax, and the keys that name a proxy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from tunnelctl.client.discovery.readers.proxy_command import settings_of_command
from tunnelctl.client.discovery.readers.urls import with_curl_port
from tunnelctl.client.discovery.settings.setting import INCLUDE, PROXY, Setting

_SECTION = re.compile(r'\[\s*([\w.-]+)(?:\s+"((?:\\.|[^"\\])*)")?\s*\]')
_ESCAPES = {"n": "\n", "t": "\t", "b": "\b"}


class Variable(NamedTuple):
    """A variable. section, key: in lower case; subsection: as written, "" if there is none"""

    line: int
    section: str
    subsection: str
    key: str
    value: str

    @property
    def name(self) -> str:
        """As `git config --list` prints it."""
        return ".".join(filter(None, (self.section, self.subsection, self.key)))


def read_git(text: str) -> list[Setting]:
    """Reads ~/.gitconfig and its like."""
    return [setting for variable in variables(text) for setting in _settings(variable)]


def variables(text: str) -> Iterator[Variable]:
    """Yields the variables; a line that git would reject is skipped."""
    section = subsection = ""
    lines = iter(enumerate(text.split("\n"), 1))
    for number, line in lines:
        line = line.strip()
        if heading := _SECTION.match(line):
            section, subsection = heading[1].lower(), _without_escapes(heading[2] or "")
            line = line[heading.end() :].strip()
        if not line or line[0] in "#;[":
            continue
        while _continues(line):
            line = line[:-1] + next(lines, (0, ""))[1].rstrip("\r")
        key, _, value = line.partition("=")
        yield Variable(number, section, subsection, key.strip().lower(), _value(value.strip()))


def _settings(variable: Variable) -> list[Setting]:
    section, key, value, line = variable.section, variable.key, variable.value, variable.line
    name, scope = variable.name, variable.subsection
    if (section, key) == ("core", "gitproxy"):
        command, _, domain = value.partition(" for ")
        return settings_of_command(name, command, line, domain.strip() or "git://")
    if (section, key) == ("core", "sshcommand"):
        return settings_of_command(name, value, line)
    if section in ("include", "includeif") and key == "path" and value:
        return [Setting(INCLUDE, name, (value,), line, scope)]
    # git knows no https.proxy, but many people set it.
    if section in ("http", "https", "remote") and key == "proxy" and value:
        return [Setting(PROXY, name, (with_curl_port(value),), line, scope)]
    return []


def _continues(line: str) -> bool:
    """Whether a line ends in a backslash that is not escaped itself."""
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1


def _without_escapes(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def _value(text: str) -> str:
    """Removes quotes, escapes, a comment, and the blanks before it."""
    found: list[str] = []
    quoted, kept = False, 0
    characters = iter(text)
    for character in characters:
        if character == '"':
            quoted = not quoted
        elif character in "#;" and not quoted:
            break
        elif character == "\\":
            following = next(characters, "")
            found.append(_ESCAPES.get(following, following))
        else:
            found.append(character)
        if quoted or not character.isspace():
            kept = len(found)
    return "".join(found[:kept])
