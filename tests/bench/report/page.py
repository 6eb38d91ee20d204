"""docs/performance.md: the text in page.md, in which the places are filled from the samples.

A place is {{KIND WORD | WORD ...}}. Figures of the run are filled in; the text itself holds none of them, so that none can be out
of date:

{{facts}} {{summary}} {{targets}} {{left out}}
{{table NAME}}                             the table of that name, or all whose names begin with it
{{plot NAME}}                              a picture, and its figures in a table that opens
{{figure TABLE | PROGRAM | METRIC | DIGITS}}
{{ratio TABLE | PROGRAM | METRIC | OTHER | DIGITS}}   of PROGRAM over OTHER
"""

import re
from collections.abc import Callable
from pathlib import Path

from tests.bench.report import tables
from tests.bench.report.columns import COLUMNS
from tests.bench.report.plots import PLOTS, picture
from tests.bench.report.result import Result
from tests.bench.report.summary import summary
from tests.bench.report.svg import render

TEMPLATE = Path(__file__).with_name("page.md")
PAGE, PICTURES = "docs/performance.md", "docs/performance"
NOT_MEASURED = "*Not measured in this run.*"
_PLACE = re.compile(r"\{\{([^}]+)\}\}")
_IN_README = re.compile(r"(<!-- performance -->\n).*?(<!-- /performance -->)", re.DOTALL)


class Page:
    def __init__(self, result: Result) -> None:
        self._result, self._medians = result, result.medians()
        self._kinds: dict[str, Callable[..., str]] = {
            "facts": self._facts,
            "summary": lambda: "\n".join(summary(self._medians)),
            "targets": lambda: "\n".join(tables.all_targets(self._medians)),
            "left out": self._left_out,
            "table": self._table,
            "plot": self._plot,
            "figure": self._figure,
            "ratio": self._ratio,
        }

    def filled(self, template: str) -> str:
        return _PLACE.sub(lambda place: self._fill(place[1]), template)

    def _fill(self, place: str) -> str:
        kind = next(kind for kind in self._kinds if place == kind or place.startswith(f"{kind} "))
        words = [word.strip() for word in place.removeprefix(kind).split("|")]
        return self._kinds[kind](*filter(None, words))

    def _facts(self) -> str:
        plan = self._result.plan
        rounds = f"{plan.rounds} interleaved rounds, {plan.idle_rounds} for idle tunnels; {plan.at_once} tunnels at once"
        return "\n".join(f"- {key}: {value}" for key, value in {**self._result.machine, "medians of": rounds}.items())

    def _table(self, prefix: str) -> str:
        names = [name for name in COLUMNS if name.startswith(prefix)] if prefix not in COLUMNS else [prefix]
        shown = [name for name in names if self._medians.get(name)]
        titles = {name: [f"{name.replace('-', ', ')}:", ""] if len(names) > 1 else [] for name in shown}
        lines = [[*titles[name], *tables.figure_table(name, self._medians[name])] for name in shown]
        return "\n\n".join(map("\n".join, lines)) or NOT_MEASURED

    def _plot(self, name: str) -> str:
        figures = self._medians.get(f"curve-{name}")
        if not figures:
            return NOT_MEASURED
        plot = PLOTS[name]
        table = tables.curve_table(plot.metrics, figures)
        opened = ["<details>", f"<summary>The figures, against {plot.x}</summary>", "", *table, "", "</details>"]
        return "\n".join([f"![{plot.title}](performance/{name}.svg)", "", *opened])

    def _figure(self, table: str, program: str, metric: str, digits: str) -> str:
        value = self._medians.get(table, {}).get(program, {}).get(metric)
        return "–" if value is None else f"{value:,.{digits}f}"

    def _ratio(self, table: str, program: str, metric: str, other: str, digits: str) -> str:
        figures = self._medians.get(table, {})
        values = [figures.get(name, {}).get(metric) for name in (program, other)]
        return "–" if None in values or not values[1] else f"{values[0] / values[1]:.{digits}f}"

    def _left_out(self) -> str:
        parts = [f"- {failure}" for failure in self._result.failures]
        lines = [line for name, table in self._result.tables.items() for line in tables.left_out(name, table)]
        return "\n".join([*parts, *lines]) or "Nothing failed, and no program was missing."

    def pictures(self) -> dict[str, str]:
        """The pictures by name."""
        names = [name for name in PLOTS if self._medians.get(f"curve-{name}")]
        return {name: render(picture(name, self._medians[f"curve-{name}"])) for name in names}


def write(result: Result, root: Path) -> None:
    """Writes the page with its pictures, and the table in the README."""
    page = Page(result)
    (root / PAGE).write_text(page.filled(TEMPLATE.read_text()))
    directory = root / PICTURES
    directory.mkdir(exist_ok=True)
    for old in directory.glob("*.svg"):
        old.unlink()
    for name, drawn in page.pictures().items():
        (directory / f"{name}.svg").write_text(drawn)
    readme = root / "README.md"
    table = page.filled("{{summary}}")
    readme.write_text(_IN_README.sub(lambda found: f"{found[1]}{table}\n{found[2]}", readme.read_text()))
