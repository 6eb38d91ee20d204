"""Reads all sources of a machine. It blocks as long as files and programs do, so it runs in a thread."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

from tunnelctl.client.discovery.readers.variables import read_environ
from tunnelctl.client.discovery.settings.machine import Machine, UnreadableError
from tunnelctl.client.discovery.settings.setting import INCLUDE, Found, MalformedFile, Setting, Unread
from tunnelctl.client.discovery.settings.sources import SOURCES, Source

ENVIRONMENT = "environment"  # the tool of this process's own variables
MAX_INCLUDED = 64  # files of one source, which may include each other

_VARIABLE = re.compile(r"\$\{(\w+)(?::-[^}]*)?\??\}")
_EXPANDS = ("npm",)  # programs that replace ${NAME} in their values


class Gathered(NamedTuple):
    """The settings found, in order, and the sources that could not be read."""

    found: tuple[Found, ...]
    unread: tuple[Unread, ...]


def gather(machine: Machine, sources: Iterable[Source] = SOURCES) -> Gathered:
    """Reads the variables of the environment and all sources."""
    told = [one for source in sources for one in _read_source(source, machine)]
    found = dict.fromkeys([*gather_variables(machine), *(one for one in told if isinstance(one, Found))])
    return Gathered(tuple(found), tuple(one for one in told if isinstance(one, Unread)))


def gather_variables(machine: Machine) -> tuple[Found, ...]:
    """Reads the variables of the environment alone, which does not block."""
    return tuple(Found(ENVIRONMENT, "", setting) for setting in read_environ(machine.environ))


def _read_source(source: Source, machine: Machine) -> Iterator[Found | Unread]:
    if source.program:
        yield from _read(source, machine, " ".join(source.program[:2]), partial(machine.run, source.program))
        return
    left = [(path, "") for pattern in reversed(source.files) for path in reversed(_named(source, machine.find(pattern)))]
    seen: set[str] = set()
    while left and len(seen) < MAX_INCLUDED + len(source.files):
        path, scope = left.pop()
        if path in seen:
            continue
        seen.add(path)
        included: list[tuple[str, str]] = []
        for one in _read(source, machine, machine.shorten(path), partial(machine.read, path)):
            if not isinstance(one, Found):
                yield one
            elif one.setting.kind == INCLUDE:
                limit = _within(scope, one).setting.scope
                included += [(other, limit) for other in _included(one.setting.value[0], path, machine)]
            else:
                yield _within(scope, one)
        left += reversed(included)


def _named(source: Source, paths: list[str]) -> list[str]:
    """Leaves out the files that the program does not read because of their names, such as backups."""
    return [path for path in paths if not source.names or re.fullmatch(source.names, path.rpartition("/")[2])]


def _within(scope: str, found: Found) -> Found:
    """Returns a setting of a file that is included only for that scope."""
    own = found.setting.scope
    return found._replace(setting=found.setting._replace(scope=own or scope))


def _read(source: Source, machine: Machine, place: str, take: Callable[[], str | None]) -> Iterator[Found | Unread]:
    """Yields what a file or an output says, or why it cannot be read."""
    try:
        text = take()
        settings = source.reader(text) if text is not None else []
    except (UnreadableError, MalformedFile) as error:
        yield Unread(source.tool, place, str(error))
        return
    for setting in settings:
        expanded = expand(setting, machine.environ) if source.tool in _EXPANDS else setting
        yield Found(source.tool, place, expanded)


def _included(pattern: str, path: str, machine: Machine) -> list[str]:
    """Returns the included files. A relative pattern is below the directory of the file that has it."""
    return machine.find(pattern if pattern.startswith(("/", "~/")) else f"{path.rpartition('/')[0]}/{pattern}")


def expand(setting: Setting, environ: Mapping[str, str]) -> Setting:
    """Replaces ${NAME} in the values. One that is not set stays as it is."""
    values = (_VARIABLE.sub(lambda name: environ.get(name[1], name[0]), value) for value in setting.value)
    return setting._replace(value=tuple(values))
