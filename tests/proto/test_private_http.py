"""Which requests a private listener answers: by the Host field, and by the fields that a browser adds to cross-site requests."""

import pytest

from tunnelctl.proto.private_http import FOREIGN, MALFORMED, MISDIRECTED, deny


def headers(*pairs: tuple[str, str]) -> list[tuple[bytes, bytes]]:
    """Header fields in the form that h11 returns."""
    return [(name.lower().encode(), value.encode("latin-1")) for name, value in pairs]


LOCAL = ["127.0.0.1", "127.0.0.1:9000", "[::1]", "[::1]:9000", "10.1.2.3:9000", "localhost", "LocalHost.:1", "[2001:db8::1]:80"]
NAMES = ["attacker.example", "attacker.example:9000", "localhost.attacker.example", "127.0.0.1.attacker.example:80", "admin", "x:1"]
BROKEN = [
    "",
    "::1",
    "127.1",
    "0x7f.1",
    "127.0.0.1:x",
    "127.0.0.1:0",
    "a b",
    "user@127.0.0.1",
    "http://127.0.0.1",
    "[localhost]",
    "\xe4:",
]


@pytest.mark.parametrize("host", LOCAL)
def test_an_address_or_localhost_as_host_is_accepted(host):
    assert deny(headers(("Host", host)), any_host=False) is None


@pytest.mark.parametrize("host", NAMES)
def test_another_name_as_host_is_denied_unless_any_is_allowed(host):
    assert deny(headers(("Host", host)), any_host=False) is MISDIRECTED
    assert deny(headers(("Host", host)), any_host=True) is None


@pytest.mark.parametrize("host", BROKEN)
def test_an_invalid_host_is_malformed(host):
    assert deny(headers(("Host", host)), any_host=False) is MALFORMED


def test_a_request_without_host_is_accepted():
    assert deny(headers(), any_host=False) is None


@pytest.mark.parametrize("any_host", [True, False])
@pytest.mark.parametrize(
    ("fields", "answered"),
    [
        ([("Origin", "http://127.0.0.1:9000")], True),
        ([("Origin", "http://127.0.0.1:9001")], False),
        ([("Origin", "https://attacker.example")], False),
        ([("Origin", "null")], False),
        ([("Origin", "")], False),
        ([("Sec-Fetch-Site", "none")], True),
        ([("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Mode", "cors"), ("Sec-Fetch-Dest", "empty")], True),
        ([("Sec-Fetch-Site", "cross-site")], False),
        ([("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors"), ("Sec-Fetch-Dest", "image")], False),
        ([("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")], True),  # a link
        ([("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "iframe")], False),
    ],
)
def test_cross_site_requests_are_denied(fields, answered, any_host):
    denial = deny(headers(("Host", "127.0.0.1:9000"), *fields), any_host)
    assert denial is (None if answered else FOREIGN)
