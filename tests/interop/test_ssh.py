"""OpenSSH through tunnelctl as its ProxyCommand: commands, copies of 100 MiB, fd passing, two proxies in a chain."""

import filecmp
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers import certificates, gitserver
from tests.peers.openssh import HOST, Sshd
from tests.peers.process import path_of
from tests.peers.program import Serve, environment, proxy_command
from tests.peers.proxies import Proxy
from tests.peers.scripted import Conversation, ScriptedServer, sample

pytestmark = pytest.mark.peer("ssh", "scp", "sshd", "ssh-keygen", "squid")

ROUTES = {
    "one proxy": ("serve",),
    "serve behind squid": ("squid", "serve"),
    "squid behind serve": ("serve", "squid"),
}
FDPASS = {"relayed": (), "passed": ("ProxyUseFdpass yes",)}


@pytest.fixture(params=ROUTES.values(), ids=ROUTES.keys())
def proxies(request: pytest.FixtureRequest, serve: Serve, squid: Proxy) -> list[str]:
    """The URLs of the proxies on the route, nearest first."""
    urls = {"serve": serve.url, "squid": squid.url}
    return [urls[name] for name in request.param]


@pytest.fixture(params=FDPASS.values(), ids=FDPASS.keys())
def options(request: pytest.FixtureRequest, proxies: list[str]) -> list[str]:
    """The settings of ssh for that route, with a relay or with the socket passed to ssh."""
    flag = "--fdpass" if request.param else ""
    return [f"ProxyCommand {proxy_command(*proxies, options=flag)}", *request.param]


def run(command: list[str], stdin: bytes = b"", shell: str = "/bin/sh") -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(command, input=stdin, capture_output=True, timeout=60, env=environment({"SHELL": shell}))


def test_ssh_command_returns_status_and_both_outputs(sshd: Sshd, options: list[str]) -> None:
    done = run([*sshd.client("ssh", *options), HOST, "echo out; echo err >&2; exit 7"])
    assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n", b"err\n")


def test_ssh_session_echoes_bytes_and_ends_with_its_input(sshd: Sshd, options: list[str]) -> None:
    data = sample(3 << 20)
    done = run([*sshd.client("ssh", *options), HOST, "cat"], stdin=data)
    assert (done.returncode, done.stdout == data, done.stderr) == (0, True, b"")


@pytest.mark.parametrize("proxies", list(ROUTES.values())[:2], ids=list(ROUTES)[:2], indirect=True)
@pytest.mark.parametrize("direction", ["up", "down"])
def test_scp_copies_100_mib(sshd: Sshd, options: list[str], direction: str, hundred_mib: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    files = [str(hundred_mib), f"{HOST}:{copy}"] if direction == "up" else [f"{HOST}:{hundred_mib}", str(copy)]
    done = run([*sshd.client("scp", "Compression no", *options), *files])
    assert (done.returncode, done.stderr) == (0, b"")
    # Byte by byte, which is more exact than a checksum and no slower.
    assert filecmp.cmp(hundred_mib, copy, shallow=False)
    copy.unlink()


HTTP_2 = ("HTTP/2 in the clear", "HTTP/2 over TLS", "HTTP/2 at both hops")


@pytest.fixture(scope="module", params=HTTP_2)
def over_http_2(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The ProxyCommand for a route in HTTP/2."""
    files = certificates.make(tmp_path_factory.mktemp("certificates"))
    tls = ("--tls-cert", str(files.chain), "--tls-key", str(files.key))
    with Serve(*(() if request.param == HTTP_2[0] else tls)) as near, Serve(*tls) as far:
        urls = [near.url if request.param == HTTP_2[0] else f"https://localhost:{near.port}"]
        if request.param == HTTP_2[2]:
            urls.append(f"https://localhost:{far.port}")
        yield "ProxyCommand " + proxy_command(*urls, options=f"--http 2 --proxy-cacert {files.authority}")


def test_ssh_over_http_2(sshd: Sshd, over_http_2: str) -> None:
    data = sample(3 << 20)
    done = run([*sshd.client("ssh", over_http_2), HOST, "cat; echo err >&2; exit 7"], stdin=data)
    assert (done.returncode, done.stdout == data, done.stderr) == (7, True, b"err\n")


@pytest.mark.parametrize("direction", ["up", "down"])
def test_scp_copies_100_mib_over_http_2(sshd: Sshd, over_http_2: str, direction: str, hundred_mib: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    files = [str(hundred_mib), f"{HOST}:{copy}"] if direction == "up" else [f"{HOST}:{hundred_mib}", str(copy)]
    done = run([*sshd.client("scp", "Compression no", over_http_2), *files])
    assert (done.returncode, done.stderr) == (0, b"")
    assert filecmp.cmp(hundred_mib, copy, shallow=False)
    copy.unlink()


@pytest.mark.peer("git")
def test_git_over_http_2(sshd: Sshd, over_http_2: str, tmp_path: Path) -> None:
    content = sample(2 << 20)
    gitserver.make_repository(tmp_path, content)
    clone = tmp_path / "clone"
    gitserver.git(
        "clone", "-q", f"ssh://{HOST}{tmp_path}/repo.git", str(clone), GIT_SSH_COMMAND=shlex.join(sshd.client("ssh", over_http_2))
    )
    assert (clone / "content").read_bytes() == content


@pytest.mark.peer("zsh", "fish")
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_proxy_command_works_in_each_shell(sshd: Sshd, serve: Serve, shell: str) -> None:
    """ssh passes the ProxyCommand to $SHELL, whatever that is."""
    done = run([*sshd.client("ssh", f"ProxyCommand {proxy_command(serve.url)}"), HOST, "echo hi"], shell=path_of(shell))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"hi\n", b"")


@pytest.mark.parametrize("fdpass", FDPASS.values(), ids=FDPASS.keys())
def test_the_user_of_ssh_reads_the_refusal(sshd: Sshd, fdpass: tuple[str, ...]) -> None:
    """ssh hides the status of its ProxyCommand; our line on stderr is the only message."""
    with Serve(allow=("example.test:22",)) as proxy:
        command = proxy_command(proxy.url, options="--fdpass" if fdpass else "")
        done = run([*sshd.client("ssh", f"ProxyCommand {command}", *fdpass), HOST, "true"])
    assert (done.returncode, done.stdout) == (255, b"")
    ours = [line for line in done.stderr.decode().splitlines() if line.startswith("tunnelctl: ")]
    assert len(ours) == 1
    assert "403" in ours[0]
    assert f"{HOST}:{sshd.port}" in ours[0]


def test_a_tunnel_that_ends_at_once_is_reported(sshd: Sshd) -> None:
    """ssh itself reports only "Connection closed by UNKNOWN port 65535" (corkscrew#19 and dozens like it)."""

    def script(peer: Conversation) -> None:
        peer.accept_tunnel()
        peer.end_output()
        peer.wait_gone()

    with ScriptedServer(script) as proxy:
        done = run([*sshd.client("ssh", f"ProxyCommand {proxy_command(proxy.url)}"), HOST, "true"])
    assert done.returncode == 255
    said = [line for line in done.stderr.decode().splitlines() if line.startswith("tunnelctl: ")]
    assert len(said) == 1
    assert f"via proxy {proxy.authority}: ended by the proxy or the target after " in said[0]
    assert f"the target; `tunnelctl check {HOST} " in said[0]
