"""`serve --plain-http` used by programs that ask for http:// URLs: apt, wget, curl, pip, httpx, `openssl ocsp`."""

import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.peers import apt_repository, proxies
from tests.peers.https import web_server
from tests.peers.process import end, free_port, path_of, wait_until
from tests.peers.program import Serve, environment, run
from tests.peers.scripted import sample

pytestmark = pytest.mark.peer("apt-get", "dpkg-deb", "wget", "curl", "openssl", "squid", "tinyproxy")
USER, PASSWORD = "anna", "S3cret.word"
DATA = sample(3_000_000)
SECONDS = 60


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A web server with DATA as /file; yields its authority."""
    directory = tmp_path_factory.mktemp("web")
    (directory / "file").write_bytes(DATA)
    with web_server(directory) as port:
        yield f"127.0.0.1:{port}"


def users(directory: Path, *flags: str) -> str:
    file = directory / "users"
    file.write_bytes(run("hash-password", *flags, USER, stdin=PASSWORD.encode() + b"\n").stdout)
    file.chmod(0o600)
    return str(file)


def output(*command: object, env: dict[str, str] | None = None) -> bytes:
    """Runs a program, which has to succeed; returns what it prints."""
    words = [path_of(str(command[0])), *map(str, command[1:])]
    done = subprocess.run(words, capture_output=True, timeout=SECONDS, env=environment(env), check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout


def ended(log: Path) -> list[dict[str, object]]:
    return [record for record in map(json.loads, log.read_text().splitlines()) if record["event"] == "closed"]


# --- apt


@pytest.mark.parametrize("login", [False, True])
def test_apt_updates_and_downloads(tmp_path: Path, login: bool) -> None:
    """apt pipelines its requests. Each connection that is closed after its first response costs it one further connection."""
    components = packages = 12
    names = apt_repository.make(tmp_path / "repository", components, packages)
    log = tmp_path / "log"
    with web_server(tmp_path / "repository") as port:
        words = ["--plain-http", "--access-log", str(log), *(["--users", users(tmp_path)] if login else [])]
        with Serve(*words, allow=(f"127.0.0.1:{port}",)) as proxy:
            url = proxy.url.replace("://", f"://{USER}:{PASSWORD}@") if login else proxy.url
            apt = apt_repository.Apt(tmp_path / "apt", f"http://127.0.0.1:{port}", components, url)
            done = apt.run("update")
            assert (done.returncode, done.stderr) == (0, "")
            done = apt.run("download", *names)
            assert (done.returncode, done.stderr) == (0, "")
        for name in names:
            file = f"{name}_1_all.deb"
            assert (apt.root / "work" / file).read_bytes() == (tmp_path / "repository/pool" / file).read_bytes()
    records = ended(log)
    assert {(record["method"], record["target"], record["cause"]) for record in records} == {("GET", f"127.0.0.1:{port}", "eof")}
    assert len(records) == 3 + components + packages, "InRelease, Release, Release.gpg, the indexes, the packages: none twice"


def test_apt_tells_what_the_proxy_says(tmp_path: Path) -> None:
    with Serve("--plain-http", allow=("deb.example.test:80",)) as proxy:
        apt = apt_repository.Apt(tmp_path / "apt", "http://127.0.0.1:9", 1, proxy.url)
        done = apt.run("update")
    assert done.returncode == 100
    assert "403" in done.stderr


# --- wget, curl, httpx, pip


def test_wget(web: str, tmp_path: Path) -> None:
    with Serve("--plain-http", "--users", users(tmp_path), allow=(web,)) as proxy:
        through = {"http_proxy": proxy.url, "no_proxy": ""}
        login = ["--proxy-user", USER, "--proxy-password", PASSWORD]
        assert output("wget", "-qO-", *login, f"http://{web}/file", env=through) == DATA
        command = [path_of("wget"), "-qO-", f"http://{web}/file"]
        refused = subprocess.run(command, capture_output=True, env=environment(through), timeout=SECONDS, check=False)
        assert (refused.returncode, refused.stdout) == (8, b"")  # the server issued an error response


@pytest.mark.parametrize("scheme", ["basic", "digest", "anyauth"])
def test_curl_logs_in(web: str, tmp_path: Path, scheme: str) -> None:
    """Also with a body that it would have to send twice."""
    file = tmp_path / "data"
    file.write_bytes(DATA)
    kind = ["--digest"] if scheme == "digest" else []
    with Serve("--plain-http", "--users", users(tmp_path, *kind), allow=(web,)) as proxy:
        words = ["-sS", "--noproxy", "", "-x", proxy.url, f"--proxy-{scheme}", "--proxy-user", f"{USER}:{PASSWORD}"]
        assert output("curl", *words, f"http://{web}/file") == DATA
        assert output("curl", *words, "--data-binary", f"@{file}", f"http://{web}/") == DATA
        assert b"Content-Length: 3000000\r\n" in output("curl", *words, "-I", f"http://{web}/file")


def test_curl_with_several_urls_http_1_0_and_expect(web: str, tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_bytes(DATA)
    with Serve("--plain-http", allow=(web,)) as proxy:
        words = ["-sS", "--noproxy", "", "-x", proxy.url]
        assert output("curl", *words, *[f"http://{web}/file"] * 3) == DATA * 3
        assert output("curl", *words, "-0", f"http://{web}/file") == DATA
        assert output("curl", *words, "-H", "Expect: 100-continue", "--data-binary", f"@{file}", f"http://{web}/") == DATA
        files = [tmp_path / str(number) for number in range(8)]
        output("curl", *words, "--parallel", *(word for name in files for word in ("-o", name, f"http://{web}/file")))
        assert all(name.read_bytes() == DATA for name in files)


def test_curl_over_tls_to_the_proxy(web: str, tmp_path: Path) -> None:
    from tests.peers.https import make_certificate

    certificate, key = make_certificate(tmp_path)
    with Serve("--plain-http", "--tls-cert", str(certificate), "--tls-key", str(key), allow=(web,)) as proxy:
        words = ["-sS", "--noproxy", "", "-x", f"https://127.0.0.1:{proxy.port}", "--proxy-cacert", certificate]
        assert output("curl", *words, f"http://{web}/file") == DATA


def test_httpx_keeps_no_connection_that_is_closed(web: str) -> None:
    with Serve("--plain-http", allow=(web,)) as proxy, httpx.Client(proxy=proxy.url, timeout=SECONDS) as client:
        for _ in range(5):
            assert client.get(f"http://{web}/file").content == DATA
            assert client.post(f"http://{web}/", content=DATA).content == DATA
            assert client.get(f"http://{web}/none").status_code == 404


def test_pip_downloads_a_wheel(tmp_path: Path) -> None:
    wheel = tmp_path / "web/simple/tiny/tiny-1-py3-none-any.whl"
    wheel.parent.mkdir(parents=True)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny.py", "")
        archive.writestr("tiny-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1\n")
        archive.writestr(
            "tiny-1.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("tiny-1.dist-info/RECORD", "")
    (wheel.parent / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>')
    with web_server(tmp_path / "web") as port, Serve("--plain-http", allow=(f"127.0.0.1:{port}",)) as proxy:
        index = f"http://127.0.0.1:{port}/simple/"
        words = ["--isolated", "-q", "--disable-pip-version-check", "--no-cache-dir", "--no-deps", "--proxy", proxy.url]
        command = [sys.executable, "-m", "pip", "download", *words, "--index-url", index, "-d", str(tmp_path / "out"), "tiny"]
        plain = {name: value for name, value in environment().items() if name != "PYTHONWARNINGS"}
        subprocess.run(command, check=True, capture_output=True, timeout=SECONDS, env=plain)
    assert (tmp_path / "out" / wheel.name).read_bytes() == wheel.read_bytes()


# --- OCSP


@contextmanager
def ocsp_responder(directory: Path) -> Iterator[int]:
    """Runs OpenSSL's responder for a CA that has issued one certificate, serial number 1; yields the port."""
    new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    output("openssl", *new, "-subj", "/CN=test CA", "-keyout", directory / "ca.key", "-out", directory / "ca.pem")
    ask = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=leaf"]
    output("openssl", *ask, "-keyout", directory / "leaf.key", "-out", directory / "leaf.csr")
    sign = ["x509", "-req", "-days", "2", "-set_serial", "1", "-CA", directory / "ca.pem", "-CAkey", directory / "ca.key"]
    output("openssl", *sign, "-in", directory / "leaf.csr", "-out", directory / "leaf.pem")
    (directory / "index").write_text("V\t491231235959Z\t\t01\tunknown\t/CN=leaf\n")
    port = free_port()
    authority = directory / "ca.pem"
    files = ["-index", directory / "index", "-CA", authority, "-rsigner", authority, "-rkey", directory / "ca.key"]
    command = [path_of("openssl"), "ocsp", "-port", str(port), *map(str, files)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: answers(directory, port), SECONDS, "the responder")
        yield port
    finally:
        end(process)


