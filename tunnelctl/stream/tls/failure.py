"""Explanations of TLS failures, since OpenSSL's messages name the library function that noticed them."""

from __future__ import annotations

import _ssl as ssl  # see `stream.tls.openssl`

from tunnelctl.errors import NotTLS, TLSFailed, TunnelctlError, Unreachable, reason
from tunnelctl.proto.address import Address
from tunnelctl.stream.tls.errors import PinMismatch, PlainHTTP, Renegotiation, Shredded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tunnelctl.stream.tls.settings import TLSClient


# Causes and the codes of our errors, by the codes of X509_STORE_CTX_get_error(3).
_VERIFY = {
    9: ("its certificate is not valid yet", "certificate-early"),
    10: ("its certificate has expired", "certificate-expired"),
    18: ("its certificate is self-signed", "self-signed"),
    19: ("its certificate was issued by an authority that is not trusted here", "unknown-authority"),
    20: ("its certificate was issued by an authority that is not known here", "unknown-authority"),
    21: ("its certificate was issued by an authority that is not known here", "unknown-authority"),
    23: ("its certificate was revoked", "certificate-revoked"),
    62: ("its certificate is for another name", "certificate-name"),
    64: ("its certificate is for another address", "certificate-name"),
}

_PLAIN_HTTP = ("it responds in plain HTTP, not in TLS", "plain-http")
_NOT_TLS = ("the peer does not speak TLS", "not-tls")
_REQUIRED = ("it requires a client certificate", "client-certificate-missing")
_VERSION = ("no TLS version in common", "tls-version")

# The same by OpenSSL's names; an ALERT in the name is one that the peer sent.
_REASONS = {
    "WRONG_VERSION_NUMBER": _NOT_TLS,
    "PACKET_LENGTH_TOO_LONG": _NOT_TLS,
    "RECORD_LAYER_FAILURE": _NOT_TLS,
    "HTTP_REQUEST": ("the peer speaks plain HTTP", "peer-in-the-clear"),
    "HTTPS_PROXY_REQUEST": ("the peer speaks plain HTTP", "peer-in-the-clear"),
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": _REQUIRED,
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": ("the peer gave no certificate", "peer-without-certificate"),
    "SSLV3_ALERT_HANDSHAKE_FAILURE": ("it refused the handshake", "handshake-refused"),
    "SSLV3_ALERT_BAD_CERTIFICATE": ("it did not accept the client certificate, or requires one", "client-certificate-missing"),
    "TLSV1_ALERT_UNKNOWN_CA": ("it does not know the issuer of the client certificate", "client-certificate-refused"),
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": ("it did not accept the client certificate", "client-certificate-refused"),
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": ("it does not support this type of client certificate", "client-certificate-refused"),
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": ("the client certificate has expired", "client-certificate-refused"),
    "SSLV3_ALERT_CERTIFICATE_REVOKED": ("the client certificate was revoked", "client-certificate-refused"),
    "TLSV1_ALERT_ACCESS_DENIED": ("it denied access to this client certificate", "client-certificate-refused"),
    "TLSV1_ALERT_PROTOCOL_VERSION": _VERSION,
    "UNSUPPORTED_PROTOCOL": _VERSION,
    "TLSV1_UNRECOGNIZED_NAME": ("it does not know this server name", "certificate-name"),
    "TLSV1_ALERT_NO_APPLICATION_PROTOCOL": ("it supports none of the protocols offered", "no-protocol"),
}

# The same alerts from a client: they are about the certificate of the server.
_FROM_CLIENTS = {
    "SSLV3_ALERT_BAD_CERTIFICATE": "it did not accept the server certificate",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not know the issuer of the server certificate",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it did not accept the server certificate",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "it does not support this type of server certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the server certificate has expired",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "the server certificate was revoked",
    "TLSV1_ALERT_ACCESS_DENIED": "it denied access",
}


def cause_of(error: ssl.SSLError) -> str:
    """The cause, in a few words."""
    return _explained(error)[0]


def cause_at_server(error: ssl.SSLError) -> str:
    """The cause of a failed handshake with a client."""
    return _FROM_CLIENTS.get(error.reason or "") or cause_of(error)


def tls_error(what: str, error: OSError, settings: TLSClient | None = None, peer: Address | None = None) -> TunnelctlError:
    """The error to show for a failed handshake, or for a TLS stream that broke.

    settings: the TLS settings for the peer; peer: its address
    """
    source = error if isinstance(error, ssl.SSLError) else error.__cause__
    facts = {**_facts(settings), "peer": str(peer), "seen": getattr(source, "seen", "")}
    if not isinstance(source, ssl.SSLError):
        return Unreachable(what, reason(error), "tls-hung-up", facts=facts)
    cause, code = _explained(source)
    kind = NotTLS if (cause, code) in (_NOT_TLS, _PLAIN_HTTP) else TLSFailed
    return kind(what, cause, code, facts=facts)


def _facts(settings: TLSClient | None) -> dict[str, object]:
    """Returns what a hint depends on: whether the peer is the target, and which files the user has given."""
    if settings is None:
        return {}
    return {"target": settings.options == "tls", "cacert": settings.cacert is not None, "cert": settings.cert is not None}


def _explained(error: ssl.SSLError) -> tuple[str, str]:
    """Returns cause and code."""
    if isinstance(error, PlainHTTP):
        return _PLAIN_HTTP
    if isinstance(error, Renegotiation):
        return "it requires a renegotiation, which tunnelctl does not do", "renegotiation"
    if isinstance(error, Shredded):
        return "its handshake is split into too many records", "shredded"
    if isinstance(error, PinMismatch):
        return f"its certificate is not the pinned one, but {error.seen}", "pin-mismatch"
    if isinstance(error, ssl.SSLCertVerificationError):
        unknown = f"its certificate is not accepted: {error.verify_message.lower()}", "certificate-not-accepted"
        return _VERIFY.get(error.verify_code) or unknown
    return _REASONS.get(error.reason or "") or (_words(error), "tls-failed")


def _words(error: ssl.SSLError) -> str:
    return (error.reason or error.strerror or "TLS failed").lower().replace("_", " ")
