"""Header fields: an ordered tuple of (name, value) pairs of latin-1 text, because order and repetition carry meaning.

latin-1 maps octets to characters one to one, so that octets read from the wire are written back unchanged.
"""

from tunnelctl.errors import UsageProblem

Field = tuple[str, str]
Fields = tuple[Field, ...]

TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"  # RFC 9110 section 5.6.2
BLANKS = " \t"
# Octets of a field value (RFC 9110 section 5.5).
TEXT = bytes(octet for octet in range(256) if octet >= 0x20 and octet != 0x7F) + b"\t"

# Fields whose values are credentials in whole or in part.
SECRET = frozenset({"proxy-authorization", "authorization", "cookie", "proxy-authentication-info"})


def get_all(fields: Fields, name: str) -> tuple[str, ...]:
    """Returns every value of a field, in order. Names are case-insensitive."""
    name = name.lower()
    return tuple(value for key, value in fields if key.lower() == name)


def get(fields: Fields, name: str) -> str | None:
    """Returns the first value of a field, or None."""
    values = get_all(fields, name)
    return values[0] if values else None


def is_token(text: str) -> bool:
    """Whether `text` can be a field name, a method or a parameter name."""
    return bool(text) and not text.strip(TOKEN)


def has_control(text: str) -> bool:
    """Whether the text contains a CTL, an ASCII control character (RFC 5234 appendix B.1)."""
    return not text.isprintable() and any(c < " " or c == "\x7f" for c in text)


def quoted(text: str) -> str:
    """Returns a quoted-string (RFC 9110 section 5.6.4). The text must have no control characters."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def check(name: str, value: str) -> None:
    """Raises UsageProblem unless the field can be sent. A CR or LF in it would inject further lines."""
    if not is_token(name):
        raise UsageProblem(f"header {name!a}", "not a field name: letters, digits and hyphens", "header-name")
    if has_control(value.replace("\t", "")):
        raise UsageProblem(f"header {name}", "its value contains a control character", "header-control-character")
    if not value.isascii() and any(c > "\xff" for c in value):
        raise UsageProblem(f"header {name}", "its value contains a character that a header cannot carry", "header-character")


def parse(text: str) -> Field:
    """Parses a field as the user types it: 'Name: value'. Raises UsageProblem, which never repeats the value: it may be a secret.

    The value is sent in the octets that the user typed, as with curl: UTF-8, or other octets, which arrive as surrogate escapes.
    """
    name, colon, value = text.partition(":")
    if not colon:
        raise UsageProblem("header", "it contains no colon", "header-colon")
    try:
        value = value.strip(BLANKS).encode("utf-8", "surrogateescape").decode("latin-1")
    except UnicodeEncodeError:
        raise UsageProblem(f"header {name!a}", "its value contains an unpaired surrogate", "header-surrogate") from None
    check(name, value)
    return name, value


def render(fields: Fields) -> bytes:
    """Returns the field lines, each with its CRLF, without the final empty line. The fields must have passed `check`."""
    return "".join(f"{name}: {value}\r\n" for name, value in fields).encode("latin-1")


def readable(fields: Fields) -> Fields:
    """Returns the fields for people and logs: octets that are UTF-8 as such, and others as \\xNN."""
    return tuple((text(name), text(value)) for name, value in fields)


def text(value: str) -> str:
    """Returns what was received as latin-1 for people and logs; see `readable`."""
    return value if value.isascii() else value.encode("latin-1").decode("utf-8", "backslashreplace")


def mask(fields: Fields) -> Fields:
    """Returns the fields with `***` for each value that carries credentials. The scheme of an Authorization stays."""
    return tuple((name, _masked(value)) if name.lower() in SECRET else (name, value) for name, value in fields)


def _masked(value: str) -> str:
    scheme, blank, _ = value.partition(" ")
    return f"{scheme} ***" if blank and is_token(scheme) else "***"
