"""The content of a settings file: TOML with the flags as keys, [defaults] for every command, and [profiles.NAME] to choose from.

Checks every key, including those of other profiles and other commands, so that a mistake shows as soon as it is made.
"""

import stat
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple, NoReturn

from tunnelctl.cli.parse.values import Pair, Settings, read_value
from tunnelctl.cli.render.text import mask
from tunnelctl.cli.spec.connect_flags import CONFLICTS
from tunnelctl.cli.spec.flag import COUNT, FILE, LEVEL, SECONDS, SWITCH, Flag
from tunnelctl.cli.spec.flags import FLAGS, flags_of
from tunnelctl.client.route.selection import select_proxies
from tunnelctl.errors import SettingsError, UsageProblem
from tunnelctl.files.text import decode
from tunnelctl.files.toml import Path, TomlError, has_control, line_of, read_toml
from tunnelctl.proto import headers

COMMANDS = ("connect", "forward", "run", "serve")  # whose flags are the keys; check reads the file too
KEYS = {f.name: f for f in reversed(FLAGS) if f.name and f.name != "profile" and set(f.commands) & set(COMMANDS)}
MOST_VERBOSE = 9  # levels above 2 print nothing more

# The keys that each key excludes. If a flag, a variable or the profile sets a key, these are ignored in what has less precedence.
OVERRULED = {
    "proxy": ("pac", "via"),
    "pac": ("proxy", "via"),
    "proxy-password-file": ("password-command", "ask-password"),
    "password-command": ("proxy-password-file", "ask-password"),
    "ask-password": ("proxy-password-file", "password-command"),
    "proxy-auth-file": ("proxy-user", "proxy-password-file", "password-command", "ask-password"),
    "verbose": ("quiet",),
    "quiet": ("verbose",),
}

MAY_HAVE_CONTROLS = ("password-command", "header")  # a script of several lines; a tab in a value

TABLES = ("defaults", "profiles")
WAYS = ("proxy", "pac")  # keys that name the proxies

WANTED = {
    SWITCH: "true or false",
    LEVEL: f"a number from 0 to {MOST_VERBOSE}",
    SECONDS: "a number of seconds",
    COUNT: "a whole number",
}


class Entry(NamedTuple):
    """The value of a key, as texts like those on a command line; no texts for a switch that is off, or for an empty list."""

    line: int
    texts: list[str]


class Table(NamedTuple):
    """[defaults] or a profile."""

    name: str
    entries: dict[str, Entry]


class File(NamedTuple):
    """The whole file, with valid names and with values of the right kind."""

    defaults: Table
    profiles: dict[str, Table]


def parse(content: bytes, path: str) -> File:
    """Parses the file. Raises SettingsError, which names file and line."""
    text = decode(content, f"settings file {path}")
    try:
        found, lines = read_toml(text)
    except TomlError as error:
        raise SettingsError(
            f"settings file {path}, line {error.line}", error.cause, "not-toml", facts={"escape": error.escape}
        ) from None
    return _Reader(path, lines).read(found)


