"""git-config(1); that git itself reads the same is shown in tests/interop/test_discovery.py."""

import pytest

from tunnelctl.client.discovery.readers.git import read_git, variables
from tunnelctl.client.discovery.settings.setting import INCLUDE, PROGRAM, PROXY, Setting

EXAMPLE = r"""
[http] proxy = http://p:1 ; comment
[HTTP "https://x.example/"]
	proxy = "http://a:b#c@q:2" # comment
[https]
	proxy = q:3
[remote "o"]
	Proxy = r
[core]
	gitProxy = "corkscrew p 1" for example.com
	sshCommand = "ssh -o \"ProxyCommand nc -X connect -x p:1 %h %p\""
[include]
	path = other
[includeIf "gitdir:~/w/"]
	path = ~/w.config
"""


def test_every_key_that_names_a_proxy():
    assert read_git(EXAMPLE) == [
        Setting(PROXY, "http.proxy", ("http://p:1",), 2),
        Setting(PROXY, "http.https://x.example/.proxy", ("http://a:b#c@q:2",), 4, "https://x.example/"),
        Setting(PROXY, "https.proxy", ("q:3",), 6),
        Setting(PROXY, "remote.o.proxy", ("r:1080",), 8, "o"),
        Setting(PROGRAM, "core.gitproxy", ("corkscrew",), 10, "example.com"),
        Setting(PROXY, "core.sshcommand", ("http://p:1",), 11),
        Setting(INCLUDE, "include.path", ("other",), 13),
        Setting(INCLUDE, "includeif.gitdir:~/w/.path", ("~/w.config",), 15, "gitdir:~/w/"),
    ]


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("a = b", "b"),
        ("a=b", "b"),
        ("a", ""),
        ("a = b c  ; d", "b c"),
        ('a = "b ; c"', "b ; c"),
        ('a = " b "', " b "),
        (r"a = b\"c", 'b"c'),
        (r"a = b\\c\td", "b\\c\td"),
        ("a = b\\\nc", "bc"),
        ("a = b\\\n\\\nc", "bc"),
        ("a = b\\", "b"),
        ('a = "b', "b"),
    ],
)
def test_the_syntax_of_a_value(line, value):
    assert [(v.name, v.value) for v in variables(f"[s]\n{line}")] == [("s.a", value)]


def test_an_empty_value_switches_the_proxy_off():
    assert read_git("[http]\nproxy =\n") == []
