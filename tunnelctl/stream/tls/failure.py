"""Explanations of TLS failures, since OpenSSL's messages name the library function that noticed them."""

from __future__ import annotations

import ssl

from tunnelctl.errors import NotTLS, TLSFailed, TunnelctlError, Unreachable, reason
from tunnelctl.proto.address import Address
from tunnelctl.proto.http1.connect_client import WITHOUT_TLS
from tunnelctl.stream.tls.errors import PinMismatch, PlainHTTP, Renegotiation, Shredded, Untrusted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tunnelctl.stream.tls.settings import TLSClient


# Hints; {flags} is the prefix of the flags for this connection, {peer} its address, {seen} the pin of the certificate.
_CLOCK = "is the clock of this machine right?"
_NAME = "is this the name that the certificate was issued for? The URL has to use it"
_SCHEME = "are scheme and port right?"
_PLAIN = WITHOUT_TLS
_HUNG_UP = f"it hangs up on a TLS greeting; {WITHOUT_TLS}"
_TRUST = (
    "{flags}-cacert FILE names the authority to trust; "
    "or, if somebody you trust confirms that this is the right one, --proxy-pin {seen}"
)
_CERTIFICATE = "{flags}-cert FILE and {flags}-key FILE give one"
_OTHER_CERTIFICATE = "it has to be one that the peer's authority issued: see {flags}-cert"
_PERHAPS_A_CERTIFICATE = "it may want a client certificate: {flags}-cert"
_NONE = "a target is shown no certificate of yours: leave TLS to the program that uses the tunnel"

# Replacements for hints: where the target is at fault, which has no URL, and for which a proxy's flags are no help;
# where no pin is known; and where the user has already given what the hint suggests.
_AUTHORITY = "{flags}-cacert FILE names the authority to trust"
_WITHOUT_PIN = {_TRUST: _AUTHORITY}
_FOR_A_TARGET = {
    **dict.fromkeys((_SCHEME, _PLAIN, _HUNG_UP), "is the port right?"),
    **_WITHOUT_PIN,
    _NAME: "is this the name that the certificate was issued for? --tls-name NAME expects another",
    **dict.fromkeys((_CERTIFICATE, _OTHER_CERTIFICATE, _PERHAPS_A_CERTIFICATE), _NONE),
}
_WITH_AUTHORITIES = {_TRUST: "none of the authorities of {flags}-cacert has issued it"}
_WITH_CERTIFICATE = dict.fromkeys((_CERTIFICATE, _PERHAPS_A_CERTIFICATE), _OTHER_CERTIFICATE)

# Keyed by the codes of X509_STORE_CTX_get_error(3).
_VERIFY = {
    9: ("its certificate is not valid yet", _CLOCK),
    10: ("its certificate has expired", _CLOCK),
    18: ("its certificate is self-signed", _TRUST),
    19: ("its certificate was issued by an authority that is not trusted here", _TRUST),
    20: ("its certificate was issued by an authority that is not known here", _TRUST),
    21: ("its certificate was issued by an authority that is not known here", _TRUST),
    23: ("its certificate was revoked", ""),
    62: ("its certificate is for another name", _NAME),
    64: ("its certificate is for another address", _NAME),
}

_PLAIN_HTTP = ("it answers in plain HTTP, not in TLS", _PLAIN)
_NOT_TLS = ("the peer does not speak TLS", _SCHEME)
_WANTED = ("it wants a client certificate", _CERTIFICATE)
_VERSION = ("no version of TLS that both ends allow", "")

