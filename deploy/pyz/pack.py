"""Packs what shiv has made into the .pyz, behind a program that starts faster: `python pack.py SHIV.pyz OUTPUT VERSION`.

At each start Python reads the list of a zip's entries, in Python. shiv's file has 1,200 of them, so here it is one entry of an
outer zip, which has nothing besides but what unpacks it. Instructions of a whole `connect`, in millions: 119 with the installed
script, 142 with the .pyz, of which runpy is 20; 348 with shiv's file as it is. Until the first byte: 23.7, 27.3 and 58.6 ms.
"""

import json
import sys
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile, ZipInfo

HERE = Path(__file__).parent
INTERPRETER = b"#!/usr/bin/env python3\n"  # `python3 -m zipapp` can change it; -I behind it is for new versions of env only


def pack(made: Path, output: Path, version: str) -> None:
    """Writes the .pyz. Nothing in it is compressed a second time, and all has the date that shiv gave."""
    with ZipFile(made) as shiv, output.open("wb") as file:
        name = f"{version}-{json.loads(shiv.read('environment.json'))['build_id'][:16]}"
        date = shiv.getinfo("environment.json").date_time
        entries = {
            "__main__.py": (HERE / "start.py").read_bytes().replace(b"@NAME@", name.encode()),
            "unpack.py": (HERE / "unpack.py").read_bytes(),
            **{entry: shiv.read(entry) for entry in shiv.namelist() if entry.startswith("_bootstrap/")},
            "packages.zip": made.read_bytes(),
        }
        file.write(INTERPRETER)
        with ZipFile(file, "w", ZIP_STORED) as outer:
            for entry, octets in entries.items():
                outer.writestr(ZipInfo(entry, date), octets)
    output.chmod(0o755)


if __name__ == "__main__":
    pack(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
