"""The two pollers by themselves: the events they report and the descriptors they refuse."""

import os
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import pytest

from tunnelctl.engine.poller import ERR, HUP, IN, OUT, PRI, RDHUP, EpollPoller, Interest, Poller, PollPoller, default_poller


class Wish(Interest):
    """A descriptor and the events requested for it."""

    def __init__(self, fd: int, bits: int) -> None:
        self.fd = fd
        self.bits = bits

    def wanted(self) -> int:
        return self.bits


@contextmanager
def opened() -> Iterator[Poller]:
    poller = default_poller()
    try:
        yield poller
    finally:
        poller.close()


@contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        far.setblocking(False)
        yield near, far


def reported(poller: Poller, timeout: float | None = 0) -> dict[int, int]:
    return dict(poller.wait(timeout))


def test_readiness_is_reported() -> None:
    with opened() as poller, pair() as (near, far):
        assert poller.add(Wish(near.fileno(), IN | RDHUP))
        assert not reported(poller).get(near.fileno(), 0) & IN
        far.send(b"x")
        assert reported(poller, None)[near.fileno()] & IN
        far.shutdown(socket.SHUT_WR)
        assert reported(poller, 5)[near.fileno()] & RDHUP
        far.close()
        assert reported(poller, 5)[near.fileno()] & HUP


def test_an_error_is_reported_without_being_requested() -> None:
    with opened() as poller:
        reader, writer = os.pipe()
        try:
            poller.add(Wish(writer, ERR))
            os.close(reader)
            assert reported(poller, 5)[writer] & ERR
        finally:
            os.close(writer)


def test_no_event_of_a_removed_descriptor_is_reported() -> None:
    with opened() as poller, pair() as (near, far):
        wish = Wish(near.fileno(), IN)
        poller.add(wish)
        poller.remove(wish)
        poller.remove(wish)
        far.send(b"x")
        assert reported(poller) == {}


def test_waiting_ends_after_the_timeout() -> None:
    with opened() as poller:
        assert reported(poller, 0) == {}
        begun = monotonic()
        assert reported(poller, 0.01) == {}
        assert 0.01 <= monotonic() - begun < 2


def test_a_closed_descriptor_cannot_be_added_to_epoll() -> None:
    with opened() as poller:
        with pair() as (near, _):
            fd = near.fileno()
        if isinstance(poller, EpollPoller):
            with pytest.raises(OSError, match="Bad file descriptor"):
                poller.add(Wish(fd, IN))


def test_a_regular_file_is_refused_or_always_ready(tmp_path: Path) -> None:
    with opened() as poller, (tmp_path / "file").open("wb+") as file:
        if poller.add(Wish(file.fileno(), IN | OUT)):
            assert reported(poller)[file.fileno()] & (IN | OUT) == IN | OUT


def test_epoll_reports_an_edge_once_and_poll_a_level_each_time(poller_name: str) -> None:
    with opened() as poller, pair() as (near, far):
        wish = Wish(near.fileno(), IN)
        poller.add(wish)
        far.send(b"x")
        seen = [reported(poller).get(near.fileno(), 0) & IN for _ in range(3)]
        assert seen == ([IN, 0, 0] if poller_name == "epoll" else [IN, IN, IN])


def test_poll_requests_only_the_wanted_events() -> None:
    poller = PollPoller()
    with pair() as (near, far):
        wish = Wish(near.fileno(), 0)
        assert poller.add(wish)
        far.send(b"x")
        assert reported(poller) == {}
        wish.bits = OUT
        assert reported(poller) == {near.fileno(): OUT}
        wish.bits = 0
        far.close()  # HUP is reported without being requested, and would keep the loop awake forever
        assert reported(poller) == {}


def test_events_beyond_the_limit_of_one_call_are_returned_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EpollPoller, "MAX_EVENTS", 3)
    with opened() as poller:
        pipes = [os.pipe() for _ in range(10)]
        try:
            for reader, writer in pipes:
                poller.add(Wish(reader, IN))
                os.write(writer, b"x")
            seen: set[int] = set()
            for _ in range(4):
                found = reported(poller)
                assert len(found) <= 3 or isinstance(poller, PollPoller)
                seen |= set(found)
            assert seen == {reader for reader, _ in pipes}
        finally:
            for pair_of_ends in pipes:
                for fd in pair_of_ends:
                    os.close(fd)


def test_poll_is_used_where_epoll_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TUNNELCTL_POLLER")
    assert isinstance(default_poller(), EpollPoller)
    monkeypatch.delattr(select, "epoll")
    assert isinstance(default_poller(), PollPoller)


def test_the_event_bits_of_both_pollers_are_the_same() -> None:
    of_epoll = (select.EPOLLIN, select.EPOLLPRI, select.EPOLLOUT, select.EPOLLERR, select.EPOLLHUP, select.EPOLLRDHUP)
    assert of_epoll == (IN, PRI, OUT, ERR, HUP, RDHUP)
