"""Local ports of `forward` used by real programs, through squid: databases with -L, curl, git and a browser with -D."""

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers import browser, databases, gitserver
from tests.peers.https import make_certificate, web_server
from tests.peers.process import path_of
from tests.peers.program import Forward
from tests.peers.proxies import Proxy
from tests.peers.scripted import refusing_port, sample
from tunnelctl.server.access.users import hash_password

DATA = sample(3 << 20)


def output(*command: str, stdin: bytes = b"", env: dict[str, str] | None = None) -> bytes:
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=60, env={**os.environ, **(env or {})})
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout


# --- databases, with -L


@pytest.mark.peer("squid", "psql", "initdb")
def test_psql_through_a_fixed_port(squid: Proxy, tmp_path: Path) -> None:
    rows = b"".join(b"%d\t%s\n" % (number, hashlib.sha256(b"%d" % number).hexdigest().encode()) for number in range(100_000))
    query = "create table t (n int, h text); copy t from stdin"
    with databases.postgresql() as port, Forward("-x", squid.url, "-L", f"0:127.0.0.1:{port}") as forward:
        psql = (path_of("psql"), "-X", "-q", "-h", "127.0.0.1", "-p", str(forward.port), "-U", databases.USER, "-d", "postgres")
        output(*psql, "-c", query, stdin=rows)
        assert output(*psql, "-c", "copy (select * from t order by n) to stdout") == rows
        assert output(*psql, "-At", "-c", "select count(*) from t") == b"100000\n"


@pytest.mark.peer("squid", "redis-server", "redis-cli")
def test_redis_through_a_port_and_a_unix_socket(squid: Proxy, tmp_path: Path) -> None:
    value = DATA[: 1 << 20].hex().encode()
    with databases.redis() as port:
        target = f"127.0.0.1:{port}"
        with Forward("-x", squid.url, "-L", f"0:{target}", "-L", f"{tmp_path}/redis.sock:{target}") as forward:
            for way in (["-p", str(forward.port)], ["-s", f"{tmp_path}/redis.sock"]):
                redis = (path_of("redis-cli"), *way)
                assert output(*redis, "ping") == b"PONG\n"
                assert output(*redis, "-x", "set", "key", stdin=value) == b"OK\n"
                assert output(*redis, "get", "key") == value + b"\n"


# --- any protocol, with -D


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("site")
    (directory / "file").write_bytes(DATA)
    script = "document.getElementById('p').textContent = 'made ' + 'here'"
    (directory / "page.html").write_text(f"<p id=p>before</p><script>{script}</script>")
    return directory


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def https_port(site: Path, certificate: tuple[Path, Path]) -> Iterator[int]:
    with web_server(site, certificate) as port:
        yield port


@pytest.fixture(scope="module")
def http_port(site: Path) -> Iterator[int]:
    with web_server(site) as port:
        yield port


@pytest.fixture(scope="module")
def dynamic(squid: Proxy) -> Iterator[Forward]:
    with Forward("-x", squid.url, "-D", "0") as forward:
        yield forward


SCHEMES = ["socks5h", "socks5", "socks4a", "socks4", "http"]


@pytest.mark.peer("squid", "curl", "openssl")
@pytest.mark.parametrize("scheme", SCHEMES)
def test_curl_through_a_dynamic_port(
    dynamic: Forward, https_port: int, http_port: int, certificate: tuple[Path, Path], scheme: str, tmp_path: Path
) -> None:
    upload = tmp_path / "upload"
    upload.write_bytes(DATA)
    trust = ("--cacert", os.fspath(certificate[0]), "-sS", "--noproxy", "", "-x", f"{scheme}://127.0.0.1:{dynamic.port}")
    curl = (path_of("curl"), *trust, "--max-time", "30")
    for url in (f"https://127.0.0.1:{https_port}", f"http://127.0.0.1:{http_port}"):
        assert output(*curl, f"{url}/file") == DATA
        assert output(*curl, "--data-binary", f"@{upload}", f"{url}/") == DATA


