"""Tests where the control sockets are, and whom a directory or a peer lets in."""

import os
import socket
from pathlib import Path

import pytest

from tunnelctl.cli.render.hints import hint_of, line_of
from tunnelctl.control import directory as under_test
from tunnelctl.control.directory import Fault, check_name, directory, fault_of, is_same_user, path_of
from tunnelctl.errors import UsageProblem


def test_the_directory_is_below_xdg_runtime_dir(tmp_path: Path) -> None:
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}
    assert directory(environ) == f"{tmp_path}/tunnelctl"
    assert path_of("work", environ) == f"{tmp_path}/tunnelctl/work.sock"


@pytest.mark.parametrize("value", [None, "", "relative", "/nowhere/at/all"])
def test_without_a_usable_xdg_runtime_dir_it_is_in_tmp(value: str | None) -> None:
    environ = {} if value is None else {"XDG_RUNTIME_DIR": value}
    assert directory(environ) == f"/tmp/tunnelctl-{os.geteuid()}"


def test_the_runtime_directory_of_another_user_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """sudo and su may pass the variable on."""
    theirs = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: theirs)
    assert directory({"XDG_RUNTIME_DIR": str(tmp_path)}) == f"/tmp/tunnelctl-{theirs}"


def test_a_directory_is_trusted_if_it_is_ours_and_nobody_else_may_enter_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "d"
    assert fault_of(str(place)) == Fault("no such file or directory")
    place.mkdir(mode=0o700)
    assert fault_of(str(place)) is None
    (tmp_path / "link").symlink_to(place)
    assert fault_of(str(tmp_path / "link")) == Fault("it is not a directory")
    for mode in (0o710, 0o702, 0o755):
        place.chmod(mode)
        assert fault_of(str(place)) == Fault(f"other users have access to it (mode {mode:04o})", of_mode=True)
    theirs = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: theirs)
    assert fault_of(str(place)) == Fault("it belongs to another user")  # chmod is not ours to do


@pytest.mark.parametrize("name", ["work", "forward-123", "A.b_c", "x" * 40])
def test_names(name: str) -> None:
    check_name(name, "name")


@pytest.mark.parametrize("name", ["auto", ".hidden", "-x", "a b", "ä", "x" * 41, "..", "a\n"])
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(UsageProblem) as caught:
        check_name(name, "via")
    assert line_of(caught.value).startswith("--via '")
    assert "up to 40 letters" in hint_of(caught.value)


def test_a_peer_is_the_same_user_unless_the_kernel_tells_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = socket.socketpair()
    with one, other:
        for uid, same in ((os.geteuid(), True), (None, True), (os.geteuid() + 1, False), (0, os.geteuid() == 0)):
            monkeypatch.setattr(under_test, "peer_uid", lambda _, uid=uid: uid)
            assert is_same_user(one) is same
