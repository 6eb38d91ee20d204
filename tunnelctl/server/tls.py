"""TLS as a listener speaks it: its settings, and what a client's certificate and a failed handshake come to."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from tunnelctl.errors import UsageProblem
from tunnelctl.proto import refusal
from tunnelctl.proto.refusal import Refusal
from tunnelctl.proto.tls.certificate import Certificate, decode
from tunnelctl.server.options import ServeOptions
from tunnelctl.server.reloadable import counted
from tunnelctl.stream.tls.settings import server_context
from tunnelctl.trace import Trace

# OpenSSL's names for the beginning of an HTTP request where a handshake should be.
_PLAIN = frozenset({"HTTP_REQUEST", "HTTPS_PROXY_REQUEST"})

SOON = timedelta(days=14)  # in which a certificate is to be renewed


def listener_context(options: ServeOptions) -> ssl.SSLContext:
    """The context of all listeners. Raises SettingsError for a file, UsageProblem where the certificate is missing."""
    if options.tls_cert is None:
        flag = "--client-ca" if options.tls_key is None else "--tls-key"
        raise UsageProblem(flag, "it means nothing without a certificate", "--tls-cert FILE makes the listeners speak TLS")
    return server_context(options.tls_cert, options.tls_key, options.client_ca)


def describe_certificate(file: str | None) -> str:
    """For the lines that say that it was read: until when it is good, and in how many days it ends where they are few."""
    certificates = read_certificates(file)
    if not certificates:
        return "taken"  # OpenSSL could read it
    ends = certificates[0].ends
    left = ends - datetime.now(UTC)
    if left < timedelta():
        return f"expired at {at(ends)}"
    return f"good until {at(ends)}" + (f", {counted(left.days, 'day')} left" if left < SOON else "")


def warn_of_dates(options: ServeOptions, trace: Trace) -> None:
    """Tell which certificates are not good now: peers refuse what depends on them, and see no more than that TLS fails."""
    now = datetime.now(UTC)
    for flag, file in (("--tls-cert", options.tls_cert), ("--client-ca", options.client_ca)):
        for certificate in read_certificates(file):
            which = f"the certificate of {certificate.subject}" if certificate.subject else "a certificate"
            if certificate.ends < now:
                trace("warning", text=f"{flag} {file}: {which} has expired: it was good until {at(certificate.ends)}")
            elif certificate.begins > now:
                trace("warning", text=f"{flag} {file}: {which} is not valid yet, but from {at(certificate.begins)} on")


def read_certificates(file: str | None) -> list[Certificate]:
    """Return those of a PEM file that can be read: the one that is shown comes first, and behind it those that vouch for it."""
    try:
        with open(file or "", encoding="latin-1") as pem:
            text = pem.read()
        _, *blocks = text.split(ssl.PEM_HEADER)
        return [
            decode(ssl.PEM_cert_to_DER_cert(f"{ssl.PEM_HEADER}{block.partition(ssl.PEM_FOOTER)[0]}{ssl.PEM_FOOTER}"))
            for block in blocks
        ]
    except (OSError, ValueError, IndexError):  # OpenSSL has taken them
        return []


def at(moment: datetime) -> str:
    """A moment for a person."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"


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
