"""Packs what shiv has made into the .pyz, behind a program that starts faster: `python pack.py SHIV.pyz OUTPUT VERSION SOURCES`.

At each start Python reads the list of a zip's entries, in Python. shiv's file has 1,200 of them, so here it is one entry of an
outer zip, which has nothing besides but what unpacks it, and the hash of sources.py. Instructions of a whole `connect`, in
millions: 79 with the installed script, 96 with the .pyz. The difference is runpy, which runs each zip, with what it loads:
importlib.util, contextlib, collections, functools. With shiv's file as it is, there were 206 more than with the .pyz. Until the
first byte: 16.8 and 19.9 ms.
"""

import io
import json
import sys
from pathlib import Path
from py_compile import PycInvalidationMode, compile
from tempfile import TemporaryDirectory
from zipfile import ZIP_STORED, ZipFile, ZipInfo

HERE = Path(__file__).parent
# No flag behind it: env accepts one on some systems only. Nor would -I, as in `python -I`, be right: it hides what the user has
# installed, such as the packages for PAC files and Kerberos.
INTERPRETER = b"#!/usr/bin/env python3\n"


def pack(made: Path, output: Path, version: str, sources: str) -> None:
    """Writes the .pyz. Nothing in it is compressed a second time, and all has the date that shiv gave."""
    with ZipFile(made) as shiv:
        name = f"{version}-{json.loads(shiv.read('environment.json'))['build_id'][:16]}"
        date = shiv.getinfo("environment.json").date_time
        start = (HERE / "start.py").read_bytes().replace(b"@NAME@", name.encode())
        entries = {
            "__main__.pyc": compiled(start),
            "__main__.py": start,
            "unpack.py": (HERE / "unpack.py").read_bytes(),
            **{entry: shiv.read(entry) for entry in shiv.namelist() if entry.startswith("_bootstrap/")},
            "sources": sources.encode(),
            "packages.zip": made.read_bytes(),
        }
    packed = io.BytesIO()  # so that its offsets count from its own start: `python3 -m zipapp` may change the line before that
    with ZipFile(packed, "w", ZIP_STORED) as outer:
        for entry, octets in entries.items():
            outer.writestr(ZipInfo(entry, date), octets)
    output.write_bytes(INTERPRETER + packed.getvalue())
    output.chmod(0o755)


def compiled(source: bytes) -> bytes:
    """Compiles for this version of Python, which finds it first. Others compile the source at each start.

    That is 14 to 19 M instructions, 14 of them whatever the source is: the built-in compile() first makes the classes of `ast`.
    """
    with TemporaryDirectory() as directory:
        path = Path(directory, "start.py")
        path.write_bytes(source)
        made = compile(str(path), str(path) + "c", "__main__.py", True, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)
        assert made is not None
        return Path(made).read_bytes()


if __name__ == "__main__":
    pack(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
