"""Proxy URLs. V18: the result contains the password, but neither its text forms nor an error do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proto.feeding import bounded
from tunnelctl.cli.render.hints import hint_of
from tunnelctl.errors import AddressError
from tunnelctl.proto.address import Address
from tunnelctl.proto.proxy_url import ProxyURL, parse_proxy_list, parse_proxy_url

HOST = Address("proxy.example", 3128)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://proxy.example:3128", ProxyURL("http", HOST, None, None)),
        ("http://proxy.example:3128/", ProxyURL("http", HOST, None, None)),
        ("HTTP://Proxy.Example.:3128", ProxyURL("http", HOST, None, None)),
        ("proxy.example:3128", ProxyURL("http", HOST, None, None)),
        ("proxy.example", ProxyURL("http", Address("proxy.example", 80), None, None)),
        ("http://proxy.example", ProxyURL("http", Address("proxy.example", 80), None, None)),
        ("https://proxy.example", ProxyURL("https", Address("proxy.example", 443), None, None)),
        ("HTTPS://u:p@proxy.example:3128/", ProxyURL("https", HOST, "u", "p")),
        ("socks5://u:p@proxy.example", ProxyURL("socks5", Address("proxy.example", 1080), "u", "p")),
        ("socks5h://proxy.example", ProxyURL("socks5", Address("proxy.example", 1080), None, None)),
        ("socks://u:p@proxy.example", ProxyURL("socks5", Address("proxy.example", 1080), "u", "p")),
        ("Socks://proxy.example:3128/", ProxyURL("socks5", HOST, None, None)),
        (" http://proxy.example:3128\r\n", ProxyURL("http", HOST, None, None)),
        ("\tu:p@proxy.example:3128/ ", ProxyURL("http", HOST, "u", "p")),
        ("socks4a://proxy.example:3128", ProxyURL("socks4a", HOST, None, None)),
        ("socks4://proxy.example", ProxyURL("socks4a", Address("proxy.example", 1080), None, None)),
        ("http://[::1]:3128", ProxyURL("http", Address("::1", 3128), None, None)),
        ("[::1]", ProxyURL("http", Address("::1", 80), None, None)),
        ("http://[fe80::1%25eth0]:3128", ProxyURL("http", Address("fe80::1%eth0", 3128), None, None)),
        ("http://[FE80:0::1%eth0.7]", ProxyURL("http", Address("fe80::1%eth0.7", 80), None, None)),
        ("u:p@[fe80::1%25]:3128/", ProxyURL("http", Address("fe80::1%25", 3128), "u", "p")),
        ("socks5://[fe80::1%252]", ProxyURL("socks5", Address("fe80::1%2", 1080), None, None)),
        ("http://u@proxy.example:3128", ProxyURL("http", HOST, "u", None)),
        ("http://u:@proxy.example:3128", ProxyURL("http", HOST, "u", "")),
        ("http://u:p@proxy.example:3128", ProxyURL("http", HOST, "u", "p")),
        ("u:p@proxy.example:3128", ProxyURL("http", HOST, "u", "p")),
        ("http://:p@proxy.example:3128", ProxyURL("http", HOST, "", "p")),
        ("http://@proxy.example:3128", ProxyURL("http", HOST, "", None)),
        ("http://u:a:b@proxy.example:3128", ProxyURL("http", HOST, "u", "a:b")),
        ("http://u:p@ss@proxy.example:3128", ProxyURL("http", HOST, "u", "p@ss")),
        ("http://a%40b:%2f%3A%25@proxy.example:3128", ProxyURL("http", HOST, "a@b", "/:%")),
        ("http://%C3%BC:%ff@proxy.example:3128", ProxyURL("http", HOST, "ü", "\udcff")),
        ("http://u:100%@proxy.example:3128", ProxyURL("http", HOST, "u", "100%")),
        ("http://u:%zz%4%+1% 1@proxy.example:3128", ProxyURL("http", HOST, "u", "%zz%4%+1% 1")),
    ],
)
def test_proxy_urls_are_parsed(text, url):
    assert tuple(parse_proxy_url(text)) == tuple(url)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("ftp://proxy.example", "ftp:// is not supported"),
        ("socks6://u:secret@proxy.example", "socks6:// is not supported"),
        (" ", "empty"),
        ("", "missing|empty"),
        ("http://", "empty"),
        ("http://u:secret@", "empty"),
        ("http://proxy.example/path", "a path"),
        ("http://proxy.example//", "a path"),
        ("http://proxy.example?query", "a path"),
        ("http://proxy.example#fragment", "a path"),
        ("http://u:sec/ret@proxy.example", "a path"),
        ("http://u:sec://ret@proxy.example", "a path"),
        ("u:secret://x@proxy.example", "a path"),
        ("://proxy.example", "a path"),
        ("http://proxy.example:0", "port '0' is not a number from 1 to 65535"),
        ("proxy.example:", "the port is missing"),
        ("http://u:secret@proxy.example:x", "1 to 65535"),
        ("http://::1", "brackets"),
        ("http://a b", "blank"),
        ("http://2130706433:80", "four decimal numbers"),
        ("http://[fe80::1%]:3128", "not the name or number of a network interface"),
        ("http://[fe80::1%25a b]", "not the name or number of a network interface"),
        ("http://[fe80::1%25a%25b]", "not the name or number of a network interface"),
        ("http://fe80::1%25eth0", "brackets"),
        ("http://[fe80::1]%25eth0", "can follow ]"),
        ("http://[proxy.example%25eth0]", "brackets"),
        ("http://127.0.0.1%25eth0", "a character"),
    ],
)
def test_errors_give_the_cause_without_user_information(text, cause):
    """V18, V4"""
    with pytest.raises(AddressError, match=cause) as caught:
        parse_proxy_url(text)
    everything = f"{caught.value} {hint_of(caught.value)} {caught.value!r}"
    assert "proxy URL" in everything
    assert "sec" not in everything
    assert "ret" not in everything


def test_error_for_an_unknown_scheme_lists_the_supported_ones():
    with pytest.raises(AddressError) as caught:
        parse_proxy_url("ftp://proxy.example")
    assert hint_of(caught.value) == "the schemes are http, https, socks5, socks5h, socks, socks4a and socks4"


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("proxy.example", ["http://proxy.example:80"]),
        ("a,b:3128", ["http://a:80", "http://b:3128"]),
        ("https://a,socks5://[::1]", ["https://a:443", "socks5://[::1]:1080"]),
        ("http://u:a%2Cb@a,http://u:p@b/", ["http://u:***@a:80", "http://u:***@b:80"]),
        ("u:p@a,u:p@b", ["http://u:***@a:80", "http://u:***@b:80"]),
        ("a,http://u@b", ["http://a:80", "http://u@b:80"]),
        (" a , b:3128\n", ["http://a:80", "http://b:3128"]),
    ],
)
def test_proxy_lists_are_parsed(text, urls):
    assert [str(url) for url in parse_proxy_list(text)] == urls


@pytest.mark.parametrize(
    "text",
    [
        "http://u:sec,ret@proxy.example",
        "http://u:80,secret@proxy.example",
        "u:sec,ret@proxy.example:x",
        "http://u:p@a,u:sec,ret@proxy.example",
        "http://u:sec,r,et@proxy.example",
        "sec://ret,u@proxy.example",
        "sec ret,http://u@proxy.example",
        "u:80, secret@proxy.example",
        "u:sec, ret@proxy.example",
    ],
)
def test_v18_a_comma_in_a_password_is_an_error_that_shows_nothing(text):
    with pytest.raises(AddressError) as caught:
        parse_proxy_list(text)
    everything = f"{caught.value} {hint_of(caught.value)} {caught.value!r}"
    assert "sec" not in everything
    assert "ret" not in everything
    assert "%2C" in hint_of(caught.value)


@pytest.mark.parametrize(("text", "cause"), [("a,", "empty"), (",a", "empty"), ("a b", "blank"), ("http://u@a,ftp://b", "ftp")])
def test_invalid_proxy_lists_are_refused(text, cause):
    with pytest.raises(AddressError, match=cause):
        parse_proxy_list(text)


def test_a_scope_id_is_accepted_for_the_nearest_proxy_only():
    assert [url.address.host for url in parse_proxy_list("[fe80::1%a],[fe80::2%25b]")] == ["fe80::1%a", "fe80::2%b"]
    for text in ("http://[fe80::1%25a]", "http://[fe80::1%a]"):
        with pytest.raises(AddressError, match="on one machine only"):
            parse_proxy_url(text, nearest=False)


def test_a_slash_in_a_password_gets_a_hint():
    with pytest.raises(AddressError) as caught:
        parse_proxy_url("http://u:a/b@proxy.example")
    assert "%2F" in hint_of(caught.value)
    with pytest.raises(AddressError) as caught:
        parse_proxy_url("http://proxy.example/a")
    assert hint_of(caught.value) == ""


@pytest.mark.parametrize(
    ("url", "text"),
    [
        (ProxyURL("http", HOST, None, None), "http://proxy.example:3128"),
        (ProxyURL("http", HOST, "u", None), "http://u@proxy.example:3128"),
        (ProxyURL("http", Address("fe80::1%25", 1), "u", None), "http://u@[fe80::1%2525]:1"),
        (ProxyURL("http", HOST, "u", "secret"), "http://u:***@proxy.example:3128"),
        (ProxyURL("http", HOST, "u", ""), "http://u:***@proxy.example:3128"),
        (ProxyURL("http", HOST, "a@\x1b:ü\udcff", "secret"), "http://a%40%1B%3A%C3%BC%FF:***@proxy.example:3128"),
    ],
)
def test_v18_str_and_repr_mask_the_password(url, text):
    assert str(url) == f"{url}" == text
    assert repr(url) == f"ProxyURL({text!r})"
    assert "secret" not in f"{(url,)} {[url]!r}"


@bounded
@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12), st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
)
def test_property_encoded_user_information_is_decoded(user, password):
    def encode(text):
        return "".join(f"%{octet:02x}" for octet in text.encode())

    url = parse_proxy_url(f"http://{encode(user)}:{encode(password)}@proxy.example:3128")
    assert url == ProxyURL("http", HOST, user, password)
    assert parse_proxy_url(str(url)).user == user


@bounded
@given(st.text('ab:@/%2[]?#. \n', max_size=20))  # fmt: skip
def test_fuzz_parsing_raises_address_errors_only(text):
    for spelling in (text, f"http://{text}"):
        try:
            url = parse_proxy_url(spelling)
        except AddressError:
            continue
        assert parse_proxy_url(str(url)).address == url.address
