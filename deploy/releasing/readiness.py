"""Whether a commit can be released: everything is in git, each file states the same version, and the tag names it."""

import re
import subprocess
from collections.abc import Iterator, Sequence
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


def faults(root: Path) -> Iterator[str]:
    """Yields what is wrong at any commit, released or not."""
    version = version_of(root)
    yield from (f"CHANGELOG.md: {fault}" for fault in changelog.faults((root / "CHANGELOG.md").read_text()))
    for page in sorted((root / "man").glob("*.[1-8]")):
        if f'"tunnelctl {version}"' not in page.read_text():
            yield f"man/{page.name} is not of version {version}: run python -m man.source.generate --write"
    for folder in _folders_of_versions(root):
        yield f"{folder}: a version is written there; take it from tunnelctl/__init__.py"


def _folders_of_versions(root: Path) -> Sequence[str]:
    """The build files in which the version stands as such."""
    version = re.compile(rf"(?<![\d.]){re.escape(version_of(root))}(?![\d.])")
    files = [root / "pyproject.toml", *(root / name for name in git(root, "ls-files", "deploy").splitlines())]
    # Other projects have versions too: those of packages are written with ==, those of actions behind a v.
    texts = ((file, re.sub(r"(==|v)[\d.]+", "", file.read_text(errors="replace"))) for file in files if file.is_file())
    return [str(file.relative_to(root)) for file, text in texts if version.search(text)]


def uncommitted(root: Path) -> str:
    """The changes that no commit has, as git lists them; "" if there are none."""
    return git(root, "status", "--porcelain")


def obstacles(root: Path) -> Iterator[str]:
    """Yields what a person has to do before this commit is a release."""
    version = version_of(root)
    yield from changelog.obstacles((root / "CHANGELOG.md").read_text(), version)
    if f"v{version}" not in git(root, "tag", "--points-at", "HEAD").split():
        yield f"the commit has no tag v{version}"
