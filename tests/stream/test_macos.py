"""What macOS and the BSDs have in place of Linux's options, by their headers, and what is left out where there is nothing."""

import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from errno import ECONNRESET, EINVAL, ENOPROTOOPT, EPROTOTYPE
from typing import Any

import pytest

from tests.portable.pollers import use_poller
from tests.stream.ends import go, tcp_pair
from tunnelctl.engine.kernel import Nursery, current_time
from tunnelctl.stream import accept, socket_stream, stdio, vanished
from tunnelctl.stream.process import wait_ended
from tunnelctl.stream.socket_stream import SocketStream, not_inherited, pass_on, set_socket_options
from tunnelctl.stream.unix_stream import peer_pid, peer_uid
from tunnelctl.stream.vanished import watch_for_vanished_peers

TCP = socket.IPPROTO_TCP
KEEPALIVE, RXT_CONNDROPTIME, SO_NWRITE = 0x10, 0x80, 0x1024  # netinet/tcp.h and sys/socket.h of macOS


class Recording:
    """A socket that notes the options which are set, and has those that it is given."""

    family = socket.AF_INET

    def __init__(self, has: dict[tuple[int, int], bytes | int] | None = None, refuses: bool = False) -> None:
        self.has = has or {}
        self.refuses = refuses
        self.set: dict[tuple[int, int], int] = {}

    def setsockopt(self, level: int, option: int, value: int) -> None:
        if self.refuses:
            raise OSError(EINVAL, os.strerror(EINVAL))
        self.set[level, option] = value

    def getsockopt(self, level: int, option: int, size: int = 0) -> Any:
        if (level, option) not in self.has:
            raise OSError(ENOPROTOOPT, os.strerror(ENOPROTOOPT))
        value = self.has[level, option]
        return value[:size] if isinstance(value, bytes) else value


@pytest.fixture
def macos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(socket_stream, "_KEEPIDLE", KEEPALIVE)
    monkeypatch.setattr(socket_stream, "RXT_CONNDROPTIME", RXT_CONNDROPTIME)


def test_macos_keeps_alive_and_gives_up_a_vanished_peer_by_options_of_its_own(macos: None) -> None:
    new = Recording()
    set_socket_options(new, 60)  # type: ignore[arg-type]
    assert new.set[TCP, KEEPALIVE] == 60
    assert new.set[TCP, RXT_CONNDROPTIME] == 60 + 9 * 15
    without = Recording()
    set_socket_options(without, 0)  # type: ignore[arg-type]
    assert {(TCP, KEEPALIVE), (TCP, RXT_CONNDROPTIME)} & without.set.keys() == set()


def test_macos_does_not_pass_on_two_of_them_to_accepted_sockets(macos: None) -> None:
    """bsd/netinet/tcp_input.c copies t_keepcnt and t_keepintvl, but neither t_keepidle nor t_rxt_conndroptime."""
    listener = Recording({(TCP, KEEPALIVE): 60, (TCP, RXT_CONNDROPTIME): 195})
    missing = not_inherited(listener)  # type: ignore[arg-type]
    accepted = Recording()
    pass_on(missing, accepted)  # type: ignore[arg-type]
    assert accepted.set == {(TCP, KEEPALIVE): 60, (TCP, RXT_CONNDROPTIME): 195}
    pass_on(missing, Recording(refuses=True))  # type: ignore[arg-type]  # EINVAL: the client has left already
    listener.family = socket.AF_UNIX
    assert not_inherited(listener) == []  # type: ignore[arg-type]


def test_accepted_sockets_of_other_systems_miss_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_stream, "RXT_CONNDROPTIME", 0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert not_inherited(listener) == []


@pytest.mark.parametrize("name", ["_NOTSENT_LOWAT", "_KEEPIDLE", "_KEEPINTVL", "_KEEPCNT"])
def test_an_option_that_a_system_lacks_is_left_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def options() -> set[int]:
        new = Recording()
        set_socket_options(new, 60)  # type: ignore[arg-type]
        return {option for level, option in new.set if level == TCP}

    before, number = options(), getattr(socket_stream, name)
    assert number in before
    monkeypatch.setattr(socket_stream, name, 0)
    assert options() == before - {number}


def test_macos_tells_the_bytes_that_are_not_acknowledged_by_a_socket_option(macos: None) -> None:
    async def main() -> None:
        near, far = tcp_pair()
        stream = SocketStream(near)
        stream.socket = Recording({(socket.SOL_SOCKET, SO_NWRITE): 77})  # type: ignore[assignment]
        assert stream._unacknowledged() == 77
        stream.socket = Recording()  # type: ignore[assignment]
        assert stream._unacknowledged() == 0
        stream.socket = near
        stream.close()
        far.close()

    go(main)


def test_without_the_option_for_vanished_peers_none_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vanished, "WATCHES", False)

    async def main() -> None:
        begun = current_time()
        await watch_for_vanished_peers(1.0)
        assert current_time() == begun

    go(main)


def of_macos(pid: int, uid: int) -> Recording:
    xucred = (0).to_bytes(4, sys.byteorder) + uid.to_bytes(4, sys.byteorder) + bytes(68)
    return Recording({(0, 1): xucred, (0, 2): pid.to_bytes(4, sys.byteorder)})


