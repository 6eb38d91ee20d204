"""Package managers of Node.js and Python: npm, yarn, pip, uv, conda."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.peers.packages import make_conda_channel, make_index, make_npm_package
from tests.peers.process import which
from tests.peers.tools import NAME, Route, env, install, ran

pytestmark = pytest.mark.once
Web = tuple[Path, int]


@pytest.mark.peer("npm")
def test_npm(route: Route, home: Path, web: Web) -> None:
    root, port = web
    make_npm_package(root, f"http://{NAME}:{port}")
    install(home, "npm", route.port, ".npmrc")
    words = ("view", "parcel", "version", "--registry", f"http://{NAME}:{port}/", "--fetch-retries=0")
    done = ran(home, "npm", *words)
    assert done.stdout.strip() == "1.0.0", done.stderr
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


# Neither Debian nor a package index has it.
@pytest.mark.skipif(which("conda") is None, reason="conda is not installed")
def test_conda(route: Route, home: Path, web: Web) -> None:
    root, port = web
    make_conda_channel(root)
    install(home, "conda", route.port, ".condarc")
    words = ("search", "--json", "--override-channels", "--channel", f"http://{NAME}:{port}/channel", "parcel")
    done = ran(home, "conda", *words)
    assert json.loads(done.stdout)["parcel"][0]["version"] == "1.0", done.stdout + done.stderr
    assert route.went_to(port)
