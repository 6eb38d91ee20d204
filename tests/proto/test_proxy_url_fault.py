"""Errors for an invalid proxy URL: they name the actual fault and show nothing of a password. V18"""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proto.feeding import bounded
from tunnelctl.cli.render.hints import hint_of
from tunnelctl.errors import AddressError
from tunnelctl.proto.proxy_url import parse_proxy_list, parse_proxy_url


def error_for(text: str) -> AddressError:
    with pytest.raises(AddressError) as caught:
        parse_proxy_list(text)
    return caught.value


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ('"http://proxy.example:3128"', "it is enclosed in quotation marks"),
        ("'proxy.example:3128'", "it is enclosed in quotation marks"),
        ('"', "it is enclosed in quotation marks"),
        ('""', "it is enclosed in quotation marks"),
        ('"http://a:1,http://b:2"', "it is enclosed in quotation marks"),
        ("\u201chttp://proxy.example:3128\u201d", "it is enclosed in quotation marks"),
        ("http://http://proxy.example:3128", "it has two schemes"),
        ("http://HTTPS://proxy.example:3128", "it has two schemes"),
        ("socks5://http://proxy.example:3128", "it has two schemes"),
        ("http:/proxy.example:3128", "its scheme does not end in ://"),
        ("HTTP:/proxy.example:3128", "its scheme does not end in ://"),
        ("https:///proxy.example:3128", "its scheme does not end in ://"),
        ("http//proxy.example:3128", "its scheme does not end in ://"),
        ("http:\\\\proxy.example:3128", "its scheme does not end in ://"),
        ("socks5h:proxy.example:3128", "its scheme does not end in ://"),
        ("http=proxy.example:3128;https=proxy.example:3128", "a list of proxies by scheme, as Windows uses it"),
        ("socks=proxy.example:3128", "a list of proxies by scheme, as Windows uses it"),
        ("https_proxy=http://proxy.example:3128", "it begins with the name of a variable"),
        ("export HTTPS_PROXY=proxy.example:3128", "it begins with the name of a variable"),
        ("a:1;b:2", "a semicolon cannot separate proxies"),
        ("http://proxy.example:3128 # at work", "it is followed by a comment"),
        ("http://$PROXY:3128", "it contains a variable that was not expanded"),
        ("http://${PROXY}", "it contains a variable that was not expanded"),
        ("http://%PROXY%:3128", "it contains a variable that was not expanded"),
    ],
)
def test_the_error_names_the_actual_fault(text: str, cause: str) -> None:
    error = error_for(text)
    assert error.cause == cause
    assert hint_of(error)


@pytest.mark.parametrize(
    "text",
    [
        "http://wpad.example/proxy.pac",
        "http://wpad.example/wpad.dat",
        "https://u:p@wpad.example:8443/a/PROXY.PAC?v=1#x",
        "wpad.example/proxy.pac",
        "http://wpad.example/pac?user=1",
        "file:///etc/proxy.pac",
        "/etc/proxy.pac",
        "./proxy.pac",
    ],
)
def test_the_error_for_a_pac_file_names_its_flag(text: str) -> None:
    error = error_for(text)
    assert error.cause == "it names a PAC file, not a proxy"
    assert hint_of(error) == "connect, forward, run and check take a PAC file with --pac"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("http://proxy.example/a", "it must not have a path, query or fragment"),
        ("http://proxy.example/pacific", "it must not have a path, query or fragment"),
        ("http://u:http://x@proxy.example", "it must not have a path, query or fragment"),
        ("http.example:x", "port 'x' is not a number from 1 to 65535"),
        ("http:99999", "port '99999' is not a number from 1 to 65535"),
        ("http://$:1", "it contains a character that no host name has"),
        ("", "empty"),
        ("http:/", "the port is missing"),
    ],
)
def test_other_texts_keep_the_parsers_message(text: str, cause: str) -> None:
    assert error_for(text).cause == cause


@pytest.mark.parametrize("text", ["socks5:3128", "httpd:1", "http:8080", "pac", "wpad.dat"])
def test_unusual_but_valid_proxies_are_accepted(text: str) -> None:
    assert parse_proxy_url(text)


@pytest.mark.parametrize(
    "text",
    [
        '"http://u:secret@proxy.example:3128"',
        "http=u:secret@proxy.example;https=u:secret@proxy.example:x",
        "http://u:secret@http://proxy.example",
        "http:/u:secret@proxy.example:1",
        "https_proxy=http://u:secret@proxy.example:1",
        "http://u:secret@proxy.example/x.pac",
        "http://u:$ecret;% #secret%@proxy.example:x",
    ],
)
def test_v18_errors_show_nothing_of_a_password(text: str) -> None:
    error = error_for(text)
    assert "ecret" not in f"{error} {hint_of(error)} {error!r}"


@bounded
@given(st.text("\"'htps:/\\=;#$%{ab1.@ \t", max_size=24))
def test_fuzz_parsing_raises_address_errors_only(text: str) -> None:
    with suppress(AddressError):
        parse_proxy_url(text)
