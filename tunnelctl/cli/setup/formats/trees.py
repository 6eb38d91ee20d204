"""Formats with nested tables: JSON, TOML and the like. A person merges the lines into a file, because no key may occur twice."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from json import JSONDecodeError, dumps, loads
from typing import Any

from tunnelctl.cli.setup.formats.model import Path, Settings, Unwritable, Value, text_of

# A string, a comment, or a comma with nothing but blanks and comments before the closing bracket.
_COMMENT = r"//[^\n]*|/\*(?:[^*]|\*(?!/))*\*/"
_JSONC = re.compile(rf'"(?:[^"\\]|\\.)*"|{_COMMENT}|,(?=(?:\s|{_COMMENT})*[}}\]])', re.DOTALL)


def nested(settings: Settings) -> dict[str, Any]:
    """Returns tables inside tables in place of paths."""
    tree: dict[str, Any] = {}
    for path, value in settings.items():
        table = tree
        for name in path[:-1]:
            table = table.setdefault(name, {})
        table[path[-1]] = list(map(text_of, value)) if isinstance(value, tuple) else checked(value)
    return tree


def checked(value: Value) -> str | bool:
    return value if isinstance(value, bool) else text_of(value)


def flat(tree: Mapping[str, Any], path: Path = ()) -> Iterator[tuple[Path, Value]]:
    """Yields the texts, truth values and lists of texts in a tree, with their paths."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from flat(value, (*path, str(name)))
        elif isinstance(value, list):
            yield (*path, str(name)), tuple(item for item in value if isinstance(item, str))
        elif isinstance(value, (str, bool)):
            yield (*path, str(name)), value


@dataclass(frozen=True)
class JSON:
    """JSON. A file may have comments and trailing commas, as that of VS Code has."""

    comment: str = ""
    appendable: bool = False

    def render(self, settings: Settings) -> str:
        return dumps(nested(settings), indent=2) + "\n"

    def read(self, text: str) -> Settings:
        plain = _JSONC.sub(lambda found: found[0] if found[0][0] == '"' else "", text)
        try:
            tree = loads(plain or "{}")
        except (JSONDecodeError, RecursionError) as error:
            raise ValueError("not JSON") from error
        return dict(flat(tree)) if isinstance(tree, dict) else {}


@dataclass(frozen=True)
class TOML:
    """TOML. A JSON string of printable characters is a basic string of TOML as well."""

    comment: str = "#"
    appendable: bool = False

    def render(self, settings: Settings) -> str:
        return "\n".join(self._table((), nested(settings))) + "\n"

    def _table(self, path: Path, tree: Mapping[str, Any]) -> list[str]:
        lines = [f"{key} = {_toml(value)}" for key, value in tree.items() if not isinstance(value, Mapping)]
        if path and lines:
            lines.insert(0, f"[{'.'.join(path)}]")
        for key, value in tree.items():
            if isinstance(value, Mapping):
                lines += self._table((*path, key), value)
        return lines

    def read(self, text: str) -> Settings:
        from tomllib import TOMLDecodeError
        from tomllib import loads as parse

        try:
            return dict(flat(parse(text)))
        except (TOMLDecodeError, RecursionError) as error:
            raise ValueError("not TOML") from error


def _toml(value: Any) -> str:
    if not isinstance(value, list):
        return dumps(value, ensure_ascii=False)  # JSON escapes what is beyond 16 bits as surrogates, which TOML does not have
    return "\n".join(["[", *(f"    {_toml(item)}," for item in value), "]"])


@dataclass(frozen=True)
class YAML:
    """YAML of at most two levels. A JSON string of printable characters is a double-quoted scalar of YAML as well."""

    comment: str = "#"
    appendable: bool = False

    def render(self, settings: Settings) -> str:
        return "\n".join(_yaml(nested(settings), "")) + "\n"

    def read(self, text: str) -> Settings:
        """Reads the scalars of the first two levels. The value of a key that it does not understand is left out."""
        found: dict[Path, Value] = {}
        table = ""
        for line in text.splitlines():
            part = re.fullmatch(r"(\s*)([\w.-]+):(?:\s+(.*?))?\s*", line)
            if part is None:
                continue
            if not part[1]:
                table = part[2]
            path = (table, part[2]) if part[1] else (table,)
            if (value := _scalar(part[3] or "")) is not None:
                found[path] = value
        return found


def _yaml(tree: Mapping[str, Any], indent: str) -> list[str]:
    lines = []
    for key, value in tree.items():
        if isinstance(value, Mapping):
            lines += [f"{indent}{key}:", *_yaml(value, f"{indent}  ")]
        elif isinstance(value, list):
            raise Unwritable("a list")
        else:
            lines.append(f"{indent}{key}: {dumps(value, ensure_ascii=False)}")
    return lines


def _scalar(text: str) -> str | bool | None:
    """Returns the value of a scalar on one line; None for anything else."""
    if text[:1] == '"':
        end = re.match(r'"(?:[^"\\]|\\.)*"', text)
        try:
            return str(loads(end[0])) if end else None
        except ValueError:
            return None
    if text[:1] == "'":
        end = re.match(r"'(?:[^']|'')*'", text)
        return end[0][1:-1].replace("''", "'") if end else None
    plain = re.sub(r"(^|\s)#.*", "", text).strip()
    return {"true": True, "false": False}.get(plain, plain) if plain and plain[0] not in "[{&*!|>%@`" else None
