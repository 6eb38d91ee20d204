"""Docker's two JSON files."""

import pytest

from tunnelctl.client.discovery.readers.docker import read_docker_client, read_docker_daemon
from tunnelctl.client.discovery.settings.setting import EXEMPT, PROXY, MalformedFile, Setting


def test_the_daemon():
    text = '{"proxies": {"http-proxy": "http://p:1", "https-proxy": "http://p:2", "no-proxy": "a,b", "other": "x"}}'
    assert read_docker_daemon(text) == [
        Setting(PROXY, "proxies.http-proxy", ("http://p:1",)),
        Setting(PROXY, "proxies.https-proxy", ("http://p:2",)),
        Setting(EXEMPT, "proxies.no-proxy", ("a,b",)),
    ]


def test_the_client():
    text = '{"auths": {}, "proxies": {"default": {"httpsProxy": "http://p:1"}, "tcp://d": {"allProxy": "http://p:2"}, "x": 1}}'
    assert read_docker_client(text) == [
        Setting(PROXY, "proxies.default.httpsProxy", ("http://p:1",)),
        Setting(PROXY, "proxies.tcp://d.allProxy", ("http://p:2",), 0, "tcp://d"),
    ]


@pytest.mark.parametrize("reader", [read_docker_client, read_docker_daemon])
def test_what_is_not_as_expected(reader):
    for text in (
        "{}",
        "[]",
        "1",
        '{"proxies": 1}',
        '{"proxies": {"default": {"httpProxy": 1}}}',
        '{"proxies": {"http-proxy": ""}}',
    ):
        assert reader(text) == []
    for text in ("", "{", "secret", "[" * 100_000, "9" * 5000):
        with pytest.raises(MalformedFile, match="it is not JSON"):
            reader(text)
