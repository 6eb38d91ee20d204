"""Tests the URL passed to FindProxyForURL, and parsing its result."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proto.feeding import bounded
from tunnelctl.client.pac.answer import DIRECT, Answer, parse_answer, url_of
from tunnelctl.proto.address import parse_authority
from tunnelctl.proto.proxy_url import parse_proxy_url


@pytest.mark.parametrize(
    ("target", "url"),
    [
        ("host.test:443", "https://host.test/"),
        ("host.test:22", "https://host.test:22/"),
        ("host.test:4430", "https://host.test:4430/"),
        ("192.0.2.1:443", "https://192.0.2.1/"),
        ("[2001:db8::443]:22", "https://[2001:db8::443]:22/"),
        ("[::443]:443", "https://[::443]/"),
    ],
)
def test_the_url_for_a_target(target, url):
    assert url_of(parse_authority(target)) == url


@pytest.mark.parametrize(
    ("text", "choices"),
    [
        ("DIRECT", [None]),
        ("", [None]),
        (" ; ;", [None]),
        ("PROXY a:8080", ["http://a:8080"]),
        ("proxy a", ["http://a:80"]),
        ("HTTP a", ["http://a:80"]),
        ("HTTPS a", ["https://a:443"]),
        ("SOCKS a", ["socks4a://a:1080"]),
        ("SOCKS4 a:1", ["socks4a://a:1"]),
        ("socks4a a:1", ["socks4a://a:1"]),
        ("Socks5 a:1", ["socks5://a:1"]),
        ("PROXY [2001:DB8::1]:3128", ["http://[2001:db8::1]:3128"]),
        ("PROXY\ta:1 ;\n HTTPS  b:2;SOCKS5 c ; DIRECT;", ["http://a:1", "https://b:2", "socks5://c:1080", None]),
        ("PROXY a:1; DIRECT; PROXY A:1; direct", ["http://a:1", None]),
    ],
)
def test_results_are_parsed(text, choices):
    assert parse_answer(text) == Answer(tuple(choice and parse_proxy_url(choice) for choice in choices), ())


@pytest.mark.parametrize(
    "entry", ["QUIC a:443", "PROXY", "PROXY a b", "PROXY a:0", "PROXY u:p@a", "PROXY http://a", "DIRECT a", "\x1b[2J", "x"]
)
def test_invalid_entries_are_skipped_and_reported(entry):
    assert parse_answer(f"{entry}; DIRECT") == Answer((DIRECT,), (entry,))
    assert parse_answer(entry) == Answer((), (entry,))


@bounded
@given(st.text("PROXYSOCKDIET45;: \t\n[].a1@/", max_size=40))
def test_fuzz_every_entry_is_a_choice_or_is_skipped(text):
    answer = parse_answer(text)
    assert answer.choices or answer.skipped
    assert len(answer.choices) + len(answer.skipped) <= text.count(";") + 1
