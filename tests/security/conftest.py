"""Fixtures of the security tests."""

from collections.abc import Iterator

import pytest

from tests.peers.program import Serve
from tests.server.harness import http_version

__all__ = ["http_version", "program_proxy"]


@pytest.fixture
def program_proxy() -> Iterator[tuple[str, int]]:
    """Runs a second proxy in a process of its own; yields its authority and process ID."""
    with Serve() as serve:
        yield f"127.0.0.1:{serve.port}", serve.process.pid
