"""The policy file: rules for users and clients, in TOML.

    [[allow]]                                   # or deny, or report
    name = "web"                                # in records; by default, the line
    targets = ["*:443", "*.example.com:22"]     # each as with --allow
    users = ["alice"]
    clients = ["192.0.2.0/24", "2001:db8::/32"]
    tls = "require"
    sni = "match"

A file is taken whole or not at all: one mistake, and it changes nothing.
"""

from collections.abc import Callable
from typing import NoReturn, TypeVar

from tunnelctl.errors import AddressError, SettingsError
from tunnelctl.files.toml import Path, TomlError, has_control, line_of, read_toml
from tunnelctl.proto.address import shown
from tunnelctl.server.policy.rules import DEFAULT_ALLOW, Policy, Rule, parse_client, parse_rule
from tunnelctl.server.text_file import read_text
from tunnelctl.stream.reloadable import counted

MAX_FILE = 4 << 20  # bytes, some ten thousand rules
MAX_NAME = 64  # characters of a rule's name, which is in every record that the rule decides

T = TypeVar("T")

KINDS = ("allow", "deny", "report")
KEYS = ("name", "targets", "users", "clients", "tls", "sni")


def load_policy(path: str | None, allow: tuple[str, ...] = (), deny: tuple[str, ...] = ()) -> Policy:
    """Returns the rules of the file, if there is one, and of the command line together. Raises SettingsError or AddressError."""
    rules: dict[str, list[Rule]] = {"allow": list(map(parse_rule, allow)), "deny": list(map(parse_rule, deny)), "report": []}
    if path is not None:
        for kind, several in parse_policy(read_text(path, "policy file", MAX_FILE), f"policy file {path}").items():
            rules[kind] += several
    return Policy(tuple(rules["allow"]) or DEFAULT_ALLOW, tuple(rules["deny"]), tuple(rules["report"]))


def describe_policy(policy: Policy) -> str:
    """Describes the policy for the message that it was read again."""
    return counted(sum(map(len, (policy.allow, policy.deny, policy.report))), "rule")


def parse_policy(text: str, what: str) -> dict[str, list[Rule]]:
    """Returns the rules by kind. Raises SettingsError that names line and key, after `what`."""
    try:
        document, lines = read_toml(text)
    except TomlError as error:
        raise SettingsError(
            f"{what}, line {error.line}", f"not TOML: {error.cause}", "not-toml", facts={"escape": error.escape}
        ) from None
    if not document:  # a file rewritten in place is empty for a moment: a reload would drop its deny rules
        raise SettingsError(what, "it contains no rules", "no-rule")
    return _File(what, lines).rules(document)


class _File:
    """One file while it is being read: the beginning of its errors, and the lines of its keys."""

    def __init__(self, what: str, lines: dict[Path, int]) -> None:
        self._what, self._lines = what, lines
        self._names: set[str] = set()

    def rules(self, document: dict[str, object]) -> dict[str, list[Rule]]:
        rules: dict[str, list[Rule]] = {}
        for kind, tables in document.items():
            if kind not in KINDS:
                self._wrong((kind,), "unknown key", "unknown-key", facts={"known": ", ".join(f"[[{kind}]]" for kind in KINDS)})
            if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
                self._wrong((kind,), f"not a list of rules: each begins with [[{kind}]]", "not-rules")
            rules[kind] = [rule for number, table in enumerate(tables) for rule in self._table((kind, number), table)]
        return rules

    def _table(self, path: Path, table: dict[str, object]) -> list[Rule]:
        """Returns a rule for each target."""
        for key in table:
            if key not in KEYS:
                self._wrong((*path, key), "unknown key", "unknown-key", facts={"known": ", ".join(KEYS)})
        label = self._name((*path, "name"), table)
        sni = self._word((*path, "sni"), table, "match")
        tls = self._word((*path, "tls"), table, "require") or sni
        users = frozenset(self._texts((*path, "users"), table))
        clients = tuple(self._parsed((*path, "clients"), table, parse_client))
        targets = self._parsed((*path, "targets"), table, parse_rule)
        if not targets:
            self._wrong((*path, "targets"), "missing: a rule must name its targets", "targets-missing")
        return [rule._replace(text=f"{rule.text} ({label})", users=users, clients=clients, tls=tls, sni=sni) for rule in targets]

    def _name(self, path: Path, table: dict[str, object]) -> str:
        """Returns the name of the rule in records: its own, or its line."""
        name = table.get("name")
        if name is None:
            return f"line {line_of(self._lines, path)}"
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or not name.isprintable():
            self._wrong(path, f"not a string of 1 to {MAX_NAME} printable characters", "rule-name")
        if name in self._names:
            self._wrong(path, "another rule has this name", "rule-name-twice")
        self._names.add(name)
        return name

    def _word(self, path: Path, table: dict[str, object], word: str) -> bool:
        """Whether the key is present. Only one value is valid, so that others can be added later without being misread."""
        value = table.get(str(path[-1]))
        if value not in (None, word):
            self._wrong(path, f'the only value is "{word}"', "only-value")
        return value is not None

    def _texts(self, path: Path, table: dict[str, object]) -> list[str]:
        """Returns a list of texts, empty only if the key is missing: an empty list in the file could mean everybody or nobody."""
        value = table.get(str(path[-1]))
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(text, str) and text for text in value):
            self._wrong(path, 'not a list of strings, such as ["this"]', "not-texts")
        if any(map(has_control, value)):
            self._wrong(path, "it contains a control character", "control-character")
        if not value:
            self._wrong(path, "the list is empty", "list-empty", facts={"optional": path[-1] != "targets"})
        return value

    def _parsed(self, path: Path, table: dict[str, object], parse: Callable[[str], T]) -> list[T]:
        found = []
        for text in self._texts(path, table):
            try:
                found.append(parse(text))
            except AddressError as error:
                self._wrong(path, f"{error.what}: {error.cause}", "value", inner=error)
        return found

    def _wrong(
        self, path: Path, cause: str, code: str, inner: AddressError | None = None, facts: dict[str, object] | None = None
    ) -> NoReturn:
        key = next(part for part in reversed(path) if isinstance(part, str))
        what = f"{self._what}, line {line_of(self._lines, path)}, key {shown(key)}"
        raise SettingsError(what, cause, code, inner=inner, facts=facts)
