"""The records of settings."""

from tunnelctl.client.discovery.settings.setting import PROXY, Found, Setting

SETTING = Setting(PROXY, "http.proxy", ("http://a:secret@p",), 3, "x")


def test_no_value_is_in_a_repr():
    assert repr(SETTING) == "Setting('proxy', 'http.proxy', ***, 3, 'x')"
    assert "secret" not in repr(Found("git", "~/.gitconfig", SETTING))


def test_a_setting_for_people():
    assert str(Found("git", "~/.gitconfig", SETTING)) == "git http.proxy (~/.gitconfig, line 3)"
    assert str(Found("GNOME", "gsettings", SETTING._replace(line=0))) == "GNOME http.proxy (gsettings)"
    assert str(Found("environment", "", SETTING._replace(line=0))) == "http.proxy"
