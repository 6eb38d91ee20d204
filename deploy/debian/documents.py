"""Writes what a Debian package says about itself: its changelog, its copyright file, and the documentation in it.

documents.py changelog CHANGELOG.md VERSION MAINTAINER   in the format of deb-changelog(5)
documents.py copyright LICENSE DIRECTORY                 in the format "1.0"; DIRECTORY has the installed distributions
documents.py readme docs/install.md DIRECTORY            README.Debian: the section about the package, without how it is built
documents.py page docs/PAGE.md DIRECTORY                 a page; DIRECTORY has the documentation of the package
"""

import os
import re
import sys
from collections.abc import Iterator
from email.message import Message
from email.parser import Parser
from email.utils import formatdate
from functools import partial
from pathlib import Path
from textwrap import TextWrapper
from typing import NamedTuple

WRAPPER = partial(TextWrapper, width=78, break_long_words=False, break_on_hyphens=False)  # lintian warns of lines over 80
APACHE = "The text of the Apache License, version 2.0, is in /usr/share/common-licenses/Apache-2.0."  # Debian Policy 12.5


# --- changelog


class Section(NamedTuple):
    """A version of CHANGELOG.md and the lines about it."""

    version: str
    lines: list[str]


def changelog(text: str, version: str, maintainer: str, seconds: int) -> str:
    """Returns the entries, newest first. seconds: the time of the newest, since the epoch

    What is not released yet belongs to `version`, the one that is being built. All entries have the time of the newest: where
    CHANGELOG.md gives no dates, there is no better one.
    """
    merged: dict[str, list[str]] = {}
    for section in sections(text):
        merged.setdefault(version if section.version == "Unreleased" else section.version, []).extend(section.lines)
    ending = f" -- {maintainer}  {formatdate(seconds).replace('-0000', '+0000')}\n"
    return "\n".join(
        f"tunnelctl ({number}) unstable; urgency=medium\n\n{entry(lines)}\n\n{ending}" for number, lines in merged.items()
    )


def sections(text: str) -> Iterator[Section]:
    """Splits a changelog in the format of Keep a Changelog at its headings of versions."""
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        heading, *lines = part.splitlines()
        yield Section(heading.split()[0].strip("[]"), lines)


def entry(lines: list[str]) -> str:
    """Converts Markdown to the text of an entry: indented by two, in lines that are not too long."""
    return "".join(f"{wrapped(block)}\n" for block in blocks(lines)).strip("\n")


def blocks(lines: list[str]) -> Iterator[str]:
    """Joins the lines of each heading, list item, row of a table and paragraph. Its indentation stays in front of it."""
    block = ""
    for line in lines:
        begins = not line.strip() or re.match(r"\s*(- |\||#)", line)
        if begins and block:
            yield block
            block = ""
        if line.strip() and not re.match(r"\s*\|[-|]+$", line):
            block = f"{block} {line.strip()}" if block else line
    if block:
        yield block


def wrapped(block: str) -> str:
    indent = " " * (2 + len(block) - len(block.lstrip()))
    text = block.strip()
    if text.startswith("#"):
        return f"\n{indent}[ {text.strip('# ')} ]\n"
    hanging = indent + ("  " if text.startswith(("- ", "|")) else "")
    text = re.sub(r"^- ", "* ", text) if indent == "  " else text
    return WRAPPER(initial_indent=indent, subsequent_indent=hanging).fill(text)


# --- copyright


def copyright_file(ours: str, directory: Path) -> str:
    """Returns the copyright of the program and of each distribution that comes with it, with the full text of the licences."""
    head = (
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: tunnelctl\n"
        "Comment: The modules below /usr/lib/tunnelctl come from the Python Package Index, in versions that Debian does not have.\n"
    )
    others = [found for found in sorted(directory.glob("*.dist-info")) if not found.name.startswith("tunnelctl-")]
    return "\n".join([head, stanza("*", "MIT", [ours]), *map(of_distribution, others)])


