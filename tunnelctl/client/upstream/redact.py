"""Masking of our request's secrets where a proxy repeats them: on a page, in a field, in its reason phrase."""

import re

from tunnelctl.proto.headers import SECRET, Fields, is_token

_MASK = "***"
_LEAST_SHOWN = 3  # characters of a secret reveal nothing

# Such a field from the proxy itself is hidden whole: it may hold a proof against which passwords can be tried.
_HIDDEN = SECRET | {"set-cookie"}


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

    def masked_fields(self, fields: Fields) -> Fields:
        """The fields of a response with their secrets masked."""
        return tuple((name, _MASK if name.lower() in _HIDDEN else self.masked(value)) for name, value in fields)


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
