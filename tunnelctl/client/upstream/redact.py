"""Masking of our request's secrets where a proxy repeats them: on a page, in a field, in its reason phrase."""

import re

from tunnelctl.proto.headers import SECRET, Fields, is_token

_MASK = "***"
_LEAST_SHOWN = 3  # characters of a secret reveal nothing

# Such a field from the proxy itself is hidden too: it may hold a proof against which passwords can be tried.
_SECRET_LINE = re.compile(rb"(?im)^((?:%b|set-cookie)[ \t]*:[ \t]*)[^\r\n]*(?:\r?\n[ \t]+[^\r\n]*)*" % "|".join(SECRET).encode())


class Redactor:
    """The secrets in the fields that were sent, to be masked in text from the proxy."""

    def __init__(self, sent: Fields) -> None:
        # The longest first: one secret may be part of another.
        secrets = (secret for name, value in sent if name.lower() in SECRET for secret in _secrets(value))
        self._secrets = sorted({form for secret in secrets for form in _forms(secret)}, key=_order)

    def masked(self, text: str) -> str:
        """The text with the secrets masked, also the beginning of one where the text was cut."""
        for secret in self._secrets:
            text = _without(text, secret)
        return text

    def masked_in_head(self, head: bytes) -> bytes:
        """The head of a response with its secrets masked."""
        return self.masked(_SECRET_LINE.sub(rb"\1***", head).decode("latin-1")).encode("latin-1")


def _forms(secret: str) -> tuple[str, str]:
    """A secret as in a field, octet for octet, and as on a page in UTF-8."""
    return secret, secret.encode("latin-1").decode("utf-8", "backslashreplace")


def _order(secret: str) -> tuple[int, str]:
    return -len(secret), secret


def _secrets(value: str) -> list[str]:
    scheme, blank, words = value.partition(" ")
    if scheme.lower() == "digest":
        return re.findall(r'response="([^"]+)"', value)
    found: list[str] = []
    for piece in re.split(r"[\s;,]+", words if blank and is_token(scheme) else value):
        found.append(piece.rstrip("="))  # some proxies write the padding of base64 differently
        found += re.findall("=(.{4,})", piece)  # the value of a cookie, without its name
    return list(filter(None, found))


def _without(text: str, secret: str) -> str:
    text = text.replace(secret, _MASK)
    for length in range(len(secret) - 1, _LEAST_SHOWN, -1):
        if text.endswith(secret[:length]):
            return text[:-length] + _MASK
    return text
