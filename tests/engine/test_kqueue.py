"""kqueue: what its filters report, and what becomes of it. The contract of all pollers is in test_poller."""

import os
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EINVAL

import pytest

from tests.engine.tools import Wish, opened_poller, reported, socket_pair
from tests.portable.pollers import use_poller
from tunnelctl.engine.poller import ERR, HUP, IN, OUT, PRI, RDHUP, Poller, poll_once

_BROKEN = ERR | HUP


@pytest.fixture(autouse=True)
def poller_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs these tests on kqueue alone."""
    use_poller(monkeypatch, "kqueue")
    monkeypatch.delattr(select, "epoll", raising=False)


@contextmanager
def tcp_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as near:
        far, _ = listener.accept()
        with far:
            yield near, far


def until_reported(poller: Poller, fd: int, bits: int) -> int:
    """Collects what is reported of a descriptor until all of these bits have been."""
    found = 0
    while found & bits != bits:
        more = reported(poller, 5).get(fd, 0)
        assert more, f"only {found:#x} of {bits:#x}"
        found |= more
    return found


def test_a_half_close_of_our_own_is_no_hang_up() -> None:
    with opened_poller() as poller, tcp_pair() as (near, far):
        poller.add(Wish(near.fileno(), IN))
        reported(poller)
        near.shutdown(socket.SHUT_WR)
        assert not until_reported(poller, near.fileno(), OUT) & (_BROKEN | RDHUP), "the peer may still send"
        far.shutdown(socket.SHUT_WR)
        until_reported(poller, near.fileno(), IN | RDHUP | HUP)


def test_the_end_of_the_peer_alone_is_no_hang_up() -> None:
    with opened_poller() as poller, tcp_pair() as (near, far):
        poller.add(Wish(near.fileno(), IN))
        far.shutdown(socket.SHUT_WR)
        assert not until_reported(poller, near.fileno(), IN | RDHUP) & _BROKEN


def test_a_reset_is_an_error() -> None:
    with opened_poller() as poller, tcp_pair() as (near, far):
        poller.add(Wish(near.fileno(), IN))
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        far.close()
        until_reported(poller, near.fileno(), IN | ERR | HUP)


def test_what_one_descriptor_has_ended_does_not_count_for_the_next_of_its_number() -> None:
    with opened_poller() as poller:
        with tcp_pair() as (near, far):
            fd = near.fileno()
            poller.add(Wish(fd, IN))
            far.shutdown(socket.SHUT_WR)
            until_reported(poller, fd, RDHUP)
        with tcp_pair() as (near, far):
            again = socket.socket(fileno=os.dup(near.fileno()))
            with again:
                os.dup2(near.fileno(), fd) if fd != near.fileno() else None
                poller.add(Wish(fd, IN))
                again.shutdown(socket.SHUT_WR)
                assert not until_reported(poller, fd, OUT) & _BROKEN
            if fd != near.fileno():
                os.close(fd)


def test_urgent_data_is_reported() -> None:
    with opened_poller() as poller, tcp_pair() as (near, far):
        near.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        poller.add(Wish(near.fileno(), IN))
        far.send(b"!", socket.MSG_OOB)
        until_reported(poller, near.fileno(), IN | PRI)


def test_a_pipe_whose_reader_has_gone_is_reported_at_once() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        with opened_poller() as poller:
            assert poller.add(Wish(writer, ERR))
            assert reported(poller, 5)[writer] & ERR
    finally:
        os.close(writer)


def test_a_closed_descriptor_cannot_be_added() -> None:
    with opened_poller() as poller:
        with socket_pair() as (near, _):
            fd = near.fileno()
        with pytest.raises(OSError, match="Bad file descriptor"):
            poller.add(Wish(fd, IN))


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Descriptors that kqueue refuses, as macOS does /dev/tty."""
    numbers: set[int] = set()

    class Picky(select.kqueue):  # type: ignore[name-defined, misc]
        def control(self, changes, *rest):
            if any(change.ident in numbers for change in changes or ()):
                raise OSError(EINVAL, os.strerror(EINVAL))
            return super().control(changes, *rest)

    monkeypatch.setattr(select, "kqueue", Picky)
    return numbers


def test_a_device_that_kqueue_refuses_is_watched_by_select_beside_the_others(refused: set[int]) -> None:
    with opened_poller() as poller, socket_pair() as (device, hand), socket_pair() as (near, far):
        refused.add(device.fileno())
        wish = Wish(device.fileno(), IN)
        assert poller.add(wish)
        assert poller.add(Wish(near.fileno(), IN))
        reported(poller)
        assert reported(poller) == {}
        far.send(b"x")
        assert reported(poller, None)[near.fileno()] & IN
        hand.send(b"x")
        assert reported(poller, None) == {device.fileno(): IN}
        wish.bits = 0
        assert reported(poller) == {}, "nobody waits for it"
        wish.bits = OUT
        assert reported(poller) == {device.fileno(): OUT}
        poller.remove(wish)
        assert reported(poller) == {}


def test_a_refused_device_that_was_closed_without_a_word_is_forgotten(refused: set[int]) -> None:
    with opened_poller() as poller, socket_pair() as (near, far):
        reader, writer = os.pipe()
        refused.add(reader)
        poller.add(Wish(reader, IN))
        os.close(reader)
        os.close(writer)
        assert reported(poller) == {}
        poller.add(Wish(near.fileno(), IN))
        far.send(b"x")
        assert reported(poller, 5)[near.fileno()] & IN


def test_the_null_device_is_always_ready() -> None:
    with opened_poller() as poller, open(os.devnull, "rb+", buffering=0) as null:
        assert poller.add(Wish(null.fileno(), IN | OUT))
        assert reported(poller) == {null.fileno(): IN | OUT}


def test_poll_once_asks_select_where_poll_knows_no_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ignorant:
        def register(self, fd: int, _: int) -> None:
            self.fd = fd

        def poll(self, _: float) -> list[tuple[int, int]]:
            return [(self.fd, select.POLLNVAL)]

    with socket_pair() as (near, far):
        monkeypatch.setattr(select, "poll", Ignorant)
        assert not poll_once(near.fileno(), IN)
        assert poll_once(near.fileno(), OUT)
        far.send(b"x")
        assert poll_once(near.fileno(), IN)
    assert poll_once(near.fileno() if near.fileno() >= 0 else 1 << 20, IN), "reading what is not open fails at once"
