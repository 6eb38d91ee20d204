"""The Prometheus text format, as the parser of prometheus-client reads it."""

from prometheus_client.parser import text_string_to_metric_families

from tunnelctl.server.observe.metrics import BUCKETS, FAMILIES, Metrics, SharedCounters
from tunnelctl.server.observe.prometheus import render
from tunnelctl.server.observe.record import DRAINED, TunnelRecord


def read(board: SharedCounters) -> dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]]:
    families = text_string_to_metric_families(render(board).decode())
    return {
        family.name: {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in family.samples}
        for family in families
    }


def test_every_family_is_rendered_with_its_type() -> None:
    found = {family.name: family.type for family in text_string_to_metric_families(render(SharedCounters(1)).decode())}
    assert found == {family.name: family.kind for family in FAMILIES}


def test_counters_and_histograms_are_summed_over_workers() -> None:
    board = SharedCounters(2)
    for row, seconds in zip(board.rows, (0.002, 70.0), strict=True):
        metrics, account = Metrics(row), TunnelRecord("1", "1.1", "c")
        account.phases, account.moved = [("connect", seconds)], (5, 6)
        metrics.on_decision(account, 200, "")
        metrics.on_end(account, DRAINED)
    found = read(board)
    assert found["tunnelctl_requests"] == {("tunnelctl_requests_total", (("error", ""), ("status", "200"))): 2}
    assert found["tunnelctl_closed"] == {("tunnelctl_closed_total", (("cause", "drained"), ("closed_by", "tunnelctl"))): 2}
    assert found["tunnelctl_bytes"]["tunnelctl_bytes_total", (("direction", "received"),)] == 12
    setup = found["tunnelctl_setup_seconds"]
    labels = (("outcome", "opened"), ("phase", "connect"))
    assert setup["tunnelctl_setup_seconds_count", labels] == 2
    assert setup["tunnelctl_setup_seconds_sum", labels] == 70.002
    reached = [value for (name, _), value in setup.items() if name.endswith("_bucket")]
    assert reached == [float(bound >= 0.0025) for bound in BUCKETS] + [2]
