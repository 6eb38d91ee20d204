"""Tests whose a connection is: the rows of the kernel's table, and connections of this user and of another one."""

import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.peers.process import path_of, wait_until
from tests.peers.program import SOON
from tunnelctl.engine.kernel import run
from tunnelctl.stream import tcp_owner
from tunnelctl.stream.tcp_owner import NOBODY, TCPOwners, look_up, uid_in

ANOTHER = 4711

# Of a Linux 6.18: a listener, a connection, and one that its process has closed, with the user as older kernels show it.
TABLE = b"""\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:847F 00000000:0000 0A 00000000:00000000 00:00000000 00000000   111        0 28124394 1 00000000bae57d08 100 0 0 10 0
   1: 0100007F:C02A 0100007F:847F 01 00000000:00000000 00:00000000 00000000  1000        0 28124400 1 0000000066590a37 20 4 30 10 -1
   2: 0100007F:C02C 0100007F:847F 05 00000000:00000000 00:00000000 00000000     0        0 0 1 0000000066590a38 20 4 30 10 -1
   3: 0100007F:C02E 0100007F:847F 01 00000000:00000000 00:00000000 00000000 65534        0 28124402 1 0000000066590a39 20 4 30 10 -1
"""


@pytest.mark.parametrize(
    ("ends", "uid"),
    [
        (b"0100007F:C02A 0100007F:847F", 1000),
        (b"0100007F:847F 0100007F:C02A", None),  # the other end of it
        (b"0100007F:02A0 0100007F:847F", None),
        (b"0100007F:C02C 0100007F:847F", None),  # closed
        (b"0100007F:C02E 0100007F:847F", None),  # of nobody, or of a user of another namespace
        (b"0100007F:847F 00000000:0000", 111),
    ],
)
def test_a_row_counts_with_both_ends_a_process_and_a_user(ends: bytes, uid: int | None) -> None:
    assert uid_in(TABLE, ends) == uid


CONNECTION = TABLE.splitlines()[2]


@pytest.mark.parametrize(
    "row",
    [b"", CONNECTION[:91], CONNECTION.replace(b" 1000 ", b" -1 "), CONNECTION.replace(b" 1000 ", b" x ")],
    ids=["none", "cut", "negative", "word"],
)
def test_other_text_gives_no_user(row: bytes) -> None:
    assert uid_in(CONNECTION + b"\n", b"0100007F:C02A 0100007F:847F") == 1000
    assert uid_in(row + b"\n", b"0100007F:C02A 0100007F:847F") is None


linux = pytest.mark.linux("the table of /proc")


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(SOON)
        yield listening


@contextmanager
def connected(listener: socket.socket, family: socket.AddressFamily) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client, of IPv4 or of IPv4 in IPv6, and the connection that was accepted."""
    host = "127.0.0.1" if family == socket.AF_INET else "::ffff:127.0.0.1"
    with socket.socket(family) as client:
        client.connect((host, listener.getsockname()[1]))
        accepted, _ = listener.accept()
        with accepted:
            yield client, accepted


def uid_of_peer(accepted: socket.socket) -> int | None:
    async def main() -> int | None:
        return await TCPOwners().uid_of_peer(accepted)

    return run(main)


@linux
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["ipv4", "mapped"])
def test_a_connection_of_this_user(listener: socket.socket, family: socket.AddressFamily) -> None:
    """A JVM uses a socket of IPv6 for IPv4 too."""
    with connected(listener, family) as (_, accepted):
        assert uid_of_peer(accepted) == os.geteuid()


@linux
def test_v56_none_if_its_process_has_closed_it(listener: socket.socket) -> None:
    client = socket.create_connection(listener.getsockname())
    client.sendall(b"hello")
    accepted, _ = listener.accept()
    with accepted:
        client.close()
        assert uid_of_peer(accepted) is None


@linux
def test_v56_none_after_a_reset_even_if_a_connection_of_this_user_has_the_same_ends(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = look_up

    def reset_and_reconnect(local: tuple[str, int], remote: tuple[str, int]) -> int | None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        successor.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        successor.bind(local)
        successor.connect(remote)
        found.append(real(local, remote))
        return found[0]

    found: list[int | None] = []
    monkeypatch.setattr(tcp_owner, "look_up", reset_and_reconnect)
    # Of this address no other program has the port, so it can be bound again.
    client = socket.create_connection(listener.getsockname(), source_address=("127.8.7.6", 0))
    accepted, _ = listener.accept()
    with accepted, socket.socket() as successor:
        assert uid_of_peer(accepted) is None
    assert found == [os.geteuid()]


AS_ANOTHER = """
import os, socket, sys
os.setgroups([])
os.setgid({user})
os.setuid({user})
with socket.socket() as client:
    client.connect(("127.0.0.1", {port}))
    sys.stdin.read()
