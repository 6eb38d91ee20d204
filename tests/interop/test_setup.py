"""`setup`: each real tool reads the lines that it printed, and the access log of `serve` shows the tool's request.

The tools ask for names that only `serve` can look up, so a tool that bypasses the proxy fails. Between them is `forward`, which
takes plain http:// requests as well.
"""

import io
import json
import os
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.peers import gitserver
from tests.peers.https import make_certificate, web_server
from tests.peers.process import path_of, scratch_directory
from tests.peers.program import RUN_SECONDS, SCRIPT, SOON, Forward, Serve, environment, patched

pytestmark = pytest.mark.once

NAME = "pkg.example.test"
# serve looks the name up as this machine; no tool can.
LOOKUP = patched(
    f"import socket; real = socket.getaddrinfo\ndef known(host, *rest):\n"
    f"    return real('127.0.0.1' if host in ({NAME!r}, {NAME.encode()!r}, {NAME.encode() + b'.'!r}) else host, *rest)\n"
    f"socket.getaddrinfo = known"
)


class Route:
    """A forward that leads to a serve, whose access log is the witness."""

    def __init__(self, port: int, log: Path) -> None:
        self.port, self._log = port, log

    def went_to(self, port: int) -> bool:
        """Whether a tunnel led to that port. A record may be written some moments after the tool has ended."""
        deadline = time.monotonic() + SOON
        while f'"target":"{NAME}:{port}"' not in self._log.read_text():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True


@pytest.fixture(scope="module")
def route(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Route]:
    log = tmp_path_factory.mktemp("log") / "access"
    with (
        Serve("--access-log", str(log), allow=(f"{NAME}:*",), program=LOOKUP) as serve,
        Forward("-x", serve.url, "-D", "0") as port,
    ):
        yield Route(port.port, log)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    directory = tmp_path / "home"
    directory.mkdir()
    return directory


def env(home: Path, **extra: str) -> dict[str, str]:
    """The environment of a user with that home, and none of ours that would name another proxy or index."""
    inherited = {
        name: value for name, value in environment().items() if not name.startswith(("PIP_", "UV_", "NPM_", "npm_", "XDG_"))
    }
    return {**inherited, "HOME": str(home), **extra}


def printed(home: Path, tool: str, port: int, *words: str) -> str:
    """What `setup` prints for a tool, to stdout: the lines."""
    command = [SCRIPT, "setup", tool, "-D", str(port), *words]
    done = subprocess.run(command, capture_output=True, text=True, env=env(home), timeout=RUN_SECONDS)
    assert done.returncode in (0, 78), done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def install(home: Path, tool: str, port: int, *place: str) -> Path:
    """Writes the lines into the file below the home directory, and checks that --check finds them from then on, and not before."""
    assert " lacks " in printed(home, tool, port, "--check")
    file = home.joinpath(*place)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(printed(home, tool, port))
    assert " has the lines\n" in printed(home, tool, port, "--check")
    assert "another value for " in printed(home, tool, 1, "--check")
    return file


def ran(home: Path, *command: str, cwd: Path | None = None, **extra: str) -> "subprocess.CompletedProcess[str]":
    words = [path_of(command[0]), *command[1:]]
    return subprocess.run(
        words, capture_output=True, text=True, env=env(home, **extra), timeout=60, cwd=cwd or home, stdin=subprocess.DEVNULL
    )


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    root = tmp_path / "web"
    root.mkdir()
    (root / "file").write_text("through\n")
    with web_server(root) as port:
        yield root, port


Web = tuple[Path, int]


@pytest.mark.peer("curl")
def test_curl(route: Route, home: Path, web: Web) -> None:
    install(home, "curl", route.port, ".curlrc")
    assert ran(home, "curl", "-sS", f"http://{NAME}:{web[1]}/file").stdout == "through\n"
    assert route.went_to(web[1])


@pytest.mark.peer("curl", "git")
def test_libcurl_leaves_the_lookup_to_a_socks_proxy(route: Route, home: Path, web: Web) -> None:
    """The port of the forward speaks SOCKS too; with socks5:// in place of socks5h://, libcurl would look the name up itself."""
    root, port = web
    gitserver.make_repository(root, b"content")
    for tool, file in (("curl", ".curlrc"), ("git", ".gitconfig")):
        words = [SCRIPT, "setup", tool, "-x", f"socks5://127.0.0.1:{route.port}"]
        (home / file).write_bytes(subprocess.run(words, capture_output=True, env=env(home), timeout=RUN_SECONDS).stdout)
    assert ran(home, "curl", "-sS", f"http://{NAME}:{port}/file").stdout == "through\n"
    assert "refs/heads/main" in ran(home, "git", "ls-remote", f"http://{NAME}:{port}/repo.git", GIT_CONFIG_NOSYSTEM="1").stdout
    assert route.went_to(port)


