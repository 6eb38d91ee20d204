"""TLS as a listener speaks it: its settings, and what a client's certificate and a failed handshake come to."""

from __future__ import annotations

import ssl
from collections.abc import Mapping

from tunnelctl.errors import UsageProblem
from tunnelctl.proto import refusal
from tunnelctl.proto.certificate import decode
from tunnelctl.proto.refusal import Refusal
from tunnelctl.server.options import ServeOptions
from tunnelctl.stream.tls_settings import server_context

# OpenSSL's names for the beginning of an HTTP request where a handshake should be.
_PLAIN = frozenset({"HTTP_REQUEST", "HTTPS_PROXY_REQUEST"})


def listener_context(options: ServeOptions) -> ssl.SSLContext:
    """The context of all listeners. Raises SettingsError for a file, UsageProblem where the certificate is missing."""
    if options.tls_cert is None:
        flag = "--client-ca" if options.tls_key is None else "--tls-key"
        raise UsageProblem(flag, "it means nothing without a certificate", "--tls-cert FILE makes the listeners speak TLS")
    return server_context(options.tls_cert, options.tls_key, options.client_ca)


def describe_certificate(file: str | None) -> str:
    """For the line that says that it was read again: until when it is good."""
    try:
        with open(file or "", encoding="latin-1") as pem:
            _, begin, rest = pem.read().partition(ssl.PEM_HEADER)
        block, end, _ = rest.partition(ssl.PEM_FOOTER)
        return f"good until {decode(ssl.PEM_cert_to_DER_cert(begin + block + end)).ends:%Y-%m-%d %H:%M} UTC"
    except (OSError, ValueError, IndexError):  # OpenSSL has taken it
        return "taken"


def handshake_refusal(error: ssl.SSLError) -> tuple[Refusal, bool]:
    """The answer to a handshake that failed, and whether it can be read: by one who speaks HTTP in the clear."""
    plain = error.reason in _PLAIN
    return refusal.tls_wanted() if plain else refusal.tls_failed(), plain


def name_of(certificate: Mapping[str, object] | None) -> str:
    """Who a client is, from its certificate as SSLSocket.getpeercert has it: its common name, or else its first other name."""
    certificate = certificate or {}
    subject: tuple[tuple[tuple[str, str], ...], ...] = certificate.get("subject", ())  # type: ignore[assignment]
    for attribute, value in (pair for group in subject for pair in group):
        if attribute == "commonName":
            return f"CN={value}"
    others: tuple[tuple[str, str], ...] = certificate.get("subjectAltName", ())  # type: ignore[assignment]
    return f"{others[0][0]}={others[0][1]}" if others else ""
