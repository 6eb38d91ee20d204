"""TOML with the line numbers of its keys: tomllib keeps none, and an error in a file is worth little without one."""

import re
import tomllib
from typing import Any

# First the four kinds of strings, inside which a newline, a bracket or a # does not count. Then comments, and what does count. A
# triple-quoted string may end in two more quotes that belong to it.
_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}(?!")' r"|'''.*?'{3,5}(?!')" r'|"(?:\\.|[^"\\\n])*"' r"|'[^'\n]*'" r"|\#[^\n]*|[\[\]{}]|\n", re.DOTALL
)

Path = tuple[str | int, ...]

# People write CORP\user. TOML rejects most characters after a backslash, and turns some of the others into a control character.
_ESCAPE_FAULTS = ("unescaped", "invalid hex value", "escaped character")  # how tomllib's messages about an escape begin


class TomlError(Exception):
    """Raised when a text is not TOML: the line, the cause, and whether a backslash is at fault."""

    def __init__(self, line: int, cause: str, escape: bool = False) -> None:
        super().__init__(line, cause)
        self.line, self.cause, self.escape = line, cause, escape


def read_toml(text: str) -> tuple[dict[str, Any], dict[Path, int]]:
    """Returns the document, and its `lines_of`. Raises TomlError."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # The message ends with `(at line 3, column 5)` or `(at end of document)`.
        cause, _, place = str(error).rpartition(" (at ")
        found = re.match(r"line (\d+)", place)
        line = int(found[1]) if found else text.rstrip().count("\n") + 1
        cause = cause[:1].lower() + cause[1:]
        raise TomlError(line, cause, _is_escape(cause, text, line)) from None
    except (RecursionError, ValueError):
        raise TomlError(_too_much(text), "brackets are nested too deeply, or a number is too long") from None
    return document, lines_of(text)


def has_control(text: str) -> bool:
    """Whether a control character is in the text, surrounding white space aside: the result of an unintended escape."""
    return any(c < " " or c == "\x7f" for c in text.strip())


def _is_escape(cause: str, text: str, line: int) -> bool:
    """Whether a backslash is at fault; one at the end of a string escapes the closing quote."""
    unclosed = cause.startswith("illegal character") and text.split("\n")[line - 1].rstrip().endswith('\\"')
    return unclosed or cause.startswith(_ESCAPE_FAULTS)


def _too_much(text: str) -> int:
    """The line of the statement that tomllib fails on without naming it: it recurses, and int() takes 4300 digits."""
    for line, statement in _statements(text):
        try:
            tomllib.loads(statement)
        except (RecursionError, ValueError):
            return line
    return 1


def lines_of(text: str) -> dict[Path, int]:
    """The line on which each table and each key of a valid TOML text begins, by its path: ("allow", 0, "targets").

    Parts of a key's value have no line of their own: `line_of` falls back to that of the key.
    """
    lines: dict[Path, int] = {}
    counts: dict[Path, int] = {}
    table: Path = ()
    for line, statement in _statements(text):
        if not statement.startswith("["):
            lines.setdefault(table + _path(tomllib.loads(statement)), line)
            continue
        table = _header(tomllib.loads(statement), counts)
        lines.setdefault(table, line)
    return lines


def line_of(lines: dict[Path, int], path: Path, none: int = 1) -> int:
    """The line of the nearest enclosing item that has one, or else `none`. An array of tables begins with its first table."""
    while path and path not in lines and (*path, 0) not in lines:
        path = path[:-1]
    return lines.get(path) or lines.get((*path, 0), none)


def _statements(text: str) -> list[tuple[int, str]]:
    """Each header and each key with its value, with the number of its first line."""
    found: list[tuple[int, str]] = []
    depth, begin, line, first = 0, 0, 1, 1
    for token in _TOKEN.finditer(text + "\n"):
        sign = token[0]
        if sign in "[{":
            depth += 1
        elif sign in "]}":
            depth -= 1
        elif sign == "\n" and not depth:
            statement = text[begin : token.start()].strip()
            if statement and statement[0] != "#":
                found.append((first, statement))
            begin, first = token.end(), line + 1
        line += sign.count("\n")
    return found


def _path(parsed: object) -> Path:
    """The keys that lead to the value of a single statement; a value that is a table with one key counts as a dotted key."""
    path: list[str | int] = []
    while isinstance(parsed, dict) and len(parsed) == 1:
        ((key, parsed),) = parsed.items()
        path.append(key)
    return tuple(path)


def _header(parsed: object, counts: dict[Path, int]) -> Path:
    """The path of a [table] or [[table]]: below an array of tables, keys go to its last one."""
    path: Path = ()
    while isinstance(parsed, dict) and parsed:
        ((key, parsed),) = parsed.items()
        path += (key,)
        if isinstance(parsed, list):
            counts[path] = counts.get(path, -1) + 1
            parsed = {}
        if path in counts:
            path += (counts[path],)
    return path
