"""Where we stand, in a few lines: the table at the top of the page, which the README has too."""

from typing import NamedTuple

from tests.bench.report.columns import OURS
from tests.bench.report.result import Medians
from tests.bench.report.tables import Lines, head, row
from tests.bench.report.targets import Target, measured


class Line(NamedTuple):
    table: str
    metric: str
    text: str
    digits: int
    more: bool  # is better
    against: str = ""  # one program; "" for the best of them


SUMMARY = (
    Line("connect", "start_ms", "`connect`: start to first byte, ms", 1, False),
    Line("connect", "down_gibs", "`connect`: download, GiB/s", 2, True),
    Line("connect", "down_cpu", "`connect`: CPU of a GiB, s", 2, False),
    Line("serve", "tunnels_s", "`serve`: short tunnels a second", 0, True),
    Line("serve", "bulk_cpu", "`serve`: CPU of a GiB, s", 2, False),
    Line("serve", "idle_9000", "`serve`: an idle tunnel at 9,000, KiB", 1, False),
    Line("fairness", "p50", "`serve`: keystroke beside 100 bulk tunnels, p50, ms", 1, False),
    Line("fairness", "p99", "`serve`: keystroke beside 100 bulk tunnels, p99, ms", 1, False),
    Line("forward", "conns_s", "`forward`: short connections a second", 0, True),
    Line("http2", "tunnels_s", "`serve`, HTTP/2: short tunnels a second", 0, True),
)
# They start, and open no tunnel, or are ours.
NO_RIVALS = ("python", "tunnelctl")


def summary(medians: dict[str, Medians]) -> Lines:
    rows = head(["", "tunnelctl", "best other", ""], 2)
    rows = [rows[0], row(["---", "---:", "---:", "---"])]
    for line in SUMMARY:
        figures = {name: values for name, values in medians.get(line.table, {}).items() if counts(name, line.table)}
        found = measured(line.table, Target(line.metric, "", 1, line.more, line.against), figures)
        if found is None:
            continue
        ours = figures[OURS[line.table]][line.metric]
        cells = (f"{value:,.{line.digits}f}" for value in (ours, figures[found[1]][line.metric]))
        rows.append(row([line.text, *cells, found[1]]))
    return rows


def counts(program: str, table: str) -> bool:
    return program == OURS[table] or not program.startswith(NO_RIVALS)
