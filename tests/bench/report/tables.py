"""The tables in Markdown."""

from tests.bench.report.columns import COLUMNS, OURS
from tests.bench.report.plots import curve
from tests.bench.report.result import Medians, Result
from tests.bench.report.targets import AREAS, SHOWN, TARGETS, Target, measured, verdict
from tests.bench.workshop import Table

Lines = list[str]


def row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def head(cells: list[str], numbers: int) -> Lines:
    """The heads, and what aligns the last columns to the right."""
    return [row(cells), row(["---"] * (len(cells) - numbers) + ["---:"] * numbers)]


def figure_table(name: str, figures: Medians) -> Lines:
    columns = COLUMNS[name]
    rows = head(["", *(column.head for column in columns)], len(columns))
    for program, metrics in figures.items():
        cells = [f"{metrics[c.metric]:,.{c.digits}f}" if c.metric in metrics else "–" for c in columns]
        rows.append(row([f"**{program}**" if program == OURS[name] else program, *cells]))
    return rows


def curve_table(metrics: dict[str, str], figures: Medians) -> Lines:
    """What a picture shows. metrics: with their titles"""
    values = {(metric, program): dict(curve(figures, program, metric)) for metric in metrics for program in figures}
    places = sorted({x for points in values.values() for x in points})
    rows = head(["", "", *(f"{x:,}" for x in places)], len(places))
    for (metric, program), points in values.items():
        if points:
            rows.append(row([metrics[metric], program, *(number(points[x]) if x in points else "–" for x in places)]))
    return rows


def number(value: float) -> str:
    """Three significant digits, or all of a whole number."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def target_table(name: str, figures: Medians) -> Lines:
    if not TARGETS.get(name):
        return []
    rows = head(["target", "wanted", "measured", "met"], 3)
    return [*rows, *(row(cells) for cells in judged(name, figures))]


def judged(name: str, figures: Medians) -> list[list[str]]:
    return [[one.text, wanted(one), *verdict(one, measured(name, one, figures))] for one in TARGETS[name]]


def wanted(target: Target) -> str:
    return f"{'≥' if target.more else '≤'} {target.factor:g}"


def all_targets(medians: dict[str, Medians]) -> Lines:
    rows = head(["", "target", "wanted", "measured", "met"], 3)
    for name in TARGETS:
        rows += [row([AREAS.get(name, name), *cells]) for cells in judged(name, medians.get(name, {}))]
    return [*rows, *(row([shown.area, shown.text, "", shown.by or "–", shown.met]) for shown in SHOWN)]


def left_out(name: str, table: Table) -> Lines:
    """What could not be measured, as items of a list."""
    missing = [f"- {name}: {program}: {reason}" for program, reason in table.missing.items()]
    return [*missing, *(f"- {name}: {failure}" for failure in table.failures)]


def markdown(result: Result) -> str:
    """What a run of some parts prints: tables, targets, what is missing, and the machine."""
    lines: Lines = []
    for name, figures in result.medians().items():
        if name in COLUMNS:
            lines += [*figure_table(name, figures), "", *target_table(name, figures), ""]
        lines += [*left_out(name, result.tables[name]), ""]
    lines.append("; ".join(f"{key}: {value}" for key, value in result.machine.items()))
    rounds = f"medians of {result.plan.rounds} interleaved rounds"
    return "\n".join([*lines, f"({rounds}, {result.plan.idle_rounds} for idle tunnels; {result.plan.at_once} tunnels at once)"])
