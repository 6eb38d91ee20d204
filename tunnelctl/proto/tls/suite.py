"""The cipher suites of TLS 1.2 that HTTP/2 forbids."""

from __future__ import annotations

# How OpenSSL's names begin where each connection has keys of its own, and what they contain where the cipher authenticates.
_EPHEMERAL = ("ECDHE-", "DHE-")
_AEAD = ("GCM", "CCM", "CHACHA20")


def fits_http2(version: str, suite: str) -> bool:
    """Whether HTTP/2 may be spoken in a connection with this version of TLS and this cipher suite, both as OpenSSL names them.

    The list of RFC 9113, appendix A, has all suites of TLS 1.2 without ephemeral keys, and all with a stream or block cipher
    that is not AEAD. TLS 1.3 has neither, and older versions are never negotiated.
    """
    return version != "TLSv1.2" or (suite.startswith(_EPHEMERAL) and any(cipher in suite for cipher in _AEAD))
