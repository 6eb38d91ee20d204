"""Explains the codes of a program to a person: why a request was refused, and how a tunnel ended.

The page and `top` show these. The codes themselves are in the JSON and the access log, for programs.
"""

from __future__ import annotations

# What a status means whatever the error type: a client is told the same type for several of them.
_STATUSES = {
    405: "the method is not CONNECT",
    407: "a login is required, or it was wrong",
    408: "the request took too long to arrive",
    414: "the request line is too long",
    429: "the client has reached a limit of its own",
    431: "the request head is too large",
    499: "the client left before it had an answer",
    501: "the method is unknown",
    505: "the HTTP version is not supported",
}

# By the types of RFC 9209 section 2.3, without those on the content of a response, which a tunnel has not.
ERRORS = {
    "dns_timeout": "the name lookup took too long",
    "dns_error": "the name lookup failed",
    "destination_not_found": "the proxy could not choose a server for the target",
    "destination_unavailable": "the target cannot be reached",
    "destination_ip_prohibited": "the rules do not allow the address of the target",
    "destination_ip_unroutable": "there is no route to the target",
    "connection_refused": "the target refused the connection",
    "connection_terminated": "the connection to the target broke",
    "connection_timeout": "the target did not answer in time",
    "connection_read_timeout": "the target sent nothing for too long",
    "connection_write_timeout": "the target read nothing for too long",
    "connection_limit_reached": "the proxy has reached one of its limits",
    "tls_protocol_error": "the TLS handshake failed",
    "tls_certificate_error": "the certificate was not accepted",
    "tls_alert_received": "the other end ended the TLS handshake with an alert",
    "http_request_error": "the request is malformed",
    "http_request_denied": "the rules do not allow the target",
    "http_response_incomplete": "the answer of the next proxy was cut short",
    "http_response_timeout": "the next proxy did not answer in time",
    "http_upgrade_failed": "the other end did not switch protocols",
    "http_protocol_error": "the answer of the next proxy was malformed",
    "proxy_internal_response": "the proxy generated the response itself",
    "proxy_internal_error": "a fault in the proxy",
    "proxy_configuration_error": "a fault in the settings of the proxy",
    "proxy_loop_detected": "the request leads back to the proxy",
}

# By `cause` of the access log. `gone` is a write that failed.
_CAUSES = {
    "eof": "{} closed",
    "reset": "{} reset",
    "gone": "{} gone",
    "idle": "idle too long",
    "half-closed": "half-closed too long",
    "lifetime": "reached its maximum age",
    "cut": "cut by a rule",
    "malformed": "{} sent a malformed message",
    "drained": "stopped with the program",
}


def refusal_in_words(status: int, error: str) -> str:
    """Returns the reason of a refusal. status: 0 if unknown; error: the type of RFC 9209, or ""."""
    if (status, error) == (502, "http_request_denied"):  # RFC 9209 has one type for this and for our own rules
        return "the next proxy denied the request"
    return _STATUSES.get(status) or ERRORS.get(error) or error.replace("_", " ") or "no reason was given"


def end_in_words(closed_by: str, cause: str) -> str:
    """Returns how a tunnel ended. closed_by, cause: as in the access log"""
    words = _CAUSES.get(cause)
    return f"{closed_by}: {cause}" if words is None else words.format(closed_by)
