"""Prints the licences of what the .pyz bundles: `python licences.py PACKAGES` with the directory of the installed distributions.

Each licence requires that its text goes with the code. shiv is among them: its start code is in the .pyz.
"""

import sys
from importlib.metadata import PathDistribution, distribution
from pathlib import Path

HEADING = (
    "tunnelctl.pyz contains these distributions, each under a licence of its own. Their source is on the Python package index."
)
NAMES = ("LICEN", "COPYING", "NOTICE", "AUTHORS")
RULE = "=" * 80


def third_party(packages: Path) -> str:
    """Returns the text, which does not depend on the order in which the file system lists the distributions."""
    bundled = [found for found in packages.glob("*.dist-info") if not found.name.startswith("tunnelctl-")]
    starter = Path(str(distribution("shiv").locate_file(""))).glob("shiv-*.dist-info")
    return "\n".join([HEADING, "", *map(part, sorted([*bundled, *starter], key=lambda found: found.name.lower()))])


def part(directory: Path) -> str:
    """Returns the part of one distribution: its name and that of its licence, then all texts, wherever its build tool put them."""
    found = PathDistribution(directory)
    title = f"{found.metadata['Name']} {found.version}"
    files = sorted(file for file in directory.rglob("*") if file.is_file() and file.name.upper().startswith(NAMES))
    if not files:
        raise SystemExit(f"{title} has no text of its licence: it must not be bundled without one")
    texts = [file.read_text(encoding="utf-8").strip() for file in files]
    return "\n\n".join([f"{RULE}\n{title}: {licence(found)}\n{RULE}", *texts, ""])


def licence(found: PathDistribution) -> str:
    """The name of the licence, from the field that the distribution uses: that of PEP 639, or one of those before it."""
    told = [found.metadata[name] for name in ("License-Expression", "License") if name in found.metadata]
    classified = [line.split(" :: ")[-1] for line in found.metadata.get_all("Classifier", []) if line.startswith("License ::")]
    return next((line.splitlines()[0] for line in [*told, *classified] if line), "see below")


if __name__ == "__main__":
    sys.stdout.write(third_party(Path(sys.argv[1])))
