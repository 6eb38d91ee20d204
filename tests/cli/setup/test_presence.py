"""`setup --check`: what is missing, what is different, and no value of the user's files in what is said."""

import os
from pathlib import Path

import pytest

from tunnelctl.cli.setup.formats.model import Settings
from tunnelctl.cli.setup.model import Tool, ToolProxy
from tunnelctl.cli.setup.presence import Presence, compare, look, path_of
from tunnelctl.cli.setup.tools import TOOLS
from tunnelctl.errors import SettingsError
from tunnelctl.proto.address import Address

PROXY = ToolProxy("http", Address("p", 3128))


def tool(name: str) -> Tool:
    return next(tool for tool in TOOLS if tool.name == name)


def found(name: str, environ: dict[str, str]) -> Presence:
    return look(tool(name), tool(name).settings(PROXY), environ)


def test_settings_are_compared():
    wanted: Settings = {("a",): "1", ("t", "b"): "2", ("t", "", "c"): ("x", "y")}
    assert compare(wanted, {}) == Presence(("a", "t.b", "t.c"), ())
    assert compare(wanted, {**wanted, ("a",): "0"}) == Presence((), ("a",))
    assert compare(wanted, {**wanted, ("t", "", "c"): ("z", "y", "x")}).complete
    assert not compare(wanted, {**wanted, ("t", "", "c"): ("x",)}).complete


def test_a_missing_file_lacks_everything(tmp_path: Path) -> None:
    assert found("npm", {"HOME": str(tmp_path)}) == Presence(("proxy", "https-proxy", "noproxy"), ())


def test_a_file_with_another_proxy_is_different(tmp_path: Path) -> None:
    (tmp_path / ".npmrc").write_text("proxy=http://me:swordfish@q\nhttps-proxy=http://p:3128\n")
    presence = found("npm", {"HOME": str(tmp_path)})
    assert presence == Presence(("noproxy",), ("proxy",))
    assert "swordfish" not in repr(presence)


def test_lines_for_every_ide_are_looked_for(tmp_path: Path) -> None:
    jetbrains, environ = tool("jetbrains"), {"HOME": str(tmp_path), "XDG_CONFIG_HOME": "relative"}
    assert not found("jetbrains", environ).complete
    for product in ("A1", "B[2]"):
        directory = tmp_path / ".config/JetBrains" / product / "options"
        directory.mkdir(parents=True)
        (directory / "proxy.settings.xml").write_text(jetbrains.form.render(jetbrains.settings(PROXY)))
    assert found("jetbrains", environ).complete
    (directory / "proxy.settings.xml").write_text("<application/>")
    assert not found("jetbrains", environ).complete


@pytest.mark.parametrize(("name", "content"), [("docker", "{"), ("cargo", "= 1"), ("maven", "<a>"), ("pip", "x"), ("git", "[http")])
def test_a_malformed_file_is_an_error_that_names_it(tmp_path: Path, name: str, content: str) -> None:
    file = Path(path_of(tool(name), {"HOME": str(tmp_path)}))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    with pytest.raises(SettingsError, match="configuration file ~/"):
        found(name, {"HOME": str(tmp_path)})


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / ".npmrc").mkdir()
    with pytest.raises(SettingsError, match="is a directory"):
        found("npm", {"HOME": str(tmp_path)})
    (tmp_path / ".curlrc").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="UTF-16"):
        found("curl", {"HOME": str(tmp_path)})


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory at the start of the search path, for programs that cannot be installed, or whose settings are the machine's."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin{os.pathsep}/bin")
    return tmp_path / "bin"


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_a_crontab_is_that_of_the_program(program: Path) -> None:
    cron = tool("cron")
    (program.parent / "table").write_text(f"{cron.form.render(cron.settings(PROXY))}0 0 * * * true\n")
    script(program / "crontab", f'[ "$*" = -l ] && cat {program.parent}/table')
    assert found("cron", {}).complete
    script(program / "crontab", "echo no crontab >&2; exit 1")
    assert set(found("cron", {}).missing) >= {"http_proxy", "NO_PROXY"}


def test_snap_is_asked_for_each_setting(program: Path) -> None:
    script(program / "snap", '[ "$1 $2" = "get system" ] && [ "$3" = proxy.http ] && echo http://p:3128')
    assert found("snap", {}) == Presence(("proxy.https",), ())


def test_settings_that_only_root_may_read_are_not_missing(program: Path) -> None:
    script(program / "snap", 'echo "error: access denied (try with sudo)" >&2; exit 1')
    with pytest.raises(SettingsError, match="program snap: only root may read its settings"):
        found("snap", {})


def test_a_program_that_is_missing_is_an_error(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(program))
    with pytest.raises(SettingsError, match="program snap: no such file or directory"):
        found("snap", {})


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({"HOME": "/h"}, "/h/.config/pip/pip.conf"),
        ({"HOME": "/h", "XDG_CONFIG_HOME": "/c"}, "/c/pip/pip.conf"),
        ({"HOME": "/h", "XDG_CONFIG_HOME": "c"}, "/h/.config/pip/pip.conf"),
    ],
)
def test_a_path_below_the_home_directory(environ, path):
    assert path_of(tool("pip"), environ) == path


def test_a_path_of_the_system_is_as_it_is():
    assert path_of(tool("apt"), {"HOME": "/h"}) == "/etc/apt/apt.conf.d/80proxy"
