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
    """What was found, in order, and what could not be read."""

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
    left = [path for pattern in reversed(source.files) for path in reversed(machine.find(pattern))]
    seen: set[str] = set()
    while left and len(seen) < MAX_INCLUDED + len(source.files):
        path = left.pop()
        if path in seen:
            continue
        seen.add(path)
        for one in _read(source, machine, machine.shorten(path), partial(machine.read, path)):
            if isinstance(one, Found) and one.setting.kind == INCLUDE:
                left += reversed(machine.find(_included(one.setting.value[0], path)))
            else:
                yield one


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


def _included(pattern: str, path: str) -> str:
    """Returns the pattern of included files: relative ones are below the directory of the file that includes them."""
    return pattern if pattern.startswith(("/", "~/")) else f"{path.rpartition('/')[0]}/{pattern}"


def expand(setting: Setting, environ: Mapping[str, str]) -> Setting:
    """Replaces ${NAME} in the values. One that is not set stays as it is."""
    values = (_VARIABLE.sub(lambda name: environ.get(name[1], name[0]), value) for value in setting.value)
    return setting._replace(value=tuple(values))
