"""Subject, issuer and validity of a certificate, for people to compare, read from its DER (RFC 5280 section 4.1).

The TLS library has parsed it already, but with verification off, getpeercert() returns no decoded fields.
"""

from __future__ import annotations

from datetime import UTC, datetime

from tunnelctl.namedtuple import NamedTuple
from tunnelctl.proto.tls.pin import content

_VERSION, _UTC_TIME = 0xA0, 0x17
_NAMES = (b"\x55\x04\x03", b"\x55\x04\x0a", b"\x55\x04\x0b")  # common name, organization, its unit: most informative first


class Certificate(NamedTuple):
    """The claims of a certificate about itself."""

    subject: str
    issuer: str
    begins: datetime
    ends: datetime


def decode(der: bytes) -> Certificate:
    """Decodes the certificate of a peer. Raises ValueError or IndexError for bytes that are none."""
    certificate, _ = content(der, 0)
    parts = _elements(der, *content(der, certificate))
    serial = 1 if der[parts[0]] == _VERSION else 0
    issuer, validity, subject = parts[serial + 2 : serial + 5]
    begins, ends = _elements(der, *content(der, validity))
    return Certificate(_name(der, subject), _name(der, issuer), _time(der, begins), _time(der, ends))


def fingerprint(der: bytes) -> str:
    """Returns the fingerprint that `openssl x509 -fingerprint -sha256` prints, without colons and in lower case."""
    from hashlib import sha256

    return sha256(der).hexdigest()


def _elements(der: bytes, start: int, length: int) -> list[int]:
    """Returns the offsets of the elements of a sequence."""
    found, end = [], start + length
    while start < end:
        found.append(start)
        start = sum(content(der, start))
    return found


def _name(der: bytes, at: int) -> str:
    """Returns the common name or the nearest substitute; "" if there is none."""
    texts: dict[bytes, str] = {}
    for group in _elements(der, *content(der, at)):
        for pair in _elements(der, *content(der, group)):
            kind, value = _elements(der, *content(der, pair))
            start, length = content(der, value)
            texts.setdefault(_octets(der, kind), der[start : start + length].decode("utf-8", "backslashreplace"))
    return next((texts[kind] for kind in _NAMES if kind in texts), "")


def _octets(der: bytes, at: int) -> bytes:
    start, length = content(der, at)
    return der[start : start + length]


def _time(der: bytes, at: int) -> datetime:
    """Decodes a time. UTCTime has two digits for the year, which are of this century up to 49 (RFC 5280 section 4.1.2.5.1)."""
    text = _octets(der, at).decode("ascii")
    if der[at] == _UTC_TIME:
        text = ("19" if text[:2] >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
