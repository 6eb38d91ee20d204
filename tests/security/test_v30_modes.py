"""V30: what is created is not for everybody, whatever the mask; and it is gone afterwards."""

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


def test_unix_sockets(tmp_path: Path, mask: int) -> None:
    path = tmp_path / "proxy"
    with Proxy(listen=(f"unix:{path}",)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert os.umask(mask) == mask, "the mask of the process was not put back"
    assert not path.exists()


def test_access_log(tmp_path: Path, mask: int) -> None:
    path = tmp_path / "log"
    with Proxy(access_log=str(path)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o640 & ~mask


def test_what_is_no_socket_of_ours_is_left_alone(tmp_path: Path) -> None:
    """A file of that name, and the socket of a program that is running."""
    file, used = tmp_path / "file", tmp_path / "used"
    file.write_text("precious")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(used))
        other.listen()
        for path in (file, used):
            with pytest.raises(Exception, match="address already in use"), Proxy(listen=(f"unix:{path}",)):
                raise AssertionError("it started")
    assert file.read_text() == "precious"
    assert used.exists()


def test_the_socket_of_a_program_that_died_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "stale"
    with socket.socket(socket.AF_UNIX) as died:
        died.bind(str(path))
    with Proxy(listen=(f"unix:{path}",)), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
