"""Tells whether a .pyz is made of the sources of this checkout, committed or not.

sources.py        prints their hash, which pack.py puts into the .pyz
sources.py PYZ    ends with status 0 if the .pyz has the same hash, with 1 if it has another one or is missing
"""

import hashlib
import sys
from pathlib import Path
from zipfile import BadZipFile, ZipFile

ROOT = Path(__file__).parents[2]
ENTRY = "sources"
PATTERNS = ("tunnelctl/**/*", "man/*.[1-8]", "deploy/pyz/*", "pyproject.toml", "README.md", "LICENSE")


def digest(root: Path) -> str:
    """Returns a hash of the names and the contents of all files from which the .pyz is built."""
    files = sorted(file for pattern in PATTERNS for file in root.glob(pattern) if file.is_file() and file.suffix != ".pyc")
    lines = (f"{hashlib.sha256(file.read_bytes()).hexdigest()} {file.relative_to(root).as_posix()}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def recorded(pyz: Path) -> str:
    """Returns the hash in a .pyz; "" if there is none."""
    try:
        with ZipFile(pyz) as file:
            return file.read(ENTRY).decode()
    except (OSError, BadZipFile, KeyError):
        return ""


def main(*words: str) -> int:
    if words:
        return int(recorded(Path(words[0])) != digest(ROOT))
    print(digest(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
