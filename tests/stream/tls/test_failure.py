"""Messages for the errors that OpenSSL reports; test_stream.py provokes the usual ones with real connections."""

import re
import ssl

import pytest

from tunnelctl.cli.render.hints import hint_of, message_of
from tunnelctl.cli.spec.flags import flags_of
from tunnelctl.cli.spec.messages.model import WITHOUT_TLS, When
from tunnelctl.cli.spec.messages.table import MESSAGES
from tunnelctl.errors import NotTLS, TLSFailed, Unreachable
from tunnelctl.proto.address import Address
from tunnelctl.stream.tls.errors import PlainHTTP, Untrusted
from tunnelctl.stream.tls.failure import _FROM_CLIENTS, _REASONS, _VERIFY, cause_at_server, cause_of, tls_error
from tunnelctl.stream.tls.settings import TLSClient

PEER = Address("p", 1)
PROXY, TARGET = TLSClient("p"), TLSClient("h", options="tls")


def reported(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}] (_ssl.c:1006)")
    error.reason = reason
    return error


def rejected(code: int, seen: str = "sha256//x") -> Untrusted:
    """Returns the error for a certificate that was not accepted. seen: its pin"""
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, "Invalid CA certificate"
    return Untrusted(error, seen)


@pytest.mark.parametrize("reason", _REASONS)
def test_each_known_reason_has_a_cause_without_openssl_internals(reason: str) -> None:
    error = tls_error("proxy p:1", reported(reason), TARGET)
    assert isinstance(error, TLSFailed)
    assert "_ssl" not in error.cause
    assert message_of(error) is not None
    assert "{" not in hint_of(error)


def test_an_unknown_reason_is_reported_in_the_words_of_openssl() -> None:
    assert tls_error("proxy p:1", reported("BAD_EXTENSION")).cause == "bad extension"


@pytest.mark.parametrize("code", [*_VERIFY, 24])
def test_each_fault_of_a_certificate_has_its_cause(code: int) -> None:
    shown = tls_error("proxy p:1", rejected(code))
    assert shown.cause.startswith("its certificate ")
    assert shown.exit_status == 77


def test_a_reset_is_not_a_certificate_error() -> None:
    assert isinstance(tls_error("proxy p:1", ConnectionResetError(104, "Connection reset by peer")), Unreachable)


def test_the_cause_of_an_error_that_a_stream_raises_is_recognised() -> None:
    broken = ConnectionAbortedError(103, "it requires a client certificate")
    broken.__cause__ = reported("TLSV13_ALERT_CERTIFICATE_REQUIRED")
    assert hint_of(tls_error("tunnel", broken)) == "--proxy-cert FILE and --proxy-key FILE give one"


def test_hints_about_a_target_name_only_flags_that_connect_has() -> None:
    """connect has no --tls-cert, and a target has no URL."""
    known = {spelling for flag in flags_of("connect") for spelling in flag.spellings}
    failures = [*map(reported, _REASONS), *map(rejected, _VERIFY), PlainHTTP(), ConnectionResetError(104, "reset")]
    faults = [tls_error("TLS with h:1", failure, TARGET, PEER) for failure in failures]
    named = {flag for fault in faults for flag in re.findall(r"--[a-z-]+", hint_of(fault))}
    assert named == {"--tls-cacert", "--tls-name"}
    assert named <= known
    assert not [fault for fault in faults if "URL" in hint_of(fault)]


@pytest.mark.parametrize(
    "reason", ["TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_BAD_CERTIFICATE", "SSLV3_ALERT_HANDSHAKE_FAILURE"]
)
def test_a_target_gets_no_client_certificate_whatever_is_given(reason: str) -> None:
    for settings in (TARGET, TARGET._replace(cert="file")):
        assert hint_of(tls_error("TLS with h:1", reported(reason), settings, PEER)).startswith("tunnelctl sends targets no client")


