"""Values that are nearly URLs."""

import pytest

from tunnelctl.client.discovery.readers.urls import from_parts, with_curl_port, with_login


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("p", "p:1080"),
        ("http://p", "http://p:1080"),
        ("http://p/", "http://p:1080"),
        ("https://p", "https://p:443"),
        ("http://a:b@p", "http://a:b@p:1080"),
        ("http://p:1", "http://p:1"),
        ("[::1]", "[::1]:1080"),
        ("", ""),
    ],
)
def test_the_port_that_curl_takes(text, url):
    assert with_curl_port(text) == url


@pytest.mark.parametrize(
    ("text", "login", "url"),
    [
        ("http://p:1", ("a", "b@/"), "http://a:b%40%2F@p:1"),
        ("p:1", ("a", None), "http://a@p:1"),
        ("http://x@p:1", ("a", "b"), "http://x@p:1"),
        ("http://p:1", ("", "b"), "http://p:1"),
    ],
)
def test_a_login_of_its_own(text, login, url):
    assert with_login(text, *login) == url


@pytest.mark.parametrize(
    ("parts", "url"),
    [(("h", "1"), "http://h:1"), (("h", "0"), "http://h"), (("::1", "1"), "http://[::1]:1"), (("[::1]", ""), "http://[::1]")],
)
def test_host_and_port_of_their_own(parts, url):
    assert from_parts("http", *parts) == url
