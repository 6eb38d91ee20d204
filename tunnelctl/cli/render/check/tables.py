"""Tables of a report: the times of --count with their histogram, and the statistics of --watch."""

from collections.abc import Sequence

from tunnelctl.cli.render.check.rows import Facts, duration
from tunnelctl.cli.render.text import show
from tunnelctl.client.check.events import Statistics

MARKS = 24  # columns of the longest row of the histogram
BUCKETS = 8  # rows of it
ENOUGH = 100  # times of which one in a hundred can be told

# The columns of the statistics with their widths. On a narrow terminal those at the end are left out.
COLUMNS = {"last": 10, "loss": 8, "average": 10, "worst": 10, "best": 10, "of": 7}
NAME = 10


def series(facts: Facts, mark: str = "#") -> list[str]:
    """Renders the figures and the histogram of repeated measurements."""
    times = facts["times"]
    names = [name for name in ("min", "median", "p99", "max") if name != "p99" or len(times) >= ENOUGH]
    figures = ", ".join(f"{name} {duration(facts[name])}" for name in names) if times else "none worked"
    rows = [f"{'series':<8}{show(facts['count']):>4} runs  {figures}; {show(facts['failed'])} failed"]
    if len(times) > 1:
        most = MARKS / len(times)
        rows += [f"{'':<8}{edge:>9}  {mark * round(count * most):<{MARKS}} {count}" for edge, count in buckets(times)]
    return rows


def buckets(times: Sequence[float]) -> list[tuple[str, int]]:
    """Returns the upper edge of each bucket, and the number of times in it. No two edges look the same."""
    least, width = min(times), (max(times) - min(times)) / BUCKETS
    counts = [0] * BUCKETS
    for time in times:
        counts[min(int((time - least) / width), BUCKETS - 1) if width else 0] += 1
    digits = 1 if width >= 0.0001 else 4  # 0.1 ms
    edges = (f"{(least + width * (place + 1)) * 1000:.{digits}f} ms" for place in range(BUCKETS))
    return [(edge, count) for edge, count in zip(edges, counts, strict=True) if width or count]


def statistics(rows: Sequence[Statistics], width: int) -> list[str]:
    """Renders the statistics of --watch, with as many columns as the width has room for."""
    shown = [name for place, name in enumerate(COLUMNS, 1) if NAME + sum(list(COLUMNS.values())[:place]) <= width or place <= 2]
    cells = [{name: name for name in COLUMNS} | {"name": "phase"}, *map(_cells, rows)]
    return [f"{row['name']:<{NAME}}" + "".join(f"{row[name]:>{COLUMNS[name]}}" for name in shown) for row in cells]


def _cells(row: Statistics) -> dict[str, str]:
    times = {name: duration(getattr(row, name)) or "-" for name in ("last", "average", "worst", "best")}
    return {"name": row.name, "loss": f"{100 * row.failed / row.count:.1f} %", "of": str(row.count), **times}
