"""Proxy-Authenticate: the schemes that a proxy accepts (RFC 9110 section 11)."""

from __future__ import annotations

from collections.abc import Iterable

from tunnelctl.namedtuple import NamedTuple
from tunnelctl.proto.headers import BLANKS, TOKEN, Field

_TOKEN68_ONLY = "/="  # characters of a token68 that no token contains; its others (-._~+) may be in a token


class Challenge(NamedTuple):
    """One scheme on offer. scheme and parameter names are in lower case; the values are the peer's, unescaped.

    token68: the single blob that some schemes (Negotiate, NTLM) have instead of parameters
    """

    scheme: str
    params: tuple[Field, ...] = ()
    token68: str = ""

    def get(self, name: str) -> str:
        """Returns the value of a parameter, or "" if it is missing."""
        return next((value for key, value in self.params if key == name), "")


def parse_challenges(values: Iterable[str]) -> tuple[Challenge, ...]:
    """Returns the challenges of all Proxy-Authenticate fields, in order. Skips malformed parts and keeps the rest.

    Commas separate challenges as well as the parameters of one: `a=b` belongs to the challenge before it, while a word with a
    blank after it, or alone, starts the next.
    """
    found: list[Challenge] = []
    for value in values:
        in_this_value = len(found)
        for item in _split_list(value):
            name, params, token68 = _read_item(item)
            if name:
                found.append(Challenge(name.lower(), params, token68))
            elif len(found) > in_this_value:  # a parameter belongs to a challenge of the same field
                found[-1] = found[-1]._replace(params=found[-1].params + params)
    return tuple(found)


def _read_item(item: str) -> tuple[str, tuple[Field, ...], str]:
    """Returns (scheme or "", parameters, token68) of one member of the list."""
    word, rest = _split_word(item)
    if rest.lstrip(BLANKS)[:1] == "=":  # name=value: a parameter of the challenge before
        value = _parameter_value(rest)
        return "", ((word.lower(), value),) if word and value is not None else (), ""
    if not word or rest[:1] not in ("", " ", "\t"):
        return "", (), ""
    rest = rest.strip(BLANKS)
    name, after = _split_word(rest)
    value = _parameter_value(after) if name else None
    if value is not None:
        return word, ((name.lower(), value),), ""
    return word, (), rest if not rest.strip(TOKEN + _TOKEN68_ONLY) else ""


def _split_word(text: str) -> tuple[str, str]:
    rest = text.lstrip(TOKEN)
    return text[: len(text) - len(rest)], rest


def _parameter_value(text: str) -> str | None:
    """Returns the value in ` = token` or ` = "string"`, None if there is neither. Blanks round the = are bad form, but occur."""
    text = text.strip(BLANKS)
    if text[:1] != "=":
        return None
    value = text[1:].strip(BLANKS)
    if value[:1] == '"':
        return _unquote(value)
    return value if value and not value.strip(TOKEN) else None


def _unquote(text: str) -> str | None:
    inner = iter(text[1:])
    value = ""
    for char in inner:
        if char == '"':
            return value
        value += next(inner, "") if char == "\\" else char
    return None


def _split_list(value: str) -> list[str]:
    """Splits a comma-separated list. Commas inside quotes do not separate."""
    items = [""]
    quoted = escaped = False
    for char in value:
        if char == "," and not quoted:
            items.append("")
            continue
        items[-1] += char
        if char == '"' and not escaped:
            quoted = not quoted
        escaped = quoted and char == "\\" and not escaped
    return [item.strip(BLANKS) for item in items]
