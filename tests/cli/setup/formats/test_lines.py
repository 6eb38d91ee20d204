"""Formats with one setting a line. apt reads its own; interop/setup has the other tools."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as limits

from tests.cli.setup.formats.drawn import NAMES, read_back, settings
from tests.peers.process import path_of
from tunnelctl.cli.setup.formats.lines import AptConf, Curlrc, KeyValue, Properties, Sections, SSHConfig
from tunnelctl.cli.setup.formats.model import Unwritable

FLAT = [KeyValue(), KeyValue(" = "), KeyValue(quotes=True), Curlrc(), AptConf(), Properties()]


@given(settings(NAMES))
@pytest.mark.parametrize("form", FLAT, ids=repr)
def test_what_was_rendered_is_read_back(form, wanted):
    read_back(form, wanted)


@given(settings(["section"], NAMES))
def test_what_was_rendered_in_a_section_is_read_back(wanted):
    read_back(Sections(), wanted)


@limits(max_examples=15)
@pytest.mark.peer("apt-config")
@given(settings(["Acquire::http::Proxy"]))
def test_apt_reads_the_same(tmp_path_factory, wanted):
    try:
        text = AptConf().render(wanted)
    except Unwritable:
        return
    file = tmp_path_factory.mktemp("apt") / "conf"
    file.write_text(text)
    command = [path_of("apt-config"), "-c", str(file), "shell", "value", "Acquire::http::Proxy"]
    done = subprocess.run(["/bin/sh", "-c", f'eval "$({" ".join(command)})"; printf %s "$value"'], capture_output=True, timeout=20)
    (value,) = wanted.values()
    assert done.stdout.decode() == value


@pytest.mark.parametrize(
    "line", ["proxy = http://p", "proxy=http://p", 'proxy: "http://p"', '--proxy "http://p"', "proxy http://p"]
)
def test_curlrc_has_several_spellings(line):
    assert Curlrc().read(f"# proxy = no\n{line}\nsilent\n") == {("proxy",): "http://p"}


@pytest.mark.parametrize("line", ["a.b=1", "a.b : 1", "a.b 1", "a\\.b=\\u0031", "a.b=\\\n  1"])
def test_a_properties_file_has_several_spellings(line):
    assert Properties().read(f"# a.b=0\n! a.b=0\n{line}\n") == {("a.b",): "1"}


def test_npm_has_comments_and_quotes():
    text = '; proxy=0\n# proxy=0\nproxy = "http://p"\nodd="\n'
    assert KeyValue(quotes=True).read(text) == {("proxy",): "http://p", ("odd",): '"'}


def test_npm_expands_what_looks_like_a_variable_so_it_cannot_be_written():
    with pytest.raises(Unwritable):
        KeyValue(quotes=True).render({("proxy",): "http://${HOME}"})


def test_a_file_of_sections_that_python_refuses_is_malformed():
    with pytest.raises(ValueError, match="not a file with sections"):
        Sections().read("proxy = 1\n")


def test_ssh_uses_the_first_value_of_a_section():
    text = "Host a b\n    Port 443\n    Port 22\n# Port 1\nMatch all\n    Port 2\n"
    assert SSHConfig().read(text) == {("Host a b", "Port"): "443", ("Match all", "Port"): "2"}
    assert SSHConfig().read(SSHConfig().render(SSHConfig().read(text))) == SSHConfig().read(text)


def test_a_dropped_file_keeps_its_own_settings(tmp_path: Path) -> None:
    """apt reads the last value of a name."""
    assert AptConf().read('Acquire::http::Proxy "a";\nAcquire::http::Proxy "b";\n') == {("Acquire::http::Proxy",): "b"}
