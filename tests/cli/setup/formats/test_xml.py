"""The two formats of XML."""

import pytest
from hypothesis import given

from tests.cli.setup.formats.drawn import NAMES, TEXTS, read_back, settings
from tunnelctl.cli.setup.formats.xml import JetBrainsOptions, MavenSettings


@given(settings(["host", "port"], values=TEXTS.map(str.strip)))
def test_maven_settings_are_read_back(wanted):
    read_back(MavenSettings(), wanted)


@given(settings(NAMES))
def test_options_of_jetbrains_are_read_back(wanted):
    read_back(JetBrainsOptions("HttpConfigurable"), wanted)


def test_maven_uses_the_first_active_proxy_whatever_the_namespace():
    off = "<proxy><active>false</active><host>no</host></proxy>"
    head = '<settings xmlns="http://maven.apache.org/SETTINGS/1.0.0">'
    text = f"{head}<proxies>{off}<proxy><host> p </host></proxy></proxies></settings>"
    assert MavenSettings().read(text) == {("host",): "p"}
    assert MavenSettings().read("<settings/>") == {}


def test_other_components_are_left_alone():
    text = '<application><component name="X"><option name="a" value="1"/></component></application>'
    assert JetBrainsOptions("HttpConfigurable").read(text) == {}


@pytest.mark.parametrize("form", [MavenSettings(), JetBrainsOptions("X")], ids=["maven", "jetbrains"])
def test_a_malformed_file_is_reported(form):
    with pytest.raises(ValueError, match="not XML"):
        form.read("<a>")
