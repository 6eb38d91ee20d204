"""TLS failures that the ssl module has no class for."""

import ssl


class PlainHTTP(ssl.SSLError):
    """The answer to the handshake was HTTP in the clear."""


class Shredded(ssl.SSLError):
    """The handshake came in more records than are taken."""

    reason = ""  # OpenSSL's name for it, which a constructor does not give


class PinMismatch(ssl.SSLError):
    """The certificate is not the one that was pinned."""

    def __init__(self, seen: str) -> None:
        """seen: the pin that would have fitted"""
        super().__init__(seen)
        self.seen = seen


class Renegotiation(ssl.SSLError):
    """The peer asked for a new handshake (HelloRequest of TLS 1.2), was told no, and ended it with handshake_failure."""


class Untrusted(ssl.SSLCertVerificationError):
    """The certificate of a server was not accepted."""

    def __init__(self, error: ssl.SSLCertVerificationError, seen: str) -> None:
        """seen: the pin that it has, "" where that is not known"""
        super().__init__(error.errno, error.strerror)
        self.verify_code, self.verify_message, self.seen = error.verify_code, error.verify_message, seen
        self.reason = "CERTIFICATE_VERIFY_FAILED"  # which OpenSSL gives, and a constructor does not
