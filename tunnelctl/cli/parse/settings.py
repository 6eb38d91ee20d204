"""Locates the settings file, which costs one stat(2); cli.parse.settings_file reads it if it exists.

Its settings become pairs of a flag and a text, as if they had been typed, so that later code treats both alike.
"""

from __future__ import annotations

import os

from tunnelctl.cli.parse.values import Pair, Settings, connect_options
from tunnelctl.client.options import ConnectOptions
from tunnelctl.errors import SettingsError, UsageProblem, reason
from tunnelctl.namedtuple import NamedTuple
from tunnelctl.options import AUTO, ReachOptions
from tunnelctl.proto.address import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

PROFILE_VARIABLE = "TUNNELCTL_PROFILE"
MAX_FILE = 1 << 20  # bytes

_OF_EACH_CONNECT = ("timeout",)  # of the options for reaching the proxies, what counts with --via NAME too

# A user who types one of these expects TLS, but without --tls all would go in the clear: an error. In a file they are allowed:
# they apply whenever there is TLS.
_ABOUT_TLS = ("tls-name", "tls-cacert", "tls-alpn")


class ConnectLine(NamedTuple):
    """A complete `connect` line: what the user typed, and what the file adds."""

    options: ConnectOptions
    settings: Settings


def connect_line(pairs: list[Pair], words: list[str], environ: Mapping[str, str]) -> ConnectLine:
    """Builds the options, for both parsers alike. Checks the typed flags before those of the file."""
    check_via(pairs)
    options = connect_options(pairs, words)
    settings = complete("connect", pairs, environ)
    if settings.path:
        options = settings.build(ConnectOptions, target=options.target)
    return ConnectLine(options, settings)


def check_via(pairs: list[Pair]) -> None:
    """Raises UsageProblem for typed flags about reaching the proxies beside --via NAME: the forward has its own."""
    via = next((text for flag, text in reversed(pairs) if flag.name == "via"), AUTO)
    if via == AUTO:
        return
    for flag, _ in pairs:
        if flag.destination in ReachOptions._fields and flag.name not in _OF_EACH_CONNECT:
            cause = f"{flag.spellings[-1]} and --via {shown(via)} cannot be used together"
            raise UsageProblem("usage error", cause, "contradiction")


def complete(command: str, pairs: list[Pair], environ: Mapping[str, str]) -> Settings:
    """Adds the pairs of the settings file to those of a command. Raises SettingsError and UsageProblem."""
    settings = _with_file(command, pairs, environ)
    names = {flag.name for flag, _ in settings.pairs}
    for flag, _ in pairs:
        if flag.name in _ABOUT_TLS and "tls" not in names:
            raise UsageProblem("", "it requires TLS to the target", "needs-tls", option=flag.destination)
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
    """Returns content and mode, or None if there is no file. Raises SettingsError."""
    what = f"settings file {path}"
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SettingsError(what, reason(error), "unreadable") from error
    from tunnelctl.files.text import read_file

    return read_file(path, what, MAX_FILE)


def _no_file(origin: str, profile: str, path: str) -> SettingsError:
    where = f"settings file {path} does not exist" if path else "there is no home directory to look for settings in"
    return SettingsError(f"{origin} {profile}", where, "no-settings-file")


def path_of(environ: Mapping[str, str]) -> str:
    """Returns the path of the file, existing or not; "" without a home directory. Ignores a relative XDG_CONFIG_HOME, as its
    standard requires."""
    base, home = environ.get("XDG_CONFIG_HOME", ""), environ.get("HOME", "")
    if base[:1] != "/":
        if not home:
            return ""
        base = f"{home}/.config"
    return f"{base}/tunnelctl/config.toml"


def _profile(pairs: list[Pair], environ: Mapping[str, str]) -> tuple[str, str]:
    """Returns the flag or variable that may select a profile, and the profile's name; "" for none."""
    for flag, text in reversed(pairs):
        if flag.name == "profile":
            return "--profile", text
    return PROFILE_VARIABLE, environ.get(PROFILE_VARIABLE, "")
