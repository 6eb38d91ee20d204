"""Describes what was built: a bill of materials of the .pyz, the licences of what it bundles, checksums of all files."""

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

from .artefacts import BuildFailed, hashes

LICENCES = "THIRD-PARTY-LICENSES"


def unpacked(pyz: Path, directory: Path) -> Path:
    """Has the .pyz unpack itself below `directory`. Returns the directory with its distributions."""
    subprocess.run([sys.executable, pyz, "--version"], env={**os.environ, "XDG_CACHE_HOME": str(directory)}, check=True, stdout=-3)
    [packages] = (directory / "tunnelctl").glob("*/site-packages")
    return packages


def licences(packages: Path) -> str:
    return (packages / LICENCES).read_text()


def bill_of_materials(root: Path, packages: Path, version: str, epoch: str) -> str:
    """Returns a CycloneDX document of the distributions there, which is the same for each build of a version.

    cyclonedx-py leaves out the random serial number and, for want of a fixed one in pyproject.toml, the version.
    """
    document = json.loads(_described(root, packages, epoch))
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'pkg:pypi/tunnelctl@{version}?epoch={epoch}')}"
    document["metadata"]["component"] |= {"version": version, "purl": f"pkg:pypi/tunnelctl@{version}"}
    text = json.dumps(document, indent=2, sort_keys=True) + "\n"
    _validate(text)
    return text


def _described(root: Path, packages: Path, epoch: str) -> str:
    # With -S it looks only at PYTHONPATH, not at the packages of the interpreter that runs it.
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "-S", "--output-reproducible", "--pyproject", "pyproject.toml"]
    variables = {"PYTHONPATH": str(packages), "SOURCE_DATE_EPOCH": epoch}
    done = subprocess.run([*command, sys.executable], cwd=root, env={**os.environ, **variables}, capture_output=True, text=True)
    if done.returncode != 0:
        raise BuildFailed(f"cyclonedx-py failed: {done.stderr.strip()}")
    return done.stdout


def _validate(text: str) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    error = JsonStrictValidator(SchemaVersion.from_version(json.loads(text)["specVersion"])).validate_str(text)
    if error:
        raise BuildFailed(f"the bill of materials does not conform to its schema: {error}")


def checksums(directory: Path) -> str:
    """Returns the lines that `sha256sum --check` reads."""
    return "".join(f"{digest}  {name}\n" for name, digest in hashes(directory).items() if name != "SHA256SUMS")
