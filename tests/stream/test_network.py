"""Tests what the kernel reports about the network. Real links that come and go: tests/client/test_follow_network.py."""

import errno
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.peers.process import path_of
from tests.proto.feeding import bounded
from tunnelctl.engine.kernel import fail_after, move_on_after, run
from tunnelctl.stream import network
from tunnelctl.stream.network import NetworkChanges, is_cut_off, open_changes
from tunnelctl.stream.network_messages import Change, from_netlink, from_routing_socket
from tunnelctl.stream.socket_stream import SocketStream
from tunnelctl.stream.stdio import Stdio


def message(kind: int, body: bytes) -> bytes:
    data = struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body
    return data + bytes(-len(data) % 4)


def attribute(kind: int, value: bytes) -> bytes:
    data = struct.pack("=HH", 4 + len(value), kind) + value
    return data + bytes(-len(data) % 4)


def link(flags: int, index: int = 2) -> bytes:
    return message(16, struct.pack("=BxHiII", 0, 1, index, flags, 0))


def address(kind: int, last: int, flags: int = 0, age: int = 0) -> bytes:
    values = attribute(1, bytes([10, 0, 0, last])) + attribute(3, b"eth0\0") + attribute(6, struct.pack("=IIII", age, age, 0, 0))
    return message(kind, struct.pack("=BBBBi", socket.AF_INET, 24, flags, 0, 2) + values)


def route(kind: int, last: int, flags: int = 0, age: int = 0) -> bytes:
    values = attribute(1, bytes([10, 0, 0, last])) + attribute(12, struct.pack("=I", age))
    return message(kind, struct.pack("=BBBBBBBBI", socket.AF_INET, 32, 0, 0, 254, 3, 0, 1, flags) + values)


def bsd_link(flags: int, index: int = 2) -> bytes:
    """struct if_msghdr of macOS and FreeBSD, without what this program does not read."""
    return struct.pack("=HBBiiH", 112, 5, 0xE, 0, flags, index) + bytes(98)


def bsd_address(kind: int, last: int) -> bytes:
    return struct.pack("=HBBiiH", 24, 5, kind, 0, 0, 2) + bytes([*bytes(6), 10, 0, 0, last])


def bsd_route(kind: int, last: int, flags: int = 0x1) -> bytes:
    """struct rt_msghdr."""
    return struct.pack("=HBBHHi", 96, 5, kind, 2, 0, flags) + bytes([*bytes(80), 10, 0, 0, last])


def noted(*messages: bytes, read: Callable[[bytes], list[Change]] = from_netlink) -> list[bool]:
    """Whether each message changes anything."""
    found = []

    async def main() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        ours.setblocking(False)
        changes = NetworkChanges(ours, read)
        for data in messages:
            theirs.send(data)
            changes._descriptor.readable = True
            found.append(changes._read())
        changes.close()
        theirs.close()

    run(main)
    return found


REPORTS = {
    "a link that goes down": ([link(0x1043), link(0x1002)], [True, True]),
    "the quality of a wireless link": ([link(0x1043), link(0x1043), link(0x11043)], [True, False, False]),
    "an address, and its repetition": ([address(20, 1), address(20, 1, age=9), address(20, 2)], [True, False, True]),
    "an address that becomes usable": ([address(20, 1, 0x40), address(20, 1), address(20, 1)], [True, True, False]),
    "an address that goes and comes": ([address(20, 1), address(21, 1), address(20, 1)], [True, True, True]),
    "a route, and its repetition": ([route(24, 1), route(24, 1, age=9), route(24, 2)], [True, False, True]),
    "a route that goes and comes": ([route(24, 1), route(25, 1), route(24, 1)], [True, True, True]),
    "a cache entry": ([route(24, 1, 0x200), route(25, 1, 0x200)], [False, False]),
    "two in one read": (
        [address(20, 1) + route(24, 1), address(20, 1) + route(24, 1), link(1) + route(24, 1)],
        [True, False, True],
    ),
    "other messages": ([message(2, bytes(20)), message(3, b"")], [False, False]),
}


ON_MACOS = {
    "a link that goes down": ([bsd_link(0x8863), bsd_link(0x8863), bsd_link(0x8822)], [True, False, True]),
    "two links": ([bsd_link(0x8863), bsd_link(0x8863, 3)], [True, True]),
    "an address that goes and comes": ([bsd_address(0xD, 1), bsd_address(0xC, 1)], [True, True]),
    "a route that goes and comes": ([bsd_route(2, 1), bsd_route(1, 1)], [True, True]),
    "a neighbour": ([bsd_route(1, 1, 0x405), bsd_route(2, 1, 0x405)], [False, False]),
    "a clone of a route": ([bsd_route(1, 1, 0x20001)], [False]),
    "other messages": ([bsd_route(4, 1), b"", b"\4\0\5\2"], [False, False, False]),
}


