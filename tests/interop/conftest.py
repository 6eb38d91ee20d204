"""Fixtures shared by the interoperability tests; a program that is slow to start runs once for many tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers import openssh, proxies
from tests.peers.program import Serve
from tests.peers.scripted import ScriptedServer, echo, sample


@pytest.fixture(scope="session")
def sshd() -> Iterator[openssh.Sshd]:
    with openssh.sshd() as server:
        yield server


@pytest.fixture(scope="module")
def serve() -> Iterator[Serve]:
    with Serve() as proxy:
        yield proxy


@pytest.fixture(scope="module")
def squid() -> Iterator[proxies.Proxy]:
    with proxies.squid() as proxy:
        yield proxy


@pytest.fixture
def echo_target() -> Iterator[ScriptedServer]:
    with ScriptedServer(echo) as target:
        yield target


@pytest.fixture(scope="session")
def hundred_mib(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    file = tmp_path_factory.mktemp("big") / "hundred"
    file.write_bytes(sample(100 << 20))
    yield file
    file.unlink()  # pytest keeps the directories of its last runs
