"""Formats with one setting per line, with or without sections."""

import re
from dataclasses import dataclass
from json import dumps, loads

from tunnelctl.cli.setup.formats.model import Path, Settings, Unwritable, Value, text_of

_PLAIN = re.compile(r"[A-Za-z0-9:/.,_@%*?\[\]-]*")  # no character has a meaning in any of these formats

# In a string of apt.conf(5) nothing is an escape, so a quote ends it; a semicolon and a brace may stand in it.
_APT_LINE = re.compile(r'^\s*([A-Za-z][\w:./\[\]-]*)\s+"([^"]*)"\s*;', re.MULTILINE)
_PROPERTY_ESCAPES = {"\\": "\\\\", ":": "\\:", "=": "\\=", "#": "\\#", "!": "\\!", " ": "\\ "}


@dataclass(frozen=True)
class KeyValue:
    """`KEY=VALUE`, where a value is as typed: .npmrc and .wgetrc.

    quotes: whether a value may be in quotes, as in JSON. npm expands ${NAME} in any value, so such a value has no notation
    """

    between: str = "="
    quotes: bool = False
    comment: str = "#"
    appendable: bool = True

    def render(self, settings: Settings) -> str:
        return "".join(f"{key}{self.between}{self._written(text_of(value))}\n" for (key,), value in settings.items())

    def _written(self, value: str) -> str:
        if _PLAIN.fullmatch(value):
            return value
        if not self.quotes or "${" in value:
            raise Unwritable("there are no quotes in this format")
        return dumps(value)

    def read(self, text: str) -> Settings:
        found: dict[Path, Value] = {}
        for line in text.splitlines():
            key, equals, value = (part.strip() for part in line.partition("="))
            if equals and key[:1] not in ("#", ";"):
                found[(key,)] = _unquoted(value) if self.quotes else value
        return found


@dataclass(frozen=True)
class Curlrc:
    """`KEY = "VALUE"` of .curlrc, with backslashes as escapes."""

    comment: str = "#"
    appendable: bool = True

    def render(self, settings: Settings) -> str:
        return "".join(f'{key} = "{_escaped(text_of(value))}"\n' for (key,), value in settings.items())

    def read(self, text: str) -> Settings:
        """Reads `key = value`, `key: value` and `key value`, with or without dashes before the key, as curl does."""
        found: dict[Path, Value] = {}
        for line in text.splitlines():
            part = re.match(r'\s*-{0,2}([a-z][a-z0-9-]*)[\s=:]+("(?:[^"\\]|\\.)*"|\S+)', line)
            if part:
                value = part[2]
                found[(part[1],)] = re.sub(r"\\(.)", r"\1", value[1:-1]) if value[0] == '"' else value
        return found


@dataclass(frozen=True)
class Sections:
    """`[SECTION]` with lines `KEY = VALUE`: pip.conf and dnf.conf, where a value is as typed."""

    comment: str = "#"
    appendable: bool = False  # Python's configparser refuses a section that occurs twice

    def render(self, settings: Settings) -> str:
        lines, last = [], ""
        for (section, key), value in settings.items():
            if not _PLAIN.fullmatch(text_of(value)):
                raise Unwritable("there are no quotes in this format")
            lines += [f"[{section}]\n"] * (section != last) + [f"{key} = {value}\n"]
            last = section
        return "".join(lines)

    def read(self, text: str) -> Settings:
        from configparser import Error, RawConfigParser

        parser = RawConfigParser(strict=False)
        try:
            parser.read_string(text)
        except Error as error:
            raise ValueError("not a file with sections") from error
        return {(section, key): value for section in parser.sections() for key, value in parser.items(section)}


@dataclass(frozen=True)
class AptConf:
    """`KEY "VALUE";` of apt.conf(5)."""

    comment: str = "//"
    appendable: bool = True

    def render(self, settings: Settings) -> str:
        if any('"' in text_of(value) for value in settings.values()):
            raise Unwritable("apt.conf(5) has no escape for a quote")
        return "".join(f'{key} "{value}";\n' for (key,), value in settings.items())

    def read(self, text: str) -> Settings:
        return {(key,): value for key, value in _APT_LINE.findall(text)}


@dataclass(frozen=True)
class SSHConfig:
    """ssh_config(5). A path is the line of the section, and a keyword: cli.commands.ssh_config has quoted the values for ssh."""

    comment: str = "#"
    appendable: bool = True

    def render(self, settings: Settings) -> str:
        lines, last = "", ""
        for (section, keyword), value in settings.items():
            lines += f"{section}\n" * (section != last) + f"    {keyword} {text_of(value)}\n"
            last = section
        return lines

    def read(self, text: str) -> Settings:
        """Reads each section. Of a keyword, the first value counts, as in ssh."""
        found: dict[Path, Value] = {}
        section = ""
        for line in map(str.strip, text.splitlines()):
            keyword, _, value = line.partition(" ")
            if keyword.lower() in ("host", "match"):
                section = line
            elif keyword and keyword[0] != "#":
                found.setdefault((section, keyword), value.strip())
        return found


@dataclass(frozen=True)
class Properties:
    """`KEY=VALUE` of a Java properties file, with its escapes."""

    comment: str = "#"
    appendable: bool = True

    def render(self, settings: Settings) -> str:
        return "".join(f"{key}={''.join(map(_property, text_of(value)))}\n" for (key,), value in settings.items())

    def read(self, text: str) -> Settings:
        found: dict[Path, Value] = {}
        for line in re.sub(r"(?<!\\)((?:\\\\)*)\\\n\s*", r"\1", text).splitlines():  # an odd number of backslashes
            part = re.fullmatch(r"\s*((?:[^\\:=\s#!]|\\.)(?:[^\\:=\s]|\\.)*)\s*[:=]?\s*(.*)", line)
            if part:
                found[(_from_property(part[1]),)] = _from_property(part[2])
        return found


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _unquoted(value: str) -> str:
    """Returns the text of a value in double quotes; any other as it is."""
    try:
        text = loads(value) if value[:1] == '"' else value
    except ValueError:
        return value
    return text if isinstance(text, str) else value


def _property(character: str) -> str:
    """Escapes a character for a properties file, which Java before version 9 reads as Latin-1."""
    if character.isascii():
        return _PROPERTY_ESCAPES.get(character, character)
    octets = character.encode("utf-16-be")
    return "".join(f"\\u{octets[at]:02x}{octets[at + 1]:02x}" for at in range(0, len(octets), 2))


def _from_property(text: str) -> str:
    plain = re.sub(r"\\(?:u([0-9a-fA-F]{4})|(.))", lambda found: chr(int(found[1], 16)) if found[1] else found[2], text)
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # joins the halves of a character beyond 16 bits
