"""What is published: the command that builds each artefact, the programs that it requires, and two builds compared."""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple


class Artefact(NamedTuple):
    """`modules` are of the Python that runs this; `programs` are on the path, each with the Debian package that has it."""

    name: str
    command: Sequence[str]
    modules: Sequence[str] = ()
    programs: Mapping[str, str] = {}


# What deploy/image/build requires: with BASE, it takes an image in place of one that it would make.
OF_IMAGE = {"buildah": "buildah"} | ({} if os.environ.get("BASE") else {"mmdebstrap": "mmdebstrap"})
# In the order in which they are built: the Debian package and the image are made around the .pyz.
ARTEFACTS = (
    Artefact("wheel", ("deploy/wheel/build",)),
    Artefact("pyz", ("deploy/pyz/build",), modules=("cyclonedx_py",)),  # published with a bill of materials
    Artefact("deb", ("deploy/debian/build",), programs={"dpkg-deb": "dpkg"}),
    Artefact("image", ("deploy/image/build",), programs=OF_IMAGE),
)

# A build must not depend on these. The second directory has a longer name, too.
SETTINGS = (
    ("one", 0o022, {"TZ": "UTC", "LC_ALL": "C.UTF-8"}),
    ("another-directory", 0o077, {"TZ": "Asia/Tokyo", "LC_ALL": "C"}),
)


class BuildFailed(Exception):
    """A command has failed, and has told why."""


def missing(artefact: Artefact) -> list[str]:
    """What the artefact requires and this machine does not have, each with the command that installs it."""
    modules = [name for name in artefact.modules if importlib.util.find_spec(name) is None]
    programs = [(program, package) for program, package in artefact.programs.items() if not shutil.which(program)]
    return [
        *(f"the Python module {name} is missing: {sys.executable} -m pip install '.[deploy]'" for name in modules),
        *(f"{program} is missing: apt-get install {package}" for program, package in programs),
    ]


def build_twice(root: Path, artefacts: Sequence[Artefact], directory: Path, epoch: str) -> tuple[Path, Path]:
    """Builds the commit in two clones below `directory`. Returns the directories with the results."""
    for name, umask, variables in SETTINGS:
        _run(["git", "clone", "--quiet", str(root), str(directory / name)], directory, umask, {})
        for artefact in artefacts:
            print(f"== {artefact.name}, in {name}", flush=True)
            _run(artefact.command, directory / name, umask, {**variables, "SOURCE_DATE_EPOCH": epoch})
    first, second = (directory / name / "dist" for name, _, _ in SETTINGS)
    return first, second


def _run(command: Sequence[str], directory: Path, umask: int, variables: Mapping[str, str]) -> None:
    environ = {"PYTHON": sys.executable, **os.environ, **variables}
    done = subprocess.run(command, cwd=directory, umask=umask, env=environ, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise BuildFailed(f"{' '.join(command)} failed with status {done.returncode}")


def differences(one: Path, other: Path) -> Iterator[str]:
    """Yields the files that are not the same in both directories."""
    here, there = hashes(one), hashes(other)
    yield from (f"{name} was built only once" for name in sorted(here.keys() ^ there.keys()))
    yield from (f"{name} differs between two builds" for name in sorted(here.keys() & there.keys()) if here[name] != there[name])


def hashes(directory: Path) -> dict[str, str]:
    """Returns the SHA-256 of each file."""
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(directory.iterdir()) if file.is_file()}
