"""Structured fields (RFC 9651), as far as Proxy-Status needs them: a List of Tokens or Strings, each with Parameters."""

from tunnelctl.proto.headers import TOKEN

Bare = str | int
Item = tuple[Bare, dict[str, Bare]]

_DIGITS = "0123456789"
_KEY = "abcdefghijklmnopqrstuvwxyz0123456789_-.*"
_NOT_FIRST_IN_KEY = _DIGITS + "_-."
_TOKEN = TOKEN + ":/"  # section 3.3.4
_BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="


class MalformedField(ValueError):
    """Raised for text that is not a structured field."""


def parse_list(text: str) -> list[Item]:
    """Returns the items with their parameters. Integers become int, all other values text, a Boolean `?0` or `?1`.

    Raises MalformedField. Inner lists count as malformed: no field that is parsed here has them.
    """
    return _Parser(text).items()


class _Parser:
    """The parser of section 4.2. It examines each character a bounded number of times."""

    def __init__(self, text: str) -> None:
        self._text = text.strip(" ")
        self._at = 0

    def items(self) -> list[Item]:
        found: list[Item] = []
        while self._peek():
            found.append((self._bare(), self._parameters()))
            self._take(" \t")
            if self._peek():
                self._expect(",")
                self._take(" \t")
                if not self._peek():
                    raise MalformedField("a comma at the end")
        return found

    def _parameters(self) -> dict[str, Bare]:
        params: dict[str, Bare] = {}
        while self._peek() == ";":
            self._at += 1
            self._take(" ")
            key = self._take(_KEY)
            if not key or key[0] in _NOT_FIRST_IN_KEY:
                raise MalformedField("no key behind ;")
            params[key] = self._value()  # section 4.2.3.2: a repeated key keeps its place and takes the last value
        return params

    def _value(self) -> Bare:
        if self._peek() != "=":
            return "?1"  # a parameter without a value is true
        self._at += 1
        return self._bare()

    def _bare(self) -> Bare:
        first = self._peek()
        if first == '"':
            return self._string()
        if first == "*" or (first.isascii() and first.isalpha()):
            return self._take(_TOKEN)
        if first == ":":
            return self._octets()
        return self._boolean() if first == "?" else self._number()

    def _string(self) -> str:
        self._at += 1
        text = ""
        while (char := self._next()) != '"':
            if char == "\\" and (char := self._next()) not in ('"', "\\"):
                raise MalformedField("not an escape")
            if not " " <= char <= "~":
                raise MalformedField("not printable")
            text += char
        return text

    def _octets(self) -> str:
        """Reads a Byte Sequence (section 4.2.7). Padding may be missing; if present, it must be at the end and complete."""
        self._at += 1
        text = self._take(_BASE64)
        self._expect(":")
        content = text.rstrip("=")
        missing = -len(content) % 4
        if "=" in content or missing == 3 or len(text) - len(content) not in (0, missing):
            raise MalformedField("not base64")
        return text

    def _boolean(self) -> str:
        self._at += 1
        digit = self._next()
        if digit not in "01":
            raise MalformedField("not a boolean")
        return "?" + digit

    def _number(self) -> Bare:
        sign = self._take("-")
        digits = self._take(_DIGITS)
        if len(sign) > 1 or not 1 <= len(digits) <= 15:
            raise MalformedField("not a number")
        if self._peek() != ".":
            return int(sign + digits)
        self._at += 1
        fraction = self._take(_DIGITS)
        if len(digits) > 12 or not 1 <= len(fraction) <= 3:
            raise MalformedField("not a decimal")
        return f"{sign}{digits}.{fraction}"

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _next(self) -> str:
        if not self._peek():
            raise MalformedField("cut short")
        self._at += 1
        return self._text[self._at - 1]

    def _expect(self, char: str) -> None:
        if self._next() != char:
            raise MalformedField(f"no {char}")

    def _take(self, chars: str) -> str:
        start = self._at
        while self._at < len(self._text) and self._text[self._at] in chars:
            self._at += 1
        return self._text[start : self._at]