def of_freebsd(pid: int, uid: int) -> Recording:
    xucred = (0).to_bytes(4, sys.byteorder) + uid.to_bytes(4, sys.byteorder) + bytes(72) + pid.to_bytes(8, sys.byteorder)
    return Recording({(0, 1): xucred})


@pytest.mark.parametrize(("platform", "peer"), [("darwin", of_macos), ("freebsd14", of_freebsd)])
def test_the_peer_of_a_unix_socket(platform: str, peer: Callable[[int, int], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    connected = peer(4711, 501)
    assert (peer_uid(connected), peer_pid(connected)) == (501, 4711)


def test_a_freebsd_that_does_not_tell_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "freebsd12")
    connected: Any = of_freebsd(0, 501)
    assert (peer_uid(connected), peer_pid(connected)) == (501, None)


def test_a_system_that_tells_nothing_of_the_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "netbsd10")
    connected: Any = Recording()
    assert peer_uid(connected) is peer_pid(connected) is None


def test_macos_allows_no_more_than_open_max_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def setrlimit(_: int, limits: tuple[int, int]) -> None:
        tried.append(limits)
        if limits[0] == -1:
            raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr("resource.getrlimit", lambda _: (256, -1))
    monkeypatch.setattr("resource.setrlimit", setrlimit)
    accept.raise_descriptor_limit()
    assert tried == [(-1, -1), (10240, -1)]


def test_the_end_of_a_child_is_seen_by_kqueue_too(monkeypatch: pytest.MonkeyPatch) -> None:
    use_poller(monkeypatch, "kqueue")
    monkeypatch.delattr(os, "pidfd_open", raising=False)

    async def main() -> None:
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.close(writer)
            os.read(reader, 1)
            os._exit(7)
        os.close(reader)
        os.close(writer)
        await wait_ended(child)
        await wait_ended(child)  # ended already, but not collected
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7

    go(main)


@pytest.mark.parametrize("room", [True, False])
def test_a_send_to_an_inherited_socket_that_would_wait_is_not_made(room: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS ignores MSG_DONTWAIT when it sends."""
    monkeypatch.setattr(stdio, "SENDS_WITHOUT_WAITING", False)
    flags = []

    class Inherited(socket.socket):
        def send(self, data: Any, flag: int = 0) -> int:
            flags.append(flag)
            return super().send(data)

        def getsockopt(self, level: int, option: int, *size: int) -> Any:
            return 2048 if option == socket.SO_SNDLOWAT else super().getsockopt(level, option, *size)

    async def main() -> None:
        near, far = socket.socketpair()
        with near, far:
            monkeypatch.setattr(stdio, "_socket_of", lambda fd, _: Inherited(fileno=os.dup(fd)))
            stream = stdio.Stdio(near.fileno(), near.fileno())
            if not room:
                near.setblocking(False)
                with suppress(BlockingIOError):
                    while near.send(bytes(65536)):
                        pass
                near.setblocking(True)
            sent = stream.send_nowait(bytes(10_000))
            assert sent == (2048 if room else 0)
            assert len(flags) == room
            assert stream._out.writable == room
            for duplicate in stream._in_socket, stream._out_socket:
                assert duplicate is not None
                duplicate.close()
            stream.close()

    go(main)


def test_a_client_that_has_left_when_it_is_accepted_has_no_address() -> None:
    """accept(2) of macOS succeeds then, and tells none. The next client is served."""

    class Listener(socket.socket):
        def _accept(self) -> tuple[int, Any]:
            fd, peer = super()._accept()  # type: ignore[misc]
            return fd, None if left.pop() else peer

    left = [False, True]

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening, Listener(fileno=os.dup(listening.fileno())) as listener:
            listener.setblocking(False)
            acceptor = accept.Acceptor(accept.ConnectionCount(), 0.0, lambda _: None)
            names: list[str] = []

            async def serve(accepted: socket.SocketType, _: str, name: str) -> None:
                accepted.close()
                names.append(name)

            async with Nursery() as acceptor._serving:
                accept_one = acceptor._accepting(listener, serve)
                while left:
                    with socket.create_connection(listening.getsockname()) as client:
                        accept_one()
                        last = client.getsockname()
            assert names == [f"127.0.0.1:{last[1]}"]

    go(main)


@pytest.mark.parametrize(("number", "kind"), [(EPROTOTYPE, BrokenPipeError), (ECONNRESET, ConnectionResetError)])
def test_the_error_of_macos_for_a_closing_connection_is_a_broken_pipe(number: int, kind: type[OSError]) -> None:
    class Closing(Recording):
        def send(self, _: object) -> int:
            raise OSError(number, os.strerror(number))

        sendmsg = send

    async def main() -> None:
        near, far = tcp_pair()
        stream = SocketStream(near)
        stream.socket = Closing()  # type: ignore[assignment]
        with pytest.raises(kind):
            stream.send_nowait(b"x")
        with pytest.raises(kind):
            stream.send_pieces([memoryview(b"x")])
        stream.socket = near
        stream.close()
        far.close()

    go(main)
