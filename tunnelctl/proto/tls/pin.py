"""Pins: the SHA-256 that identifies a certificate or its public key.

Both kinds in use are accepted: `openssl x509 -fingerprint -sha256` prints that of the certificate, and curl's --pinnedpubkey takes
that of the key, which stays when the certificate is renewed. A digest matches one or the other, so the user need not name the kind.
"""

from __future__ import annotations

from binascii import Error, a2b_base64, b2a_base64

from tunnelctl.errors import UsageProblem

_PREFIX = "sha256//"  # as curl writes it
_SIZE = 32


def parse_pin(text: str) -> bytes:
    """Returns the digest from hexadecimal digits (colons allowed) or from base64, with or without curl's `sha256//`."""
    try:
        return _sized(bytes.fromhex(text.replace(":", "")))
    except ValueError:
        pass
    try:
        return _sized(a2b_base64(text.removeprefix(_PREFIX), strict_mode=True))
    except (ValueError, Error):
        raise UsageProblem(f"pin {text!a}", "not a SHA-256", "pin") from None


def _sized(digest: bytes) -> bytes:
    if len(digest) != _SIZE:
        raise ValueError
    return digest


def fits(pin: bytes, certificate: bytes) -> bool:
    """Whether the pin is that of this certificate (DER), or of its key."""
    return pin in (_sha256(certificate), _sha256(public_key(certificate)))


def pin_of(certificate: bytes) -> str:
    """Returns the pin of the certificate's key, as curl writes it."""
    return _PREFIX + b2a_base64(_sha256(public_key(certificate)), newline=False).decode()


def _sha256(data: bytes) -> bytes:
    from _hashlib import openssl_sha256  # without hashlib over it, which loads more, and BLAKE2

    return openssl_sha256(data).digest()


def public_key(certificate: bytes) -> bytes:
    """Returns the SubjectPublicKeyInfo of a certificate that a TLS library has parsed already (RFC 5280 section 4.1)."""
    start, _ = content(certificate, 0)  # Certificate
    at, _ = content(certificate, start)  # TBSCertificate
    skipped = 6 if certificate[at] == 0xA0 else 5  # version, if not 1; serialNumber, signature, issuer, validity, subject
    for _ in range(skipped):
        at = sum(content(certificate, at))
    return certificate[at : sum(content(certificate, at))]


def content(der: bytes, at: int) -> tuple[int, int]:
    """Returns the offset of the content of the element at `at`, and its length (X.690 section 8.1.3)."""
    first = der[at + 1]
    if first < 0x80:
        return at + 2, first
    start = at + 2 + (first & 0x7F)
    return start, int.from_bytes(der[at + 2 : start], "big")