@pytest.mark.peer("wget")
def test_wget(route: Route, home: Path, web: Web) -> None:
    install(home, "wget", route.port, ".wgetrc")
    assert ran(home, "wget", "-q", "-O", "-", "--tries=1", f"http://{NAME}:{web[1]}/file").stdout == "through\n"
    assert route.went_to(web[1])


@pytest.mark.peer("git")
def test_git(route: Route, home: Path, web: Web) -> None:
    root, port = web
    gitserver.make_repository(root, b"content")
    install(home, "git", route.port, ".gitconfig")
    done = ran(home, "git", "clone", "-q", f"http://{NAME}:{port}/repo.git", "clone", GIT_CONFIG_NOSYSTEM="1")
    assert (home / "clone" / "content").read_bytes() == b"content", done.stderr
    assert route.went_to(port)


@pytest.mark.peer("apt-get")
def test_apt(route: Route, home: Path, web: Web) -> None:
    root, port = web
    for part in ("dists/x/main/binary-amd64", "dists/x/main/binary-arm64"):
        (root / part).mkdir(parents=True)
        (root / part / "Packages").write_text("")
    (root / "dists/x/Release").write_text("Suite: x\nComponents: main\nArchitectures: amd64 arm64\n")
    file = home / "80proxy"
    file.write_text(printed(home, "apt", route.port))
    state = home / "apt"
    (state / "lists/partial").mkdir(parents=True)
    (state / "sources").write_text(f"deb [trusted=yes] http://{NAME}:{port} x main\n")
    words = [f"Dir::State={state}", f"Dir::Etc::sourcelist={state}/sources", "Dir::Etc::sourceparts=-", f"Dir::Cache={state}"]
    options = [
        word
        for text in [*words, f"Dir::State::lists={state}/lists", "APT::Sandbox::User=", "Debug::NoLocking=1"]
        for word in ("-o", text)
    ]
    done = ran(home, "apt-get", "-c", str(file), *options, "update")
    assert route.went_to(port), done.stderr + done.stdout
    assert done.returncode == 0, done.stderr
    shown = ran(home, "apt-config", "-c", str(file), "dump").stdout
    assert f'Acquire::http::Proxy "http://127.0.0.1:{route.port}";' in shown


@pytest.mark.peer("npm")
def test_npm(route: Route, home: Path, web: Web) -> None:
    root, port = web
    make_npm_package(root, f"http://{NAME}:{port}")
    install(home, "npm", route.port, ".npmrc")
    words = ("view", "parcel", "version", "--registry", f"http://{NAME}:{port}/", "--fetch-retries=0")
    done = ran(home, "npm", *words)
    assert done.stdout.strip() == "1.0.0", done.stderr
    assert route.went_to(port)


def make_npm_package(root: Path, base: str) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        content = b'{"name":"parcel","version":"1.0.0"}'
        info = tarfile.TarInfo("package/package.json")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    (root / "parcel.tgz").write_bytes(archive.getvalue())
    version = {"name": "parcel", "version": "1.0.0", "dist": {"tarball": f"{base}/parcel.tgz"}}
    (root / "parcel").write_text(json.dumps({"name": "parcel", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}))


def make_index(root: Path) -> None:
    """A package index of Python with one wheel."""
    (root / "simple/parcel").mkdir(parents=True)
    wheel = root / "simple/parcel/parcel-1.0-py3-none-any.whl"
    info = "parcel-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: parcel\nVersion: 1.0\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")
    (root / "simple/parcel/index.html").write_text(f'<!DOCTYPE html><a href="{wheel.name}">{wheel.name}</a>')


def test_pip(route: Route, home: Path, web: Web) -> None:
    root, port = web
    make_index(root)
    install(home, "pip", route.port, ".config", "pip", "pip.conf")
    words = [
        "-W",
        "ignore",
        "-m",
        "pip",
        "--no-cache-dir",
        "--disable-pip-version-check",
        "-q",
        "download",
        "--no-deps",
        "-d",
        str(home / "got"),
    ]
    index = ["--index-url", f"http://{NAME}:{port}/simple/", "--trusted-host", NAME]
    done = subprocess.run([sys.executable, *words, *index, "parcel"], capture_output=True, text=True, env=env(home), timeout=60)
    assert [file.name for file in (home / "got").iterdir()] == ["parcel-1.0-py3-none-any.whl"], done.stderr
    assert route.went_to(port)