@pytest.mark.parametrize(("messages", "changed"), ON_MACOS.values(), ids=ON_MACOS.keys())
def test_what_counts_as_a_change_on_macos(messages: list[bytes], changed: list[bool]) -> None:
    assert noted(*messages, read=from_routing_socket) == changed


@pytest.mark.parametrize(("messages", "changed"), REPORTS.values(), ids=REPORTS.keys())
def test_what_counts_as_a_change(messages: list[bytes], changed: list[bool]) -> None:
    assert noted(*messages) == changed


def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "MOST_KNOWN", 2)
    assert noted(route(24, 1), route(24, 2), route(24, 3), route(24, 3), route(24, 1)) == [True, True, True, False, True]


@bounded
@given(st.binary(max_size=200))
def test_property_any_octets_are_read_to_the_end(data: bytes) -> None:
    for found in (
        from_netlink(data),
        from_netlink(link(1) + data),
        from_routing_socket(data),
        from_routing_socket(bsd_link(1) + data),
    ):
        assert all(isinstance(change, Change) for change in found)


class Overrun:
    """A socket whose first read reports that the kernel had to drop reports."""

    def __init__(self, number: int) -> None:
        self._errors: Iterator[int] = iter([number])

    def recv(self, size: int) -> bytes:
        raise OSError(next(self._errors, errno.EAGAIN), "")

    def fileno(self) -> int:
        return -1


def test_lost_reports_count_as_a_change() -> None:
    async def main() -> None:
        assert NetworkChanges(Overrun(errno.ENOBUFS), from_netlink)._read()  # type: ignore[arg-type]
        with pytest.raises(OSError):
            NetworkChanges(Overrun(errno.EIO), from_netlink)._read()  # type: ignore[arg-type]

    run(main)


@pytest.mark.parametrize("step", ["socket", pytest.param("bind", marks=pytest.mark.linux("netlink"))])
def test_without_the_permission_of_the_kernel_there_are_no_reports(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(socket.socket):
        def __init__(self, *words: int) -> None:
            if step == "socket":
                raise OSError(errno.EAFNOSUPPORT, "")
            super().__init__(*words)

        def bind(self, place: object) -> None:
            raise OSError(errno.EPERM, "")

    monkeypatch.setattr(socket, "socket", Refusing)
    assert open_changes() is None


def test_elsewhere_there_are_no_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "openbsd7")
    assert open_changes() is None


def test_macos_reports_on_a_routing_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)

    class Routing(socket.socket):
        def __init__(self, family: int, kind: int, protocol: int) -> None:
            assert (family, kind, protocol) == (socket.AF_ROUTE, socket.SOCK_RAW, 0)
            super().__init__(fileno=ours.detach())

    async def main() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "platform", "darwin")
            patch.setattr(socket, "socket", Routing)
            changes = open_changes()
        assert changes is not None
        with theirs:
            with move_on_after(0) as none:
                await changes.wait()
            assert none.cancelled_caught
            theirs.send(bsd_route(2, 1))
            with fail_after(5):
                await changes.wait()
        changes.close()

    run(main)


def test_without_a_change_nothing_is_reported() -> None:
    """On a quiet machine. Else this is a change, and the wait is over."""

    async def main() -> None:
        changes = open_changes()
        if changes is not None:
            with move_on_after(0.1):
                await changes.wait()
            changes.close()

    run(main)


def test_a_connection_with_a_route_is_not_cut_off() -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            stream = SocketStream(socket.create_connection(listener.getsockname()))
            assert not is_cut_off(stream)
            stream.socket.getsockname()  # it is still open
            with suppress(OSError):
                stream.close()

    run(main)


def test_what_is_no_connection_by_a_network_is_never_cut_off() -> None:
    async def main() -> None:
        assert not is_cut_off(Stdio())

    run(main)


@pytest.mark.peer("unshare", "ip")
def test_a_connection_without_a_route_is_cut_off() -> None:
    code = """
import socket, subprocess, sys
from tunnelctl.engine.kernel import run
from tunnelctl.stream.network import is_cut_off
from tunnelctl.stream.socket_stream import SocketStream

def ip(*words): subprocess.run([sys.argv[1], *words], check=True)

async def main():
    ip("link", "set", "lo", "up")
    listener = socket.create_server(("127.0.0.1", 0))
    stream = SocketStream(socket.create_connection(listener.getsockname()))
    assert not is_cut_off(stream)
    ip("address", "del", "127.0.0.1/8", "dev", "lo")
    assert is_cut_off(stream)
    ip("address", "add", "127.0.0.1/8", "dev", "lo")
    assert not is_cut_off(stream)

run(main)
"""
    command = [path_of("unshare"), "-rn", sys.executable, "-c", code, path_of("ip")]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
