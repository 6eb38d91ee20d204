"""`run`: programs that cannot log in to a proxy, behind a squid that requires a login."""

import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers import gitserver
from tests.peers.https import make_certificate, web_server
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


def behind(proxy: Proxy, login: tuple[str, ...], *command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    """Runs the command behind the proxy; -v shows that its connections went through it."""
    words = [*MODULE, "run", "-v", "-x", proxy.url, *login, "--", *command]
    # The servers of a test are on loopback, for which many programs bypass the proxy unless NO_PROXY is set.
    env = environment({**gitserver.environment(), "no_proxy": "", "NO_PROXY": ""})
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