class _Reader:
    """Checks the names of tables and keys, and the kinds of values."""

    def __init__(self, path: str, lines: dict[Path, int]) -> None:
        self._path, self._lines = path, lines

    def read(self, found: dict[str, Any]) -> File:
        for name, value in found.items():
            if name not in TABLES or not isinstance(value, dict):
                self._refuse_top(name, value)
        profiles = {}
        for name, value in found.get("profiles", {}).items():
            if not isinstance(value, dict):
                raise SettingsError(self._place(("profiles", name)), f"`{name}` is not a profile", "not-a-profile")
            profiles[name] = self._table(f"profile {name}", ("profiles", name), value)
        return File(self._table("defaults", ("defaults",), found.get("defaults", {})), profiles)

    def _place(self, name: tuple[str, ...]) -> str:
        """Returns the file and the line of a key or a table, or at least of the table around it, for an error."""
        line = line_of(self._lines, name, 0)
        return f"settings file {self._path}, line {line}" if line else f"settings file {self._path}"

    def _refuse_top(self, name: str, value: object) -> NoReturn:
        if name in KEYS:
            raise SettingsError(self._place((name,)), f"`{name}` is outside any table", "key-outside-table")
        is_table = isinstance(value[0] if isinstance(value, list) and value else value, dict)
        cause = f"unknown table `{name}`" if is_table and name not in TABLES else f"`{name}` is not a table"
        raise SettingsError(self._place((name,)), cause, "unknown-table")

    def _table(self, shown: str, name: tuple[str, ...], found: dict[str, Any]) -> Table:
        entries = {}
        for key, value in found.items():
            flag = KEYS.get(key)
            if flag is None:
                near = get_close_matches(key, KEYS, 1)
                facts = {"near": "".join(near)}
                raise SettingsError(self._place((*name, key)), f"unknown key `{key}`", "unknown-key", facts=facts)
            entries[key] = Entry(self._lines.get((*name, key), 0), self._texts((*name, key), flag, value))
        for one, other in _contradictions():
            if one in entries and other in entries and entries[one].texts and entries[other].texts:
                later = max(one, other, key=lambda key: entries[key].line)
                raise SettingsError(self._place((*name, later)), f"`{one}` and `{other}` cannot be used together", "contradiction")
        return Table(shown, entries)

    def _texts(self, name: tuple[str, ...], flag: Flag, value: object) -> list[str]:
        texts = texts_of(flag, value)
        if texts is None:
            wanted = WANTED.get(flag.kind, "a string or a list of strings" if flag.repeat else "a string")
            raise SettingsError(self._place(name), f"`{flag.name}` takes {wanted}", "value-type")
        try:
            for text in texts if flag.takes_value else ():
                read_value(flag, text)
                if has_control(text) and flag.name not in MAY_HAVE_CONTROLS:
                    raise UsageProblem(flag.name, "it contains a control character", "control-character")
        except UsageProblem as problem:
            raise SettingsError(self._place(name), f"`{flag.name}`: {problem.cause}", "value", inner=problem) from None
        return texts


def _contradictions() -> list[tuple[str, str]]:
    names = {spelling: name for name, flag in KEYS.items() for spelling in flag.spellings}
    return [(names[one], names[other]) for one, other in CONFLICTS if one in names and other in names]


def texts_of(flag: Flag, value: object) -> list[str] | None:
    """Converts a value to texts. Returns None for a value of the wrong type, or for a level out of range."""
    if flag.kind == SWITCH:
        return [""] * value if isinstance(value, bool) else None
    if flag.kind in (LEVEL, COUNT, SECONDS):
        if isinstance(value, bool) or not isinstance(value, (int, float) if flag.kind == SECONDS else int):
            return None
        if flag.kind == LEVEL:
            return [""] * int(value) if 0 <= value <= MOST_VERBOSE else None
        return [str(value)]
    values = value if flag.repeat and isinstance(value, list) else [value]
    return [text for text in values if isinstance(text, str)] if all(isinstance(text, str) for text in values) else None


def apply(
    command: str, pairs: list[Pair], environ: Mapping[str, str], file: File, path: str, origin: str, profile: str, mode: int
) -> Settings:
    """Adds to a command line the keys of the profile that nothing overrules, and then the remaining defaults."""
    tables = [file.defaults]
    if profile:
        if profile not in file.profiles:
            cause, facts = f"settings file {path} has no such profile", {"known": " and ".join(file.profiles)}
            raise SettingsError(f"{origin} {profile}", cause, "no-such-profile", facts=facts)
        tables.insert(0, file.profiles[profile])
    merger = _Merger(command, environ, path)
    merger.overrule({flag.name for flag, _ in pairs} | merger.variables())
    for table in tables:
        merger.add(table)
    shared = merger.has_password and stat.S_ISREG(mode) and bool(mode & (stat.S_IRWXG | stat.S_IRWXO))
    return Settings([*merger.pairs, *pairs], path, profile, merger.places, shared)


# The group of flags about the proxies that we go through. `serve` does not take them from the file: leading all its clients through
# the proxy of its operator's own programs would be a surprise. Its command line must name the proxy.
_OURS = "Proxy"


