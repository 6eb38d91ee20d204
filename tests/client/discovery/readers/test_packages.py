"""apt, npm and pip; that the tools read the same is shown in tests/interop/test_discovery.py."""

import pytest

from tunnelctl.client.discovery.readers.packages import apt_items, read_apt, read_npm, read_pip
from tunnelctl.client.discovery.settings.setting import EXEMPT, PROGRAM, PROXY, Setting


def test_apt_in_both_notations():
    text = """// comment "
Acquire::http::Proxy "http://p:1/"; # more
/* Acquire::https::Proxy "no";
*/
acquire {
  https { proxy "http://p:2"; Proxy::deb.example "http://p:3"; };
  http::Proxy::local "DIRECT";
  Retries 3;
};
Acquire::http::Proxy-Auto-Detect "/usr/bin/find-proxy secret";
"""
    assert read_apt(text) == [
        Setting(PROXY, "Acquire::http::Proxy", ("http://p:1/",), 2),
        Setting(PROXY, "acquire::https::proxy", ("http://p:2",), 6),
        Setting(PROXY, "acquire::https::Proxy::deb.example", ("http://p:3",), 6, "deb.example"),
        Setting(PROGRAM, "Acquire::http::Proxy-Auto-Detect", ("find-proxy",), 10),
    ]


@pytest.mark.parametrize("text", ['A "', "A;", '{ "b" };', "} } A b", "/* A b;", '"";', "#clear A;"])
def test_broken_files_of_apt(text):
    assert [item for item in apt_items(text) if "Proxy" in item[1]] == []


def test_a_comment_ends_a_bare_word_of_apt():
    assert list(apt_items("A http://p; B\n;E f#g;\n;")) == [(1, "A", "http:"), (2, "E", "f")]


def test_npm():
    text = '; c\nproxy=http://p:1\nhttps-proxy = "http://p:2"\nnoproxy=a,b\nhttp-proxy=null\nregistry=http://r\n[x]\nproxy=q\n'
    assert read_npm(text) == [
        Setting(PROXY, "proxy", ("http://p:1",), 2),
        Setting(PROXY, "https-proxy", ("http://p:2",), 3),
        Setting(EXEMPT, "noproxy", ("a,b",), 4),
    ]


def test_pip():
    text = "proxy = no\n[global]\ntimeout = 5\nproxy = a:b@p:1\n[install]\nProxy=http://q:2\n[list]\nproxy=\n[x]\nproxy: y=z\n"
    assert read_pip(text) == [
        Setting(PROXY, "global.proxy", ("a:b@p:1",), 4),
        Setting(PROXY, "install.proxy", ("http://q:2",), 6, "install"),
        Setting(PROXY, "x.proxy", ("y=z",), 10, "x"),
    ]
