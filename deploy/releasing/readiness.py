"""Whether a commit can be released: everything is in git, each file states the same version, and the tag names it."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from . import changelog


class GitFailed(Exception):
    """git is missing, or the directory is no clone: a source archive cannot be released from."""


def git(root: Path, *words: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True)
    except FileNotFoundError:
        raise GitFailed("git is not installed") from None
    if done.returncode != 0:
        raise GitFailed(f"git {words[0]} failed: {done.stderr.strip()}")
    return done.stdout.strip()


def version_of(root: Path) -> str:
    """The one place where the version is written; every other takes it from there, or is compared."""
    found = re.search(r'^__version__ = "(.+)"$', (root / "tunnelctl/__init__.py").read_text(), re.MULTILINE)
    assert found, "tunnelctl/__init__.py has no line __version__"
    return found[1]


# Files that cannot take the version from there: whoever changes it changes them, too.
STATED = {"deploy/kubernetes/kustomization.yaml": r"newTag: (\S+)"}


def faults(root: Path) -> Iterator[str]:
    """Yields what is wrong at any commit, released or not."""
    version = version_of(root)
    yield from (f"CHANGELOG.md: {fault}" for fault in changelog.faults((root / "CHANGELOG.md").read_text()))
    for page in sorted((root / "man").glob("*.[1-8]")):
        if f'"tunnelctl {version}"' not in page.read_text():
            yield f"man/{page.name} is not of version {version}: run python -m man.source.generate --write"
    for name, pattern in STATED.items():
        if (root / name).is_file() and re.findall(pattern, (root / name).read_text()) != [version]:
            yield f"{name} does not name version {version}"


def uncommitted(root: Path) -> str:
    """The uncommitted changes, as git lists them; "" if there are none."""
    return git(root, "status", "--porcelain")


def obstacles(root: Path) -> Iterator[str]:
    """Yields what a person has to do before this commit is a release."""
    version = version_of(root)
    yield from changelog.obstacles((root / "CHANGELOG.md").read_text(), version)
    if f"v{version}" not in git(root, "tag", "--points-at", "HEAD").split():
        yield f"the commit has no tag v{version}"
