"""Commands for ssh and git: the proxy of each program that is known, and nothing but the name of another one."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnelctl.cli.spec.commands import OTHERS
from tunnelctl.client.discovery.readers.proxy_command import PROGRAMS, settings_of_command, with_port
from tunnelctl.client.discovery.settings.setting import PROGRAM, PROXY, Setting


def chain(command: str) -> tuple[str, ...]:
    (setting,) = settings_of_command("ProxyCommand", command)
    assert setting.kind == PROXY
    return setting.value


@pytest.mark.parametrize(
    ("command", "urls"),
    [
        ("corkscrew p 1 %h %p", ["http://p:1"]),
        ("/usr/bin/corkscrew p 1 %h %p ~/.auth", ["http://p:1"]),
        ("nc -X connect -x p:1 %h %p", ["http://p:1"]),
        ("nc -Xconnect -xp %h %p", ["http://p:3128"]),
        ("nc -F -X connect -x [::1]:1 %h %p", ["http://[::1]:1"]),
        ("nc -x p %h %p", ["socks5://p:1080"]),
        ("nc -X 4 -x p:1 %h %p", ["socks4://p:1"]),
        ("nc -X connect -P alice -x p:1 %h %p", ["http://alice@p:1"]),
        ("nc --proxy p:1 %h %p", ["http://p:1"]),
        ("ncat --proxy p:1 %h %p", ["http://p:1"]),
        ("ncat --proxy=p --proxy-type socks5 %h %p", ["socks5://p:1080"]),
        ("ncat --proxy p --proxy-type http --proxy-auth 'a:b c' %h %p", ["http://a:b%20c@p:3128"]),
        ("connect-proxy -H p:1 %h %p", ["http://p:1"]),
        ("connect -H alice@p %h %p", ["http://alice@p:80"]),
        ("connect -4 -S p %h %p", ["socks4://p:1080"]),
        ("connect -5S p:1 %h %p", ["socks5://p:1"]),
        ("proxytunnel -q -p p:1 -d %h:%p", ["http://p:1"]),
        ("proxytunnel --proxy=p:1 --proxyauth=a:b -E -d %h:%p", ["https://a:b@p:1"]),
        ("proxytunnel -p p:1 -r q:2 -R a:b -X -d %h:%p", ["http://p:1", "https://a:b@q:2"]),
        ("socat - PROXY:p:%h:%p,proxyport=1,proxyauth=a:b", ["http://a:b@p:1"]),
        ("socat STDIO proxy:p:%h:%p", ["http://p:8080"]),
        ("socat - SOCKS4A:[::1]:%h:%p,socksport=1", ["socks4a://[::1]:1"]),
        ("tunnelctl connect -x http://a:b@p:1 %h %p", ["http://a:b@p:1"]),
        ("tunnelctl connect --fdpass --proxy=http://p:1 -xhttps://q %h %p", ["https://q", "http://p:1"]),
        ("python3.11 -m tunnelctl connect -x p:1 %h %p", ["p:1"]),
        ("~/bin/tunnelctl.pyz connect -x p:1 %h %p", ["p:1"]),
        ("/usr/bin/python3 /opt/tunnelctl.pyz connect -x p:1 %h %p", ["p:1"]),
        ("exec nc -X connect -x p:1 %h %p", ["http://p:1"]),
        ("env A=b nc -X connect -x p:1 %h %p", ["http://p:1"]),
        ("sh -c 'exec nc -X connect -x p:1 %h %p'", ["http://p:1"]),
        ("nc -X connect -x p:1 'unmatched %h %p", ["http://p:1"]),
    ],
)
def test_the_proxy_of_a_known_program(command, urls):
    assert chain(command) == tuple(urls)


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("myproxy --password secret %h %p", "myproxy"),
        ("/opt/x/cloudflared access ssh --hostname %h", "cloudflared"),
        ("nc %h %p", "nc"),
        ("connect-proxy -h %h %p", "connect-proxy"),
        ("corkscrew p", "corkscrew"),
        ("corkscrew p x h 1", "corkscrew"),
        ("ncat --proxy-auth alice:secret %h %p", "ncat"),
        ("ncat --proxy p --proxy-type other %h %p", "ncat"),
        ("nc -X 7 -x p:1 %h %p", "nc"),
        ("socat - TCP:%h:%p", "socat"),
        ("tunnelctl connect %h %p", "tunnelctl"),
        ("tunnelctl connect -x direct %h %p", "tunnelctl"),
        ("ssh -W %h:%p jump", "ssh"),
    ],
)
def test_of_any_other_command_only_the_program_is_kept(command, name):
    assert settings_of_command("ProxyCommand", command, 3, "Host x") == [Setting(PROGRAM, "ProxyCommand", (name,), 3, "Host x")]


@pytest.mark.parametrize("command", ["none", "", " ", "exec"])
def test_no_command(command):
    assert settings_of_command("ProxyCommand", command) == []


@pytest.mark.parametrize("option", ["-o ProxyCommand='nc -X connect -x p:1 %h %p'", "'-oProxyCommand nc -X connect -x p:1 %h %p'"])
def test_the_proxy_command_in_the_options_of_ssh(option):
    assert settings_of_command("core.sshcommand", f"ssh {option} -v")[0].value == ("http://p:1",)


def test_ssh_without_a_proxy_command_says_nothing():
    assert settings_of_command("core.sshCommand", "ssh -i key") == []


@pytest.mark.parametrize("theirs", [theirs for theirs, ours in OTHERS if " connect " in ours and "-x" in ours])
def test_every_line_of_the_manual_about_another_program_is_understood(theirs):
    ours = dict(OTHERS)[theirs]
    found, wanted = chain(theirs), chain(ours)
    assert [url.partition("://")[2].rpartition(":")[0] for url in found] == [url.rpartition(":")[0] for url in wanted]


@pytest.mark.parametrize(("host", "whole"), [("p", "p:5"), ("p:1", "p:1"), ("[::1]", "[::1]:5"), ("[::1]:1", "[::1]:1"), ("", "")])
def test_the_usual_port_is_added(host, whole):
    assert with_port(host, 5) == whole


WORDS = st.lists(st.sampled_from(["-x", "-X", "--proxy", "--proxy=", "p:1", "-p", "-H", "connect", "PROXY:", "-", "--", "'", ""]))


@given(st.sampled_from(sorted(PROGRAMS)), st.one_of(WORDS.map(shlex.join), WORDS.map(" ".join), st.text()))
def test_any_command_line_is_read(program, rest):
    for setting in settings_of_command("ProxyCommand", f"{program} {rest}"):
        assert setting.kind in (PROXY, PROGRAM)
        assert all(setting.value)