@pytest.mark.peer("uv")
def test_uv(route: Route, home: Path, web: Web) -> None:
    root, port = web
    make_index(root)
    install(home, "uv", route.port, ".config", "uv", "uv.toml")
    words = ["pip", "install", "--no-cache", "--target", str(home / "got"), "--python", sys.executable]
    done = ran(home, "uv", *words, "--index-url", f"http://{NAME}:{port}/simple/", "parcel")
    assert done.returncode == 0, done.stderr
    assert route.went_to(port)


@pytest.mark.peer("cargo")
def test_cargo(route: Route, home: Path, web: Web) -> None:
    _, port = web
    file = install(home, "cargo", route.port, ".cargo", "config.toml")
    file.write_text(
        f'{file.read_text()}\n[source.crates-io]\nreplace-with = "own"\n[source.own]\nregistry = "http://{NAME}:{port}/repo.git"\n'
    )
    (home / "crate/src").mkdir(parents=True)
    (home / "crate/src/lib.rs").write_text("")
    (home / "crate/Cargo.toml").write_text('[package]\nname = "x"\nversion = "0.1.0"\n[dependencies]\nparcel = "1"\n')
    ran(
        home,
        "cargo",
        "generate-lockfile",
        cwd=home / "crate",
        CARGO_HOME=str(home / ".cargo"),
        RUSTUP_HOME=rustup(),
        CARGO_NET_RETRY="0",
    )
    assert route.went_to(port)


def rustup() -> str:
    """Where rustup keeps the toolchains, if cargo is one of its links."""
    return os.environ.get("RUSTUP_HOME", os.path.expanduser("~/.rustup"))


@pytest.mark.peer("keytool", "openssl")
def test_java(route: Route, home: Path, tmp_path: Path) -> None:
    """keytool(1) is a Java program, and connects by the class for URLs."""
    install(home, "java", route.port, ".profile")
    certificate = make_certificate(tmp_path)
    with web_server(tmp_path, certificate) as port:
        done = ran(home, "sh", "-c", f". ~/.profile; exec keytool -printcert -rfc -sslserver {NAME}:{port}")
        assert certificate[0].read_text().split()[2] in done.stdout, done.stdout + done.stderr
        assert route.went_to(port)


@pytest.mark.peer("mvn")
def test_maven(route: Route, home: Path, web: Web) -> None:
    _, port = web
    settings = install(home, "maven", route.port, ".m2", "settings.xml")
    (home / "pom.xml").write_text(
        "<project><modelVersion>4.0.0</modelVersion><parent><groupId>g</groupId><artifactId>parent</artifactId>"
        "<version>1</version><relativePath/></parent><artifactId>a</artifactId><repositories><repository><id>own</id>"
        f"<url>http://{NAME}:{port}/</url></repository></repositories></project>"
    )
    # Maven 3.8 blocks http:// repositories by a mirror in its own settings; these global ones have none.
    (home / "global.xml").write_text("<settings/>")
    ran(home, "mvn", "-B", "-q", "-s", str(settings), "-gs", str(home / "global.xml"), f"-Duser.home={home}", "validate")
    assert route.went_to(port)


@pytest.mark.peer("kubectl")
def test_kubectl(route: Route, home: Path, web: Web) -> None:
    _, port = web
    if "--proxy-url" not in ran(home, "kubectl", "config", "set-cluster", "--help").stdout:
        pytest.skip("this kubectl cannot set the proxy of a cluster: it is older than version 1.24")
    (home / ".kube").mkdir()
    (home / ".kube/config").write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "c c", "cluster": {"server": f"http://{NAME}:{port}"}}],
                "contexts": [{"name": "x", "context": {"cluster": "c c", "user": "u"}}],
                "users": [{"name": "u", "user": {}}],
                "current-context": "x",
            }
        )
    )
    assert " lacks proxy-url" in printed(home, "kubectl", route.port, "--check")
    done = ran(home, "sh", "-e", "-c", printed(home, "kubectl", route.port))
    assert done.returncode == 0, done.stderr
    assert " has these settings\n" in printed(home, "kubectl", route.port, "--check")
    ran(home, "kubectl", "get", "pods", "--request-timeout=20s")
    assert route.went_to(port)


