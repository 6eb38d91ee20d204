"""Values as text for a person: escaped, cut and without secrets."""

from collections.abc import Iterable

# An error stays one line that can be read; heads and excerpts from peers are cut harder where they are shown.
TEXT_LIMIT = 1000
DIGITS = 6  # of the numbers in --json: microseconds; more would be noise of the clock


def escape(text: bytes | str, limit: int = TEXT_LIMIT) -> str:
    """Text from a peer, safe for a terminal and for one line, cut to `limit` characters.

    isprintable() is false for C0, DEL, C1, the bidirectional controls, zero-width characters and line separators alike; bytes that
    are no UTF-8 become \\xNN, also those in arguments and file names (surrogates).
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
    if 0xDC80 <= code <= 0xDCFF:  # surrogateescape: a byte that was no UTF-8
        code -= 0xDC00
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def mask(text: str) -> str:
    """Replace the password of whatever looks like USER:PASSWORD@HOST, in one word or in a line.

    Layers below do not put secrets into texts; this is the second lock, for what a user typed in the wrong place.
    """
    if "@" not in text:
        return text
    return " ".join(mask_word(word) for word in text.split(" "))


def mask_word(word: str) -> str:
    """Mask one argument as a whole; the password may contain anything, an @ as well."""
    at = word.rfind("@")
    scheme = word.find("://")
    colon = word.find(":", scheme + 3 if scheme >= 0 else 0, max(at, 0))
    return word if colon < 0 else f"{word[: colon + 1]}***{word[at:]}"


def clean(text: str) -> str:
    """For anything in an error: masked, escaped and cut."""
    return escape(mask(text))


def show(value: object) -> str:
    """A field of an event as text."""
    if isinstance(value, (list, tuple)):
        return ", ".join(show(item) for item in value)
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    if isinstance(value, bytes):
        return escape(value)
    return clean(str(value))


def plain(value: object) -> object:
    """A field of an event as JSON has it; bytes that are no UTF-8 show as \\xNN."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return mask(str(value))


def chain(proxies: Iterable[object]) -> str:
    """The proxies in their order; of those that stand for each other, which commas separate, one is taken."""
    return ", then ".join(show(str(either).replace(",", " or ")) for either in proxies)
