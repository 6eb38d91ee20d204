"""The records of a setting and of its source."""

from __future__ import annotations

from typing import NamedTuple

# Kinds of settings.
PROXY = "proxy"  # value: URLs of a chain, nearest first; mostly one
EXEMPT = "exempt"  # value: a list of targets to reach without a proxy
PAC = "pac"  # value: the URL of a PAC file
WPAD = "wpad"  # automatic discovery is switched on; no value
PROGRAM = "program"  # value: the name of a program that reaches the targets in its own way
INCLUDE = "include"  # value: a pattern of further files for the same reader


class MalformedFile(Exception):
    """A file whose own program would not read it. str() is the cause, and shows none of the text."""


class Setting(NamedTuple):
    """A setting as written. key: its name there; line: 0 if unknown; scope: what it is limited to, "" if it is for everything"""

    kind: str
    key: str
    value: tuple[str, ...]
    line: int = 0
    scope: str = ""

    def __repr__(self) -> str:
        """Leaves out the value: it may hold a password."""
        return f"Setting({self.kind!r}, {self.key!r}, ***, {self.line}, {self.scope!r})"


class Found(NamedTuple):
    """A setting and its source. tool: the program that obeys it; place: the file, or "" for a variable"""

    tool: str
    place: str
    setting: Setting

    def __str__(self) -> str:
        """For people: `https_proxy`, or `git http.proxy (~/.gitconfig, line 3)`."""
        if not self.place:
            return self.setting.key
        line = f", line {self.setting.line}" if self.setting.line else ""
        return f"{self.tool} {self.setting.key} ({self.place}{line})"


class Unread(NamedTuple):
    """A source that is there and could not be read. cause: why, in words"""

    tool: str
    place: str
    cause: str
