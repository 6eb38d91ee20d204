"""Runs every test of the streams on the pollers of this system, and fails a test that leaves a descriptor open."""

import os
from collections.abc import Iterator

import pytest

from tests.portable.pollers import OF_SYSTEM, use_poller
from tunnelctl.stream import relay, splice


@pytest.fixture(autouse=True, params=OF_SYSTEM)
def poller(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    use_poller(monkeypatch, request.param)


@pytest.fixture(autouse=True)
def no_descriptor_left(poller: None) -> Iterator[None]:
    """Fails a test that leaves a descriptor open, also of a pipe or file, which nothing_left ignores. `own_pool` closes its own."""
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
    """Gives the test a pipe pool of its own, and closes its pipes afterwards."""
    pool: list[splice.Pipe] = []
    monkeypatch.setattr(splice, "_pool", pool)
    yield pool
    for pipe in pool:
        pipe.close()


@pytest.fixture(autouse=True)
def short_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "LAST_WORDS_SECONDS", 0.02)