"""


@linux
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize(("user", "uid"), [(ANOTHER, ANOTHER), (NOBODY, None)])
def test_a_connection_of_another_user(listener: socket.socket, user: int, uid: int | None) -> None:
    code = AS_ANOTHER.format(user=user, port=listener.getsockname()[1])
    with subprocess.Popen([sys.executable, "-I", "-c", code], stdin=subprocess.PIPE) as process:
        accepted, _ = listener.accept()
        with accepted:
            assert uid_of_peer(accepted) == uid
            assert process.stdin is not None
            process.stdin.close()
            wait_until(lambda: process.poll() is not None)
            assert uid_of_peer(accepted) is None


@linux
def test_v56_nobody_cannot_be_told_from_users_of_other_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    assert not tcp_owner.is_available()


def no_table(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    for name in ("TABLE", "TABLE_IPV6"):
        monkeypatch.setattr(tcp_owner, name, str(file))


def short_table(monkeypatch: pytest.MonkeyPatch, _: Path) -> None:
    """The connection is beyond what is read."""
    monkeypatch.setattr(tcp_owner, "MOST_BYTES", 0)


def many_waiting(monkeypatch: pytest.MonkeyPatch, _: Path) -> None:
    monkeypatch.setattr(tcp_owner, "LOOKUPS", 0)
    monkeypatch.setattr(tcp_owner, "MOST_WAITING", 0)


@pytest.mark.parametrize("limit", [no_table, short_table, many_waiting])
def test_v56_none_without_an_answer(
    listener: socket.socket, limit: Callable[[pytest.MonkeyPatch, Path], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    limit(monkeypatch, tmp_path / "none")
    with socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert uid_of_peer(accepted) is None


@pytest.fixture
def macos(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    no_table(monkeypatch, tmp_path / "none")
    monkeypatch.setattr(tcp_owner, "LSOF", path_of("lsof"))


@pytest.mark.peer("lsof")
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["ipv4", "mapped"])
def test_lsof_shows_a_connection_of_this_user(listener: socket.socket, family: socket.AddressFamily, macos: None) -> None:
    assert tcp_owner.is_available()
    with connected(listener, family) as (client, accepted):
        assert uid_of_peer(accepted) == os.geteuid()
        client.close()
        assert uid_of_peer(accepted) is None


@pytest.mark.peer("lsof")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_lsof_does_not_show_a_connection_of_another_user(listener: socket.socket, macos: None) -> None:
    code = AS_ANOTHER.format(user=ANOTHER, port=listener.getsockname()[1])
    with subprocess.Popen([sys.executable, "-I", "-c", code], stdin=subprocess.PIPE) as process:
        accepted, _ = listener.accept()
        with accepted:
            assert uid_of_peer(accepted) is None
            assert process.stdin is not None
            process.stdin.close()


def test_without_table_and_lsof_nothing_is_known(listener: socket.socket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    no_table(monkeypatch, tmp_path / "none")
    monkeypatch.setattr(tcp_owner, "LSOF", str(tmp_path / "lsof"))
    assert not tcp_owner.is_available()
    with socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert uid_of_peer(accepted) is None
