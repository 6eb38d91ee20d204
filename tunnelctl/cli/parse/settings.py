"""The settings file: looked for here, at the price of one stat(2), and read in cli.parse.settings_file, if there is one.

What it says becomes pairs of a flag and a text, as if it had been typed, so that nothing behind this knows of the file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from tunnelctl.cli.parse.values import Pair, Settings, connect_options
from tunnelctl.client.options import ConnectOptions
from tunnelctl.errors import SettingsError, UsageProblem, reason
from tunnelctl.namedtuple import NamedTuple

PROFILE_VARIABLE = "TUNNELCTL_PROFILE"
MAX_FILE = 1 << 20  # bytes

# Who types one means TLS, and without --tls all would go in the clear. In a file they may stand for when there is.
_ABOUT_TLS = ("tls-name", "tls-cacert", "tls-alpn")


class ConnectLine(NamedTuple):
    """A whole `connect`: what was typed and what the file adds."""

    options: ConnectOptions
    settings: Settings


def connect_line(pairs: list[Pair], words: list[str], environ: Mapping[str, str]) -> ConnectLine:
    """For both parsers alike. What was typed is judged first: it is nearer."""
    options = connect_options(pairs, words)
    settings = complete("connect", pairs, environ)
    if settings.path:
        options = ConnectOptions(options.target, **settings.fields())  # type: ignore[arg-type]
    return ConnectLine(options, settings)


def complete(command: str, pairs: list[Pair], environ: Mapping[str, str]) -> Settings:
    """The pairs of a command with those that the settings file adds. Raises SettingsError, and UsageProblem."""
    settings = _with_file(command, pairs, environ)
    names = {flag.name for flag, _ in settings.pairs}
    for flag, _ in pairs:
        if flag.name in _ABOUT_TLS and "tls" not in names:
            raise UsageProblem(f"--{flag.name}", "there is no TLS to the target", "add --tls")
    return settings


def _with_file(command: str, pairs: list[Pair], environ: Mapping[str, str]) -> Settings:
    origin, profile = _profile(pairs, environ)
    path = path_of(environ)
    found = _read(path)
    if found is None:
        if profile:
            raise _no_file(origin, profile, path)
        return Settings(pairs)
    from tunnelctl.cli.parse.settings_file import apply, parse

    content, mode = found
    return apply(command, pairs, environ, parse(content, path), path, origin, profile, mode)


def _read(path: str) -> tuple[bytes, int] | None:
    """Content and mode; None where there is no file."""
    what = f"settings file {path}"
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SettingsError(what, reason(error)) from error
    from tunnelctl.files.text import read_file

    return read_file(path, what, MAX_FILE)


def _no_file(origin: str, profile: str, path: str) -> SettingsError:
    where = f"there is no settings file {path}" if path else "there is no home directory to look for settings in"
    return SettingsError(f"{origin} {profile}", where, "tunnelctl-config(5) tells what stands in one")


def path_of(environ: Mapping[str, str]) -> str:
    """Where the file is, or would be; "" where nobody can say. A relative XDG_CONFIG_HOME is to be ignored, says its standard."""
    base, home = environ.get("XDG_CONFIG_HOME", ""), environ.get("HOME", "")
    if base[:1] != "/":
        if not home:
            return ""
        base = f"{home}/.config"
    return f"{base}/tunnelctl/config.toml"


def _profile(pairs: list[Pair], environ: Mapping[str, str]) -> tuple[str, str]:
    """What named the profile, and its name; "" if none is wanted."""
    for flag, text in reversed(pairs):
        if flag.name == "profile":
            return "--profile", text
    return PROFILE_VARIABLE, environ.get(PROFILE_VARIABLE, "")
