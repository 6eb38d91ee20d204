"""What is published, built once for all tests by the commands that docs/install.md gives, and a system to install it in."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.deploy.debian import Tree, copied, put
from tests.peers.process import path_of
from tunnelctl import __version__

ROOT = Path(__file__).parents[2]
BUILD_SECONDS = 240.0


def build(*command: str, cwd: Path = ROOT, **env: str) -> None:
    """Runs a command that builds something; its output is the failure's message."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=BUILD_SECONDS,
    )
    assert done.returncode == 0, done.stdout.decode(errors="replace")


@pytest.fixture(scope="session")
def pyz() -> Path:
    """The one file, built from the checkout."""
    assert "\ndeploy/pyz/build\n" in (ROOT / "docs/install.md").read_text()
    build("deploy/pyz/build", PYTHON=sys.executable)
    return ROOT / "dist/tunnelctl.pyz"


@pytest.fixture(scope="session")
def debian_tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The root directory of a Debian like this one, with python3 and nothing else beyond the minimum: to be copied by `cp -a`."""
    directory = tmp_path_factory.mktemp("debian")
    tree, settings = directory / "tree", directory / "apt.conf"
    # The mirrors of this machine, and how it reaches them. Proxies may be in either.
    settings.write_bytes(subprocess.run(["apt-config", "dump", "Acquire"], stdout=subprocess.PIPE, check=True).stdout)
    # It mounts /proc, /sys and /dev/shm in the tree. If it were killed, they would stay; in a namespace of its own they go with it.
    build(
        path_of("unshare"), "--mount", path_of("mmdebstrap"), "--variant=minbase", "--include=python3", f"--aptopt={settings}",
        _codename(), str(tree), *_sources(),
    )  # fmt: skip
    yield tree
    shutil.rmtree(tree)  # 224 MB


def _codename() -> str:
    lines = Path("/etc/os-release").read_text().splitlines()
    return next(line.partition("=")[2] for line in lines if line.startswith("VERSION_CODENAME="))


def _sources() -> Sequence[str]:
    files = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    return [str(file) for file in files if file.suffix in (".list", ".sources") and file.exists()]


@pytest.fixture(scope="session")
def image(pyz: Path) -> str:
    """The name of the container image, built around `pyz`."""
    assert "\ndeploy/image/build\n" in (ROOT / "docs/install.md").read_text()
    build("deploy/image/build")
    return f"tunnelctl:{__version__}"


@pytest.fixture(scope="session")
def deb(pyz: Path) -> Path:
    """The Debian package, built around `pyz`."""
    assert "\ndeploy/debian/build\n" in (ROOT / "docs/install.md").read_text()
    build("deploy/debian/build")
    (package,) = (ROOT / "dist").glob("tunnelctl_*_all.deb")
    return package


@pytest.fixture(scope="session")
def installed(debian_tree: Path, deb: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tree]:
    """A Debian in which apt has installed the package, and what shows its parts. Tests leave it as it was."""
    with copied(debian_tree, tmp_path_factory.mktemp("installed")) as tree:
        put(tree, deb)
        tree.install(f"/srv/{deb.name}", "bash-completion", "logrotate", "man-db")
        yield tree
