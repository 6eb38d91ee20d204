"""Words for what OpenSSL reports; test_tls.py provokes the usual ones for real."""

import re
import ssl

import pytest

from tunnelctl.cli.flags import flags_of
from tunnelctl.errors import TLSFailed, Unreachable
from tunnelctl.stream.tls_failure import _REASONS, _VERIFY, tls_error


def reported(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}] (_ssl.c:1006)")
    error.reason = reason
    return error


@pytest.mark.parametrize("reason", _REASONS)
def test_each_has_its_cause(reason: str) -> None:
    error = tls_error("proxy p:1", reported(reason), "--tls")
    assert isinstance(error, TLSFailed)
    assert "_ssl" not in error.cause
    assert "{" not in error.hint


def test_an_unknown_one_is_told_in_openssls_words() -> None:
    assert tls_error("proxy p:1", reported("BAD_EXTENSION")).cause == "bad extension"


@pytest.mark.parametrize("code", [*_VERIFY, 24])
def test_each_fault_of_a_certificate_has_its_cause(code: int) -> None:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, "Invalid CA certificate"
    error.reason = "CERTIFICATE_VERIFY_FAILED"
    shown = tls_error("proxy p:1", error)
    assert shown.cause.startswith("its certificate ")
    assert shown.status == 77


def test_a_reset_is_no_matter_of_certificates() -> None:
    assert isinstance(tls_error("proxy p:1", ConnectionResetError(104, "Connection reset by peer")), Unreachable)


def test_what_a_stream_raises_tells_it_as_well() -> None:
    broken = ConnectionAbortedError(103, "it wants a client certificate")
    broken.__cause__ = reported("TLSV13_ALERT_CERTIFICATE_REQUIRED")
    assert tls_error("tunnel", broken).hint == "--proxy-cert FILE and --proxy-key FILE give one"


def test_a_target_is_not_spoken_of_with_flags_for_a_proxy_or_with_none_at_all() -> None:
    """There is no --tls-cert of connect, and no URL of a target."""
    known = {spelling for flag in flags_of("connect") for spelling in flag.spellings}
    faults = [tls_error("TLS with h:1", reported(reason), "--tls") for reason in _REASONS]
    for code in _VERIFY:
        error = ssl.SSLCertVerificationError(1, "certificate verify failed")
        error.verify_code = code
        faults.append(tls_error("TLS with h:1", error, "--tls"))
    named = {flag for fault in faults for flag in re.findall(r"--[a-z-]+", fault.hint)}
    assert named == {"--tls-cacert", "--tls-name"}
    assert named <= known
    assert not [fault for fault in faults if "URL" in fault.hint]
