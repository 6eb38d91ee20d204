"""Certificates, compared with the results of another implementation."""

import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from tests.peers import certificates
from tunnelctl.proto.tls.certificate import decode, fingerprint

KEY = ec.generate_private_key(ec.SECP256R1())
BEGINS, ENDS = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), datetime(2027, 6, 7, 8, 9, 10, tzinfo=UTC)


def made(subject: list[tuple[x509.ObjectIdentifier, str]], begins: datetime = BEGINS, ends: datetime = ENDS) -> bytes:
    """A certificate for a subject, with the issuer `issuer`."""
    name = x509.Name([x509.NameAttribute(kind, text) for kind, text in subject])
    builder = x509.CertificateBuilder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer")]), name)
    builder = builder.public_key(KEY.public_key()).serial_number(7).not_valid_before(begins).not_valid_after(ends)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)


@pytest.mark.parametrize(
    ("subject", "shown"),
    [
        ([(NameOID.COMMON_NAME, "host.example")], "host.example"),
        ([(NameOID.ORGANIZATION_NAME, "a company"), (NameOID.COMMON_NAME, "host.example")], "host.example"),
        ([(NameOID.ORGANIZATIONAL_UNIT_NAME, "a unit"), (NameOID.ORGANIZATION_NAME, "a company")], "a company"),
        ([(NameOID.COUNTRY_NAME, "DE"), (NameOID.ORGANIZATIONAL_UNIT_NAME, "größer")], "größer"),
        ([(NameOID.COUNTRY_NAME, "DE")], ""),
        ([], ""),
    ],
)
def test_subject_and_issuer_are_decoded(subject, shown):
    found = decode(made(subject))
    assert (found.subject, found.issuer, found.begins, found.ends) == (shown, "issuer", BEGINS, ENDS)


@pytest.mark.parametrize("year", [1950, 1999, 2049, 2050, 2120])
def test_years_of_both_time_formats_are_decoded(year):
    ends = datetime(year, 12, 31, tzinfo=UTC)
    assert decode(made([], begins=datetime(1950, 1, 1, tzinfo=UTC), ends=ends)).ends == ends


def test_a_certificate_of_version_1_is_decoded():
    """It has no version field."""
    whole = made([(NameOID.COMMON_NAME, "host.example")])
    version = bytes.fromhex("a003020102")
    assert version in whole[:20]
    start = whole.index(version)
    short = whole.replace(version, b"", 1)

    def less(at: int, by: int) -> bytes:  # reduces an enclosing length, of one or two octets
        size = short[at + 1] & 0x7F if short[at + 1] >= 0x80 else 0
        length = int.from_bytes(short[at + 2 : at + 2 + size] if size else short[at + 1 : at + 2], "big") - by
        return short[at : at + 1] + (bytes([0x80 | size]) + length.to_bytes(size, "big") if size else bytes([length]))

    outer = less(0, 5)
    inner_at = len(outer)
    inner = less(inner_at, 5)
    first = decode(outer + inner + short[start:])
    assert (first.subject, first.issuer) == ("host.example", "issuer")


def test_another_implementation_decodes_the_same(tmp_path: Path) -> None:
    chain, _ = certificates.issue(tmp_path, "host", "host.example")
    der = ssl.PEM_cert_to_DER_cert(chain.read_text())
    theirs, ours = x509.load_der_x509_certificate(der), decode(der)
    assert (ours.begins, ours.ends) == (theirs.not_valid_before_utc, theirs.not_valid_after_utc)
    assert ours.issuer in theirs.issuer.rfc4514_string()
    assert fingerprint(der) == theirs.fingerprint(hashes.SHA256()).hex()


@given(st.binary(max_size=200))
def test_other_data_raises_documented_errors_only(data):
    with pytest.raises((ValueError, IndexError)):
        decode(data)
