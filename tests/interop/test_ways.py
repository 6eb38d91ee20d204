"""ssh over mixed routes: SOCKS directly, and a `serve` that leads on through other proxies."""

import subprocess
from collections.abc import Iterator

import pytest

from tests.peers import socks_proxies
from tests.peers.openssh import HOST, Sshd
from tests.peers.program import Serve, environment, proxy_command
from tests.peers.proxies import PASSWORD, USER, Proxy, Rules
from tests.peers.scripted import sample

DATA = sample(4 << 20)
pytestmark = pytest.mark.peer("microsocks", "ssh", "sshd", "ssh-keygen")


@pytest.fixture(scope="module")
def microsocks() -> Iterator[Proxy]:
    with socks_proxies.microsocks(Rules(password=True)) as proxy:
        yield proxy


def is_whole(sshd: Sshd, *options: str) -> bool:
    """Whether a session sends and receives DATA and returns its status."""
    command = [*sshd.client("ssh", *options), HOST, "cat; exit 3"]
    done = subprocess.run(command, input=DATA, capture_output=True, timeout=60, env=environment())
    return (done.returncode, done.stdout == DATA, done.stderr) == (3, True, b"")


@pytest.mark.parametrize("fdpass", [False, True], ids=["relayed", "passed"])
def test_ssh_through_microsocks(microsocks: Proxy, sshd: Sshd, fdpass: bool) -> None:
    command = proxy_command(microsocks.url_with(USER, PASSWORD), options="--fdpass" if fdpass else "")
    assert is_whole(sshd, f"ProxyCommand {command}", *(["ProxyUseFdpass yes"] if fdpass else []))


def test_ssh_through_a_serve_with_upstream_proxies(microsocks: Proxy, sshd: Sshd) -> None:
    with Serve() as inner, Serve("-x", inner.url, "-x", microsocks.url_with(USER, PASSWORD)) as front:
        assert is_whole(sshd, f"ProxyCommand {proxy_command(front.url)}")
    assert PASSWORD not in front.log() + inner.log()
