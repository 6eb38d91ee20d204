"""curl and wget; that the tools read the same is shown in tests/interop/test_discovery.py."""

import pytest

from tunnelctl.client.discovery.readers.downloads import curl_options, read_curl, read_wget
from tunnelctl.client.discovery.settings.setting import EXEMPT, PROXY, Setting


@pytest.mark.parametrize(
    "line",
    [
        "proxy = http://p:1",
        'proxy="http://p:1"',
        "proxy: http://p:1",
        "proxy http://p:1",
        "--proxy http://p:1",
        "--proxy = http://p:1",
        "-x http://p:1",
        "-xhttp://p:1",
        "proxy = http://p:1 trailing",
    ],
)
def test_every_notation_of_curl(line):
    ((kind, _, value, number, _),) = read_curl(f"# comment\nsilent\n{line}\n")
    assert (kind, value, number) == (PROXY, ("http://p:1",), 3)


@pytest.mark.parametrize("line", ["x = http://p:1", "--proxy=http://p:1", "-proxy http://p:1", "--x http://p:1", "=", "-"])
def test_what_curl_does_not_understand(line):
    assert [name for _, name, value in curl_options(line) if value.startswith("http")] == []
    assert read_curl(line) == []


def test_other_options_of_curl():
    text = 'socks5 = p\nsocks5-hostname = socks5h://p:2\npreproxy=q:3\nproxy-user = "a:b c"\nnoproxy = "x,y"\n'
    assert read_curl(text) == [
        Setting(PROXY, "socks5", ("socks5://a:b%20c@p:1080",), 1),
        Setting(PROXY, "socks5-hostname", ("socks5h://a:b%20c@p:2",), 2),
        Setting(PROXY, "preproxy", ("http://a:b%20c@q:3",), 3),
        Setting(EXEMPT, "noproxy", ("x,y",), 5),
    ]


@pytest.mark.parametrize(("text", "value"), [(r'"a\"b\\\t"', 'a"b\\\t'), ('"open', "open"), ("", ""), ("a b", "a")])
def test_the_values_of_curl(text, value):
    assert list(curl_options(f"proxy = {text}")) == [(1, "proxy", value)]


def test_wget():
    text = "# c\nhttp_proxy = http://p:1\nHTTPS-Proxy=http://x@p:2\nno_proxy = a,b\nproxy_user = u\nproxy_password = w\n"
    assert read_wget(text) == [
        Setting(PROXY, "http_proxy", ("http://u:w@p:1",), 2),
        Setting(PROXY, "HTTPS-Proxy", ("http://x@p:2",), 3),
        Setting(EXEMPT, "no_proxy", ("a,b",), 4),
    ]
    assert read_wget(text + "use_proxy = off\n") == []
