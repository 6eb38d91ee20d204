"""The machine that is searched: reads its files and runs its programs with care.

A file that a setting may be in can be anything: a FIFO that nobody writes to, a device without an end, a link to itself, a text in
another encoding. None of them may block, or end the search.
"""

from __future__ import annotations

import glob
import os
import stat
import subprocess
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from shutil import which
from typing import NamedTuple

from tunnelctl.errors import reason

ROOT = "/"
MAX_FILE = 1 << 18  # bytes; the longest of these files have some thousand
MAX_FILES = 200  # that a pattern may match
PROGRAM_SECONDS = 3.0  # gsettings may have to start a service on its bus

_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


class UnreadableError(Exception):
    """A file or a program that is there and cannot be read. str() is the cause."""


class Machine(NamedTuple):
    """The place to search. home: as the programs see it; root: the directory that replaces /"""

    environ: Mapping[str, str]
    home: str
    root: str = ROOT

    def __repr__(self) -> str:
        """Leaves out the environment: it may hold passwords."""
        return f"Machine({self.home!r}, {self.root!r})"

    def find(self, pattern: str) -> list[str]:
        """Returns the paths that match a pattern, as the programs see them, in order, without directories.

        A pattern begins with /, ~/ or $NAME; `|` separates alternatives, of which the first counts whose variable is set.
        """
        expanded = next((path for path in map(self._expand, pattern.split("|")) if path), "")
        if not expanded.startswith("/"):
            return []
        base = self._prefix
        found = islice(glob.iglob(glob.escape(base) + expanded), MAX_FILES)
        return sorted(path[len(base) :] for path in found if not Path(path).is_dir())

    @property
    def _prefix(self) -> str:
        return self.root.rstrip("/")

    def _expand(self, path: str) -> str:
        """Replaces ~ or a variable at the beginning; "" if there is none of that name."""
        if path.startswith("~/"):
            return f"{self.home}{path[1:]}" if self.home else ""
        if path.startswith("$"):
            name, slash, rest = path[1:].partition("/")
            value = self.environ.get(name, "")
            return f"{value.rstrip('/')}{slash}{rest}" if value else ""
        return path

    def shorten(self, path: str) -> str:
        """Returns a path for people, with ~ for the home directory."""
        return f"~{path[len(self.home) :]}" if self.home and path.startswith(f"{self.home}/") else path

    def read(self, path: str) -> str | None:
        """Returns the text of a file; None if there is none. Raises UnreadableError."""
        try:
            return decode(_read(f"{self._prefix}{path}"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise UnreadableError(reason(error)) from error
        except ValueError:
            raise UnreadableError("its name contains a NUL") from None

    def run(self, command: tuple[str, ...]) -> str | None:
        """Returns the output of a program; None if it is not installed, or fails. Raises UnreadableError.

        A program tells about this machine, so there is no output for another root.
        """
        program = which(command[0], path=self.environ.get("PATH")) if self.root == ROOT else None
        if program is None:
            return None
        words = [program, *command[1:]]
        try:
            done = subprocess.run(
                words, stdin=subprocess.DEVNULL, capture_output=True, timeout=PROGRAM_SECONDS, env=dict(self.environ)
            )
        except subprocess.TimeoutExpired:
            raise UnreadableError(f"still running after {PROGRAM_SECONDS:g} s") from None
        except OSError as error:
            raise UnreadableError(reason(error)) from error
        return decode(done.stdout[:MAX_FILE]) if done.returncode == 0 else None


def _read(path: str) -> bytes:
    """Reads a regular file. O_NONBLOCK: opening a FIFO does not wait for a writer, nor a device for its carrier."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise UnreadableError("it is not a regular file")
        octets = file.read(MAX_FILE + 1)
    if len(octets) > MAX_FILE:
        raise UnreadableError(f"larger than {MAX_FILE >> 10} KiB")
    return octets


def decode(octets: bytes) -> str:
    """Decodes UTF-8, or UTF-16 with a byte order mark. Other octets survive as surrogates, which are shown as \\xNN."""
    if octets.startswith(_UTF_16):
        return octets.decode("utf-16", "replace")
    return octets.decode("utf-8", "surrogateescape").removeprefix("\ufeff")


def own(environ: Mapping[str, str]) -> Machine:
    """Returns this machine, for the user whose environment it is."""
    return Machine(environ, environ.get("HOME", "") or _home(), ROOT)


def _home() -> str:
    """Returns the home directory of the user database; "" if this user has no entry there, as in some containers."""
    try:
        return str(Path.home())
    except RuntimeError:
        return ""
