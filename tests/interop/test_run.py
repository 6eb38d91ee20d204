"""`run`: programs that cannot log in to a proxy, behind a squid that requires a login."""

import hashlib
import os
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers import gitserver
from tests.peers.https import make_certificate, web_server
from tests.peers.openssh import HOST, Sshd
from tests.peers.process import path_of
from tests.peers.program import MODULE, environment
from tests.peers.proxies import PASSWORD, USER, Proxy, Rules, squid
from tests.peers.scripted import sample

DATA = sample(1 << 20)

pytestmark = pytest.mark.peer("squid", "openssl")


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    with squid(Rules(password=True)) as running:
        yield running


@pytest.fixture(scope="module")
def login(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    file = tmp_path_factory.mktemp("login") / "password"
    file.write_text(f"{PASSWORD}\n")
    file.chmod(0o600)
    return "--proxy-user", USER, "--proxy-password-file", os.fspath(file)


def behind(
    proxy: Proxy, login: tuple[str, ...], *command: str, cwd: Path | None = None, **extra: str
) -> subprocess.CompletedProcess[bytes]:
    """Runs the command behind the proxy; -v shows that its connections went through it. extra: further variables"""
    words = [*MODULE, "run", "-v", "-x", proxy.url, *login, "--", *command]
    # The servers of a test are on loopback, for which many programs bypass the proxy unless NO_PROXY is set.
    env = environment({**gitserver.environment(), "no_proxy": "", "NO_PROXY": "", **extra})
    done = subprocess.run(words, capture_output=True, env=env, timeout=60, cwd=cwd, stdin=subprocess.DEVNULL)
    assert PASSWORD.encode() not in done.stdout + done.stderr
    return done


def through(done: subprocess.CompletedProcess[bytes], port: int) -> bool:
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return f"tunnel to 127.0.0.1:{port} open".encode() in done.stderr


def test_squid_refuses_curl_without_a_login(proxy: Proxy, tmp_path: Path) -> None:
    with web_server(tmp_path) as port:
        command = [path_of("curl"), "-sS", "-p", "-x", proxy.url, "--noproxy", "", f"http://127.0.0.1:{port}/"]
        done = subprocess.run(command, capture_output=True, timeout=60)
    assert b"407" in done.stderr


@pytest.mark.peer("curl")
@pytest.mark.parametrize("secure", [True, False], ids=["https", "http"])
def test_curl_downloads_behind_the_proxy(proxy: Proxy, login: tuple[str, ...], tmp_path: Path, secure: bool) -> None:
    certificate = make_certificate(tmp_path)
    (tmp_path / "file").write_bytes(DATA)
    with web_server(tmp_path, certificate if secure else None) as port:
        url = f"{'https' if secure else 'http'}://127.0.0.1:{port}/file"
        done = behind(proxy, login, path_of("curl"), "-sS", "--cacert", os.fspath(certificate[0]), url)
        assert through(done, port)
    assert done.stdout == DATA


@pytest.mark.peer("git")
def test_git_clones_behind_the_proxy(proxy: Proxy, login: tuple[str, ...], tmp_path: Path) -> None:
    gitserver.make_repository(tmp_path, DATA)
    with web_server(tmp_path) as port:
        done = behind(proxy, login, path_of("git"), "clone", "-q", f"http://127.0.0.1:{port}/repo.git", "clone", cwd=tmp_path)
        assert through(done, port)
    assert (tmp_path / "clone" / "content").read_bytes() == DATA


def clone_over_ssh(proxy: Proxy, login: tuple[str, ...], directory: Path, **extra: str) -> "subprocess.CompletedProcess[bytes]":
    gitserver.make_repository(directory, DATA)
    words = ("clone", "-q", f"ssh://{HOST}{directory}/repo.git", "clone")
    done = behind(proxy, login, path_of("git"), *words, cwd=directory, **extra)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    assert (directory / "clone" / "content").read_bytes() == DATA
    return done


def core_ssh_command(directory: Path, sshd: Sshd, *options: str) -> dict[str, str]:
    """Settings of git in a file, as a user has them: an ssh command that needs its quotes."""
    (directory / "a b").mkdir()
    settings = directory / "a b" / "config"
    settings.write_text(sshd.settings.read_text())
    command = shlex.join([path_of("ssh"), "-F", str(settings), *options])
    file = directory / "gitconfig"
    subprocess.run([path_of("git"), "config", "-f", str(file), "core.sshCommand", command], check=True, timeout=20)
    return {"GIT_CONFIG_GLOBAL": str(file)}


SSH = pytest.mark.peer("git", "ssh", "sshd", "ssh-keygen")
SHELLS = pytest.mark.parametrize("shell", ["sh", pytest.param("fish", marks=pytest.mark.peer("fish"))])


@SSH
@SHELLS
def test_git_clones_over_ssh_behind_the_proxy(proxy: Proxy, login: tuple[str, ...], sshd: Sshd, tmp_path: Path, shell: str) -> None:
    """ssh passes its ProxyCommand to $SHELL, git its command to sh."""
    settings = core_ssh_command(tmp_path, sshd)
    assert through(clone_over_ssh(proxy, login, tmp_path, SHELL=path_of(shell), **settings), sshd.port)


@SSH
def test_git_over_ssh_keeps_its_program_from_git_ssh(proxy: Proxy, login: tuple[str, ...], sshd: Sshd, tmp_path: Path) -> None:
    program = tmp_path / "my ssh"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(sshd.client("ssh"))} "$@"\n')
    program.chmod(0o755)
    assert through(clone_over_ssh(proxy, login, tmp_path, GIT_SSH=str(program)), sshd.port)


