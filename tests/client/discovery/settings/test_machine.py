"""Files and programs that are not what they should be."""

import os
from pathlib import Path

import pytest

from tunnelctl.client.discovery.settings import machine as module
from tunnelctl.client.discovery.settings.machine import MAX_FILE, MAX_FILES, Machine, UnreadableError, decode, own


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    (tmp_path / "home/u").mkdir(parents=True)
    return Machine({"XDG_CONFIG_HOME": "/xdg/", "EMPTY": ""}, "/home/u", str(tmp_path))


def test_patterns(machine: Machine, tmp_path: Path) -> None:
    for name in ("home/u/.a", "xdg/b", "etc/d/1", "etc/d/2"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert machine.find("~/.a") == ["/home/u/.a"]
    assert machine.find("$XDG_CONFIG_HOME/b|~/.config/b") == ["/xdg/b"]
    assert machine.find("$EMPTY/b|~/.a") == ["/home/u/.a"]
    assert machine.find("$NONE/b") == machine.find("relative") == machine.find("/none/*") == []
    (tmp_path / "etc/d/locks").mkdir()
    assert machine.find("/etc/d/*") == ["/etc/d/1", "/etc/d/2"]
    assert machine.find("/x\0") == []
    assert Machine({}, "", str(tmp_path)).find("~/.a") == []


def test_no_more_than_some_files_match(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    for number in range(MAX_FILES + 1):
        (tmp_path / f"etc/{number:03}").touch()
    assert len(machine.find("/etc/*")) == MAX_FILES


def test_a_root_with_signs_of_patterns(tmp_path: Path) -> None:
    root = tmp_path / "a[b]*"
    (root / "etc").mkdir(parents=True)
    (root / "etc/x").touch()
    assert Machine({}, "", str(root)).find("/etc/*") == ["/etc/x"]


def test_files_that_cannot_be_read(machine: Machine, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "large").write_bytes(b"x" * (MAX_FILE + 1))
    (tmp_path / "zero").symlink_to("/dev/zero")
    causes = {
        "/fifo": "it is not a regular file",
        "/zero": "it is not a regular file",
        "/loop": "too many levels of symbolic links",
        "/large": "larger than 256 KiB",
        "/home": "is a directory",
        "/x\0": "its name contains a NUL",
    }
    for path, cause in causes.items():
        with pytest.raises(UnreadableError, match=cause):
            machine.read(path)


@pytest.mark.linux("/proc")
def test_a_file_whose_reading_fails() -> None:
    with pytest.raises(UnreadableError, match="input/output error"):
        Machine({}, "").read("/proc/self/mem")


def test_a_file_that_is_not_there(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    assert machine.read("/none") is machine.read("/f/none") is None
    assert machine.read("/f") == "x"


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"\xef\xbb\xbfa", "a"),
        ("é".encode("utf-16"), "é"),
        (b"\xff\xfea", "\ufffd"),
        ("é".encode("latin-1"), "\udce9"),
        ("é".encode(), "é"),
        (b"", ""),
    ],
)
def test_encodings(octets, text):
    assert decode(octets) == text


def script(path: Path, text: str) -> Machine:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return Machine({"PATH": f"{path.parent}:/bin:/usr/bin"}, "/")


def test_the_output_of_a_program(tmp_path: Path) -> None:
    assert script(tmp_path / "tool", 'echo "$1"').run(("tool", "word")) == "word\n"
    assert script(tmp_path / "tool", "exit 1").run(("tool",)) is None
    assert script(tmp_path / "tool", "").run(("no-such-tool",)) is None


def test_programs_are_not_asked_about_another_root(tmp_path: Path) -> None:
    assert script(tmp_path / "tool", "echo x")._replace(root=str(tmp_path)).run(("tool",)) is None


def test_programs_that_cannot_be_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROGRAM_SECONDS", 0.05)
    with pytest.raises(UnreadableError, match="still running after"):
        script(tmp_path / "tool", "exec sleep 30").run(("tool",))
    broken = script(tmp_path / "tool", "")
    (tmp_path / "tool").write_bytes(b"\x7fELF")
    with pytest.raises(UnreadableError, match="exec format error"):
        broken.run(("tool",))


def test_paths_for_people(machine: Machine) -> None:
    assert machine.shorten("/home/u/.a") == "~/.a"
    assert machine.shorten("/home/user") == "/home/user"
    assert Machine({}, "").shorten("/x") == "/x"


def test_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert own({"HOME": "/h"}).home == "/h"
    assert own({}).home == str(Path.home())
    assert "secret" not in repr(own({"https_proxy": "http://a:secret@p"}))
    monkeypatch.setattr(Path, "home", nobody)
    assert own({}).home == ""


def nobody() -> Path:
    raise RuntimeError
