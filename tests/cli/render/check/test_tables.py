"""The histogram of --count, and the statistics of --watch."""

import pytest

from tunnelctl.cli.render.check.tables import buckets, series, statistics
from tunnelctl.client.check.check import spread
from tunnelctl.client.check.events import Statistics


def test_times_are_counted_in_buckets():
    assert [count for _, count in buckets([0.1, 0.1, 0.2, 0.9])] == [2, 1, 0, 0, 0, 0, 0, 1]
    assert buckets([0.5, 0.5]) == [("500.0000 ms", 2)]


@pytest.mark.parametrize("most", [1.0, 1e-2, 1e-3, 1e-4, 1e-5])
def test_no_two_buckets_have_the_same_edge(most):
    edges = [edge for edge, _ in buckets([0.0, most])]
    assert len(set(edges)) == len(edges) == 8


def facts(times: list[float], failed: int = 0) -> dict[str, object]:
    return {"count": len(times) + failed, "failed": failed, "times": times, **spread(times)}


def test_a_series_without_success():
    assert series(facts([], 2)) == ["series     2 runs  none worked; 2 failed"]


@pytest.mark.parametrize(("count", "shown"), [(2, False), (99, False), (100, True)])
def test_one_in_a_hundred_is_told_of_a_hundred(count, shown):
    assert ("p99" in series(facts([0.1] * count))[0]) == shown


ROWS = [Statistics("dns", 10, 1, 0.001, 0.0009, 0.5, 12.0), Statistics("proxy 2", 1, 1, None, None, None, None)]


def test_statistics_have_a_row_for_each_phase():
    assert statistics(ROWS, 80) == [
        "phase           last    loss   average     worst      best     of",
        "dns           1.0 ms  10.0 %  500.0 ms   12.00 s    0.9 ms     10",
        "proxy 2            - 100.0 %         -         -         -      1",
    ]


@pytest.mark.parametrize(("width", "columns"), [(200, 7), (65, 7), (64, 6), (40, 4), (20, 3), (1, 3)])
def test_a_narrow_table_has_fewer_columns(width, columns):
    header, *rows = statistics(ROWS, width)
    assert len(header.split()) == columns
    assert {len(row) for row in rows} == {len(header)}
    assert len(header) <= max(width, 28)
