"""Tests the variables that `run` adds; tests/interop/test_run.py has git and Node obey them."""

import subprocess
from pathlib import Path

import pytest

from tests.peers.process import path_of
from tunnelctl.cli.commands import ssh_config
from tunnelctl.cli.commands.run_variables import ssh_command, variables


def test_what_the_user_has_set_stays() -> None:
    assert set(variables({}, None)) == {"GIT_SSH_COMMAND", "NODE_USE_ENV_PROXY"}
    assert variables({"GIT_SSH_COMMAND": "ssh -v", "NODE_USE_ENV_PROXY": ""}, None) == {}


HOSTILE = "a 'b' \"c\" $d `e` %f \\g"


@pytest.mark.parametrize("shell", ["sh", "bash", pytest.param("dash", marks=pytest.mark.peer("dash"))])
def test_hostile_words_reach_ssh_as_they_are(shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for ssh shows its words: the one that we add, and those of git, in their order."""
    monkeypatch.setattr(ssh_config, "program", lambda: [f"/{HOSTILE}"])
    ssh = tmp_path / "my ssh"
    ssh.write_text('#!/bin/sh\n[ "$1" = -G ] || printf "%s\\n" "$@"\n')
    ssh.chmod(0o755)
    env = {"PATH": "/usr/bin:/bin", "GIT_SSH": str(ssh), "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    words = [path_of(shell), "-c", f'{ssh_command()} "$@"', "name", "-p", "22", "host", f"git-upload-pack '{HOSTILE}'"]
    done = subprocess.run(words, env=env, capture_output=True, timeout=20, cwd=tmp_path)
    assert done.stderr == b""
    option, added, *given = done.stdout.decode().splitlines()
    assert option == "-o"
    assert added == f"ProxyCommand={ssh_config.proxy_command([], passes=False)}"
    assert given == ["-p", "22", "host", f"git-upload-pack '{HOSTILE}'"]


def test_a_program_that_does_not_know_the_option_runs_without_it(tmp_path: Path) -> None:
    """plink fails at -G, and would at -o."""
    plink = tmp_path / "plink"
    plink.write_text('#!/bin/sh\n[ "$1" = -G ] && exit 1\necho "$@"\n')
    plink.chmod(0o755)
    env = {"PATH": "/usr/bin:/bin", "GIT_SSH": str(plink), "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(
        ["sh", "-c", f'{ssh_command()} "$@"', "name", "host"], env=env, capture_output=True, timeout=20, cwd=tmp_path
    )
    assert (done.stdout, done.stderr) == (b"host\n", b"")
