"""What these tests are about knows of no poller; the contract and the relay suites run HTTP/2 on both."""

import pytest


@pytest.fixture(autouse=True)
def poller() -> None:
    """Runs every test once, on the default poller."""
