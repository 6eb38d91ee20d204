"""The package `parcel`, for a web server that is an index of Python, a registry of npm, a proxy of Go or a channel of conda."""

import io
import json
import platform
import tarfile
import zipfile
from pathlib import Path


def make_npm_package(root: Path, base: str) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        content = b'{"name":"parcel","version":"1.0.0"}'
        info = tarfile.TarInfo("package/package.json")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    (root / "parcel.tgz").write_bytes(archive.getvalue())
    version = {"name": "parcel", "version": "1.0.0", "dist": {"tarball": f"{base}/parcel.tgz"}}
    (root / "parcel").write_text(json.dumps({"name": "parcel", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}))


def make_index(root: Path) -> None:
    """A package index of Python with one wheel."""
    (root / "simple/parcel").mkdir(parents=True)
    wheel = root / "simple/parcel/parcel-1.0-py3-none-any.whl"
    info = "parcel-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: parcel\nVersion: 1.0\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")
    (root / "simple/parcel/index.html").write_text(f'<!DOCTYPE html><a href="{wheel.name}">{wheel.name}</a>')


def make_go_module(root: Path) -> None:
    """The module parcel.test/parcel, as a proxy of Go's modules has it."""
    versions = root / "parcel.test/parcel/@v"
    versions.mkdir(parents=True)
    (versions / "v1.0.0.info").write_text('{"Version": "v1.0.0"}')
    (versions / "v1.0.0.mod").write_text("module parcel.test/parcel\n")
    with zipfile.ZipFile(versions / "v1.0.0.zip", "w") as file:
        file.writestr("parcel.test/parcel@v1.0.0/go.mod", "module parcel.test/parcel\n")


def make_conda_channel(root: Path) -> None:
    """A channel that lists the package; it has no archive."""
    record = {"name": "parcel", "version": "1.0", "build": "0", "build_number": 0, "depends": [], "md5": "0" * 32, "size": 1}
    for machine in ("noarch", f"linux-{'64' if platform.machine() == 'x86_64' else platform.machine()}"):
        (root / "channel" / machine).mkdir(parents=True)
        listing = {"info": {"subdir": machine}, "packages": {"parcel-1.0-0.tar.bz2": record}, "packages.conda": {}}
        (root / "channel" / machine / "repodata.json").write_text(json.dumps(listing))
