"""GNOME, KDE and macOS."""

import pytest

from tunnelctl.client.discovery.readers.desktop import gnome_texts, read_gsettings, read_kde, read_keyfile, read_scutil
from tunnelctl.client.discovery.settings.setting import EXEMPT, PAC, PROXY, WPAD, Setting

# As gsettings 2.74 prints them, with values filled in.
GSETTINGS = """org.gnome.system.proxy autoconfig-url '{pac}'
org.gnome.system.proxy ignore-hosts ['localhost', '127.0.0.0/8']
org.gnome.system.proxy mode '{mode}'
org.gnome.system.proxy use-same-proxy true
org.gnome.system.proxy.ftp host ''
org.gnome.system.proxy.ftp port 0
org.gnome.system.proxy.http authentication-password 'b'
org.gnome.system.proxy.http authentication-user 'a'
org.gnome.system.proxy.http enabled false
org.gnome.system.proxy.http host 'p'
org.gnome.system.proxy.http port 1
org.gnome.system.proxy.http use-authentication {login}
org.gnome.system.proxy.https host 'p'
org.gnome.system.proxy.https port 2
org.gnome.system.proxy.socks host 'q'
org.gnome.system.proxy.socks port 3
"""
NAME = "org.gnome.system.proxy"


def test_gnome_with_manual_settings():
    assert read_gsettings(GSETTINGS.format(pac="", mode="manual", login="false")) == [
        Setting(PROXY, f"{NAME}.http", ("http://p:1",)),
        Setting(PROXY, f"{NAME}.https", ("http://p:2",)),
        Setting(PROXY, f"{NAME}.socks", ("socks5://q:3",)),
        Setting(EXEMPT, f"{NAME}.ignore-hosts", ("localhost,127.0.0.0/8",)),
    ]
    assert read_gsettings(GSETTINGS.format(pac="", mode="manual", login="true"))[0].value == ("http://a:b@p:1",)


def test_gnome_in_the_other_modes():
    assert read_gsettings(GSETTINGS.format(pac="http://x/p.pac", mode="none", login="false")) == []
    automatic = GSETTINGS.format(pac="http://x/p.pac", mode="auto", login="false")
    assert read_gsettings(automatic) == [Setting(PAC, f"{NAME}.autoconfig-url", ("http://x/p.pac",))]
    assert read_gsettings(GSETTINGS.format(pac="", mode="auto", login="")) == [Setting(WPAD, f"{NAME}.mode", ())]


@pytest.mark.parametrize("group", ["system/proxy", "org/gnome/system/proxy"])
def test_a_keyfile(group):
    text = f"[{group}]\nmode='manual'\n[{group}/http]\nhost='::1'\nport=1\n[other]\nhost='x'\n"
    assert read_keyfile(text) == [Setting(PROXY, "system/proxy/http", ("http://[::1]:1",), 4)]


@pytest.mark.parametrize(
    ("value", "texts"), [("'a'", ["a"]), ("['a', \"b\"]", ["a", "b"]), (r"'a\'b'", ["a'b"]), ("@as []", []), ("5", []), ("'", [])]
)
def test_texts_of_gvariant(value, texts):
    assert gnome_texts(value) == texts


KDE = "[Other]\nProxyType=1\n[Proxy Settings]\nProxyType={kind}\nhttpProxy=http://p 1\nhttpsProxy=https://p:2/\n"
KDE += "socksProxy=socks://q 3\nftpProxy=\nNoProxyFor=a,b\nProxy Config Script=http://x/p.pac\n"


def test_kde():
    assert read_kde(KDE.format(kind=1)) == [
        Setting(PROXY, "httpProxy", ("http://p:1",), 5),
        Setting(PROXY, "httpsProxy", ("http://p:2",), 6),
        Setting(PROXY, "socksProxy", ("socks5://q:3",), 7),
        Setting(EXEMPT, "NoProxyFor", ("a,b",), 9),
    ]
    assert read_kde(KDE.format(kind=2)) == [Setting(PAC, "Proxy Config Script", ("http://x/p.pac",), 10)]
    assert read_kde(KDE.format(kind=3)) == [Setting(WPAD, "ProxyType", (), 4)]
    assert [read_kde(KDE.format(kind=kind)) for kind in (0, 4, "")] == [[], [], []]


# The form of Apple's documentation of scutil(8); no Mac was at hand.
SCUTIL = """<dictionary> {
  ExceptionsList : <array> {
    0 : *.local
    1 : 169.254/16
  }
  HTTPEnable : 1
  HTTPPort : 1
  HTTPProxy : p
  HTTPSEnable : 0
  HTTPSPort : 2
  HTTPSProxy : q
  ProxyAutoConfigEnable : 1
  ProxyAutoConfigURLString : http://x/p.pac
  ProxyAutoDiscoveryEnable : 1
  SOCKSEnable : 1
  SOCKSProxy : s
}
"""


def test_macos():
    assert read_scutil(SCUTIL) == [
        Setting(PROXY, "HTTPProxy", ("http://p:1",)),
        Setting(PROXY, "SOCKSProxy", ("socks5://s",)),
        Setting(PAC, "ProxyAutoConfigURLString", ("http://x/p.pac",)),
        Setting(WPAD, "ProxyAutoDiscoveryEnable", ()),
        Setting(EXEMPT, "ExceptionsList", ("*.local,169.254/16",)),
    ]
    assert read_scutil("<dictionary> {\n  ExceptionsList : <array> {\n    0 : *.local\n  }\n}\n") == []
