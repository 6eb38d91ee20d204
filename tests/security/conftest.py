"""Fixtures of the security tests."""

from collections.abc import Iterator

import pytest

from tests.peers.program import Serve


@pytest.fixture
def program_proxy() -> Iterator[tuple[str, int]]:
    """A second proxy, in a process of its own: its authority and its process number."""
    with Serve() as serve:
        yield f"127.0.0.1:{serve.port}", serve.process.pid
