"""Tools that reach the proxy itself over TLS, as lines with an https:// proxy tell them to.

`setup` sends a tool to such a proxy by itself only if the machine trusts its certificate. Here the variables of the tools name the
authority that issued it, and that of the website.
"""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers import certificates
from tests.peers.https import web_server
from tests.peers.packages import make_go_module, make_index, make_npm_package
from tests.peers.process import scratch_directory
from tests.peers.program import Serve
from tests.peers.tools import LOOKUP, NAME, Route, lines, ran

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def route(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Route]:
    directory = tmp_path_factory.mktemp("proxy")
    chain, key = certificates.issue(directory, "proxy", "localhost")
    words = ("--tls-cert", str(chain), "--tls-key", str(key), "--access-log", str(directory / "access"))
    with Serve(*words, allow=(f"{NAME}:*",), program=LOOKUP) as serve:
        yield Route(serve.port, directory / "access")


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A website over TLS: its directory, and its port."""
    root = tmp_path / "web"
    root.mkdir()
    (root / "file").write_text("through\n")
    with web_server(root, certificates.issue(tmp_path, "website", NAME)) as port:
        yield root, port


@pytest.fixture
def trust(tmp_path: Path) -> dict[str, str]:
    """The variables by which uv, pip, yarn, npm and the programs in Go trust an authority."""
    names = (
        "SSL_CERT_FILE",
        "REQUESTS_CA_BUNDLE",
        "PIP_CERT",  # pip 24 takes the others for websites alone, and not for the proxy
        "NODE_EXTRA_CA_CERTS",
        "npm_config_cafile",
        "GIT_SSL_CAINFO",
        "GIT_PROXY_SSL_CAINFO",
    )
    return dict.fromkeys(names, str(certificates.authority(tmp_path)))


def install(home: Path, tool: str, route: Route, *place: str) -> None:
    text = lines(home, tool, "-x", f"https://localhost:{route.port}")
    assert f"https://localhost:{route.port}" in text
    file = home.joinpath(*place)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


Web = tuple[Path, int]


@pytest.mark.peer("curl")
def test_curl(route: Route, home: Path, web: Web, trust: dict[str, str]) -> None:
    install(home, "curl", route, ".curlrc")
    authority = trust["SSL_CERT_FILE"]
    done = ran(home, "curl", "-sS", "--cacert", authority, "--proxy-cacert", authority, f"https://{NAME}:{web[1]}/file")
    assert done.stdout == "through\n", done.stderr
    assert route.went_to(web[1])


@pytest.mark.peer("npm")
def test_npm(route: Route, home: Path, web: Web, trust: dict[str, str]) -> None:
    root, port = web
    make_npm_package(root, f"https://{NAME}:{port}")
    install(home, "npm", route, ".npmrc")
    words = ("view", "parcel", "version", "--registry", f"https://{NAME}:{port}/", "--fetch-retries=0")
    done = ran(home, "npm", *words, **trust)
    assert done.stdout.strip() == "1.0.0", done.stderr
    assert route.went_to(port)


@pytest.mark.peer("yarn")
def test_yarn(route: Route, home: Path, web: Web, trust: dict[str, str]) -> None:
    root, port = web
    make_npm_package(root, f"https://{NAME}:{port}")
    install(home, "yarn", route, ".yarnrc.yml")
    project = home / "project"
    project.mkdir()
    (project / "package.json").write_text('{"name": "project"}')
    (project / "yarn.lock").write_text("")
    own = {"YARN_NPM_REGISTRY_SERVER": f"https://{NAME}:{port}", "YARN_ENABLE_TELEMETRY": "0", "YARN_HTTP_RETRY": "0"}
    done = ran(home, "yarn", "npm", "info", "parcel", "--json", cwd=project, **own, **trust)
    assert json.loads(done.stdout)["version"] == "1.0.0", done.stdout + done.stderr
    assert route.went_to(port)


def test_pip(route: Route, home: Path, web: Web, trust: dict[str, str]) -> None:
    root, port = web
    make_index(root)
    install(home, "pip", route, ".config", "pip", "pip.conf")
    words = ["--no-cache-dir", "--disable-pip-version-check", "-q", "download", "--no-deps", "-d", str(home / "got")]
    index = ["--index-url", f"https://{NAME}:{port}/simple/"]
    done = ran(home, sys.executable, "-W", "ignore", "-m", "pip", *words, *index, "parcel", **trust)
    assert (home / "got/parcel-1.0-py3-none-any.whl").exists(), done.stderr
    assert route.went_to(port)


@pytest.mark.peer("uv")
def test_uv(route: Route, home: Path, web: Web, trust: dict[str, str]) -> None:
    root, port = web
    make_index(root)
    install(home, "uv", route, ".config", "uv", "uv.toml")
    words = ["pip", "install", "--no-cache", "--target", str(home / "got"), "--python", sys.executable]
    done = ran(home, "uv", *words, "--index-url", f"https://{NAME}:{port}/simple/", "parcel", **trust)
    assert done.returncode == 0, done.stderr
    assert route.went_to(port)


@pytest.mark.peer("podman")
@pytest.mark.skipif(os.geteuid() != 0, reason="without root, podman needs subordinate user ids, which this machine may not have")
def test_podman(route: Route, home: Path, web: Web, trust: dict[str, str]) -> None:
    install(home, "podman", route, "containers.conf")
    with scratch_directory() as directory:  # podman refuses a long path
        storage = [word for name in ("root", "runroot", "tmpdir") for word in (f"--{name}", str(directory / name))]
        words = [*storage, "--storage-driver", "vfs", "pull", f"{NAME}:{web[1]}/image:1"]
        done = ran(home, "podman", *words, CONTAINERS_CONF=str(home / "containers.conf"), **trust)
    assert "404" in done.stderr, "the answer of the website, which is no registry"
    assert route.went_to(web[1])


@pytest.mark.peer("go")
def test_go_speaks_http1_where_it_has_agreed_on_http2(route: Route, home: Path, web: Web, trust: dict[str, str]) -> None:
    """serve bears with that; other proxies do not. So `setup` sends go, kubectl and terraform to a forward."""
    root, port = web
    make_go_module(root)
    own = {
        "GOPROXY": f"https://{NAME}:{port}",
        "GONOSUMDB": "*",
        "GOTOOLCHAIN": "local",
        "https_proxy": f"https://localhost:{route.port}",
    }
    (home / "go.mod").write_text("module project\n")
    done = ran(home, "go", "mod", "download", "parcel.test/parcel@v1.0.0", GOPATH=f"{home}/go", **own, **trust)
    assert done.returncode == 0, done.stderr
    assert route.went_to(port)
    for tool in ("go", "kubectl", "terraform"):
        text = lines(home, tool, "-x", f"https://localhost:{route.port}")
        assert "http://127.0.0.1:8080" in text
        assert "https://" not in text
