"""netrc(5): logins by host, parsed as curl parses them.

Keywords and host names are case-insensitive. A backslash is an escape between double quotes only: `login CORP\\user` is taken
literally. Unlike in curl, a misplaced word is an error, and a # in place of a keyword starts a comment.
"""

from __future__ import annotations

import re

from tunnelctl.namedtuple import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_FIELDS = {"login": "login", "user": "login", "password": "password", "account": ""}  # keywords with a value, and what they set
_BLANKS = " \t\r\n\v\f"  # isspace() of C; a password may contain a no-break space
_END_OF_LINE = re.compile(r"\n")
_END_OF_MACRO = re.compile(r"\n[ \t]*\r?\n")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}  # any other character after a backslash stands for itself


class MalformedNetrc(ValueError):
    """Raised for malformed text; line: where. Keeps nothing of the text, which may be a password."""

    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


class Entry(NamedTuple):
    """The login and the password for a host, each "" if missing. host: in lower case, "" for `default`"""

    host: str
    login: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return f"Entry({self.host!r})"


def find_entry(text: str, host: str, user: str | None = None) -> Entry:
    """Returns the first entry for a host with a password, else the first, else an empty one. Raises MalformedNetrc.

    user: skips entries for other users
    """
    found = [entry for entry in read_entries(text) if entry.host == host.lower() and (user is None or entry.login in ("", user))]
    return next((entry for entry in found if entry.password), next(iter(found), Entry(host)))


def read_entries(text: str) -> list[Entry]:
    """Returns all entries in order. Raises MalformedNetrc."""
    entries: list[Entry] = []
    words = _Words(text)
    for keyword in words.keywords():
        if keyword == "machine":
            entries.append(Entry(words.value().lower()))
        elif keyword == "default":
            entries.append(Entry(""))
        elif keyword == "macdef":
            words.skip_macro()
        elif keyword in _FIELDS and entries:
            value, field = words.value(), _FIELDS[keyword]
            entries[-1] = entries[-1]._replace(**{field: value}) if field else entries[-1]
        else:
            raise MalformedNetrc(words.line)
    return entries


class _Words:
    """The words of a netrc file, in order."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0

    @property
    def line(self) -> int:
        """The line on which the last word ended."""
        return self._text.count("\n", 0, self._at) + 1

    def keywords(self) -> Iterator[str]:
        """Yields the next word, in lower case, each time a keyword is expected. Skips comments."""
        while (word := self._next()) is not None:
            if word[:1] == "#":
                self._skip_to(_END_OF_LINE)
            else:
                yield word.lower()

    def value(self) -> str:
        """Returns the next word in its original case, or "" at the end of the file."""
        return self._next() or ""

    def skip_macro(self) -> None:
        """Skips a macro, which ends with an empty line."""
        self._skip_to(_END_OF_MACRO)

    def _skip_to(self, end: re.Pattern[str]) -> None:
        found = end.search(self._text, self._at)
        self._at = found.start() if found else len(self._text)

    def _next(self) -> str | None:
        while self._at < len(self._text) and self._text[self._at] in _BLANKS:
            self._at += 1
        if self._at == len(self._text):
            return None
        return self._quoted() if self._text[self._at] == '"' else self._plain()

    def _plain(self) -> str:
        begin = self._at
        while self._at < len(self._text) and self._text[self._at] not in _BLANKS:
            self._at += 1
        return self._text[begin : self._at]

    def _quoted(self) -> str:
        word, begin = "", self._at
        self._at += 1
        while (char := self._take()) != '"':
            if char == "\\":
                char = self._take()
                char = _ESCAPES.get(char, char)
            if not char:
                self._at = begin  # reports the line of the unclosed quote
                raise MalformedNetrc(self.line)
            word += char
        return word

    def _take(self) -> str:
        self._at += 1
        return self._text[self._at - 1 : self._at]
