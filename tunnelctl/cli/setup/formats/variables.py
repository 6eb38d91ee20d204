"""Environment variables in a shell profile, a systemd unit or a crontab."""

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tunnelctl.cli.setup.formats.model import Path, Settings, Unwritable, Value, text_of

# systemd.exec(5) and cron are no shells: they know quotes, and expand nothing but, in systemd, the specifiers that begin with %.
_CRON_QUOTES = "\"'"


@dataclass(frozen=True)
class ShellProfile:
    """`export NAME='VALUE'`, for any shell of the Bourne family."""

    comment: str = "#"
    appendable: bool = True

    def render(self, settings: Settings) -> str:
        return "".join(f"export {name}={shlex.quote(text_of(value))}\n" for (name,), value in settings.items())

    def read(self, text: str) -> Settings:
        """Reads assignments at the start of a line, with or without `export`. The last one counts, as in the shell."""
        return {(name,): value for line in text.splitlines() for name, value in _assignments(_words(line))}


@dataclass(frozen=True)
class SystemdUnit:
    """A drop-in of systemd, such as `[Service]` with lines `Environment="NAME=VALUE"`."""

    section: str
    key: str
    comment: str = "#"
    appendable: bool = False  # it is a file of its own

    def render(self, settings: Settings) -> str:
        lines = (f'{self.key}="{_systemd_quoted(f"{name}={text_of(value)}")}"\n' for (name,), value in settings.items())
        return f"[{self.section}]\n" + "".join(lines)

    def read(self, text: str) -> Settings:
        found: dict[Path, Value] = {}
        section = ""
        for line in text.replace("\\\n", " ").splitlines():
            if line.strip()[:1] == "[":
                section = line.strip().strip("[]")
            key, _, value = line.partition("=")
            if section == self.section and key.strip() == self.key:
                found |= {(name,): value.replace("%%", "%") for name, value in _assignments(_words(value))}
        return found


@dataclass(frozen=True)
class Crontab:
    """Lines `NAME="VALUE"` at the top of a crontab(5), which holds them for the lines below."""

    comment: str = "#"
    appendable: bool = False

    def render(self, settings: Settings) -> str:
        return "".join(f"{name}={_cron_quoted(text_of(value))}\n" for (name,), value in settings.items())

    def read(self, text: str) -> Settings:
        found: dict[Path, Value] = {}
        for line in text.splitlines():
            name, equals, value = (part.strip() for part in line.partition("="))
            if equals and name.isidentifier():
                quoted = len(value) > 1 and value[0] == value[-1] and value[0] in _CRON_QUOTES
                found[(name,)] = value[1:-1] if quoted else value
        return found


def _words(line: str) -> list[str]:
    """Splits a line as a shell does; no words if its quotes do not end there."""
    try:
        return shlex.split(line, comments=True)
    except ValueError:
        return []


def _assignments(words: Iterable[str]) -> Iterator[tuple[str, str]]:
    for word in words:
        name, equals, value = word.partition("=")
        if equals and name.isidentifier():
            yield name, value
        elif word != "export":  # a command: what follows are its arguments
            return


def _systemd_quoted(text: str) -> str:
    return text.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')


def _cron_quoted(text: str) -> str:
    """Quotes for cron, which removes a pair of quotes around a value and knows no escape."""
    quote = next((quote for quote in _CRON_QUOTES if quote not in text), None)
    if quote is None:
        raise Unwritable("crontab(5) has no escape for quotes")
    return f"{quote}{text}{quote}"
