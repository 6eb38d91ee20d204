"""Tests redacting the secrets of our request that a proxy echoes."""

import pytest

from tunnelctl.client.upstream.redact import Redactor

DIGEST = 'Digest username="u", response="0123456789", nc=00000001'
BASIC = "Basic dTpwYXNzd29yZA=="


@pytest.mark.parametrize(
    ("name", "value", "repeated", "hidden"),
    [
        ("Proxy-Authorization", BASIC, BASIC, "Basic ***=="),
        ("proxy-authorization", BASIC, "dTpwYXNzd29yZA==", "***=="),
        ("Proxy-Authorization", BASIC, "dTpwYXNzd29yZA%3D%3D", "***%3D%3D"),
        ("Proxy-Authorization", "Bearer token-1234", "you are token-1234.", "you are ***."),
        ("Proxy-Authorization", DIGEST, DIGEST, 'Digest username="u", response="***", nc=00000001'),
        ("Authorization", "s3cr3t", "s3cr3t", "***"),
        ("Cookie", "sid=s3cr3t; lang=de", "sid=s3cr3t; lang=de", "***; ***"),
        ("Cookie", "sid=s3cr3t; lang=de", "sid is s3cr3t", "sid is ***"),
        ("X-Other", "s3cr3t", "s3cr3t", "s3cr3t"),
        ("Cookie", "", "text", "text"),
        ("Proxy-Authorization", "Bearer J\xc3\xbcrgen", "J\xc3\xbcrgen", "***"),
        ("Proxy-Authorization", "Bearer J\xc3\xbcrgen", "are you Jürgen?", "are you ***?"),
    ],
)
def test_secrets_of_the_request_are_redacted(name: str, value: str, repeated: str, hidden: str) -> None:
    assert Redactor(((name, value),)).masked(repeated) == hidden


def test_a_truncated_secret_is_redacted() -> None:
    sent = (("Proxy-Authorization", BASIC),)
    assert Redactor(sent).masked("it was dTpwYXNz") == "it was ***"
    assert Redactor(sent).masked("it was dTp") == "it was dTp"


def test_a_secret_contained_in_another_is_redacted() -> None:
    sent = (("Cookie", "abcd"), ("Authorization", "abcdefgh"))
    assert Redactor(sent).masked("abcdefgh abcd") == "*** ***"


def test_response_fields_with_secrets_are_redacted() -> None:
    fields = (("Proxy-Authentication-Info", "rspauth=x more=y"), ("Via", "a"), ("set-cookie", "a=b"), ("X-Sent", BASIC))
    assert Redactor((("Proxy-Authorization", BASIC),)).masked_fields(fields) == (
        ("Proxy-Authentication-Info", "***"), ("Via", "a"), ("set-cookie", "***"), ("X-Sent", "Basic ***=="),
    )  # fmt: skip