def of_distribution(directory: Path) -> str:
    """Returns the stanza of a distribution from its metadata, and from the files with licences there and among its modules."""
    metadata = Parser().parsestr((directory / "METADATA").read_text("utf-8"))
    name = f"{metadata['Name']} {metadata['Version']}"
    places = [directory, *modules(directory)]
    found = [file for place in places for file in sorted(place.rglob("*")) if file.is_file() and is_licence(file.name)]
    if not found:
        sys.exit(f"{name} has no file with its licence")
    patterns = " ".join(f"usr/lib/tunnelctl/{place.name}{'/*' if place.is_dir() else ''}" for place in places)
    return stanza(patterns, licence(metadata, name), [file.read_text("utf-8") for file in found])


def is_licence(name: str) -> bool:
    return re.match(r"(licen[cs]e|copying|notice|authors)", name, re.IGNORECASE) is not None


def modules(directory: Path) -> list[Path]:
    """Returns the module of a distribution: markdown_it_py has markdown_it, and Pygments has pygments."""
    name = directory.name.partition("-")[0].lower()
    found = [entry for entry in sorted(directory.parent.iterdir()) if name in (entry.stem.lower(), f"{entry.stem}_py")]
    return found or sys.exit(f"no module of {directory.name}")


def licence(metadata: Message, name: str) -> str:
    """Returns the short name of a licence, from the expression (PEP 639), the older field, or a classifier."""
    given = metadata["License-Expression"] or metadata["License"]
    if not given:
        classifiers = [line for line in metadata.get_all("Classifier", []) if line.startswith("License ::")]
        given = classifiers[0].rpartition(" :: ")[2] if classifiers else sys.exit(f"{name} names no licence")
    return str(given).removesuffix(" License").replace(" AND ", " and ").replace(" OR ", " or ")


OWNER = re.compile(r"\s*copyright\s(.*\d{4}|©)", re.IGNORECASE)


def stanza(patterns: str, name: str, texts: list[str]) -> str:
    owners = [line.strip() for text in texts for line in text.splitlines() if OWNER.match(line)]
    holders = "\n ".join(owners or ["see the licence"])
    return f"Files: {patterns}\nCopyright: {holders}\nLicense: {name}\n{paragraphs(texts)}\n"


def paragraphs(texts: list[str]) -> str:
    """Returns texts as the continuation lines of a field, where a dot stands for an empty line."""
    lines = "\n\n".join(APACHE if "Version 2.0, January 2004" in text else text.strip("\n") for text in texts).splitlines()
    return "\n".join(f" {line.expandtabs().rstrip()}" if line.strip() else " ." for line in lines)


# --- documentation


def debian_readme(text: str) -> str:
    section = text.partition("\n## Debian\n")[2].partition("\n## ")[0]
    return "tunnelctl for Debian\n\n###" + section.partition("\n###")[2]


def relinked(text: str, shipped: set[str]) -> str:
    """Points links of a page to the files beside it. Of a link to a file that the package does not have, the words stay."""

    def link(found: re.Match[str]) -> str:
        words, file, fragment = found.groups()
        name = Path(file).name
        return f"[{words}]({name}{fragment})" if not name or name in shipped else words

    return re.sub(r"\[([^\]]+)\]\((?!https?:)([^)#]*)(#?[^)]*)\)", link, text)


def main(what: str, file: str, *words: str) -> None:
    text = Path(file).read_text("utf-8")
    if what == "changelog":
        version, maintainer = words
        sys.stdout.write(changelog(text, version, maintainer, int(os.environ["SOURCE_DATE_EPOCH"])))
    elif what == "copyright":
        sys.stdout.write(copyright_file(text, Path(*words)))
    else:
        shipped = {entry.name for entry in Path(*words).iterdir()}
        sys.stdout.write(relinked(debian_readme(text) if what == "readme" else text, shipped))


main(*sys.argv[1:])
