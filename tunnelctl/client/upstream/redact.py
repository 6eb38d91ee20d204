"""Secrets of our request where a proxy repeats it: on a page, in a field, as its reason. Nothing of that is shown."""

import re

from tunnelctl.proto.headers import SECRET, Fields, is_token

_MASK = "***"
_LEAST_SHOWN = 3  # characters of a secret tell nothing

# What the proxy itself says in a field that is one of those: a proof, on which passwords can be tried.
_SECRET_LINE = re.compile(rb"(?im)^((?:%b|set-cookie)[ \t]*:[ \t]*)[^\r\n]*(?:\r?\n[ \t]+[^\r\n]*)*" % "|".join(SECRET).encode())


class Repeated:
    """What of the fields that were sent nobody is to see."""

    def __init__(self, sent: Fields) -> None:
        # The longest first: one may be a part of another.
        secrets = (secret for name, value in sent if name.lower() in SECRET for secret in _secrets(value))
        self._secrets = sorted({form for secret in secrets for form in _forms(secret)}, key=_order)

    def hidden(self, text: str) -> str:
        """The text without them, nor the beginning of one where it was cut."""
        for secret in self._secrets:
            text = _without(text, secret)
        return text

    def hidden_in_head(self, head: bytes) -> bytes:
        """The head of an answer, without what is secret in it."""
        return self.hidden(_SECRET_LINE.sub(rb"\1***", head).decode("latin-1")).encode("latin-1")


def _forms(secret: str) -> tuple[str, str]:
    """A secret as a field has it, octet for octet, and as a page in UTF-8 does."""
    return secret, secret.encode("latin-1").decode("utf-8", "backslashreplace")


def _order(secret: str) -> tuple[int, str]:
    return -len(secret), secret


def _secrets(value: str) -> list[str]:
    scheme, blank, words = value.partition(" ")
    if scheme.lower() == "digest":
        return re.findall(r'response="([^"]+)"', value)
    found: list[str] = []
    for piece in re.split(r"[\s;,]+", words if blank and is_token(scheme) else value):
        found.append(piece.rstrip("="))  # some write the padding of base64 in another way
        found += re.findall("=(.{4,})", piece)  # of a cookie, without its name
    return list(filter(None, found))


def _without(text: str, secret: str) -> str:
    text = text.replace(secret, _MASK)
    for length in range(len(secret) - 1, _LEAST_SHOWN, -1):
        if text.endswith(secret[:length]):
            return text[:-length] + _MASK
    return text
