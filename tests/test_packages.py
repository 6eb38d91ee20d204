"""The command that installs a missing package: for each tool that may have created the environment, with the right Python."""

import shlex
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tunnelctl import packages
from tunnelctl.packages import install_command


def made_by(monkeypatch: pytest.MonkeyPatch, directory: Path, *, pip: bool, **files: str) -> None:
    """Makes this Python appear to run in an environment with these files; double underscores in their names represent dots."""
    directory.mkdir()
    for name, text in files.items():
        (directory / name.replace("__", ".")).write_text(text)
    monkeypatch.setattr(sys, "prefix", str(directory))
    monkeypatch.setattr(packages, "_has_pip", lambda: pip)


def test_pip_is_run_by_this_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made_by(monkeypatch, tmp_path / "env", pip=True, pyvenv__cfg="home = /usr/bin\n")
    monkeypatch.setattr(sys, "executable", "/home/a b/bin/python")
    command = install_command("pyspnego[kerberos]")
    assert command == "'/home/a b/bin/python' -m pip install 'pyspnego[kerberos]'"
    assert shlex.split(command) == ["/home/a b/bin/python", "-m", "pip", "install", "pyspnego[kerberos]"]


def test_pipx_is_given_the_name_of_its_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made_by(monkeypatch, tmp_path / "tunnelctl", pip=True, pipx_metadata__json="{}")
    assert install_command("mini-racer") == "pipx inject tunnelctl mini-racer"


def test_an_environment_of_uv_uses_uv_pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made_by(monkeypatch, tmp_path / "env", pip=False, pyvenv__cfg="home = /usr/bin\nuv = 0.9.0\n")
    assert install_command("mini-racer") == f"uv pip install --python {shlex.quote(sys.executable)} mini-racer"


@pytest.mark.parametrize("files", [{"pyvenv__cfg": "home = /usr/bin\n"}, {}], ids=["venv --without-pip", "no environment"])
def test_without_pip_ensurepip_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, files: dict[str, str]) -> None:
    made_by(monkeypatch, tmp_path / "env", pip=False, **files)
    python = shlex.quote(sys.executable)
    assert install_command("mini-racer") == f"{python} -m ensurepip && {python} -m pip install mini-racer"


@pytest.mark.parametrize(
    ("pip", "command"),
    [
        (True, "{python} -m pip install --user --break-system-packages mini-racer"),
        (False, "sudo apt-get install python3-pip && {python} -m pip install --user --break-system-packages mini-racer"),
    ],
)
def test_the_python_of_a_distribution_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pip: bool, command: str
) -> None:
    """Its pip refuses without the flag. That is where the .pyz and the Debian package run."""
    made_by(monkeypatch, tmp_path / "usr", pip=pip, EXTERNALLY_MANAGED="")
    (tmp_path / "usr/EXTERNALLY_MANAGED").rename(tmp_path / "usr/EXTERNALLY-MANAGED")
    monkeypatch.setattr(sys, "base_prefix", sys.prefix)
    monkeypatch.setattr("sysconfig.get_path", lambda name: sys.prefix)
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/apt-get")
    assert install_command("mini-racer") == command.format(python=shlex.quote(sys.executable))


def test_an_environment_without_pip_is_recognised(tmp_path: Path) -> None:
    """As the venv module creates it."""
    venv.create(tmp_path, symlinks=True, with_pip=False)
    python = str(tmp_path / "bin/python")
    code = "from tunnelctl.packages import install_command; print(install_command('x'))"
    root = Path(__file__).parents[1]
    told = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, timeout=60, cwd=root).stdout
    assert told == f"{shlex.quote(python)} -m ensurepip && {shlex.quote(python)} -m pip install x\n"
