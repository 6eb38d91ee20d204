"""`setup --check`: tests whether a tool has the settings. Values in the user's files are never shown: they may be secret."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from glob import escape, glob
from typing import NamedTuple

from tunnelctl.cli.parse.settings import MAX_FILE
from tunnelctl.cli.setup.formats.model import Format, Path, Settings, Value
from tunnelctl.cli.setup.model import Commands, Tool
from tunnelctl.errors import SettingsError, reason
from tunnelctl.files.text import decode, read_file

SECONDS = 10.0  # for a program to print its settings; kubectl and snap answer from a file or a daemon of this machine


class Presence(NamedTuple):
    """The settings that are missing or different. Each is the name of a setting, such as proxies.default.httpProxy."""

    missing: tuple[str, ...] = ()
    different: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        return not self.missing and not self.different


def look(tool: Tool, wanted: Settings, environ: Mapping[str, str]) -> Presence:
    """Compares the settings of a tool with those wanted. Raises SettingsError for a file that cannot be read, or is malformed."""
    if isinstance(tool.form, Commands):
        return compare(wanted, {path: text for path in wanted if (text := _printed(tool.form.asking(path)).strip())})
    texts = [_printed(list(tool.reading))] if tool.reading else list(_texts(tool, environ))
    found = [compare(wanted, _read(tool.form, text, tool.file)) for text in texts] or [compare(wanted, {})]
    return next((one for one in found if not one.complete), found[0])


def compare(wanted: Settings, found: Settings) -> Presence:
    """Compares settings. A list that is wanted may be a part of the one that is there."""
    missing = (_name(path) for path in wanted if path not in found)
    different = (_name(path) for path, value in wanted.items() if path in found and not _has(found[path], value))
    return Presence(tuple(missing), tuple(different))


def _name(path: Path) -> str:
    return ".".join(filter(None, path))


def _has(found: Value, wanted: Value) -> bool:
    if isinstance(found, tuple) and isinstance(wanted, tuple):
        return set(wanted) <= set(found)
    return found == wanted


def path_of(tool: Tool, environ: Mapping[str, str]) -> str:
    """The path of the tool's file, which may be a pattern. A ~ is the home directory, and ~/.config what XDG_CONFIG_HOME names."""
    config = environ.get("XDG_CONFIG_HOME", "")
    if config[:1] == "/" and tool.file.startswith("~/.config/"):
        return f"{config}{tool.file.removeprefix('~/.config')}"
    return environ.get("HOME", "") + tool.file[1:] if tool.file[:2] == "~/" else tool.file


def files_of(tool: Tool, environ: Mapping[str, str]) -> list[str]:
    """The files that exist: for a pattern, several."""
    path = path_of(tool, environ)
    if "*" not in tool.file:
        return [path] if os.path.exists(path) else []
    fixed, star, rest = path.rpartition("*")
    return sorted(glob(f"{escape(fixed)}{star}{rest}"))


def _texts(tool: Tool, environ: Mapping[str, str]) -> Iterator[str]:
    for name in files_of(tool, environ):
        what = f"configuration file {name}"
        yield decode(read_file(name, what, MAX_FILE).octets, what)


def _read(form: Format, text: str, file: str) -> Settings:
    try:
        return form.read(text)
    except ValueError as error:
        raise SettingsError(f"configuration file {file}", str(error), "setup-file") from None


def _printed(words: list[str]) -> str:
    """Returns the output of a program; "" if it fails, as crontab(1) does without one. Raises SettingsError if it may not say."""
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS)
    except OSError as error:
        raise SettingsError(f"program {words[0]}", reason(error), "setup-program") from error
    except subprocess.TimeoutExpired as error:
        raise SettingsError(f"program {words[0]}", f"still running after {SECONDS:g} s", "setup-program") from error
    if words[0] == "snap" and done.returncode != 0 and b"access denied" in done.stderr:  # its daemon answers root
        raise SettingsError(f"program {words[0]}", "only root may read its settings", "setup-root")
    return done.stdout.decode(errors="replace") if done.returncode == 0 else ""
