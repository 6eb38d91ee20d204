"""Questions to several processes at the same time, of which some do not answer."""

import threading
from math import inf
from time import monotonic

import pytest

from tests.peers.instances import STATUS, Facts, mute, published
from tests.peers.process import scratch_directory, wait_until
from tunnelctl.cli.top import poll as under_test
from tunnelctl.cli.top.poll import Poll, ask, ask_all
from tunnelctl.control.instances import running


@pytest.fixture
def directory():
    with scratch_directory() as path:
        yield path


def found(directory):
    return running({"XDG_RUNTIME_DIR": str(directory)})


class Slow:
    """A process whose answer does not end, whatever time it is given."""

    name = "slow"

    def __init__(self):
        self.asked, self.end = 0, threading.Event()

    def status(self, _):
        self.asked += 1
        self.end.wait(20)
        return STATUS

    def tunnels(self, _):
        return None

    def recent(self, _):
        return None


class Meeting:
    """A process that answers once all have been asked."""

    def __init__(self, name, together):
        self.name, self._together = name, together

    def status(self, seconds):
        self._together.wait(seconds)
        return STATUS

    def tunnels(self, _):
        return None

    def recent(self, _):
        return None


def test_what_a_process_answers(directory, monkeypatch):
    monkeypatch.setattr(under_test, "DEADLINE", 20.0)
    with published(directory, "db", Facts()) as facts:
        (instance,) = found(directory)
        answer = ask(instance, with_recent=False)
        assert (answer.name, answer.trouble, answer.status, answer.recent) == ("db", "", facts.status, None)
        assert ask(instance, with_recent=True).recent == facts.recent


def test_processes_are_asked_at_the_same_time(monkeypatch):
    monkeypatch.setattr(under_test, "DEADLINE", 20.0)
    together = threading.Barrier(2)
    answers = ask_all([Meeting("a", together), Meeting("b", together)], with_recent=False)
    assert [(answer.name, answer.trouble) for answer in answers] == [("a", ""), ("b", "")]


def test_a_process_that_hangs_delays_no_other(directory, monkeypatch):
    monkeypatch.setattr(under_test, "DEADLINE", 5.0)
    with published(directory, "a", Facts()), mute(directory, "b"), mute(directory, "c"), published(directory, "d", Facts()):
        answers = ask_all(found(directory), with_recent=True)
    assert [answer.name for answer in answers] == ["a", "b", "c", "d"]
    assert [bool(answer.trouble) for answer in answers] == [False, True, True, False]


def test_a_process_is_not_asked_again_while_its_answer_is_due():
    slow, heard = Slow(), threading.Event()
    poll = Poll(heard.set)
    poll.ask([slow], False)
    wait_until(lambda: slow.asked)
    poll.ask([slow], False)
    slow.end.set()
    assert heard.wait(10)
    assert [answer.status for answer in poll.answers()] == [STATUS]
    assert slow.asked == 1
    wait_until(lambda: poll.ask([slow], False) or slow.asked == 2)


def test_an_answer_that_does_not_end_is_overdue(monkeypatch):
    monkeypatch.setattr(under_test, "DEADLINE", 0.0)
    monkeypatch.setattr(under_test, "GRACE", 0.05)
    slow = Slow()
    (answer,) = ask_all([slow], with_recent=False)
    assert answer.trouble == "no answer within 0 s"
    slow.end.set()


def test_when_the_next_answer_is_overdue(monkeypatch):
    slow, poll = Slow(), Poll(lambda: None)
    assert poll.due() == inf
    before = monotonic()
    poll.ask([slow], False)
    assert before <= poll.due() - under_test.DEADLINE - under_test.GRACE <= monotonic()
    monkeypatch.setattr(under_test, "DEADLINE", -10.0)
    assert poll.due() == inf  # nothing to wait for: `answers` has it
    assert [answer.name for answer in poll.answers()] == ["slow"]
    slow.end.set()


def test_nothing_runs():
    assert ask_all([], with_recent=False) == []