def test_flags_that_hints_name_for_proxy_or_target_exist_for_both() -> None:
    known = {spelling for flag in flags_of("connect") for spelling in flag.spellings}
    hints = [hint.text if isinstance(hint, When) else hint for message in MESSAGES for hint in message.hints]
    named = {suffix for hint in hints for suffix in re.findall(r"\{tls\}([a-z-]*)", hint)}
    assert named == {"-cacert"}
    assert {f"{prefix}{suffix}" for prefix in ("--proxy", "--tls") for suffix in named} <= known


@pytest.mark.parametrize("reason", _FROM_CLIENTS)
def test_the_cause_of_a_clients_alert_is_about_the_certificate_of_the_server(reason: str) -> None:
    assert "client certificate" in cause_of(reported(reason))
    assert "client certificate" not in cause_at_server(reported(reason))
    assert cause_at_server(reported("HTTP_REQUEST")) == cause_of(reported("HTTP_REQUEST"))


@pytest.mark.parametrize("code", [18, 19, 20, 21])
def test_an_unknown_issuer_is_reported_with_the_pin_to_compare(code: int) -> None:
    """The hint has the pin in the form that --proxy-pin takes; but an on-path attacker's certificate would have a pin as well."""
    error = tls_error("proxy p:1", rejected(code, "sha256//abc="), PROXY, PEER)
    wanted = "if you trust its issuer, give --proxy-cacert FILE with the issuer's certificate"
    assert hint_of(error) == f"{wanted}; or, if the proxy's operator confirms this pin, --proxy-pin sha256//abc="
    assert hint_of(tls_error("proxy p:1", rejected(code, ""), PROXY, PEER)) == wanted
    assert hint_of(tls_error("TLS with h:1", rejected(code), TARGET, PEER)) == wanted.replace("--proxy", "--tls")


@pytest.mark.parametrize(("settings", "flag"), [(PROXY, "--proxy"), (TARGET, "--tls")])
def test_the_hint_does_not_ask_for_authorities_that_are_given(settings: TLSClient, flag: str) -> None:
    error = tls_error("proxy p:1", rejected(20), settings._replace(cacert="file"), PEER)
    wanted = "if you trust its issuer, add the issuer's certificate to that file"
    assert hint_of(error) == f"none of the authorities of {flag}-cacert has issued it; {wanted}"


@pytest.mark.parametrize(
    "reason", ["TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_BAD_CERTIFICATE", "SSLV3_ALERT_HANDSHAKE_FAILURE"]
)
def test_the_hint_does_not_ask_for_a_client_certificate_that_is_given(reason: str) -> None:
    assert "--proxy-cert" in hint_of(tls_error("proxy p:1", reported(reason), PROXY, PEER))
    error = tls_error("proxy p:1", reported(reason), PROXY._replace(cert="file"), PEER)
    assert hint_of(error) == "the certificate of --proxy-cert must be from an authority that the peer trusts"


@pytest.mark.parametrize("error", [PlainHTTP(), reported("WRONG_VERSION_NUMBER"), reported("PACKET_LENGTH_TOO_LONG")])
def test_a_peer_without_tls_is_distinguished_from_failing_tls(error: ssl.SSLError) -> None:
    assert isinstance(tls_error("proxy p:1", error, PROXY, PEER), NotTLS)


@pytest.mark.parametrize("error", [rejected(18), rejected(10), rejected(62), reported("SSLV3_ALERT_HANDSHAKE_FAILURE")])
def test_a_rejected_certificate_is_a_tls_failure_not_a_lack_of_tls(error: ssl.SSLError) -> None:
    assert type(tls_error("proxy p:1", error, PROXY, PEER)) is TLSFailed


def test_the_hint_to_omit_tls_is_for_a_proxy_that_may_lack_it() -> None:
    answered = tls_error("proxy p:1", PlainHTTP(), PROXY, PEER)
    assert hint_of(answered) == WITHOUT_TLS.format(peer="p:1")
    left = tls_error("proxy p:1", ConnectionResetError(104, "Connection reset by peer"), PROXY, PEER)
    assert hint_of(left) == f"it closes the connection during the TLS handshake; {WITHOUT_TLS.format(peer='p:1')}"
