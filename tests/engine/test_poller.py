"""The pollers by themselves: the events they report and the descriptors they refuse."""

import os
import select
import socket
from pathlib import Path
from time import monotonic

import pytest

from tests.engine.tools import Wish, opened_poller, reported, socket_pair
from tests.portable.pollers import use_poller
from tunnelctl.engine.kernel import default_poller
from tunnelctl.engine.poller import ERR, HUP, IN, OUT, PRI, RDHUP, EpollPoller, PollPoller


def test_readiness_is_reported() -> None:
    with opened_poller() as poller, socket_pair() as (near, far):
        assert poller.add(Wish(near.fileno(), IN | RDHUP))
        assert not reported(poller).get(near.fileno(), 0) & IN
        far.send(b"x")
        assert reported(poller, None)[near.fileno()] & IN
        far.shutdown(socket.SHUT_WR)
        assert reported(poller, 5)[near.fileno()] & RDHUP
        far.close()
        assert reported(poller, 5)[near.fileno()] & HUP


def test_an_error_is_reported_without_being_requested() -> None:
    with opened_poller() as poller:
        reader, writer = os.pipe()
        try:
            poller.add(Wish(writer, ERR))
            os.close(reader)
            assert reported(poller, 5)[writer] & ERR
        finally:
            os.close(writer)


def test_no_event_of_a_removed_descriptor_is_reported() -> None:
    with opened_poller() as poller, socket_pair() as (near, far):
        wish = Wish(near.fileno(), IN)
        poller.add(wish)
        poller.remove(wish)
        poller.remove(wish)
        far.send(b"x")
        assert reported(poller) == {}


def test_waiting_ends_after_the_timeout() -> None:
    with opened_poller() as poller:
        assert reported(poller, 0) == {}
        begun = monotonic()
        assert reported(poller, 0.01) == {}
        assert 0.01 <= monotonic() - begun < 2


def test_a_closed_descriptor_cannot_be_added_to_epoll() -> None:
    with opened_poller() as poller:
        with socket_pair() as (near, _):
            fd = near.fileno()
        if isinstance(poller, EpollPoller):
            with pytest.raises(OSError, match="Bad file descriptor"):
                poller.add(Wish(fd, IN))


def test_a_regular_file_is_refused_or_always_ready(tmp_path: Path) -> None:
    with opened_poller() as poller, (tmp_path / "file").open("wb+") as file:
        if poller.add(Wish(file.fileno(), IN | OUT)):
            assert reported(poller)[file.fileno()] & (IN | OUT) == IN | OUT


def test_epoll_and_kqueue_report_an_edge_once_and_poll_a_level_each_time(poller_name: str) -> None:
    with opened_poller() as poller, socket_pair() as (near, far):
        wish = Wish(near.fileno(), IN)
        poller.add(wish)
        far.send(b"x")
        seen = [reported(poller).get(near.fileno(), 0) & IN for _ in range(3)]
        assert seen == ([IN, IN, IN] if poller_name == "poll" else [IN, 0, 0])


def test_poll_requests_only_the_wanted_events() -> None:
    poller = PollPoller()
    with socket_pair() as (near, far):
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
    with opened_poller() as poller:
        monkeypatch.setattr(type(poller), "MAX_EVENTS", 3, raising=False)
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


def test_kqueue_is_used_where_epoll_is_missing_and_poll_where_both_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TUNNELCTL_POLLER")
    use_poller(monkeypatch, "kqueue")
    monkeypatch.delattr(select, "epoll", raising=False)
    for name in (None, "kqueue", "epoll"):
        if name is not None:
            monkeypatch.setenv("TUNNELCTL_POLLER", name)
        with opened_poller() as poller:
            assert type(poller).__name__ == "KqueuePoller"
    monkeypatch.delattr(select, "kqueue")
    assert isinstance(default_poller(), PollPoller)


@pytest.mark.linux("the values of epoll")
def test_the_event_bits_of_both_pollers_are_the_same() -> None:
    of_epoll = (select.EPOLLIN, select.EPOLLPRI, select.EPOLLOUT, select.EPOLLERR, select.EPOLLHUP, select.EPOLLRDHUP)
    assert of_epoll == (IN, PRI, OUT, ERR, HUP, RDHUP)


@pytest.mark.linux("epoll")
def test_epoll_is_the_default_of_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TUNNELCTL_POLLER")
    with opened_poller() as poller:
        assert isinstance(poller, EpollPoller)
