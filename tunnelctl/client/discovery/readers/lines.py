"""Formats that are made of lines: KEY=VALUE, with sections or without."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

COMMENT = ("#", ";")


class Entry(NamedTuple):
    """A line KEY=VALUE. section: the last heading [SECTION] before it"""

    line: int
    section: str
    key: str
    value: str


def numbered(text: str) -> Iterator[tuple[int, str]]:
    """Yields the lines with their numbers, stripped, without comments and empty lines. Only a newline ends a line."""
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if stripped and not stripped.startswith(COMMENT):
            yield number, stripped


def entries(text: str, delimiters: str = "=") -> Iterator[Entry]:
    """Yields the entries of an .ini file; lines of other forms are skipped. delimiters: what may follow a key"""
    section = ""
    for number, line in numbered(text):
        if line[0] == "[":
            section = line[1:].rpartition("]")[0].strip()
            continue
        place = min((place for delimiter in delimiters if (place := line.find(delimiter)) >= 0), default=-1)
        if place >= 0:
            yield Entry(number, section, line[:place].strip(), line[place + 1 :].strip())


def unquoted(value: str) -> str:
    """Removes one pair of quotes around a value."""
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value
