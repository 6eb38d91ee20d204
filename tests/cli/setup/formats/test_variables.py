"""Environment variables in three formats; a real shell reads the first."""

import subprocess

import pytest
from hypothesis import given
from hypothesis import settings as limits

from tests.cli.setup.formats.drawn import NAMES, read_back, settings
from tunnelctl.cli.setup.formats.model import Unwritable
from tunnelctl.cli.setup.formats.variables import Crontab, ShellProfile, SystemdUnit


@given(settings(NAMES))
@pytest.mark.parametrize("form", [ShellProfile(), SystemdUnit("Service", "Environment"), Crontab()], ids=lambda f: type(f).__name__)
def test_what_was_rendered_is_read_back(form, wanted):
    read_back(form, wanted)


@limits(max_examples=30)
@given(settings(["variable"]))
def test_a_shell_gives_the_variable_that_value(wanted):
    (value,) = wanted.values()
    try:
        lines = ShellProfile().render(wanted)
    except Unwritable:
        return
    script = f'{lines}printf %s "$variable"'
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, env={"LC_ALL": "C.UTF-8"}, timeout=20)
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, value, b"")


@pytest.mark.parametrize("line", ["x=1", "export x=1", "  x='1'", 'export y=0 x="1"', "x=2\nx=1", "export x=1 # why"])
def test_a_profile_is_read_as_a_shell_does(line):
    assert ShellProfile().read(line)[("x",)] == "1"


@pytest.mark.parametrize("line", ["# x=1", "echo x=1", "x='1", "if true; then x=1; fi", 'x="'])
def test_what_is_no_plain_assignment_is_not_read(line):
    assert ("x",) not in ShellProfile().read(line)


def test_a_unit_is_read_in_its_section_only():
    text = '[Unit]\nEnvironment=a=0\n[Service]\nEnvironment=a=1 "b=2 3" \\\n  c=4%%\n# Environment=d=5\n'
    assert SystemdUnit("Service", "Environment").read(text) == {("a",): "1", ("b",): "2 3", ("c",): "4%"}


def test_the_lines_of_a_unit():
    unit = SystemdUnit("Service", "Environment")
    assert unit.render({("a",): 'x%y\\"'}) == '[Service]\nEnvironment="a=x%%y\\\\\\""\n'


def test_a_crontab_is_read():
    text = "MAILTO=me\nx = 'a b'\n# y=1\n0 0 * * * z=1 command\n"
    assert Crontab().read(text) == {("MAILTO",): "me", ("x",): "a b"}
    with pytest.raises(Unwritable):
        Crontab().render({("x",): "'\""})
