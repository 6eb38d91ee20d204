"""TLS failures that OpenSSL has no class for."""

import _ssl as ssl  # see `stream.tls.openssl`


class PlainHTTP(ssl.SSLError):
    """The peer responded to the handshake in plain HTTP."""


class Shredded(ssl.SSLError):
    """The handshake came in more records than allowed."""

    reason = ""  # OpenSSL's name for an error, which the constructor does not set


class PinMismatch(ssl.SSLError):
    """The certificate is not the pinned one."""

    def __init__(self, seen: str) -> None:
        """seen: the pin that would have matched"""
        super().__init__(seen)
        self.seen = seen


class Renegotiation(ssl.SSLError):
    """The peer requested a new handshake (HelloRequest of TLS 1.2), was refused, and closed with handshake_failure."""


class Untrusted(ssl.SSLCertVerificationError):
    """A server's certificate was not accepted."""

    def __init__(self, error: ssl.SSLCertVerificationError, seen: str) -> None:
        """seen: the pin of the certificate, "" if unknown"""
        super().__init__(error.errno, error.strerror)
        self.verify_code, self.verify_message, self.seen = error.verify_code, error.verify_message, seen
        self.reason = "CERTIFICATE_VERIFY_FAILED"  # OpenSSL sets it, and the constructor does not
