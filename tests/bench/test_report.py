"""The report is made from the samples alone: from those of a run that was recorded, one sample of each."""

import re
from math import isfinite
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.bench import __main__ as program
from tests.bench.report import page, tables
from tests.bench.report.page import PAGE, PICTURES, TEMPLATE, Page
from tests.bench.report.plots import PLOTS, picture
from tests.bench.report.result import Result, read_json, write_json
from tests.bench.report.svg import PANEL_HEIGHT, PANEL_WIDTH, Panel, Picture, Series, linear_axis, render, y_axis
from tests.bench.report.targets import TARGETS, Target, measured, verdict
from tests.bench.workshop import DIRECT, SPLICE, Plan, Unavailable

ROOT = Path(__file__).parents[2]
SVG = "{http://www.w3.org/2000/svg}"
PLAN = Plan(rounds=1, idle_rounds=1, starts=1, stream=1, tunnels=1, bulk=1)


@pytest.fixture(scope="module")
def recorded() -> Result:
    return read_json(ROOT / "tests/data/bench.json")


# --- the page


def test_every_place_of_the_page_is_filled(recorded):
    text = Page(recorded).filled(TEMPLATE.read_text())
    assert "{{" not in text
    assert page.NOT_MEASURED not in text
    assert recorded.machine["commit"] in text
    lost = text.partition("## Where we lose, and why")[2].partition("## What was")[0]
    assert "–" not in lost, "a figure that is not among the samples"
    assert len(re.findall(r"\d+\.\d", lost)) >= 9


def test_the_text_of_the_page_holds_no_ratio():
    """A decimal number would be out of date with the next run. What was counted or measured apart from it is in whole numbers."""
    prose = re.sub(r"\{\{.*?\}\}", "", TEMPLATE.read_text())
    assert set(re.findall(r"\d+\.\d+", prose)) <= {"1.1", "1.3", "3.11", "3.12", "3.13"}  # of HTTP, of TLS, and of Python


def test_the_page_without_samples_says_what_is_not_there():
    result = Result({"date": "2026-01-01"}, PLAN)
    result.failures.append("tls: Unavailable: haproxy is not installed")
    text = Page(result).filled(TEMPLATE.read_text())
    assert text.count(page.NOT_MEASURED) >= len(PLOTS)
    assert text.rstrip().endswith("- tls: Unavailable: haproxy is not installed")
    assert "| not measured |" in text


def test_writing_replaces_page_pictures_and_the_table_in_the_readme(recorded, tmp_path):
    (tmp_path / PICTURES).mkdir(parents=True)
    (tmp_path / PICTURES / "old.svg").touch()
    (tmp_path / "README.md").write_text("before\n<!-- performance -->\nold\n<!-- /performance -->\nafter\n")
    page.write(recorded, tmp_path)
    text = (tmp_path / PAGE).read_text()
    shown = {f"{name}.svg" for name in re.findall(r"\(performance/([\w-]+)\.svg\)", text)}
    assert shown == {path.name for path in (tmp_path / PICTURES).iterdir()} == {f"{name}.svg" for name in PLOTS}
    before, table, after = re.split(r"<!-- /?performance -->\n", (tmp_path / "README.md").read_text())
    assert (before, after) == ("before\n", "after\n")
    assert table in text
    assert table.count("\n") > 5


def test_samples_are_kept_as_they_were(recorded, tmp_path):
    recorded.table("connect").failures.append("one, down: it hung")
    write_json(recorded, tmp_path / "kept.json")
    again = read_json(tmp_path / "kept.json")
    assert again.medians() == recorded.medians()
    assert (again.machine, again.plan, again.failures) == (recorded.machine, recorded.plan, recorded.failures)
    assert tables.left_out("connect", again.table("connect"))[-1] == "- connect: one, down: it hung"


# --- the targets


@pytest.mark.parametrize(
    ("more", "factor", "met"), [(True, 2, "yes"), (True, 2.1, "no"), (False, 2, "yes"), (False, 1.9, "no")], ids=str
)
def test_a_target_is_a_ratio_to_the_best_peer(more, factor, met):
    """The limits of the machine are no peers."""
    worse = 3.0 if more else 12.0
    figures = {"tunnelctl serve": {"x": 8.0}, "best": {"x": 4.0}, "worse": {"x": worse}, DIRECT: {"x": 99.0}, SPLICE: {"x": 0.1}}
    target = Target("x", "", factor, more)
    assert measured("serve", target, figures) == (2.0, "best")
    assert verdict(target, measured("serve", target, figures)) == ("2.00 (best)", met)


def test_a_target_without_samples_is_in_the_table():
    rows = tables.all_targets({})
    assert sum("| – | not measured |" in row for row in rows) >= sum(map(len, TARGETS.values()))


# --- the pictures


@pytest.fixture(params=PLOTS)
def drawn(request, recorded):
    return picture(request.param, recorded.medians()[f"curve-{request.param}"])


def test_a_picture_has_a_line_for_each_program_in_each_panel(drawn):
    text = render(drawn)
    root = ElementTree.fromstring(text)
    assert render(drawn) == text
    assert len(text) < 16_000
    panels = root.findall(f"{SVG}g")
    assert [len(panel.findall(f"{SVG}polyline")) for panel in panels] == [len(panel.curves) for panel in drawn.panels]
    assert len(root.findall(f"{SVG}polyline")) == len(drawn.series)  # the legend
    assert {"prefers-color-scheme" in style.text for style in root.findall(f"{SVG}style")} == {True}


def test_lines_and_texts_lie_inside_their_panel(drawn):
    for panel in ElementTree.fromstring(render(drawn)).findall(f"{SVG}g"):
        points = [point.split(",") for line in panel.findall(f"{SVG}polyline") for point in line.get("points").split()]
        points += [(text.get("x"), text.get("y")) for text in panel.findall(f"{SVG}text")]
        for x, y in points:
            assert isfinite(float(x))
            assert isfinite(float(y))
            assert 0 <= float(x) <= PANEL_WIDTH
            assert 0 <= float(y) <= PANEL_HEIGHT


def test_an_axis_begins_at_zero_unless_its_values_are_far_apart():
    assert linear_axis([3.2, 7.0], 100).ticks == (0, 1, 2, 3, 4, 5, 6, 7)
    assert y_axis([0.0, 29.0], 100).ticks[0] == 0
    wide = y_axis([0.02, 900.0], 100)
    assert wide.ticks == (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
    assert wide.at(0.01) == 0
    assert wide.at(1000) == 100


def test_names_are_escaped():
    one = Series("a<b>&", True, 0)
    text = render(Picture("t", "x", (Panel("y", {one.name: ((1, 1.0), (10, 2.0))}),), (one,), False, False))
    assert "a&lt;b&gt;&amp;" in text
    ElementTree.fromstring(text)


# --- the run


def test_a_part_that_fails_does_not_stop_the_others(monkeypatch):
    def failing(workshop, plan, table):
        table("serve").add("tunnelctl serve", tunnels_s=1.0)
        raise Unavailable("no room")

    def working(workshop, plan, table):
        table("connect").add("tunnelctl connect", **workshop.sample("run", "exit", 0, "true"))

    monkeypatch.setattr(program, "PARTS", {"serve": failing, "connect": working})
    result = Result({}, PLAN)
    program.measure(result, program.PARTS)
    assert result.failures == ["serve: Unavailable: no room"]
    assert set(result.medians()) == {"serve", "connect"}
    assert result.medians()["connect"]["tunnelctl connect"]["first"] > 0
