"""Environment variables: of this process, of PAM, and of systemd's units."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tunnelctl.client.discovery.readers.lines import entries, unquoted
from tunnelctl.client.discovery.readers.proxy_command import settings_of_command
from tunnelctl.client.discovery.settings.setting import EXEMPT, PROXY, Setting

# In lower case; programs look for the names in both cases.
_EITHER_CASE = {"http_proxy": PROXY, "https_proxy": PROXY, "all_proxy": PROXY, "no_proxy": EXEMPT}
_AS_WRITTEN = {"TUNNELCTL_PROXY": PROXY, "PIP_PROXY": PROXY}
# npm takes each of its settings from a variable, in any case.
_NPM = {
    "npm_config_proxy": PROXY,
    "npm_config_http_proxy": PROXY,
    "npm_config_https_proxy": PROXY,
    "npm_config_noproxy": EXEMPT,
}
_COMMANDS = ("GIT_SSH_COMMAND", "GIT_PROXY_COMMAND")

_NONE = ("direct",)  # as a value of TUNNELCTL_PROXY
_EXPORT = "export "
_DIRECTIVES = ("Environment", "DefaultEnvironment", "ManagerEnvironment")

# A word of Environment=: bare, or with quotes anywhere in it (systemd.syntax(7)).
_WORD = re.compile(r"""(?:[^\s"'\\]|\\.|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|["'\\])+""", re.DOTALL)
_PIECE = re.compile(r"""\\(.)|"((?:\\.|[^"\\])*)"|'((?:\\.|[^'\\])*)'""", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def read_environ(environ: Mapping[str, str]) -> list[Setting]:
    """Reads the variables of a process."""
    return [setting for name, value in environ.items() for setting in settings_of_variable(name, value, 0)]


def read_environment_file(text: str) -> list[Setting]:
    """Reads /etc/environment, as pam_env(8) does, and environment.d(5)."""
    found: list[Setting] = []
    for entry in entries(text):
        found += settings_of_variable(entry.key.removeprefix(_EXPORT).strip(), unquoted(entry.value), entry.line)
    return found


def read_unit(text: str) -> list[Setting]:
    """Reads Environment= of a unit or a drop-in of systemd, and DefaultEnvironment= of system.conf."""
    found: list[Setting] = []
    for number, line in _joined(text):
        key, equals, value = line.partition("=")
        if equals and key.strip() in _DIRECTIVES:
            for word in _WORD.findall(value):
                name, _, content = _plain(word).partition("=")
                # A percent sign of the value is written twice: a single one begins a specifier.
                found += settings_of_variable(name, content.replace("%%", "%"), number)
    return found


def settings_of_variable(name: str, value: str, line: int) -> list[Setting]:
    """Returns what a variable sets: nothing, or one setting, or those of a command for ssh in it."""
    value = value.strip()
    if not value or value.lower() in _NONE:
        return []
    if name in _COMMANDS:
        return settings_of_command(name, value, line)
    kind = _EITHER_CASE.get(name if name.islower() else name.lower() if name.isupper() else "")
    kind = kind or _AS_WRITTEN.get(name) or _NPM.get(name.lower().replace("-", "_"))
    return [Setting(kind, name, (value,), line)] if kind is not None else []


def _joined(text: str) -> list[tuple[int, str]]:
    """Returns the lines with their numbers; a backslash at the end of a line continues it."""
    found: list[tuple[int, str]] = []
    before: tuple[int, str] | None = None
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        if line.startswith(("#", ";")):  # also within a continued line
            continue
        first, begun = before or (number, "")
        before = (first, f"{begun}{line[:-1]} ") if line.endswith("\\") else None
        if before is None:
            found.append((first, begun + line))
    return found


def _plain(word: str) -> str:
    """Removes the quotes and escapes of a word."""
    return _PIECE.sub(lambda piece: piece[1] or _ESCAPED.sub(r"\1", piece[2] or piece[3] or ""), word)
