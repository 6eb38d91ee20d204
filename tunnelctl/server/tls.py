"""TLS at the listeners: its settings, the names of clients from their certificates, and failed handshakes."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from tunnelctl import events
from tunnelctl.errors import UsageProblem
from tunnelctl.events import Trace
from tunnelctl.proto import refusal
from tunnelctl.proto.refusal import Refusal
from tunnelctl.proto.tls.certificate import Certificate, decode
from tunnelctl.server.options import ServeOptions
from tunnelctl.stream.reloadable import counted
from tunnelctl.stream.tls.settings import server_context

# OpenSSL's names for the beginning of an HTTP request in place of a handshake.
_PLAIN = frozenset({"HTTP_REQUEST", "HTTPS_PROXY_REQUEST"})

SOON = timedelta(days=14)  # before its end, when a certificate is due for renewal


class ListenerTLS(NamedTuple):
    """TLS of all listeners. ends: until when their certificate is valid, in seconds since 1970; None if it cannot be decoded"""

    context: ssl.SSLContext
    ends: float | None


def load_tls(options: ServeOptions) -> ListenerTLS:
    """Reads the files. Raises as `listener_context` does."""
    context = listener_context(options)
    certificates = read_certificates(options.tls_cert)
    return ListenerTLS(context, certificates[0].ends.timestamp() if certificates else None)


def listener_context(options: ServeOptions) -> ssl.SSLContext:
    """Returns the context of all listeners. Raises SettingsError for a bad file, UsageProblem if the certificate is missing."""
    if options.tls_cert is None:
        option = "client_ca" if options.tls_key is None else "tls_key"
        raise UsageProblem("", "this has no effect without a server certificate", "without-certificate", option=option)
    return server_context(options.tls_cert, options.tls_key, options.client_ca)


def describe_certificate(file: str | None) -> str:
    """Describes the certificate for messages: the end of its validity, and the days left if they are few."""
    certificates = read_certificates(file)
    if not certificates:
        return "taken"  # OpenSSL has accepted the file
    ends = certificates[0].ends
    left = ends - datetime.now(UTC)
    if left < timedelta():
        return f"expired at {at(ends)}"
    return f"valid until {at(ends)}" + (f", {counted(left.days, 'day')} left" if left < SOON else "")


def warn_of_dates(options: ServeOptions, trace: Trace) -> None:
    """Warns of certificates that are not valid now: peers refuse what depends on them, and see only that TLS fails."""
    now = datetime.now(UTC)
    for kind, file in (("certificate file", options.tls_cert), ("file of client authorities", options.client_ca)):
        for certificate in read_certificates(file):
            which = f"the certificate of {certificate.subject}" if certificate.subject else "a certificate"
            if certificate.ends < now:
                trace(events.Warning(f"{kind} {file}: {which} has expired: it was valid until {at(certificate.ends)}"))
            elif certificate.begins > now:
                trace(events.Warning(f"{kind} {file}: {which} is not valid before {at(certificate.begins)}"))


def read_certificates(file: str | None) -> list[Certificate]:
    """Returns the certificates of a PEM file in its order: the leaf first, then its issuers. Empty if one cannot be decoded."""
    try:
        with open(file or "", encoding="latin-1") as pem:
            text = pem.read()
        _, *blocks = text.split(ssl.PEM_HEADER)
        return [
            decode(ssl.PEM_cert_to_DER_cert(f"{ssl.PEM_HEADER}{block.partition(ssl.PEM_FOOTER)[0]}{ssl.PEM_FOOTER}"))
            for block in blocks
        ]
    except (OSError, ValueError, IndexError):  # OpenSSL has accepted them nevertheless
        return []


def at(moment: datetime) -> str:
    """Formats a moment for people."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def handshake_refusal(error: ssl.SSLError) -> tuple[Refusal, bool]:
    """Returns the refusal for a failed handshake, and whether the client can read it: only one that speaks plain HTTP can."""
    plain = error.reason in _PLAIN
    return refusal.tls_wanted() if plain else refusal.tls_failed(), plain


def name_of(certificate: Mapping[str, object] | None) -> str:
    """Returns a client's name from the result of SSLSocket.getpeercert: its common name, or else its first alternative name."""
    certificate = certificate or {}
    subject: tuple[tuple[tuple[str, str], ...], ...] = certificate.get("subject", ())  # type: ignore[assignment]
    for attribute, value in (pair for group in subject for pair in group):
        if attribute == "commonName":
            return f"CN={value}"
    others: tuple[tuple[str, str], ...] = certificate.get("subjectAltName", ())  # type: ignore[assignment]
    return f"{others[0][0]}={others[0][1]}" if others else ""