# Keyed by OpenSSL's names; an ALERT in the name is one that the peer sent.
_REASONS = {
    "WRONG_VERSION_NUMBER": _NOT_TLS,
    "PACKET_LENGTH_TOO_LONG": _NOT_TLS,
    "RECORD_LAYER_FAILURE": _NOT_TLS,
    "HTTP_REQUEST": ("the peer speaks HTTP in the clear", ""),
    "HTTPS_PROXY_REQUEST": ("the peer speaks HTTP in the clear", ""),
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": _WANTED,
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": ("the peer gave no certificate", ""),
    "SSLV3_ALERT_HANDSHAKE_FAILURE": ("it refused the handshake", _PERHAPS_A_CERTIFICATE),
    "SSLV3_ALERT_BAD_CERTIFICATE": ("it did not accept our certificate, or wants one", _CERTIFICATE),
    "TLSV1_ALERT_UNKNOWN_CA": ("it does not know the issuer of our certificate", _OTHER_CERTIFICATE),
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": ("it did not accept our certificate", _OTHER_CERTIFICATE),
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": ("it did not accept this kind of certificate", _OTHER_CERTIFICATE),
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": ("our certificate has expired", _OTHER_CERTIFICATE),
    "SSLV3_ALERT_CERTIFICATE_REVOKED": ("our certificate was revoked", _OTHER_CERTIFICATE),
    "TLSV1_ALERT_ACCESS_DENIED": ("it does not let this client certificate in", _OTHER_CERTIFICATE),
    "TLSV1_ALERT_PROTOCOL_VERSION": _VERSION,
    "UNSUPPORTED_PROTOCOL": _VERSION,
    "TLSV1_UNRECOGNIZED_NAME": ("it does not know this server name", _NAME),
    "TLSV1_ALERT_NO_APPLICATION_PROTOCOL": ("it speaks none of the protocols that were offered", ""),
}


def cause_of(error: ssl.SSLError) -> str:
    """The cause, in a few words."""
    return _explained(error)[0]


def tls_error(what: str, error: OSError, settings: TLSClient | None = None, peer: Address | None = None) -> TunnelctlError:
    """The error to show for a failed handshake, or for a TLS stream that broke.

    settings: the TLS settings for the peer; peer: its address
    """
    source = error if isinstance(error, ssl.SSLError) else error.__cause__
    seen = source.seen if isinstance(source, Untrusted) else ""
    instead = _instead(settings, seen)
    if not isinstance(source, ssl.SSLError):
        return Unreachable(what, reason(error), instead.get(_HUNG_UP) or _HUNG_UP.format(peer=peer))
    cause, hint = _explained(source)
    kind = NotTLS if (cause, hint) in (_NOT_TLS, _PLAIN_HTTP) else TLSFailed
    flags = settings.flags if settings is not None else "--proxy"
    if hint in instead:
        return kind(what, cause, instead[hint].format(flags=flags))
    return kind(what, cause, hint.format(flags=flags, peer=peer, seen=seen))


def _instead(settings: TLSClient | None, seen: str) -> dict[str, str]:
    """Replacements for hints, given these settings and the pin that was seen."""
    instead = {} if seen else _WITHOUT_PIN
    if settings is None:
        return instead
    if settings.flags == "--tls":
        instead = _FOR_A_TARGET
    given = {**(_WITH_CERTIFICATE if settings.cert else {}), **(_WITH_AUTHORITIES if settings.cacert else {})}
    return {**instead, **given}


def _explained(error: ssl.SSLError) -> tuple[str, str]:
    if isinstance(error, PlainHTTP):
        return _PLAIN_HTTP
    if isinstance(error, Renegotiation):
        return "it requires a renegotiation, which tunnelctl does not do", "TLS 1.3 has none: can the peer speak that?"
    if isinstance(error, Shredded):
        return "its handshake is cut into too many records", ""
    if isinstance(error, PinMismatch):
        return f"its certificate is not the pinned one, but {error.seen}", "if that is the right one, {flags}-pin takes it"
    if isinstance(error, ssl.SSLCertVerificationError):
        return _VERIFY.get(error.verify_code) or (f"its certificate is not accepted: {error.verify_message.lower()}", "")
    return _REASONS.get(error.reason or "") or (_words(error), "")


def _words(error: ssl.SSLError) -> str:
    return (error.reason or error.strerror or "TLS failed").lower().replace("_", " ")
