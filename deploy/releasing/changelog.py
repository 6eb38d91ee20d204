"""Reads CHANGELOG.md, which has the format of Keep a Changelog: `## VERSION - DATE` for a release, `## Unreleased` above them."""

import re
from collections.abc import Iterator, Sequence
from datetime import date
from itertools import pairwise
from typing import NamedTuple

UNRELEASED = "Unreleased"
KINDS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")


class Section(NamedTuple):
    """One version. The date is "" if it is not released, and `kinds` are the words of its `###` lines."""

    version: str
    date: str
    kinds: Sequence[str]
    text: str


def sections(text: str) -> list[Section]:
    """Returns the sections in their order, which is the newest first."""
    _, *parts = re.split(r"^## ", text, flags=re.MULTILINE)
    return [_section(part) for part in parts]


def _section(part: str) -> Section:
    heading, _, text = part.partition("\n")
    version, _, released = heading.strip().partition(" - ")
    return Section(version, released, re.findall(r"^### (.*)$", text, re.MULTILINE), text.strip())


def faults(text: str) -> list[str]:
    """Returns what is malformed, whether or not there is a release now."""
    found = sections(text)
    released = [section for section in found if section.version != UNRELEASED]
    return [*_order(found, released), *(fault for section in found for fault in _malformed(section))]


def _order(found: Sequence[Section], released: Sequence[Section]) -> Iterator[str]:
    if not found or found[0].version != UNRELEASED:
        yield f"the first section is not `{UNRELEASED}`"
    if len(found) - len(released) > 1:
        yield f"there are two sections `{UNRELEASED}`"
    for newer, older in pairwise(released):
        if _number(newer.version) <= _number(older.version):
            yield f"{newer.version} is above {older.version}"
        if newer.date and older.date and newer.date < older.date:
            yield f"{newer.version} is older than {older.version}"


def _malformed(section: Section) -> Iterator[str]:
    if section.version != UNRELEASED and not _number(section.version):
        yield f"`{section.version}` is no version"
    if section.date and not _is_date(section.date):
        yield f"`{section.date}` of {section.version} is no date"
    if section.version != UNRELEASED and not section.text:
        yield f"{section.version} has no text"
    yield from (f"`{kind}` in {section.version} is none of {', '.join(KINDS)}" for kind in section.kinds if kind not in KINDS)
    yield from (f"{section.version} has `{kind}` twice" for kind in KINDS if section.kinds.count(kind) > 1)


def _number(version: str) -> tuple[int, ...]:
    """1.20.3 as (1, 20, 3); () for what is no version."""
    return tuple(map(int, version.split("."))) if re.fullmatch(r"\d+\.\d+\.\d+", version) else ()


def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def obstacles(text: str, version: str) -> Iterator[str]:
    """Yields what must change in the file before this version is released."""
    found = {section.version: section for section in sections(text)}
    if (unreleased := found.get(UNRELEASED)) and unreleased.text:
        yield f"CHANGELOG.md: the section `{UNRELEASED}` is not empty"
    if version not in found:
        yield f"CHANGELOG.md: there is no section `{version}`"
    elif not found[version].date:
        yield f"CHANGELOG.md: the section `{version}` has no date"
