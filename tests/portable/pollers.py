"""The pollers that a test can run on: those of Linux, and kqueue over the stand-in of `tests.portable.kqueue`."""

import select

import pytest

from tests.portable import PORTABLE, kqueue

OF_SYSTEM = ("kqueue", "poll") if PORTABLE else ("epoll", "poll")
POLLERS = OF_SYSTEM if PORTABLE else ("epoll", "kqueue", "poll")


def use_poller(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Makes the engine of this process use a poller."""
    monkeypatch.setenv("TUNNELCTL_POLLER", name)
    if name == "kqueue" and not PORTABLE:
        for attribute, value in kqueue.names().items():
            monkeypatch.setattr(select, attribute, value, raising=False)