@pytest.mark.peer("dnf")
def test_dnf(route: Route, home: Path, web: Web) -> None:
    _, port = web
    file = home / "dnf.conf"
    file.write_text(printed(home, "dnf", route.port))
    root = ["-c", str(file), "--installroot", str(home / "root"), f"--setopt=cachedir={home}/cache", "--setopt=retries=1"]
    ran(home, "dnf", *root, f"--repofrompath=own,http://{NAME}:{port}/", "--repo=own", "--releasever=1", "makecache")
    assert route.went_to(port)


@pytest.mark.peer("yarn")
def test_yarn(route: Route, home: Path, web: Web) -> None:
    root, port = web
    make_npm_package(root, f"http://{NAME}:{port}")
    install(home, "yarn", route.port, ".yarnrc.yml")
    project = home / "project"
    project.mkdir()
    (project / "package.json").write_text('{"name": "project"}')
    (project / "yarn.lock").write_text("")
    own = [
        f'npmRegistryServer: "http://{NAME}:{port}"',
        f'unsafeHttpWhitelist: ["{NAME}"]',
        "enableTelemetry: false",
        "httpRetry: 0",
    ]
    (project / ".yarnrc.yml").write_text("\n".join(own))
    done = ran(home, "yarn", "npm", "info", "parcel", "--json", cwd=project)
    assert json.loads(done.stdout)["version"] == "1.0.0", done.stdout + done.stderr
    assert route.went_to(port)


@pytest.mark.peer("podman")
@pytest.mark.skipif(os.geteuid() != 0, reason="without root, podman needs subordinate user ids, which this machine may not have")
def test_podman(route: Route, home: Path, web: Web) -> None:
    _, port = web
    file = install(home, "podman", route.port, ".config", "containers", "containers.conf")
    with scratch_directory() as directory:  # podman refuses a long path
        storage = [word for name in ("root", "runroot", "tmpdir") for word in (f"--{name}", str(directory / name))]
        done = ran(
            home,
            "podman",
            *storage,
            "--storage-driver",
            "vfs",
            "pull",
            "--tls-verify=false",
            f"{NAME}:{port}/image:1",
            CONTAINERS_CONF=str(file),
        )
    assert route.went_to(port), done.stderr


@pytest.mark.peer("gsettings")
def test_gnome(route: Route, home: Path) -> None:
    """The settings are kept in a file; gsettings reads them back as --check does."""
    backend: Any = {"GSETTINGS_BACKEND": "keyfile", "XDG_CONFIG_HOME": str(home / ".config")}
    done = ran(home, "sh", "-e", "-c", printed(home, "gnome", route.port), **backend)
    assert (done.returncode, done.stderr) == (0, "")
    check = [SCRIPT, "setup", "gnome", "-D", str(route.port), "--check"]
    checked = subprocess.run(check, capture_output=True, text=True, env=env(home, **backend), timeout=RUN_SECONDS)
    assert (checked.returncode, checked.stdout) == (0, "gnome: it has these settings\n")


@pytest.mark.peer("systemd-analyze")
def test_systemd_accepts_the_drop_in(home: Path) -> None:
    """With a scope id in the address, whose % is a specifier to systemd; a test of the formats reads the value back."""
    (home / "docker.service").write_text("[Service]\nExecStart=/bin/true\n")
    (home / "docker.service.d").mkdir()
    verify = ("systemd-analyze", "verify", "--man=no", str(home / "docker.service"))
    drop_in = home / "docker.service.d" / "proxy.conf"
    words = [SCRIPT, "setup", "docker-daemon", "-x", "http://[fe80::1%25eth0]:3128"]
    drop_in.write_text(subprocess.run(words, capture_output=True, text=True, env=env(home), timeout=RUN_SECONDS).stdout)
    assert "fe80" in drop_in.read_text()
    assert "proxy.conf" not in ran(home, *verify).stderr
    drop_in.write_text(drop_in.read_text().replace('"\n', "\n"))
    assert "proxy.conf" in ran(home, *verify).stderr, "the check can fail"


@pytest.mark.parametrize("tool", ["go", "terraform"])
@pytest.mark.peer("curl")
def test_a_shell_exports_the_variables(route: Route, home: Path, web: Web, tool: str) -> None:
    install(home, tool, route.port, ".profile")
    done = ran(home, "sh", "-c", f". ~/.profile; exec curl -sS http://{NAME}:{web[1]}/file")
    assert done.stdout == "through\n", done.stderr
    assert route.went_to(web[1])