@pytest.mark.peer("squid", "git")
@pytest.mark.parametrize("scheme", ["socks5h", "socks4a", "http"])
def test_git_through_a_dynamic_port(dynamic: Forward, scheme: str, tmp_path: Path) -> None:
    gitserver.make_repository(tmp_path, DATA)
    with web_server(tmp_path) as port:
        proxy = f"http.proxy={scheme}://127.0.0.1:{dynamic.port}"
        gitserver.git("-c", proxy, "clone", "-q", f"http://127.0.0.1:{port}/repo.git", str(tmp_path / "clone"))
    assert (tmp_path / "clone" / "content").read_bytes() == DATA


@pytest.mark.peer("squid", "chromium", "openssl")
@pytest.mark.parametrize("scheme", ["socks5", "http"])
def test_a_browser_through_a_dynamic_port(dynamic: Forward, https_port: int, scheme: str, tmp_path: Path) -> None:
    shown = browser.page(f"https://127.0.0.1:{https_port}/page.html", f"{scheme}://127.0.0.1:{dynamic.port}", tmp_path / "profile")
    assert '<p id="p">made here</p>' in shown


# --- a login


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forward]:
    """Connects directly, because squid ends a tunnel as soon as ncat has sent everything."""
    users = tmp_path_factory.mktemp("users") / "users"
    users.write_text(hash_password("anna", "s3cret") + "\n")
    with Forward("-x", "direct", "-D", "0", "--users", str(users)) as forward:
        yield forward


@pytest.mark.peer("curl")
@pytest.mark.parametrize("scheme", ["socks5h", "http", "http -p", "http --proxy-anyauth"])
def test_curl_logs_in(guarded: Forward, http_port: int, scheme: str) -> None:
    scheme, *words = scheme.split()
    url = f"http://127.0.0.1:{http_port}/file"
    for login, right in (("anna:s3cret", True), ("anna:wrong", False), ("", False)):
        proxy = f"{scheme}://{login}{'@' if login else ''}127.0.0.1:{guarded.port}"
        curl = (path_of("curl"), "-sS", "-f", "--noproxy", "", "-x", proxy, *words, "--max-time", "30", url)
        done = subprocess.run(curl, capture_output=True, timeout=60)
        assert (done.stdout == DATA) is right, done.stderr


@pytest.mark.peer("curl")
@pytest.mark.parametrize("scheme", ["socks4", "socks4a"])
def test_curl_cannot_log_in_with_socks4(guarded: Forward, http_port: int, scheme: str) -> None:
    curl = (
        path_of("curl"),
        "-sS",
        "-x",
        f"{scheme}://anna@127.0.0.1:{guarded.port}",
        "--noproxy",
        "",
        f"http://127.0.0.1:{http_port}/",
    )
    done = subprocess.run(curl, capture_output=True, timeout=60)
    assert done.returncode == 97
    assert b"(93)" in done.stderr


@pytest.mark.peer("ncat")
@pytest.mark.parametrize("kind", ["http", "socks5"])
def test_ncat_logs_in(guarded: Forward, http_port: int, kind: str) -> None:
    request = b"HEAD /file HTTP/1.0\r\n\r\n"
    for password, right in (("s3cret", True), ("wrong", False)):
        ncat = (path_of("ncat"), "--proxy", f"127.0.0.1:{guarded.port}", "--proxy-type", kind, "127.0.0.1", str(http_port))
        env = {**os.environ, "NCAT_PROXY_AUTH": f"anna:{password}"}
        done = subprocess.run(ncat, input=request, capture_output=True, timeout=60, env=env)
        assert done.stdout.startswith(b"HTTP/1.1 200") is right, done.stderr


@pytest.mark.peer("curl")
def test_curl_gets_the_socks_reply_of_a_direct_connection() -> None:
    held, port = refusing_port()
    with held, Forward("-x", "direct", "-D", "0") as forward:
        curl = (path_of("curl"), "-sS", "-x", f"socks5h://127.0.0.1:{forward.port}", "--noproxy", "", f"http://127.0.0.1:{port}/")
        done = subprocess.run(curl, capture_output=True, timeout=60)
    assert done.returncode == 97
    assert b"(5)" in done.stderr