@SSH
def test_git_over_ssh_keeps_a_proxy_command_that_ssh_has_already(
    proxy: Proxy, login: tuple[str, ...], sshd: Sshd, tmp_path: Path
) -> None:
    witness = tmp_path / "witness"
    own = f"ProxyCommand={shlex.join(MODULE)} connect -v -x direct %h %p 2>{witness}"
    done = clone_over_ssh(proxy, login, tmp_path, **core_ssh_command(tmp_path, sshd, "-o", own))
    assert b"route: no proxy" in witness.read_bytes()
    assert b"did not use the proxy" in done.stderr


@SSH
def test_git_over_ssh_keeps_the_users_git_ssh_command(proxy: Proxy, login: tuple[str, ...], sshd: Sshd, tmp_path: Path) -> None:
    done = clone_over_ssh(proxy, login, tmp_path, GIT_SSH_COMMAND=shlex.join(sshd.client("ssh")))
    assert b"did not use the proxy" in done.stderr


@SSH
def test_the_login_is_in_no_command_line_below_git(proxy: Proxy, login: tuple[str, ...], sshd: Sshd, tmp_path: Path) -> None:
    """The program at the far end lists the command lines of all processes while the connection is open."""
    lines, spy = tmp_path / "lines", tmp_path / "spy"
    listing = f"cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' > {lines}"
    spy.write_text(f'#!/bin/sh\n{listing}\nexec git-upload-pack "$@"\n')
    spy.chmod(0o755)
    gitserver.make_repository(tmp_path, DATA)
    words = ("ls-remote", f"--upload-pack={spy}", f"ssh://{HOST}{tmp_path}/repo.git")
    assert through(behind(proxy, login, path_of("git"), *words, cwd=tmp_path, **core_ssh_command(tmp_path, sshd)), sshd.port)
    seen = lines.read_bytes()
    assert b"ProxyCommand=" in seen
    assert b" connect 127.0.0.1 " in seen
    assert b"http://tunnelctl:" not in seen


@pytest.mark.peer("node")
def test_node_is_told_to_use_the_proxy(proxy: Proxy, login: tuple[str, ...]) -> None:
    """Node obeys the variable from version 24 on, and an older one ignores it. The value 0 of the user stays."""
    show = ("-p", "process.env.NODE_USE_ENV_PROXY")
    assert behind(proxy, login, path_of("node"), *show).stdout == b"1\n"
    assert behind(proxy, login, path_of("node"), *show, NODE_USE_ENV_PROXY="0").stdout == b"0\n"


@pytest.mark.peer("node")
def test_node_that_obeys_the_variable_fetches_behind_the_proxy(proxy: Proxy, login: tuple[str, ...], tmp_path: Path) -> None:
    """An older one goes directly, and `run` says so."""
    (tmp_path / "file").write_bytes(b"content")
    with web_server(tmp_path) as port:
        script = f"fetch('http://127.0.0.1:{port}/file').then(r => r.text()).then(t => process.stdout.write(t))"
        done = behind(proxy, login, path_of("node"), "-e", script)
    assert done.stdout == b"content", done.stderr
    version = subprocess.run([path_of("node"), "-p", "parseInt(process.versions.node)"], capture_output=True, timeout=20).stdout
    assert (b"did not use the proxy" in done.stderr) == (int(version) < 24)


def make_index(directory: Path) -> Path:
    """Creates a package index with one wheel of one package."""
    (directory / "simple" / "parcel").mkdir(parents=True)
    wheel = directory / "simple" / "parcel" / "parcel-1.0-py3-none-any.whl"
    info = "parcel-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("parcel.py", "")
        file.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: parcel\nVersion: 1.0\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (directory / "simple" / "parcel" / "index.html").write_text(f'<a href="{wheel.name}#sha256={digest}">{wheel.name}</a>')
    return wheel


def test_pip_downloads_behind_the_proxy(proxy: Proxy, login: tuple[str, ...], tmp_path: Path) -> None:
    wheel = make_index(tmp_path)
    with web_server(tmp_path) as port:
        pip = (sys.executable, "-W", "ignore", "-m", "pip", "--isolated", "--no-cache-dir", "--disable-pip-version-check", "-q")
        index = ("--index-url", f"http://127.0.0.1:{port}/simple/")
        done = behind(proxy, login, *pip, "download", "--no-deps", *index, "-d", str(tmp_path / "got"), "parcel")
        assert through(done, port)
    assert (tmp_path / "got" / wheel.name).read_bytes() == wheel.read_bytes()


def test_no_command_line_contains_the_password(proxy: Proxy, login: tuple[str, ...]) -> None:
    """Ours contains the name of a file; that of the command is unchanged, since its proxy is in the environment only."""
    show = "tr '\\0' ' ' < /proc/$PPID/cmdline; tr '\\0' ' ' < /proc/$$/cmdline"
    done = behind(proxy, login, "sh", "-c", show)
    assert done.returncode == 0
    assert PASSWORD.encode() not in done.stdout
    assert b"http://tunnelctl:" not in done.stdout
