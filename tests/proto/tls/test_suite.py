"""Which cipher suites HTTP/2 permits (R28): OpenSSL's own description of each suite is the oracle."""

import ssl

import pytest

from tunnelctl.proto.tls.suite import fits_http2

EPHEMERAL = {"kx-any", "kx-ecdhe", "kx-dhe", "kx-ecdhe-psk", "kx-dhe-psk"}


def test_every_suite_of_openssl() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    suites = context.get_ciphers()
    assert len(suites) > 100
    for suite in suites:
        version = "TLSv1.3" if suite["protocol"] == "TLSv1.3" else "TLSv1.2"  # older suites are used with 1.2 as well
        permitted = suite["aead"] and suite["kea"] in EPHEMERAL and suite["auth"] != "auth-null"
        assert fits_http2(version, suite["name"]) == permitted, suite


@pytest.mark.parametrize(
    ("suite", "permitted"),
    [
        ("ECDHE-RSA-AES128-GCM-SHA256", True),  # the one that every implementation has (RFC 9113 section 9.2.2)
        ("DHE-RSA-CHACHA20-POLY1305", True),
        ("ECDHE-RSA-AES128-SHA256", False),
        ("AES128-GCM-SHA256", False),
        ("ADH-AES128-GCM-SHA256", False),
        ("ECDHE-ECDSA-NULL-SHA", False),
    ],
)
def test_suites_of_tls_1_2(suite: str, permitted: bool) -> None:
    assert fits_http2("TLSv1.2", suite) == permitted


def test_tls_1_3_has_no_others() -> None:
    assert fits_http2("TLSv1.3", "TLS_AES_128_GCM_SHA256")
