"""Runs each test on every poller, provides a clock that jumps, and fails a test that leaves a descriptor open."""

import gc
import os
from collections.abc import Iterable, Iterator

import pytest

from tests.portable.pollers import POLLERS, use_poller
from tunnelctl.engine import kernel
from tunnelctl.engine.kernel import default_poller
from tunnelctl.engine.poller import Interest, Poller


@pytest.fixture(params=POLLERS, autouse=True)
def poller_name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    name = str(request.param)
    use_poller(monkeypatch, name)
    return name


def _open_files() -> set[tuple[str, str]]:
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add((number, os.readlink(f"/proc/self/fd/{number}")))
        except FileNotFoundError:  # the descriptor of the listing itself
            continue
    return found


@pytest.fixture(autouse=True)
def nothing_open() -> Iterator[None]:
    """Fails a test that leaves a descriptor open: a pipe, an epoll."""
    before = _open_files()
    yield
    if _open_files() - before:
        gc.collect()
    assert _open_files() <= before


class Clock:
    """Time that passes only while every task waits, and then jumps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class JumpingPoller(Poller):
    """Wraps a poller: where it would wait for a deadline, it advances the clock instead."""

    def __init__(self, inner: Poller, clock: Clock) -> None:
        self._inner, self._clock = inner, clock
        self.forgets_closed = inner.forgets_closed

    def add(self, interest: Interest) -> bool:
        return self._inner.add(interest)

    def remove(self, interest: Interest) -> None:
        self._inner.remove(interest)

    def wait(self, timeout: float | None) -> Iterable[tuple[int, int]]:
        found = list(self._inner.wait(None if timeout is None else 0))
        if timeout and not found:
            self._clock.now += timeout
        return found

    def close(self) -> None:
        self._inner.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(kernel, "monotonic", clock)
    monkeypatch.setattr(kernel, "default_poller", lambda: JumpingPoller(default_poller(), clock))
    return clock
