"""The alert rules: Prometheus accepts them, they fire when they should, and they ask for what `serve` exports."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from tests.deploy.queries import assert_exported, exported, parsed, selectors
from tests.peers.process import path_of
from tunnelctl.cli.spec.flags import FLAGS

DIRECTORY = Path(__file__).parents[2] / "deploy" / "prometheus"
FILE, TESTS = DIRECTORY / "alerts.yml", DIRECTORY / "alerts.test.yml"
RULES = [rule for group in yaml.safe_load(FILE.read_text("utf-8"))["groups"] for rule in group["rules"]]

pytestmark = [pytest.mark.peer("promtool"), pytest.mark.artefact]


def promtool(*words: str, cwd: Path = DIRECTORY) -> int:
    return subprocess.run([path_of("promtool"), *words], cwd=cwd, capture_output=True, timeout=60).returncode


def test_prometheus_accepts_the_rules() -> None:
    assert promtool("check", "rules", FILE.name) == 0


def test_the_rules_fire_when_they_should(tmp_path: Path) -> None:
    assert promtool("test", "rules", TESTS.name) == 0
    for file in (FILE, TESTS):
        (tmp_path / file.name).write_text(file.read_text("utf-8").replace("== 0", "== 2"))
    assert promtool("test", "rules", TESTS.name, cwd=tmp_path) != 0, "the tests can fail"


def test_each_rule_is_tested_in_both_states() -> None:
    expected = [one for test in yaml.safe_load(TESTS.read_text("utf-8"))["tests"] for one in test["alert_rule_test"]]
    for state in (True, False):
        assert {one["alertname"] for one in expected if bool(one["exp_alerts"]) is state} == {rule["alert"] for rule in RULES}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_asks_for_what_is_exported(rule: dict[str, Any]) -> None:
    query = rule["expr"]
    if query.startswith("up{"):
        return  # of Prometheus itself
    assert selectors(query)
    assert_exported(query)
    assert parsed(query)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_says_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "runbook"}
    words = " ".join(rule["annotations"].values())
    assert set(re.findall(r"--([a-z-]+)", words)) <= {flag.name for flag in FLAGS if "serve" in flag.commands}
    labels = set().union(*(exported()[one.name][1] for one in selectors(rule["expr"]) if one.name != "up"), {"instance", "job"})
    assert set(re.findall(r"\$labels\.(\w+)", words)) <= labels


def test_the_pages_name_alerts_that_exist() -> None:
    pages = " ".join(path.read_text("utf-8") for path in (DIRECTORY.parents[1] / "docs").glob("*.md"))
    named = set(re.findall(r"`(Tunnelctl\w+)`", pages))
    assert named
    assert named <= {rule["alert"] for rule in RULES}
