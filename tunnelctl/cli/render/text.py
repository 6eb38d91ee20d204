"""Values as text for people: escaped, cut and without secrets."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

# Keeps an error to one readable line. Heads and excerpts from peers have lower limits where they are printed.
TEXT_LIMIT = 1000
DIGITS = 6  # decimals of numbers in --json: microseconds; more would be clock noise


def escape(text: bytes | str, limit: int = TEXT_LIMIT) -> str:
    """Makes text from a peer safe for a terminal and for one line, and cuts it to `limit` characters.

    isprintable() is false for C0, DEL, C1, the bidirectional controls, zero-width characters and line separators alike. Bytes that
    are not UTF-8 become \\xNN, including those in arguments and file names (surrogates).
    """
    if isinstance(text, bytes):
        text = text[: 4 * limit + 4].decode("utf-8", "backslashreplace")
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    if text.isprintable():
        return text
    text = "".join(c if c.isprintable() else escape_character(ord(c)) for c in text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def escape_character(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:  # surrogateescape: a byte that was not UTF-8
        code -= 0xDC00
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def mask(text: str) -> str:
    """Masks the password of anything that looks like USER:PASSWORD@HOST, in one word or in a line.

    The layers below put no secrets into texts; this is a second safeguard, for passwords that a user typed in the wrong place.
    """
    if "@" not in text:
        return text
    return " ".join(mask_word(word) for word in text.split(" "))


def mask_word(word: str) -> str:
    """Masks one argument as a whole; the password may contain any character, including @.

    Several proxies, with commas between them, stay as they are if none shows a password.
    """
    if all(map(_is_masked, word.split(","))):
        return word
    at = word.rfind("@")
    scheme = word.find("://")
    colon = word.find(":", scheme + 3 if scheme >= 0 else 0, max(at, 0))
    return word if colon < 0 else f"{word[: colon + 1]}***{word[at:]}"


def _is_masked(url: str) -> bool:
    """Returns whether a text is a URL that shows no password."""
    _, found, rest = url.partition("://")
    login = rest.rpartition("@")[0]
    return bool(found) and login.partition(":")[2] in ("", "***")


def clean(text: str) -> str:
    """Masks, escapes and cuts a text; for anything in an error."""
    return escape(mask(text))


def show(value: object) -> str:
    """Formats a field of an event as text."""
    if isinstance(value, (list, tuple)):
        return ", ".join(show(item) for item in value)
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    if isinstance(value, bytes):
        return escape(value)
    return clean(str(value))


def plain(value: Any) -> Any:
    """Converts a value of an event for JSON; bytes that are not UTF-8 become \\xNN."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return mask(str(value))


def chain(proxies: Iterable[object]) -> str:
    """Joins the proxies of a chain in their order; alternatives, which commas separate, are joined with `or`."""
    return ", then ".join(show(str(either).replace(",", " or ")) for either in proxies)
