"""V30: created files are not accessible to everybody, whatever the umask, and sockets are removed afterwards."""

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.harness import Proxy


@pytest.fixture(params=[0o000, 0o022, 0o077], autouse=True)
def mask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_unix_socket_has_mode_0600_and_is_removed(tmp_path: Path, mask: int) -> None:
    path = tmp_path / "proxy"
    with Proxy(listen=(f"unix:{path}",)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert os.umask(mask) == mask, "the umask of the process was not restored"
    assert not path.exists()


def test_access_log_has_mode_0640_less_umask(tmp_path: Path, mask: int) -> None:
    path = tmp_path / "log"
    with Proxy(access_log=str(path)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o640 & ~mask


def test_files_and_sockets_in_use_are_left_alone(tmp_path: Path) -> None:
    """A regular file at the path, and the socket of a running program."""
    file, used = tmp_path / "file", tmp_path / "used"
    file.write_text("precious")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(used))
        other.listen()
        for path in (file, used):
            with pytest.raises(Exception, match="address already in use"), Proxy(listen=(f"unix:{path}",)):
                raise AssertionError("the proxy started")
    assert file.read_text() == "precious"
    assert used.exists()


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "stale"
    with socket.socket(socket.AF_UNIX) as died:
        died.bind(str(path))
    with Proxy(listen=(f"unix:{path}",)), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