def ocsp(directory: Path, port: int, *options: str) -> "subprocess.CompletedProcess[bytes]":
    files = ["-issuer", directory / "ca.pem", "-cert", directory / "leaf.pem", "-CAfile", directory / "ca.pem"]
    words = ["ocsp", *map(str, files), "-url", f"http://127.0.0.1:{port}/", "-timeout", "10", *options]
    return subprocess.run(
        [path_of("openssl"), *words], capture_output=True, timeout=SECONDS, env=environment({"no_proxy": ""}), check=False
    )


def answers(directory: Path, port: int) -> bool:
    return b"leaf.pem: good" in ocsp(directory, port).stdout


def test_openssl_asks_an_ocsp_responder(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with ocsp_responder(tmp_path) as port, Serve("--plain-http", "--access-log", str(log), allow=(f"127.0.0.1:{port}",)) as proxy:
        done = ocsp(tmp_path, port, "-proxy", f"127.0.0.1:{proxy.port}")
        assert (done.returncode, b"leaf.pem: good" in done.stdout) == (0, True), done.stderr
        wait_until(lambda: len(ended(log)) == 1)
    assert (ended(log)[0]["method"], ended(log)[0]["target"]) == ("POST", f"127.0.0.1:{port}")


# --- through another proxy


@pytest.mark.parametrize("other", [proxies.squid, proxies.tinyproxy], ids=lambda other: other.__name__)
def test_through_a_proxy_that_supports_connect_only(web: str, other: object) -> None:
    port = int(web.rpartition(":")[2])
    with other(proxies.Rules(ports=(port,))) as outer, Serve("--plain-http", "-x", outer.url, allow=(web,)) as proxy:  # type: ignore[operator]
        words = ["-sS", "--noproxy", "", "-x", proxy.url]
        assert output("curl", *words, f"http://{web}/file") == DATA


def test_through_a_second_tunnelctl(web: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Serve("--access-log", str(log), allow=(web,)) as outer, Serve("--plain-http", "-x", outer.url, allow=(web,)) as proxy:
        assert output("curl", "-sS", "--noproxy", "", "-x", proxy.url, f"http://{web}/file") == DATA
        wait_until(lambda: len(ended(log)) == 1)
    assert ended(log)[0]["method"] == "CONNECT"
