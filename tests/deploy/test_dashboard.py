"""The Grafana dashboard: its queries ask for what `serve` exports, and its JSON is what Grafana reads."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from promql_parser import AggregateExpr, BinaryExpr, Call, ParenExpr

from tests.deploy.queries import FROM_PROMETHEUS, assert_exported, exported, matched, nodes, parsed, selectors, values
from tunnelctl.server.observe.metrics import ALL, FAMILIES

FILE = Path(__file__).parents[2] / "deploy" / "grafana" / "tunnelctl.json"
DASHBOARD = json.loads(FILE.read_text("utf-8"))


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def targets() -> list[tuple[str, str, str]]:
    """Returns the title, the query and the legend of each."""
    return [(panel["title"], target["expr"], target["legendFormat"]) for panel in panels() for target in panel["targets"]]


def queries() -> list[str]:
    notes = [one["expr"] for one in DASHBOARD["annotations"]["list"] if "expr" in one]
    return [query for _, query, _ in targets()] + notes


@pytest.mark.parametrize("query", queries())
def test_a_query_asks_for_what_is_exported(query: str) -> None:
    assert selectors(query)
    assert_exported(query)


@pytest.mark.parametrize(("title", "query", "legend"), targets())
def test_a_query_groups_and_names_by_labels_that_exist(title: str, query: str, legend: str) -> None:
    labels = set().union(*(exported()[selector.name][1] for selector in selectors(query)))
    groups = [node.modifier.labels for node in nodes(query) if isinstance(node, AggregateExpr) and node.modifier is not None]
    for group in groups:
        assert set(group) <= labels
    named = set(re.findall(r"\{\{(\w+)\}\}", legend))
    assert named <= set(groups[0] if groups else ()), "only labels that the aggregation keeps can be shown"
    assert legend, title


def test_the_checks_can_fail() -> None:
    assert [selector.name for selector in selectors('sum(rate(a{b="c"}[5m])) / d')] == ["a", "d"]
    with pytest.raises(ValueError):
        nodes("sum(rate(a[5m])")
    (selector,) = selectors('tunnelctl_requests_total{status="299"}')
    (family, _) = exported()[selector.name]
    assert not matched(selector.matchers.matchers[0], values(family, "status"))


def test_every_metric_is_on_the_dashboard() -> None:
    shown = {exported()[selector.name][0].name for query in queries() for selector in selectors(query)}
    assert shown == {family.name for family in ALL}
    assert len(ALL) > len(FAMILIES)


def test_every_query_can_be_narrowed_to_a_job_and_an_instance() -> None:
    for query in queries():
        for selector in selectors(query):
            assert {matcher.name for matcher in selector.matchers.matchers} >= FROM_PROMETHEUS, query


def test_no_curve_is_that_of_a_single_instance_by_chance() -> None:
    """Several instances make several series of each metric: each query sums them, or names them all."""
    for title, query, _ in targets():
        outer = parsed(query)
        while isinstance(outer, BinaryExpr | ParenExpr):
            outer = outer.lhs if isinstance(outer, BinaryExpr) else outer.expr
        if isinstance(outer, Call):  # histogram_quantile, of a sum
            outer = outer.args[-1]
        assert isinstance(outer, AggregateExpr), title


def test_the_variables_are_taken_from_a_metric_that_is_always_there() -> None:
    asked = [one["query"]["query"] for one in DASHBOARD["templating"]["list"] if one["type"] == "query"]
    assert len(asked) == len(FROM_PROMETHEUS)
    for query in asked:
        metric, label = re.fullmatch(r"label_values\((\w+)(?:\{.*\})?, (\w+)\)", query).groups()
        assert metric == "tunnelctl_build_info"
        assert label in exported()[metric][1]


# --- the model: https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/

_SOURCE = {
    "type": "object",
    "required": ["type", "uid"],
    "properties": {"type": {"const": "prometheus"}, "uid": {"const": "${datasource}"}},
}
_GRID = {
    "type": "object",
    "required": ["h", "w", "x", "y"],
    "properties": {
        "w": {"minimum": 1, "maximum": 24},
        "x": {"minimum": 0, "maximum": 23},
        "h": {"minimum": 1},
        "y": {"minimum": 0},
    },
    "additionalProperties": {"type": "integer"},
}
_TARGET = {
    "type": "object",
    "required": ["datasource", "expr", "refId", "legendFormat"],
    "properties": {"datasource": _SOURCE, "expr": {"type": "string"}, "refId": {"pattern": "^[A-Z]$"}},
}
_PANEL = {
    "type": "object",
    "required": ["id", "type", "title", "gridPos"],
    "properties": {"id": {"type": "integer"}, "type": {"enum": ["row", "stat", "timeseries"]}, "gridPos": _GRID},
    "if": {"properties": {"type": {"const": "row"}}},
    "then": {"required": ["collapsed", "panels"]},
    "else": {
        "required": ["datasource", "targets", "fieldConfig", "options", "description"],
        "properties": {
            "datasource": _SOURCE,
            "targets": {"type": "array", "minItems": 1, "items": _TARGET},
            "fieldConfig": {"required": ["defaults", "overrides"]},
        },
    },
}
_MODEL = {
    "type": "object",
    "required": ["id", "uid", "title", "schemaVersion", "version", "panels", "templating", "annotations", "time", "tags"],
    "properties": {
        "id": {"const": None},  # Grafana gives it a number of its own
        "uid": {"pattern": "^[a-zA-Z0-9_-]{1,40}$"},
        "schemaVersion": {"type": "integer", "minimum": 36},
        "panels": {"type": "array", "items": _PANEL},
        "templating": {"properties": {"list": {"items": {"required": ["name", "type", "query"]}}}, "required": ["list"]},
        "annotations": {"required": ["list"]},
        "time": {"required": ["from", "to"]},
    },
}


def test_the_model_is_that_of_grafana() -> None:
    jsonschema.Draft202012Validator(_MODEL).validate(DASHBOARD)


def test_panels_have_their_own_number_and_place() -> None:
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
    taken = [cell for panel in DASHBOARD["panels"] for cell in cells(panel["gridPos"])]
    assert len(set(taken)) == len(taken), "two panels overlap"
    assert max(x for x, _ in taken) == 23


def cells(place: dict[str, int]) -> Iterator[tuple[int, int]]:
    return ((x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"]))


def test_the_file_is_formatted_as_grafana_exports_it() -> None:
    assert FILE.read_text("utf-8") == json.dumps(DASHBOARD, indent=2, ensure_ascii=False) + "\n"
