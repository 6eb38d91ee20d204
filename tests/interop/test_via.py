"""OpenSSH through the control socket of a `forward`, whose proxy speaks TLS: no process and no handshake for each connection."""

import filecmp
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers import certificates
from tests.peers.openssh import HOST, Sshd
from tests.peers.process import path_of
from tests.peers.program import RUN_SECONDS, SCRIPT, SOON, Forward, Serve, environment, proxy_command, read_soon
from tests.peers.scripted import sample

pytestmark = pytest.mark.peer("ssh", "scp", "sshd", "ssh-keygen")

PASSED = "ProxyUseFdpass yes"


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Serve, list[str]]]:
    """A proxy that speaks TLS, and the flags for it."""
    files = certificates.make(tmp_path_factory.mktemp("certificates"))
    with Serve("--tls-cert", str(files.chain), "--tls-key", str(files.key)) as proxy:
        yield proxy, ["-x", proxy.url.replace("http:", "https:"), "--proxy-cacert", str(files.authority)]


@pytest.fixture
def env() -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory(prefix="tunnelctl-run-") as directory:
        yield environment({"XDG_RUNTIME_DIR": directory})


def command(options: str) -> str:
    return f"ProxyCommand {proxy_command(options=options)}"


def run(words: list[str], env: dict[str, str], stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(words, input=stdin, capture_output=True, timeout=60, env=env)


def processes(marker: str) -> list[str]:
    """The command lines of all processes with a word of this kind in their environment."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if marker.encode() in (place / "environ").read_bytes():
                found.append((place / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip())
        except OSError:  # it has ended, or belongs to another user
            continue
    return found


@pytest.mark.parametrize("passed", [True, False], ids=["passed", "relayed"])
def test_ssh_over_a_tls_proxy(sshd: Sshd, secure: tuple[Serve, list[str]], env: dict[str, str], passed: bool) -> None:
    """With the socket passed on, nothing of tunnelctl runs beside the forward while the session is open."""
    data, runtime = sample(3 << 20), env["XDG_RUNTIME_DIR"]
    options = [command("--via work --fdpass" if passed else "--via work"), *([PASSED] if passed else [])]
    with Forward("--name", "work", *secure[1], env=env):
        session = subprocess.Popen(
            [*sshd.client("ssh", *options), HOST, "echo here; cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env
        )
        with session:
            assert session.stdin is not None
            assert session.stdout is not None
            assert read_soon(session.stdout, 5) == b"here\n"
            of_ours = processes(f"XDG_RUNTIME_DIR={runtime}")
            connects = [line for line in of_ours if " connect --via " in f" {line} " and "ssh " not in line]
            assert len(connects) == (0 if passed else 1)
            out, _ = session.communicate(data, RUN_SECONDS)
        assert (session.returncode, out == data) == (0, True)


@pytest.mark.parametrize("direction", ["up", "down"])
def test_scp_copies_100_mib(
    sshd: Sshd, secure: tuple[Serve, list[str]], env: dict[str, str], hundred_mib: Path, tmp_path: Path, direction: str
) -> None:
    copy = tmp_path / "copy"
    files = [str(hundred_mib), f"{HOST}:{copy}"] if direction == "up" else [f"{HOST}:{hundred_mib}", str(copy)]
    with Forward("--name", "work", *secure[1], env=env):
        done = run([*sshd.client("scp", "Compression no", command("--via work --fdpass"), PASSED), *files], env)
    assert (done.returncode, done.stderr) == (0, b"")
    assert filecmp.cmp(hundred_mib, copy, shallow=False)
    copy.unlink()


def test_auto_with_and_without_a_forward(sshd: Sshd, secure: tuple[Serve, list[str]], env: dict[str, str]) -> None:
    options = [command(f"--via auto {' '.join(secure[1])}")]
    for forwards in (0, 1):
        if forwards:
            with Forward("--name", "work", "-v", *secure[1], env=env) as forward:
                done = run([*sshd.client("ssh", *options), HOST, "echo through"], env)
            assert " open after " in forward.log()
        else:
            done = run([*sshd.client("ssh", *options), HOST, "echo through"], env)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"through\n", b"")


def test_the_lines_of_ssh_config_are_used_as_printed(
    sshd: Sshd, secure: tuple[Serve, list[str]], env: dict[str, str], tmp_path: Path
) -> None:
    words = [SCRIPT, "ssh-config", "--via", "work", HOST]
    printed = subprocess.run(words, capture_output=True, env=env, timeout=RUN_SECONDS, text=True)
    assert printed.stdout.endswith(
        f"Host {HOST}\n    ProxyCommand {SCRIPT} connect --fdpass --via work %h %p\n    ProxyUseFdpass yes\n"
    )
    settings = tmp_path / "config"
    settings.write_text(printed.stdout + sshd.settings.read_text())
    with Forward("--name", "work", *secure[1], env=env):
        done = run([path_of("ssh"), "-F", str(settings), HOST, "echo through"], env)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"through\n", b"")


def test_the_user_of_ssh_reads_that_no_forward_is_running(sshd: Sshd, env: dict[str, str]) -> None:
    done = run([*sshd.client("ssh", command("--via work --fdpass"), PASSED), HOST, "true"], env)
    assert done.returncode == 255
    assert b"/tunnelctl/work.sock: no such file or directory\nhint: is it running? " in done.stderr


def test_a_killed_forward_ends_the_session_with_an_error(sshd: Sshd, secure: tuple[Serve, list[str]], env: dict[str, str]) -> None:
    with Forward("--name", "work", *secure[1], env=env) as forward:
        words = [*sshd.client("ssh", command("--via work --fdpass"), PASSED), HOST, "echo here; cat"]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env) as session:
            assert session.stdout is not None
            assert read_soon(session.stdout, 5) == b"here\n"
            forward.process.kill()
            forward.ended_on_purpose = True
            assert session.wait(SOON) == 255


@pytest.mark.peer("git")
def test_git_clones_through_a_forward(sshd: Sshd, secure: tuple[Serve, list[str]], env: dict[str, str], tmp_path: Path) -> None:
    """git runs ssh, and ssh runs connect."""
    quiet = {**env, "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}
    source = tmp_path / "source"
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.com"]
    for words in (["init", "-q", str(source)], [*identity, "-C", str(source), "commit", "-q", "--allow-empty", "-m", "first"]):
        assert run([path_of("git"), *words], quiet).returncode == 0
    ssh = shlex.join(sshd.client("ssh", command("--via work --fdpass"), PASSED))
    with Forward("--name", "work", *secure[1], env=env):
        done = run([path_of("git"), "clone", "-q", f"{HOST}:{source}", str(tmp_path / "clone")], {**quiet, "GIT_SSH_COMMAND": ssh})
    assert (done.returncode, done.stderr) == (0, b"")
    heads = [run([path_of("git"), "-C", str(place), "rev-parse", "HEAD"], quiet).stdout for place in (source, tmp_path / "clone")]
    assert heads[0] == heads[1]
