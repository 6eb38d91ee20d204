"""Every test of the streams runs on both pollers."""

import os
from collections.abc import Iterator

import pytest

from tunnelctl.stream import relay, splice


@pytest.fixture(autouse=True, params=["epoll", "poll"])
def poller(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNNELCTL_POLLER", request.param)


@pytest.fixture(autouse=True)
def no_descriptor_left(poller: None) -> Iterator[None]:
    """Pipes and files too, which nothing_left does not count; the pool's pipes are closed by those who fill it."""
    before = set(os.listdir("/proc/self/fd"))
    yield
    left = {number: link for number in os.listdir("/proc/self/fd") if (link := link_of(number))}
    leaked = {number: link for number, link in left.items() if number not in before}
    assert not leaked


def link_of(number: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{number}")
    except FileNotFoundError:  # the descriptor of the listing itself
        return ""


@pytest.fixture(autouse=True)
def own_pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[list]:
    """A pool of pipes of the test's own, closed at its end."""
    pool: list[splice.Pipe] = []
    monkeypatch.setattr(splice, "_pool", pool)
    yield pool
    for pipe in pool:
        pipe.close()


@pytest.fixture(autouse=True)
def short_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "LAST_WORDS_SECONDS", 0.02)
