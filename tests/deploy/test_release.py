"""The program that builds a release: its checks, two builds compared, what it says of them; and the source archive alone."""

import filecmp
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

from deploy.pyz import licences
from deploy.releasing import artefacts, changelog, inventory, readiness
from deploy.releasing.artefacts import Artefact
from tests.deploy.conftest import BUILD_SECONDS, ROOT, build
from tests.peers.process import path_of
from tests.peers.program import RUN_SECONDS
from tunnelctl import __version__

pytestmark = pytest.mark.peer("git")
EPOCH = "1700000000"
CHANGELOG = """\
# Changelog

## Unreleased

## 0.2.0 - 2026-12-01

### Added

- a flag

## 0.1.0 - 2026-11-30

The first release.
"""


def git(directory: Path, *words: str) -> str:
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.test")
    return subprocess.run([path_of("git"), *identity, *words], cwd=directory, capture_output=True, text=True, check=True).stdout


def test_the_version_is_written_once() -> None:
    assert readiness.version_of(ROOT) == __version__
    assert [*readiness.faults(ROOT)] == []


def test_another_version_elsewhere_is_found(tmp_path: Path) -> None:
    for name, text in {
        "tunnelctl/__init__.py": '__version__ = "7.8.9"\n',
        "CHANGELOG.md": CHANGELOG,
        "man/tunnelctl.1": '.TH TUNNELCTL 1 "2026-11-28" "tunnelctl 7.8.8" "User Commands"\n',
        "deploy/kubernetes/kustomization.yaml": "images:\n  - name: tunnelctl\n    newTag: 7.8.8\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert [*readiness.faults(tmp_path)] == [
        "man/tunnelctl.1 is not of version 7.8.9: run python -m man.source.generate --write",
        "deploy/kubernetes/kustomization.yaml does not name version 7.8.9",
    ]


def test_a_changelog_without_fault() -> None:
    assert changelog.faults(CHANGELOG) == []
    assert [*changelog.obstacles(CHANGELOG, "0.2.0")] == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("## Unreleased\n", "", "the first section is not `Unreleased`"),
        ("## 0.2.0 - 2026-12-01", "## Unreleased", "there are two sections `Unreleased`"),
        ("## 0.2.0", "## 0.0.2", "0.0.2 is above 0.1.0"),
        ("## 0.2.0", "## 0.1.0", "0.1.0 is above 0.1.0"),
        ("2026-12-01", "2026-10-01", "0.2.0 is older than 0.1.0"),
        ("2026-12-01", "1 December", "`1 December` of 0.2.0 is no date"),
        ("2026-12-01", "20261201", "`20261201` of 0.2.0 is no date"),
        ("0.2.0", "v0.2", "`v0.2` is no version"),
        ("### Added", "### New", "`New` in 0.2.0 is none of Added, Changed, Deprecated, Removed, Fixed, Security"),
        ("- a flag", "### Added", "0.2.0 has `Added` twice"),
        ("The first release.", "", "0.1.0 has no text"),
    ],
)
def test_faults_of_a_changelog(old: str, new: str, fault: str) -> None:
    assert fault in changelog.faults(CHANGELOG.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "obstacle"),
    [
        ("## Unreleased\n", "## Unreleased\n\n### Fixed\n\n- a fault\n", "CHANGELOG.md: the section `Unreleased` is not empty"),
        ("0.2.0", "0.3.0", "CHANGELOG.md: there is no section `0.2.0`"),
        (" - 2026-12-01", "", "CHANGELOG.md: the section `0.2.0` has no date"),
    ],
)
def test_what_a_changelog_lacks_for_a_release(old: str, new: str, obstacle: str) -> None:
    assert [*changelog.obstacles(CHANGELOG.replace(old, new, 1), "0.2.0")] == [obstacle]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    git(tmp_path, "clone", "-q", str(ROOT), "clone")
    return tmp_path / "clone"


def release(clone: Path, *words: str, **env: str) -> "subprocess.CompletedProcess[str]":
    command, whole = [sys.executable, "deploy/release", *words], {**os.environ, **env}
    return subprocess.run(
        command, cwd=clone, env=whole, capture_output=True, text=True, timeout=RUN_SECONDS, stdin=subprocess.DEVNULL
    )


