"""netrc(5): logins by host, read as curl reads them.

Keywords and host names count in any case, and a backslash is an escape between double quotes only: `login CORP\\user` means what it
says. Unlike in curl, a word out of place is an error, and what follows a # in place of a keyword is a comment.
"""

from __future__ import annotations

import re

from tunnelctl.namedtuple import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_FIELDS = {"login": "login", "user": "login", "password": "password", "account": ""}  # keywords with a value, and what they fill
_BLANKS = " \t\r\n\v\f"  # isspace() of C; a password may have a no-break space
_END_OF_LINE = re.compile(r"\n")
_END_OF_MACRO = re.compile(r"\n[ \t]*\r?\n")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}  # any other character behind a backslash stands for itself


class MalformedNetrc(ValueError):
    """It is not in the format: on which line. Nothing of the text is kept, which may be a password."""

    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


class Entry(NamedTuple):
    """The login and the password for a host, each "" where there is none. host: in lower case, "" for `default`"""

    host: str
    login: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return f"Entry({self.host!r})"


def find_entry(text: str, host: str, user: str | None = None) -> Entry:
    """The first entry for a host that has a password, else the first; of a user, where there is one. Raises MalformedNetrc."""
    found = [entry for entry in read_entries(text) if entry.host == host.lower() and (user is None or entry.login in ("", user))]
    return next((entry for entry in found if entry.password), next(iter(found), Entry(host)))


def read_entries(text: str) -> list[Entry]:
    """All entries in their order. Raises MalformedNetrc."""
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
    """The words of a netrc file, one after the other."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0

    @property
    def line(self) -> int:
        """The line on which the last word ended."""
        return self._text.count("\n", 0, self._at) + 1

    def keywords(self) -> Iterator[str]:
        """Each next word, in lower case, where a keyword is expected; comments are passed over."""
        while (word := self._next()) is not None:
            if word[:1] == "#":
                self._skip_to(_END_OF_LINE)
            else:
                yield word.lower()

    def value(self) -> str:
        """The next word as it stands, "" at the end of the file."""
        return self._next() or ""

    def skip_macro(self) -> None:
        """A macro ends with an empty line."""
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
                self._at = begin  # the line of the quote that is never closed
                raise MalformedNetrc(self.line)
            word += char
        return word

    def _take(self) -> str:
        self._at += 1
        return self._text[self._at - 1 : self._at]
