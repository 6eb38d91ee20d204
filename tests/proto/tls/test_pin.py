"""Pins, compared with the results of another implementation."""

import ssl
from binascii import b2a_base64
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_der_x509_certificate
from hypothesis import given
from hypothesis import strategies as st

from tests.peers import certificates
from tunnelctl.errors import UsageProblem
from tunnelctl.proto.tls.pin import fits, parse_pin, pin_of, public_key

DIGEST = bytes(range(32))


@pytest.mark.parametrize(
    "text",
    [
        DIGEST.hex(),
        DIGEST.hex().upper(),
        DIGEST.hex(":"),
        b2a_base64(DIGEST, newline=False).decode(),
        "sha256//" + b2a_base64(DIGEST, newline=False).decode(),
    ],
)
def test_pins_are_parsed_in_every_form(text: str) -> None:
    assert parse_pin(text) == DIGEST


@pytest.mark.parametrize("text", ["", "aa", DIGEST.hex() + "00", "sha256//", "sha1//" + "A" * 43 + "=", "A" * 44, "\u00fc" * 64])
def test_an_invalid_pin_is_refused(text: str) -> None:
    with pytest.raises(UsageProblem, match="not a SHA-256"):
        parse_pin(text)


@given(st.text())
def test_any_text_is_a_pin_or_a_usage_problem(text: str) -> None:
    try:
        assert len(parse_pin(text)) == 32
    except UsageProblem:
        pass


def _der(directory: Path, name: str, *names: str) -> bytes:
    chain, _ = certificates.issue(directory, name, *names)
    end = "-----END CERTIFICATE-----\n"
    return ssl.PEM_cert_to_DER_cert(chain.read_text().partition(end)[0] + end)


@pytest.mark.parametrize("count", [1, 40], ids=["short", "long"])
def test_key_and_certificate_match_another_implementation(count: int, tmp_path: Path) -> None:
    der = _der(tmp_path, "server", *(f"host{n}.example.test" for n in range(count)))
    key = load_der_x509_certificate(der).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert public_key(der) == key
    assert fits(sha256(key).digest(), der)
    assert fits(sha256(der).digest(), der)
    assert not fits(sha256(der[1:]).digest(), der)
    assert parse_pin(pin_of(der)) == sha256(key).digest()


def test_a_certificate_of_version_1_has_no_version_field() -> None:
    """Most certificates have one; a company's own tool may still make version 1."""
    key = bytes.fromhex("3003020107")
    fields = bytes.fromhex("020101" + "3000" * 4) + key
    inner = b"\x30" + bytes([len(fields)]) + fields
    assert public_key(b"\x30" + bytes([len(inner)]) + inner) == key
