"""A Debian repository in a directory, and apt-get with a root directory of its own, so that it changes nothing on this machine."""

import gzip
import hashlib
import subprocess
from email.utils import formatdate
from pathlib import Path

from tests.peers.process import path_of
from tests.peers.program import environment

SECONDS = 120


def make(directory: Path, components: int, packages: int) -> list[str]:
    """Writes a repository with this many components, and this many packages in the first. Returns the names of the packages."""
    names = [f"tiny{number}" for number in range(packages)]
    indexes = {f"main{number}": "" for number in range(components)}
    (directory / "pool").mkdir(parents=True)
    for number, name in enumerate(names):
        indexes["main0"] += _package(directory, name, number)
    lines = ["Suite: test", "Codename: test", f"Components: {' '.join(indexes)}", "Architectures: amd64"]
    lines += [f"Date: {formatdate(usegmt=True)}", "SHA256:"]
    for component, text in indexes.items():
        index = (text or f"Package: empty-{component}\nVersion: 1\nArchitecture: all\n\n").encode()
        folder = directory / "dists/test" / component / "binary-amd64"
        folder.mkdir(parents=True)
        for name, content in (("Packages", index), ("Packages.gz", gzip.compress(index, mtime=0))):
            (folder / name).write_bytes(content)
            lines.append(f" {hashlib.sha256(content).hexdigest()} {len(content)} {component}/binary-amd64/{name}")
    (directory / "dists/test/Release").write_text("\n".join([*lines, ""]))
    return names


def _package(directory: Path, name: str, number: int) -> str:
    """Builds a package with some incompressible content. Returns its paragraph of the index."""
    tree = directory / "tree" / name
    (tree / "DEBIAN").mkdir(parents=True)
    about = f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: test <test@example.test>\nDescription: test\n"
    (tree / "DEBIAN/control").write_text(about)
    (tree / "file").write_bytes(hashlib.shake_256(b"%d" % number).digest(50_000))
    file = directory / f"pool/{name}_1_all.deb"
    command = [path_of("dpkg-deb"), "--root-owner-group", "-Znone", "--build", str(tree), str(file)]
    subprocess.run(command, check=True, capture_output=True, timeout=SECONDS)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return f"{about}Filename: pool/{file.name}\nSize: {file.stat().st_size}\nSHA256: {digest}\n\n"


class Apt:
    """apt-get with its own sources, lists and cache under `root`."""

    def __init__(self, root: Path, repository: str, components: int, proxy: str) -> None:
        """repository: its URL; proxy: that of the proxy, "" for none"""
        self.root, self._proxy = root, proxy
        for name in ("state/lists/partial", "cache/archives/partial", "etc/preferences.d", "work"):
            (root / name).mkdir(parents=True)
        (root / "state/status").write_text("")
        names = " ".join(f"main{number}" for number in range(components))
        (root / "etc/sources.list").write_text(f"deb [trusted=yes] {repository} test {names}\n")

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Runs apt-get in a directory of its own, where `download` leaves its files."""
        settings = {
            "Dir::State": self.root / "state",
            "Dir::State::status": self.root / "state/status",
            "Dir::Cache": self.root / "cache",
            "Dir::Etc": self.root / "etc",
            "Dir::Etc::sourceparts": "-",
            "APT::Architecture": "amd64",
            "APT::Sandbox::User": "root",
            "APT::Update::Error-Mode": "any",
            "Acquire::Languages": "none",
            "Acquire::Retries": "0",
            "Acquire::http::Proxy": self._proxy or "DIRECT",
        }
        options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
        command = [path_of("apt-get"), "-q", *options, *words]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS, env=environment(), cwd=self.root / "work", check=False
        )
