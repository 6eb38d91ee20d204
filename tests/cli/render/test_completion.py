"""The text of the completion scripts; tests/tty/test_completion.py runs them in the shells."""

import re
import subprocess

import pytest

from tests.peers.process import path_of
from tunnelctl.cli.render.completion import SCRIPTS, bare, contradicting, fish, fish_quote, zsh, zsh_brackets, zsh_flag, zsh_quote
from tunnelctl.cli.spec.commands import COMMANDS
from tunnelctl.cli.spec.flags import FLAGS, flags_of


@pytest.mark.parametrize("shell", [pytest.param(s, marks=pytest.mark.peer(s)) for s in SCRIPTS])
def test_the_shell_accepts_the_syntax_of_its_script(shell, tmp_path):
    path = tmp_path / "script"
    path.write_text(SCRIPTS[shell]())
    done = subprocess.run([path_of(shell), "-n", path], capture_output=True, timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("shell", SCRIPTS)
def test_every_command_and_flag_is_in_the_script(shell):
    script = SCRIPTS[shell]()
    assert all(c.name in script for c in COMMANDS)
    for flag in FLAGS:
        assert f"-l {flag.name} " in script if shell == "fish" and flag.name else flag.spellings[-1].lstrip("-") in script


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_help_texts_are_in_the_scripts_of_zsh_and_fish(shell):
    script = re.sub(r"\\([\[\]:'])", r"\1", SCRIPTS[shell]().replace(zsh_quote("'")[1:-1], "'"))
    for flag in FLAGS:
        assert bare(flag.in_brief if shell == "zsh" else flag.help) in script


@pytest.mark.parametrize("shell", SCRIPTS)
def test_no_script_starts_python(shell):
    script = "\n".join(line for line in SCRIPTS[shell]().splitlines() if not line.startswith("#"))
    assert "python" not in script
    assert not re.search(r"\$\(\s*tunnelctl|`\s*tunnelctl|\(tunnelctl", script)


def test_quoting_for_zsh_and_fish():
    assert zsh_quote("it's") == "'it'\\''s'"
    assert fish_quote("it's \\") == "'it\\'s \\\\'"
    assert zsh_brackets("[a]:b") == "\\[a\\]\\:b"


def test_contradicting_flags_exclude_each_other_in_zsh():
    flags = {s: flag for flag in flags_of("connect") for s in flag.spellings}
    assert [f.spellings for f in contradicting(flags["-4"])] == [("-6",)]
    assert contradicting(flags["--json"]) == []
    assert zsh_flag(flags["-6"])[0].startswith("'(-4 -6)-6[")
    assert zsh_flag(flags["-v"])[0].startswith("'(-q --quiet)*-v[")
    assert zsh_flag(flags["-x"])[1].startswith("'*--proxy=[")


def test_values_that_are_files_are_completed_as_files():
    assert ":FILE:_files'" in zsh()
    assert "-l users -r -F" in fish()
