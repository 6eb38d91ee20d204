"""git through tunnelctl: over ssh, as core.gitProxy for git://, and over https through `serve`."""

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers import gitserver
from tests.peers.gitserver import git
from tests.peers.https import make_certificate, web_server
from tests.peers.openssh import HOST, Sshd
from tests.peers.program import SCRIPT, Serve, proxy_command
from tests.peers.scripted import sample

pytestmark = pytest.mark.peer("git", "git-daemon", "ssh", "sshd", "ssh-keygen", "openssl")

CONTENT = sample(2 << 20)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that contains repo.git."""
    directory = tmp_path_factory.mktemp("git")
    gitserver.make_repository(directory, CONTENT)
    return directory


@pytest.fixture
def daemon_port(base: Path, tmp_path: Path) -> Iterator[int]:
    with gitserver.daemon(base, tmp_path / "daemon.log") as port:
        yield port


@pytest.mark.parametrize("fdpass", [False, True], ids=["relayed", "passed"])
def test_clone_and_push_over_ssh(sshd: Sshd, serve: Serve, base: Path, tmp_path: Path, fdpass: bool) -> None:
    command = f"ProxyCommand {proxy_command(serve.url, options='--fdpass' if fdpass else '')}"
    ssh = shlex.join(sshd.client("ssh", command, *(["ProxyUseFdpass yes"] if fdpass else [])))
    clone, branch = tmp_path / "clone", f"pushed-{fdpass}"
    git("clone", "-q", f"ssh://{HOST}{base}/repo.git", str(clone), GIT_SSH_COMMAND=ssh)
    assert (clone / "content").read_bytes() == CONTENT
    git("-C", str(clone), "push", "-q", "origin", f"HEAD:{branch}", GIT_SSH_COMMAND=ssh)
    assert git("-C", str(base / "repo.git"), "rev-parse", branch) == git("-C", str(clone), "rev-parse", "HEAD")


def test_git_clones_with_core_git_proxy(serve: Serve, daemon_port: int, tmp_path: Path) -> None:
    """git runs the program without a shell and with two arguments, so the proxy must come from the environment."""
    clone = tmp_path / "clone"
    url = f"git://{HOST}:{daemon_port}/repo.git"
    git("-c", f"core.gitProxy={SCRIPT}", "clone", "-q", url, str(clone), TUNNELCTL_PROXY=serve.url)
    assert (clone / "content").read_bytes() == CONTENT


def test_core_git_proxy_uses_the_proxy(daemon_port: int) -> None:
    words = ["-c", f"core.gitProxy={SCRIPT}", "ls-remote", f"git://{HOST}:{daemon_port}/repo.git"]
    with Serve(allow=("example.test:9418",)) as proxy, pytest.raises(AssertionError, match=r"tunnelctl: .*403"):
        git(*words, TUNNELCTL_PROXY=proxy.url)


def test_clone_over_https_through_serve(base: Path, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    log, clone = tmp_path / "access.log", tmp_path / "clone"
    with web_server(base, (certificate, key)) as port, Serve("--access-log", str(log)) as proxy:
        url = f"https://{HOST}:{port}/repo.git"
        git("-c", f"http.proxy={proxy.url}", "clone", "-q", url, str(clone), GIT_SSL_CAINFO=str(certificate))
    assert (clone / "content").read_bytes() == CONTENT
    assert str(port) in log.read_text()