class _Merger:
    """Collects the keys that are not decided yet, from one table after the other, highest precedence first."""

    def __init__(self, command: str, environ: Mapping[str, str], path: str) -> None:
        self._flags = {flag.name: flag for flag in flags_of(command) if not (command == "serve" and flag.group == _OURS)}
        self._environ, self._path = environ, path
        self._decided: set[str] = set()
        self._elsewhere = False  # whether a source of higher precedence names the proxies
        self.pairs: list[Pair] = []
        self.places: dict[str, str] = {}
        self.has_password = False

    def variables(self) -> set[str]:
        """Returns the flags that a TUNNELCTL_ variable sets. Shared ones, such as https_proxy, come after the file."""
        return {name for name, flag in self._flags.items() if variable_of(flag, self._environ, before_file=True)}

    def overrule(self, names: set[str]) -> None:
        """Marks these keys as decided, and with them the keys that they exclude."""
        self._elsewhere = self._elsewhere or not names.isdisjoint(WAYS)
        self._decided |= names | {other for name in names for other in OVERRULED.get(name, ())}

    def add(self, table: Table) -> None:
        # The keys beside a proxy are meant for that proxy: another one must not get its password.
        foreign = self._elsewhere and not table.entries.keys().isdisjoint(WAYS)
        wanted = {
            name: entry
            for name, entry in table.entries.items()
            if name in self._flags and name not in self._decided and not (foreign and self._flags[name].group == "Proxy")
        }
        for name, entry in wanted.items():
            self._add(table, name, entry)
        self.overrule({name for name, entry in wanted.items() if entry.texts})
        self._decided |= wanted.keys()  # a key that is switched off is decided too, but excludes no other

    def _add(self, table: Table, name: str, entry: Entry) -> None:
        flag = self._flags[name]
        place = f", line {entry.line}" if entry.line else ""
        try:
            self._check(name, entry.texts)
        except UsageProblem as problem:
            cause = f"`{name}`: {problem.what}: {problem.cause}"
            raise SettingsError(f"settings file {self._path}{place}", cause, "value", inner=problem) from None
        self.pairs += [(flag, self._below_home(text) if flag.kind == FILE else text) for text in entry.texts]
        self.places[name] = f"{table.name}{place} of {self._path}"

    def _below_home(self, text: str) -> str:
        """Expands ~/, since no shell does so here."""
        home = self._environ.get("HOME", "")
        return f"{home}{text[1:]}" if home and text.startswith("~/") else text

    def _check(self, name: str, texts: list[str]) -> None:
        """Parses values that are otherwise parsed only on use, when an error could no longer name file and line."""
        if name == "proxy":
            select_proxies(None, tuple(texts), {})
            self.has_password = any(mask(text) != text for text in texts)
        else:
            list(map(_parser_of(name), texts))


def _parser_of(name: str) -> Callable[[str], object]:
    if name == "header":
        return headers.parse
    if name in ("allow", "deny"):
        from tunnelctl.server.policy.rules import parse_rule

        return parse_rule
    if name == "listen":
        from tunnelctl.stream.listen import parse_listen

        return parse_listen
    if name in ("local", "dynamic"):
        from tunnelctl.client.forward.listeners import parse_dynamic, parse_local

        return parse_local if name == "local" else parse_dynamic
    return str


def variable_of(flag: Flag, environ: Mapping[str, str], before_file: bool) -> str:
    """Returns the first variable that sets a flag, one of ours (`before_file`) or of all programs; "" if there is none."""
    return next((name for name in flag.env if name.startswith("TUNNELCTL_") == before_file and environ.get(name, "").strip()), "")


def origins(command: str, typed: list[Pair], settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """Maps each flag of a command to the origin of its value: `flag`, a variable, a line of the settings file, or `default`."""
    given = {flag.spellings for flag, _ in typed}
    return {
        flag.spellings[-1]: "flag"
        if flag.spellings in given
        else variable_of(flag, environ, before_file=True)
        or settings.places.get(flag.name)
        or variable_of(flag, environ, before_file=False)
        or "default"
        for flag in flags_of(command)
    }