def test_uncommitted_changes_are_refused(clone: Path) -> None:
    (clone / "new.txt").touch()
    done = release(clone, "--dry-run")
    assert (done.returncode, done.stderr) == (1, "deploy/release: uncommitted changes:\n?? new.txt\n")


def test_without_dry_run_the_commit_must_be_a_release(clone: Path) -> None:
    text = (clone / "CHANGELOG.md").read_text().replace("## Unreleased\n", "## Unreleased\n\n- a change\n", 1)
    (clone / "CHANGELOG.md").write_text(text)
    git(clone, "commit", "-qam", "change")
    done = release(clone)
    assert done.returncode == 1
    assert "deploy/release: CHANGELOG.md: the section `Unreleased` is not empty\n" in done.stderr
    assert f"deploy/release: the commit has no tag v{__version__}\n" in done.stderr
    assert not (clone / "dist").exists()


def test_without_a_program_the_artefact_is_left_out(clone: Path, tmp_path: Path) -> None:
    (tmp_path / "git").symlink_to(path_of("git"))
    done = release(clone, "--dry-run", "--only", "image", PATH=str(tmp_path))
    assert done.returncode == 1
    assert "deploy/release: image was not built: buildah is missing: apt-get install buildah\n" in done.stderr


def test_without_git_there_is_no_release(clone: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = release(clone, "--dry-run", PATH=str(tmp_path / "empty"))
    assert (done.returncode, done.stderr) == (1, "deploy/release: git is not installed\n")
    (clone / ".git").rename(tmp_path / "git-of-clone")
    done = release(clone, "--dry-run")
    assert done.returncode == 1
    assert done.stderr.startswith("deploy/release: git status failed: fatal: not a git repository")


def test_help_names_each_artefact(clone: Path) -> None:
    done = release(clone, "--help")
    assert done.returncode == 0
    assert "{wheel,pyz,deb,image}" in done.stdout
    assert max(map(len, done.stdout.splitlines())) < 80


def test_what_is_missing_is_named_with_its_remedy() -> None:
    artefact = Artefact("x", (), modules=("no_such_module", "sys"), programs={"no-such-program": "its-package", "sh": "dash"})
    assert artefacts.missing(artefact) == [
        f"the Python module no_such_module is missing: {sys.executable} -m pip install '.[deploy]'",
        "no-such-program is missing: apt-get install its-package",
    ]


def built_twice(tmp_path: Path, *scripts: str) -> Sequence[str]:
    """The differences between two builds by these scripts of a shell, in clones of a repository with one file."""
    source, builds = tmp_path / "source", tmp_path / "builds"
    builds.mkdir()
    git(tmp_path, "init", "-q", "source")
    (source / "file").write_text("text")
    git(source, "add", "file")
    git(source, "commit", "-qm", "file")
    commands = [Artefact(script, ("sh", "-c", f"mkdir -p dist; {script}")) for script in scripts]
    return [*artefacts.differences(*artefacts.build_twice(source, commands, builds, EPOCH))]


def test_two_builds_are_compared(tmp_path: Path) -> None:
    assert built_twice(tmp_path, "cp file dist/", 'echo "$SOURCE_DATE_EPOCH" >dist/date') == []
    assert inventory.checksums(tmp_path / "builds/one/dist").endswith("  file\n")


@pytest.mark.parametrize("script", ["umask", "pwd", "date -d @0", "mktemp", "ls -l file"])
def test_what_depends_on_its_surroundings_is_found(tmp_path: Path, script: str) -> None:
    assert built_twice(tmp_path, f"{script} >dist/out") == ["out differs between two builds"]


def test_a_file_of_one_build_alone_is_found(tmp_path: Path) -> None:
    assert built_twice(tmp_path, "touch dist/$(umask)") == ["0022 was built only once", "0077 was built only once"]


def test_a_build_that_fails_ends_the_release(tmp_path: Path) -> None:
    with pytest.raises(artefacts.BuildFailed, match="failed with status 3"):
        built_twice(tmp_path, "exit 3")


def test_checksums_are_those_of_sha256sum(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "SHA256SUMS").write_text(inventory.checksums(tmp_path))
    (tmp_path / "SHA256SUMS").write_text(inventory.checksums(tmp_path))  # it does not list itself
    done = subprocess.run([path_of("sha256sum"), "--check", "SHA256SUMS"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "a: OK\n")


@pytest.mark.artefact
def test_each_distribution_in_the_pyz_is_described(pyz: Path, tmp_path: Path) -> None:
    """With its licence, and in a bill of materials that two runs write alike."""
    packages = inventory.unpacked(pyz, tmp_path)
    bundled = {found.metadata["Name"]: found for found in map(PathDistribution, packages.glob("*.dist-info"))}
    assert bundled.pop("tunnelctl").version == __version__
    text = inventory.licences(packages)
    assert {*re.findall(rf"^{licences.RULE}\n(\S+) .*\n{licences.RULE}$", text, re.MULTILINE)} == {*bundled, "shiv"}
    bom = inventory.bill_of_materials(ROOT, packages, __version__, EPOCH)
    assert bom == inventory.bill_of_materials(ROOT, packages, __version__, EPOCH)
    check_bill(bom, {name: found.version for name, found in bundled.items()})


def check_bill(text: str, bundled: dict[str, str]) -> None:
    """Reads it by the library of CycloneDX."""
    import json

    from cyclonedx.model.bom import Bom

    bom = Bom.from_json(json.loads(text))  # type: ignore[attr-defined]
    assert bom.metadata.timestamp == datetime.fromtimestamp(int(EPOCH)).astimezone()
    assert (bom.metadata.component.name, bom.metadata.component.version) == ("tunnelctl", __version__)
    assert {component.name: component.version for component in bom.components} == bundled
    assert all(component.licenses for component in bom.components)


def test_a_distribution_without_its_licence_is_not_bundled(tmp_path: Path) -> None:
    (tmp_path / "bare-1.0.dist-info").mkdir()
    (tmp_path / "bare-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: bare\nVersion: 1.0\n")
    with pytest.raises(SystemExit, match=r"bare 1\.0 has no text of its licence"):
        licences.part(tmp_path / "bare-1.0.dist-info")


@pytest.mark.artefact
def test_a_tool_with_another_hash_is_not_installed(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "deploy/tools", tmp_path / "tools")
    requirements = tmp_path / "tools/requirements.txt"
    changed = re.sub(r"(?<=sha256:)\w+", "0" * 64, requirements.read_text())
    requirements.write_text(changed)
    command = [tmp_path / "tools/environment", tmp_path / "venv"]
    done = subprocess.run(
        command, env={**os.environ, "PYTHON": sys.executable}, capture_output=True, text=True, timeout=BUILD_SECONDS
    )
    assert done.returncode == 1
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert not [*tmp_path.glob("venv/lib/*/site-packages/hatchling")]


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The Python that has the tools of a build."""
    directory = tmp_path_factory.mktemp("tools")
    build("deploy/tools/environment", str(directory), PYTHON=sys.executable)
    return str(directory / "bin/python")


@pytest.fixture(scope="session")
def source_archive(tools: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sdist")
    build(tools, "-m", "hatchling", "build", "--target", "sdist", "--directory", str(directory), SOURCE_DATE_EPOCH=EPOCH)
    [archive] = directory.iterdir()
    return archive


@pytest.mark.artefact
def test_the_source_archive_alone_installs(source_archive: Path, tmp_path: Path) -> None:
    build(sys.executable, "-m", "venv", str(tmp_path / "venv"))
    build(str(tmp_path / "venv/bin/pip"), "install", "--quiet", "--disable-pip-version-check", str(source_archive), cwd=tmp_path)
    done = subprocess.run(
        [tmp_path / "venv/bin/tunnelctl", "selftest"], cwd=tmp_path, capture_output=True, text=True, timeout=BUILD_SECONDS
    )
    assert done.returncode == 0, done.stdout
    assert "8 of 8 checks passed" in done.stdout


@pytest.mark.artefact
def test_it_gives_the_same_wheel(tools: str, source_archive: Path, tmp_path: Path) -> None:
    build(tools, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path), SOURCE_DATE_EPOCH=EPOCH)
    pip = (tools, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation")
    build(*pip, "--wheel-dir", str(tmp_path / "from"), str(source_archive), cwd=tmp_path, SOURCE_DATE_EPOCH=EPOCH)
    [wheel] = tmp_path.glob("*.whl")
    assert os.listdir(tmp_path / "from") == [wheel.name]
    assert filecmp.cmp(wheel, tmp_path / "from" / wheel.name, shallow=False)
