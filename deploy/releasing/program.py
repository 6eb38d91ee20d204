"""The command line of `deploy/release`, and its steps in their order."""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from . import artefacts, inventory, readiness
from .artefacts import ARTEFACTS, Artefact, BuildFailed

ROOT = Path(__file__).parents[2]
DESCRIPTION = """\
Build what a release publishes: source archive, wheel, tunnelctl.pyz, Debian
package and image. Everything is built twice, in two clones of this commit that
differ in directory, umask, time zone and locale, and must be the same, byte by
byte. The result replaces dist/, with a bill of materials (CycloneDX), the
licences of what is bundled, and SHA256SUMS.

Without --dry-run, the commit must be ready for a release: a dated section in
CHANGELOG.md, nothing unreleased, a tag. Nothing is uploaded in either case:
deploy/github/release.yml does that.
"""


def main(words: Sequence[str]) -> int:
    """Returns the exit status: 0 if all was built and is the same, 1 otherwise, 2 for an error of usage."""
    options = _parser().parse_args(words)
    try:
        return _release(options.dry_run, [artefact for artefact in ARTEFACTS if artefact.name in (options.only or artefact.name)])
    except (BuildFailed, readiness.GitFailed) as error:
        return _failed(str(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="deploy/release", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dry-run", action="store_true", help="build any commit, ready for a release or not")
    names = [artefact.name for artefact in ARTEFACTS]
    parser.add_argument("--only", action="append", choices=names, help="build only this; may be repeated")
    return parser


def _release(dry_run: bool, wanted: Sequence[Artefact]) -> int:
    if uncommitted := readiness.uncommitted(ROOT):
        return _failed(f"uncommitted changes:\n{uncommitted}")
    obstacles = [*readiness.obstacles(ROOT)]
    if faults := [*readiness.faults(ROOT), *([] if dry_run else obstacles)]:
        return _failed(*faults)
    lacking = [f"{artefact.name} was not built: {what}" for artefact in wanted for what in artefacts.missing(artefact)]
    possible = [artefact for artefact in wanted if not artefacts.missing(artefact)]
    if faults := [*(_build(possible) if possible else ()), *lacking]:
        return _failed(*faults)
    for obstacle in obstacles:
        print(f"before a release: {obstacle}")
    if not dry_run:
        print("built for a release: push the tag, and deploy/github/release.yml publishes; docs/releasing.md has the steps")
    return 0


def _failed(*faults: str) -> int:
    for fault in faults:
        print(f"deploy/release: {fault}", file=sys.stderr)
    return 1


def _build(possible: Sequence[Artefact]) -> Sequence[str]:
    """Builds into dist/. Returns how the two builds differ."""
    epoch = readiness.git(ROOT, "log", "-1", "--format=%ct")
    with tempfile.TemporaryDirectory(prefix="tunnelctl-release-") as name:
        one, other = artefacts.build_twice(ROOT, possible, Path(name), epoch)
        differing = [*artefacts.differences(one, other)]
        if any(artefact.name == "pyz" for artefact in possible):
            _describe(one, Path(name), epoch)
        if not differing:
            _keep(one)
    return differing


def _describe(built: Path, scratch: Path, epoch: str) -> None:
    version = readiness.version_of(ROOT)
    packages = inventory.unpacked(built / "tunnelctl.pyz", scratch)
    (built / inventory.LICENCES).write_text(inventory.licences(packages))
    (built / f"tunnelctl-{version}.cdx.json").write_text(inventory.bill_of_materials(ROOT, packages, version, epoch))


def _keep(built: Path) -> None:
    """Puts the files into dist/ in place of what was there, since SHA256SUMS is to name all of them."""
    (built / "SHA256SUMS").write_text(inventory.checksums(built))
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    shutil.copytree(built, ROOT / "dist")
    for file in sorted(built.iterdir()):
        print(f"{file.stat().st_size:>12,}  {file.name}")
