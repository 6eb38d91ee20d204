"""git-config(1), read by git."""

import pytest
from hypothesis import given
from hypothesis import settings as limits

from tests.cli.setup.formats.drawn import NAMES, TEXTS, read_back, settings
from tunnelctl.cli.setup.formats.git import GitConfig
from tunnelctl.cli.setup.formats.model import Settings

pytestmark = pytest.mark.peer("git")


@limits(max_examples=30)
@given(settings(["http"], TEXTS, NAMES))
def test_what_was_rendered_is_read_back(wanted):
    read_back(GitConfig(), wanted)


def test_settings_of_one_host_have_a_section_of_their_own():
    wanted: Settings = {("http", "", "proxy"): "http://p", ("http", "https://a.example", "proxy"): ""}
    assert GitConfig().render(wanted) == '[http]\n\tproxy = "http://p"\n[http "https://a.example"]\n\tproxy = ""\n'


def test_a_file_that_git_refuses_is_malformed():
    with pytest.raises(ValueError, match="git cannot read it"):
        GitConfig().read("[http\n")


def test_without_git_the_file_cannot_be_read(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ValueError, match="git does not run"):
        GitConfig().read("")
