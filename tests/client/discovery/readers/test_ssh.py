"""ssh_config(5)."""

from tunnelctl.client.discovery.readers.ssh import read_ssh
from tunnelctl.client.discovery.settings.setting import INCLUDE, PROGRAM, PROXY, Setting


def test_proxy_commands_and_their_hosts():
    text = """Include "conf.d/*" other
proxycommand nc -X connect -x p:1 %h %p
Host *.example.com !x
    ProxyCommand=corkscrew p%%20 2 %h %p
    # ProxyCommand no
Match host y
    ProxyCommand none
    "ProxyCommand" cloudflared access --token secret
Host *
    ProxyCommand ncat --proxy p:3 %h %p
"""
    assert read_ssh(text) == [
        Setting(INCLUDE, "Include", ("conf.d/*",), 1),
        Setting(INCLUDE, "Include", ("other",), 1),
        Setting(PROXY, "proxycommand", ("http://p:1",), 2),
        Setting(PROXY, "ProxyCommand", ("http://p%20:2",), 4, "Host *.example.com !x"),
        Setting(PROGRAM, "ProxyCommand", ("cloudflared",), 8, "Match host y"),
        Setting(PROXY, "ProxyCommand", ("http://p:3",), 10),
    ]
